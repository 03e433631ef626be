"""Ledger: what was paid, and how often anybody looked. Two lists that only grow.

A call is written down with its worst case before it is made and settled after it; one that never came back counts as
if it had cost what was reserved. A trial is a look of one rule at one data window; corrections for multiple testing
read their number here, so there is no way to remove one.
"""

import math
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa

from agents.archive import tables
from agents.archive.database import Database, record_of, values_of
from agents.archive.records import Call, Slot, Spend, Trial
from backtesting.bars import FloatArray
from backtesting.errors import CheckFailed, StorageError
from backtesting.hashing import arrays_id, content_id


class Ledger(Database):
    """Calls, trials and return streams."""

    def reserve_call(
        self,
        run_id: str,
        slot_id: str | None,
        *,
        purpose: str,
        attempt: int,
        payload_id: str,
        reserved_usd: float | None,
        reserved_tokens: int,
    ) -> int:
        """Write a call down before it is made; gives its `call_id`.

        Raises:
            StorageError: the same call of the slot is open or settled already: ask `settled_call` first.
        """
        with self.transaction() as connection:
            inserted = connection.execute(
                _RESERVE_CALL,
                {
                    "run_id": run_id,
                    "slot_id": slot_id,
                    "purpose": purpose,
                    "attempt": attempt,
                    "payload_id": payload_id,
                    "reserved_usd": reserved_usd,
                    "reserved_tokens": reserved_tokens,
                    "status": "reserved",
                    "at": self.now(),
                },
            )
            return int(inserted.scalar_one())

    def settle_call(self, call_id: int, *, reply: str, usage: Mapping[str, Any] | None, cost_usd: float | None) -> None:
        """The call came back: its raw reply is stored here, before anything reads it.

        Args:
            usage: `input_tokens`, `output_tokens`, ...; None commits the reservation.
            cost_usd: None where unpriced, or where the usage is not known.
        """
        self._end_call(call_id, status="settled", reply=reply, usage=usage, cost_usd=cost_usd, failure=None)

    def fail_call(
        self,
        call_id: int,
        failure: str,
        *,
        reply: str | None = None,
        usage: Mapping[str, Any] | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """The call failed for good; what it cost counts, and the reservation where that is not known."""
        self._end_call(call_id, status="failed", reply=reply, usage=usage, cost_usd=cost_usd, failure=failure)

    def abandon_calls(self, run_id: str) -> int:
        """At resume: calls that a killed process left open. They stay in the books with what was reserved."""
        with self.transaction() as connection:
            changed = connection.execute(
                tables.calls.update()
                .where(tables.calls.c.run_id == run_id, tables.calls.c.status == "reserved")
                .values(status="abandoned")
            )
            return int(changed.rowcount)

    def settled_call(self, slot_id: str, purpose: str, attempt: int) -> Call | None:
        """The paid reply of an earlier process, if there is one: it is never paid twice."""
        asked = {"slot_id": slot_id, "purpose": purpose, "attempt": attempt}
        with self._reading() as connection:
            row = connection.execute(_SETTLED_CALL, asked).one_or_none()
        return None if row is None else record_of(Call, row)

    def calls(self, run_id: str | None = None) -> tuple[Call, ...]:
        """The calls of a run, or of all runs, in the order they were reserved."""
        query = sa.select(tables.calls).order_by(tables.calls.c.call_id)
        if run_id is not None:
            query = query.where(tables.calls.c.run_id == run_id)
        with self._reading() as connection:
            return tuple(record_of(Call, row) for row in connection.execute(query))

    def spend(self, run_id: str | None = None) -> Spend:
        """What a run, or all runs, have spent."""
        query = sa.select(
            tables.calls.c.cost_usd,
            tables.calls.c.reserved_usd,
            tables.calls.c.reserved_tokens,
            tables.calls.c.usage,
            tables.calls.c.status,
        ).order_by(tables.calls.c.call_id)
        if run_id is not None:
            query = query.where(tables.calls.c.run_id == run_id)
        prices: list[float] = []
        tokens, calls, unpriced, free, reserved = 0, 0, 0, 0, 0
        with self._reading() as connection:
            for row in connection.execute(query):
                price = row.cost_usd if row.cost_usd is not None else row.reserved_usd
                if price is None:
                    unpriced += 1
                else:
                    prices.append(price)
                used = _tokens(row.usage, row.reserved_tokens)
                tokens += used
                calls += 1
                reserved += used if row.usage is None else 0
                free += row.status == "settled" and price == 0.0 and used == 0
        return Spend(
            usd=math.fsum(prices), tokens=tokens, calls=calls, unpriced=unpriced, free=free, reserved_tokens=reserved
        )

    @staticmethod
    def spend_of(call: Call) -> Spend:
        """What one call counts for in `spend`."""
        price = call.cost_usd if call.cost_usd is not None else call.reserved_usd
        tokens = _tokens(call.usage, call.reserved_tokens)
        free = call.status == "settled" and price == 0.0 and tokens == 0
        return Spend(
            usd=price or 0.0,
            tokens=tokens,
            calls=1,
            unpriced=int(price is None),
            free=int(free),
            reserved_tokens=tokens if call.usage is None else 0,
        )

    def add_trial(self, trial: Trial) -> None:
        """Count a look. A slot that repeats a look after a kill (same rule, window and purpose) is counted once."""
        with self.transaction() as connection:
            connection.execute(
                _ADD_TRIAL,
                {**values_of(trial, "trial_id"), "metrics": dict(trial.metrics), "at": self.now()},
            )

    def trials(self, run_id: str | None = None) -> tuple[Trial, ...]:
        """The trials of a run, or all, oldest first."""
        query = sa.select(tables.trials).order_by(tables.trials.c.trial_id)
        if run_id is not None:
            query = query.where(tables.trials.c.run_id == run_id)
        with self._reading() as connection:
            return tuple(record_of(Trial, row) for row in connection.execute(query))

    def count_trials(self, series: str | None = None, *, purpose: str | None = None, up_to: Slot | None = None) -> int:
        """How many looks there were, over all runs, arms and people; at one series (`series_key`) or at all.

        A look at a panel is a look at each of its symbols, and the other way round: series that share a symbol are
        counted together.

        Args:
            up_to: leaves out the later slots of this slot's run, in the order of the plan.
        """
        asked: dict[str, Any] = {}
        if series is not None:
            asked["series"] = self._sharing(series)
        if purpose is not None:
            asked["purpose"] = purpose
        if up_to is not None:
            asked |= {"run_id": up_to.run_id, "index": up_to.index}
        with self._reading() as connection:
            return int(connection.execute(_count_trials(frozenset(asked)), asked).scalar_one())

    def latest_look(self, series: str, first_session: str, last_session: str, *, bars_id: str) -> Trial | None:
        """The look that reaches furthest into these days of a series that shares a symbol, or of the same prices."""
        trials = tables.trials
        query = (
            sa.select(trials)
            .where(
                sa.or_(trials.c.series.in_(self._sharing(series)), trials.c.bars_id == bars_id),
                trials.c.first_session <= last_session,
                trials.c.last_session >= first_session,
            )
            .order_by(trials.c.last_session.desc(), trials.c.trial_id)
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else record_of(Trial, row)

    def _sharing(self, series: str) -> list[str]:
        """The series in the ledger that have a symbol of this one."""
        symbols = set(series.split(","))
        with self._reading() as connection:
            known = connection.execute(_SERIES).scalars()
            return sorted(name for name in known if symbols.intersection(name.split(",")))

    def ledger_id(self, n_first: int | None = None) -> str:
        """What all trials, or the first so many, are: their number and the content id of everything but the metrics."""
        columns = [column for column in tables.trials.c if column.name != "metrics"]
        query = sa.select(*columns).order_by(tables.trials.c.trial_id)
        if n_first is not None:
            query = query.limit(n_first)
        with self._reading() as connection:
            rows = [list(row) for row in connection.execute(query)]
        return f"{len(rows)}:{content_id(rows)}"

    def check_ledger(self) -> None:
        """That no trial was removed or changed by hand, as far as the archive itself can tell.

        Every evaluation has its look, and the trials that were there at the last opening are as they were then.

        Raises:
            CheckFailed: one was.
        """
        trials, evaluations, openings = tables.trials, tables.evaluations, tables.openings
        looked = sa.exists().where(trials.c.slot_id == evaluations.c.slot_id, trials.c.spec_id == evaluations.c.spec_id)
        unlooked = sa.select(evaluations.c.slot_id).where(~looked).limit(1)
        last = (
            sa.select(openings.c.ledger_id)
            .where(openings.c.ledger_id != "")
            .order_by(openings.c.opening_id.desc())
            .limit(1)
        )
        with self._reading() as connection:
            slot_id = connection.execute(unlooked).scalar()
            stood = connection.execute(last).scalar()
        if slot_id is not None:
            broken = f"slot {slot_id} was evaluated, and its look is missing from the ledger of trials"
        elif stood and self.ledger_id(int(stood.partition(":")[0])) != stood:
            broken = "the ledger of trials is not what it was when a sealed window was last opened"
        else:
            return
        raise CheckFailed(
            f"{broken}: the database was changed by hand",
            kept="nothing was opened, and the attempt is in the audit trail",
            next_step="restore a *.backup; a search whose looks are not all counted cannot be judged",
        )

    def add_stream(self, returns: FloatArray) -> str:
        """Keep a (n_bars,) stream of returns under its content id; the same stream is kept once."""
        values = np.ascontiguousarray(returns, dtype="<f8")
        if values.ndim != 1:
            raise ValueError(f"a stream has one dimension, this one has {values.ndim}")
        stream_id = arrays_id({"kind": "stream"}, {"returns": values})
        with self.transaction() as connection:
            connection.execute(
                _ADD_STREAM,
                {"stream_id": stream_id, "n_bars": len(values), "data": zlib.compress(values.tobytes(), 6)},
            )
        return stream_id

    def stream(self, stream_id: str) -> FloatArray:
        """The stream of this id, (n_bars,) read-only.

        Raises:
            StorageError: unknown, or the bytes are not those that were stored.
        """
        with self._reading() as connection:
            data = connection.execute(
                sa.select(tables.streams.c.data).where(tables.streams.c.stream_id == stream_id)
            ).scalar()
        if data is None:
            raise StorageError(f"there is no return stream {stream_id}", next_step="run `touchstone doctor`")
        try:
            values = np.frombuffer(zlib.decompress(data), dtype="<f8")
        except (zlib.error, ValueError):
            values = np.empty(0)
        if arrays_id({"kind": "stream"}, {"returns": values}) != stream_id:
            raise StorageError(f"the return stream {stream_id} is damaged", next_step="restore a *.backup")
        return values

    def _end_call(self, call_id: int, *, status: str, **values: Any) -> None:
        with self.transaction() as connection:
            changed = connection.execute(_END_CALL, {"open_call": call_id, "status": status, **values})
            if changed.rowcount != 1:
                raise StorageError(
                    f"call {call_id} is not open, so it cannot become {status!r}",
                    next_step="this is what two runs on one slot would do; run `touchstone doctor`",
                )


# Written down once, as those of a run's slots are: they take longer to build than to answer.
_RESERVE_CALL = tables.calls.insert().returning(tables.calls.c.call_id)
_END_CALL = (
    tables.calls.update()
    .where(tables.calls.c.call_id == sa.bindparam("open_call"), tables.calls.c.status == "reserved")
    .values({name: sa.bindparam(name) for name in ("status", "reply", "usage", "cost_usd", "failure")})
)
_SETTLED_CALL = sa.select(tables.calls).where(
    tables.calls.c.slot_id == sa.bindparam("slot_id"),
    tables.calls.c.purpose == sa.bindparam("purpose"),
    tables.calls.c.attempt == sa.bindparam("attempt"),
    tables.calls.c.status == "settled",
)
_ADD_TRIAL = tables.trials.insert().prefix_with("OR IGNORE")
_ADD_STREAM = tables.streams.insert().prefix_with("OR IGNORE")
_SERIES = sa.select(tables.trials.c.series).distinct()


@cache
def _count_trials(given: frozenset[str]) -> sa.Select[Any]:
    """The query of `count_trials`, narrowed by these of its parameters."""
    query = sa.select(sa.func.count()).select_from(tables.trials)
    if "series" in given:
        query = query.where(tables.trials.c.series.in_(sa.bindparam("series", expanding=True)))
    if "purpose" in given:
        query = query.where(tables.trials.c.purpose == sa.bindparam("purpose"))
    if "index" in given:
        later = sa.select(tables.slots.c.slot_id).where(
            tables.slots.c.run_id == sa.bindparam("run_id"), tables.slots.c.index > sa.bindparam("index")
        )
        query = query.where(tables.trials.c.slot_id.is_(None) | tables.trials.c.slot_id.not_in(later))
    return query


def _tokens(usage: Mapping[str, Any] | None, reserved: int) -> int:
    if usage is None:
        return reserved
    return int(usage.get("input_tokens") or 0) + int(usage.get("output_tokens") or 0)
