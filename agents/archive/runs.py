"""Runs: what was planned, asked, answered and found, slot by slot.

Nothing here is ever changed or deleted, and no state is stored: where a slot stands is read off its last event, so a
killed run resumes at the last thing that it had written down.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa

from agents.archive import tables
from agents.archive.database import Database, record_of, values_of
from agents.archive.records import (
    ORIGINS,
    REJECTION_CODES,
    RUN_EVENTS,
    SLOT_EVENTS,
    TERMINAL_EVENTS,
    Candidate,
    Proposal,
    Rejection,
    RunRecord,
    Slot,
    SlotEvent,
)
from backtesting.errors import StorageError, UsageError


class RunStore(Database):
    """Runs, slots, events, proposals, candidates and open-window evaluations."""

    def add_run(self, run: RunRecord, slots: Sequence[Slot] = ()) -> RunRecord:
        """Keep a run and plan its slots, in one transaction; gives the run with its time."""
        stored = {**values_of(run), "created_at": self.now()}
        with self.transaction() as connection:
            if self._run_row(connection, run.run_id) is not None:
                raise UsageError(
                    f"run {run.run_id} exists already",
                    next_step=f"continue it with --resume, or look at it with `touchstone runs show {run.run_id}`",
                )
            connection.execute(tables.runs.insert(), stored)
            self.append_run_event(run.run_id, "started")
            self.plan_slots(slots)
        return RunRecord(**stored)

    def run(self, run_id: str) -> RunRecord:
        """The run of this id; UsageError, with the nearest id, if there is none."""
        with self._reading() as connection:
            row = self._run_row(connection, run_id)
        if row is None:
            near = get_close_matches(run_id, [run.run_id for run in self.runs()], n=1)
            raise UsageError(
                f"there is no run {run_id!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                next_step="see the runs with `touchstone runs list`",
            )
        return record_of(RunRecord, row)

    def runs(self) -> tuple[RunRecord, ...]:
        """All runs, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(tables.runs).order_by(tables.runs.c.created_at, tables.runs.c.run_id))
            return tuple(record_of(RunRecord, row) for row in rows)

    def plan_slots(self, slots: Sequence[Slot]) -> None:
        """Keep the plan before anything is asked; every slot gets its `planned` event."""
        with self.transaction() as connection:
            for slot in slots:
                connection.execute(tables.slots.insert(), {**values_of(slot), "slot_id": slot.slot_id})
                self.append_event(slot.slot_id, "planned")

    def slots(self, run_id: str) -> tuple[Slot, ...]:
        """The slots of a run in their order."""
        with self._reading() as connection:
            rows = connection.execute(_SLOTS, {"run_id": run_id})
            return tuple(record_of(Slot, row) for row in rows)

    def append_event(
        self, slot_id: str, kind: str, *, code: str | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        """The next step of a slot.

        Args:
            kind: one of SLOT_EVENTS.
            code: the rejection code; given exactly when `kind` is `rejected`.

        Raises:
            StorageError: the slot is unknown, or has ended already.
        """
        if kind not in SLOT_EVENTS:
            raise ValueError(f"unknown slot event {kind!r}; known: {', '.join(SLOT_EVENTS)}")
        if (kind == "rejected") != (code is not None) or (code is not None and code not in REJECTION_CODES):
            raise ValueError(f"a rejected slot, and only that, carries one of the known codes: {kind!r}, {code!r}")
        with self.transaction() as connection:
            state = self.slot_state(slot_id)
            if state is None and kind != "planned":
                raise StorageError(f"slot {slot_id} was never planned", next_step="plan the slots of the run first")
            ended = state in TERMINAL_EVENTS or state == "in_review"
            if ended and not (state == "gated" and kind == "in_review"):
                raise StorageError(
                    f"slot {slot_id} has ended as {state!r} and cannot become {kind!r}",
                    kept="the slot stays as it ended",
                    next_step="this is what two runs on one slot would do; run `touchstone doctor`",
                )
            if kind == "in_review" and state != "gated":
                raise StorageError(
                    f"slot {slot_id} is {state!r} and cannot be put up for review", next_step="judge the run first"
                )
            connection.execute(
                tables.events.insert(),
                {
                    "run_id": slot_id.rpartition("/")[0],
                    "slot_id": slot_id,
                    "kind": kind,
                    "code": code,
                    "data": dict(data or {}),
                    "at": self.now(),
                },
            )

    def reject(self, slot_id: str, rejection: Rejection) -> None:
        """End a slot with a no; the whole rejection is kept with the event."""
        self.append_event(slot_id, "rejected", code=rejection.code, data=rejection.as_dict())

    def append_run_event(self, run_id: str, kind: str, data: Mapping[str, Any] | None = None) -> None:
        """A step of the run itself; `kind` is one of RUN_EVENTS."""
        if kind not in RUN_EVENTS:
            raise ValueError(f"unknown run event {kind!r}; known: {', '.join(RUN_EVENTS)}")
        with self.transaction() as connection:
            connection.execute(
                tables.events.insert(),
                {
                    "run_id": run_id,
                    "slot_id": None,
                    "kind": kind,
                    "code": None,
                    "data": dict(data or {}),
                    "at": self.now(),
                },
            )

    def run_state(self, run_id: str) -> str | None:
        """The kind of the run's own last event: `finished`, or where it stopped; None if the run is unknown."""
        query = (
            sa.select(tables.events.c.kind)
            .where(tables.events.c.run_id == run_id, tables.events.c.slot_id.is_(None))
            .order_by(tables.events.c.seq.desc())
            .limit(1)
        )
        with self._reading() as connection:
            return connection.execute(query).scalar()

    def events(self, run_id: str, slot_id: str | None = None) -> tuple[SlotEvent, ...]:
        """All events of a run, or of one of its slots, in the order they were written."""
        query = sa.select(tables.events).where(tables.events.c.run_id == run_id).order_by(tables.events.c.seq)
        if slot_id is not None:
            query = query.where(tables.events.c.slot_id == slot_id)
        with self._reading() as connection:
            return tuple(record_of(SlotEvent, row) for row in connection.execute(query))

    def slot_state(self, slot_id: str) -> str | None:
        """The kind of the slot's last event; None if the slot is unknown."""
        with self._reading() as connection:
            return connection.execute(_STATE, {"slot_id": slot_id}).scalar()

    def slot_states(self, run_id: str) -> dict[str, str]:
        """The state of every slot of a run, by slot id in the order of the plan."""
        with self._reading() as connection:
            rows = connection.execute(_LAST_EVENTS, {"run_id": run_id}).all()
        return {row.slot_id: row.kind for row in rows}

    def count_outcomes(self, run_id: str) -> dict[str, int]:
        """How many slots stand where; rejected ones by `rejected:CODE`."""
        counts: dict[str, int] = {}
        with self._reading() as connection:
            for row in connection.execute(_LAST_EVENTS, {"run_id": run_id}):
                name = row.kind if row.code is None else f"{row.kind}:{row.code}"
                counts[name] = counts.get(name, 0) + 1
        return counts

    def unfinished_slots(self, run_id: str) -> tuple[Slot, ...]:
        """The slots without a terminal event: what a resumed run still has to do."""
        states = self.slot_states(run_id)
        ended = (*TERMINAL_EVENTS, "in_review")
        return tuple(slot for slot in self.slots(run_id) if states[slot.slot_id] not in ended)

    def add_proposal(self, proposal: Proposal) -> None:
        """Keep what was asked and answered, before anything judges it; one a slot and attempt."""
        _check_origin(proposal.origin)
        with self.transaction() as connection:
            values = {**values_of(proposal), "parents": list(proposal.parents), "at": self.now()}
            connection.execute(tables.proposals.insert(), values)

    def proposals(self, slot_id: str) -> tuple[Proposal, ...]:
        """The proposals of a slot by attempt."""
        with self._reading() as connection:
            return tuple(record_of(Proposal, row) for row in connection.execute(_PROPOSALS, {"slot_id": slot_id}))

    def add_candidate(self, candidate: Candidate) -> None:
        """Keep the valid spec that a slot came to; one a slot."""
        _check_origin(candidate.origin)
        with self.transaction() as connection:
            connection.execute(tables.candidates.insert(), {**values_of(candidate), "at": self.now()})

    def candidate(self, slot_id: str) -> Candidate | None:
        """The candidate of a slot, or None."""
        with self._reading() as connection:
            row = connection.execute(_CANDIDATE, {"slot_id": slot_id}).one_or_none()
        return None if row is None else record_of(Candidate, row)

    def candidates(self, run_id: str | None = None) -> tuple[Candidate, ...]:
        """The candidates of a run in the order of its slots, or of all runs, oldest run first."""
        query = (
            sa.select(tables.candidates)
            .join(tables.slots, tables.slots.c.slot_id == tables.candidates.c.slot_id)
            .join(tables.runs, tables.runs.c.run_id == tables.slots.c.run_id)
            .order_by(tables.runs.c.created_at, tables.slots.c.run_id, tables.slots.c.index)
        )
        if run_id is not None:
            query = query.where(tables.slots.c.run_id == run_id)
        with self._reading() as connection:
            return tuple(record_of(Candidate, row) for row in connection.execute(query))

    def add_evaluation(self, slot_id: str, spec_id: str, bars_id: str, evaluation: Mapping[str, Any]) -> None:
        """Keep an open-window evaluation (`Evaluation.as_dict()`); one a slot."""
        with self.transaction() as connection:
            connection.execute(
                tables.evaluations.insert(),
                {
                    "slot_id": slot_id,
                    "spec_id": spec_id,
                    "bars_id": bars_id,
                    "evaluation": dict(evaluation),
                    "at": self.now(),
                },
            )

    def evaluation(self, slot_id: str) -> dict[str, Any] | None:
        """The open-window evaluation of a slot, or None."""
        with self._reading() as connection:
            found = connection.execute(
                sa.select(tables.evaluations.c.evaluation).where(tables.evaluations.c.slot_id == slot_id)
            ).scalar()
        return None if found is None else dict(found)

    def evaluations(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The open-window evaluations of a run by slot id, in the order of the slots."""
        query = (
            sa.select(tables.evaluations.c.slot_id, tables.evaluations.c.evaluation)
            .join(tables.slots, tables.slots.c.slot_id == tables.evaluations.c.slot_id)
            .where(tables.slots.c.run_id == run_id)
            .order_by(tables.slots.c.index)
        )
        with self._reading() as connection:
            return {row.slot_id: row.evaluation for row in connection.execute(query)}

    @staticmethod
    def _run_row(connection: sa.Connection, run_id: str) -> sa.Row[Any] | None:
        return connection.execute(sa.select(tables.runs).where(tables.runs.c.run_id == run_id)).one_or_none()


# Written down once: what a slot asks for at every step takes four times as long to build as to answer.
_SLOTS = sa.select(tables.slots).where(tables.slots.c.run_id == sa.bindparam("run_id")).order_by(tables.slots.c.index)
_STATE = (
    sa.select(tables.events.c.kind)
    .where(tables.events.c.slot_id == sa.bindparam("slot_id"))
    .order_by(tables.events.c.seq.desc())
    .limit(1)
)
_PROPOSALS = (
    sa.select(tables.proposals)
    .where(tables.proposals.c.slot_id == sa.bindparam("slot_id"))
    .order_by(tables.proposals.c.attempt)
)
_CANDIDATE = sa.select(tables.candidates).where(tables.candidates.c.slot_id == sa.bindparam("slot_id"))
_LAST_EVENTS = (
    sa.select(tables.events.c.slot_id, tables.events.c.kind, tables.events.c.code)
    .join(tables.slots, tables.slots.c.slot_id == tables.events.c.slot_id)
    .where(
        tables.events.c.seq.in_(
            sa.select(sa.func.max(tables.events.c.seq))
            .where(tables.events.c.run_id == sa.bindparam("run_id"), tables.events.c.slot_id.is_not(None))
            .group_by(tables.events.c.slot_id)
        )
    )
    .order_by(tables.slots.c.index)
)


def _check_origin(origin: str) -> None:
    if origin not in ORIGINS:
        raise ValueError(f"unknown origin {origin!r}; known: {', '.join(ORIGINS)}")
