"""Verdicts: openings of the sealed window, gate reports, reviews, and the agents that came of them.

What a gate report may say to anybody and the numbers of the sealed window are kept in two tables, and one method,
`unseal_numbers`, reads the second; it charges for the look by recording it. An agent's state is its last transition.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from agents.archive import tables
from agents.archive.audit import AuditTrail
from agents.archive.database import record_of, values_of
from agents.archive.records import (
    AGENT_STATES,
    DECISIONS,
    AgentRecord,
    AuditBreak,
    Candidate,
    Promotion,
    Review,
    ReviewItem,
    SealedOpening,
    StoredReport,
    Transition,
)
from backtesting.errors import CheckFailed, StorageError
from backtesting.hashing import content_id

_KEYS = {
    "opening": tables.openings.c.opening_id,
    "review": tables.reviews.c.review_id,
    "agent": tables.transitions.c.seq,
}
_DEEDS = (
    *(f"opening.{kind}" for kind in ("judge", "shown")),
    *(f"review.{decision}" for decision in DECISIONS),
    *(f"agent.{state}" for state in AGENT_STATES),
)
"""Audit rows that repeat a whole row of another table, so that both can be compared."""


class Verdicts(AuditTrail):
    """Openings, gate reports, sealed numbers, reviews, agents and transitions."""

    # -- the sealed window ---------------------------------------------------------------------------------------

    def record_opening(self, opening: SealedOpening) -> SealedOpening:
        """Write an opening down before it is made. The same nomination opens once: asked again, gives the first."""
        with self.transaction() as connection:
            if opening.kind == "judge" and (earlier := self.opening_of(opening.nomination_id)) is not None:
                return earlier
            at = self.now()
            inserted = connection.execute(
                tables.openings.insert().returning(tables.openings.c.opening_id),
                {**values_of(opening, "opening_id"), "at": at},
            )
            stored = replace(opening, opening_id=int(inserted.scalar_one()), at=at)
            self.add_audit(opening.by, f"opening.{opening.kind}", opening.nomination_id, values_of(stored, "n_passed"))
        return stored

    def answer_opening(self, opening_id: int, n_passed: int) -> None:
        """How many of the nominees passed; said once."""
        with self.transaction() as connection:
            changed = connection.execute(
                tables.openings.update()
                .where(tables.openings.c.opening_id == opening_id, tables.openings.c.n_passed.is_(None))
                .values(n_passed=n_passed)
            )
            if changed.rowcount != 1:
                raise StorageError(
                    f"opening {opening_id} is unknown or has its answer already",
                    next_step="run `touchstone doctor`",
                )

    def opening_of(self, nomination_id: str) -> SealedOpening | None:
        """The opening in which this nomination was judged, or None."""
        query = sa.select(tables.openings).where(
            tables.openings.c.nomination_id == nomination_id, tables.openings.c.kind == "judge"
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else record_of(SealedOpening, row)

    def opening_of_run(self, run_id: str) -> SealedOpening | None:
        """The opening in which this run was judged, or None."""
        query = (
            sa.select(tables.openings)
            .where(tables.openings.c.run_id == run_id, tables.openings.c.kind == "judge")
            .order_by(tables.openings.c.opening_id)
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else record_of(SealedOpening, row)

    def earlier_openings(
        self, series: str, first_session: str, last_session: str, *, bars_id: str | None = None
    ) -> tuple[SealedOpening, ...]:
        """Openings of a series that shares a symbol, or of the same prices under another name, whose dates overlap.

        Oldest first, both kinds. A `judge` opening with `n_passed` None was never answered, because its run was killed.
        Whoever has seen one asset of a panel has seen a part of the panel, and the other way round.
        """
        symbols = set(series.split(","))
        query = (
            sa.select(tables.openings)
            .where(
                tables.openings.c.first_session <= last_session,
                tables.openings.c.last_session >= first_session,
            )
            .order_by(tables.openings.c.opening_id)
        )
        with self._reading() as connection:
            found = [record_of(SealedOpening, row) for row in connection.execute(query)]
        return tuple(
            opening
            for opening in found
            if symbols.intersection(opening.series.split(",")) or (bars_id is not None and opening.bars_id == bars_id)
        )

    # -- gate reports --------------------------------------------------------------------------------------------

    def put_gate_report(
        self,
        slot_id: str,
        *,
        nomination_id: str,
        report: Mapping[str, Any],
        sealed_numbers: Mapping[str, Any] | None = None,
    ) -> StoredReport:
        """Keep the public report (`GateReport.as_dict()`) of a slot's candidate, and apart from it its sealed numbers.

        Putting the same report again, as a resumed run does, changes nothing.

        Raises:
            StorageError: the slot has no candidate, or a different report already; or there are sealed numbers and
                nobody wrote down that the sealed window was opened for this nomination.
        """
        with self.transaction() as connection:
            if sealed_numbers is not None and self.opening_of(nomination_id) is None:
                raise StorageError(
                    f"the report on slot {slot_id} belongs to an opening that was never recorded",
                    next_step="record the opening before the judgement",
                )
            candidate = self._candidate(connection, slot_id)
            public = tables.plain(report)
            stored = StoredReport(
                report_id=_report_id(candidate, public),
                slot_id=slot_id,
                spec_id=candidate.spec_id,
                nomination_id=nomination_id,
                verdict=str(public["verdict"]),
                report=public,
                at=self.now(),
            )
            earlier = self.gate_report(slot_id)
            if earlier is not None:
                if earlier.report_id != stored.report_id:
                    raise StorageError(
                        f"slot {slot_id} has a gate report already and would get a different one",
                        kept="the first report stays",
                        next_step="start a new run: data, code or configuration changed",
                    )
                return earlier
            connection.execute(tables.gate_reports.insert(), values_of(stored))
            if sealed_numbers is not None:
                connection.execute(
                    tables.sealed_numbers.insert(), {"report_id": stored.report_id, "numbers": dict(sealed_numbers)}
                )
        return stored

    def gate_report(self, slot_id: str) -> StoredReport | None:
        """The public report of a slot, or None."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(tables.gate_reports).where(tables.gate_reports.c.slot_id == slot_id)
            ).one_or_none()
        return None if row is None else record_of(StoredReport, row)

    def gate_reports(self, run_id: str) -> tuple[StoredReport, ...]:
        """The public reports of a run in the order of its slots."""
        query = (
            sa.select(tables.gate_reports)
            .join(tables.slots, tables.slots.c.slot_id == tables.gate_reports.c.slot_id)
            .where(tables.slots.c.run_id == run_id)
            .order_by(tables.slots.c.index)
        )
        with self._reading() as connection:
            return tuple(record_of(StoredReport, row) for row in connection.execute(query))

    def unseal_numbers(self, slot_id: str, *, who: str, reason: str) -> dict[str, Any]:
        """Show the sealed numbers of a candidate; the look is recorded first, as an opening of kind `shown`.

        Raises:
            StorageError: there are none.
        """
        with self.transaction() as connection:
            stored = self.gate_report(slot_id)
            numbers = None
            if stored is not None:
                numbers = connection.execute(
                    sa.select(tables.sealed_numbers.c.numbers).where(
                        tables.sealed_numbers.c.report_id == stored.report_id
                    )
                ).scalar()
            opening = None if stored is None else self.opening_of(stored.nomination_id)
            if stored is None or numbers is None or opening is None:
                raise StorageError(
                    f"slot {slot_id} has no sealed numbers",
                    next_step="see `touchstone review list` for what was judged",
                )
            self.record_opening(replace(opening, kind="shown", by=who, alpha=0.0, n_nominees=1, n_passed=None))
            self.add_audit(who, "sealed.shown", slot_id, {"report_id": stored.report_id, "reason": reason})
        return dict(numbers)

    # -- reviews -------------------------------------------------------------------------------------------------

    def review_queue(self, *, decided: bool = False) -> tuple[ReviewItem, ...]:
        """What was put up for review, oldest first: the open items, or all with `decided`."""
        query = (
            sa.select(tables.events.c.slot_id).where(tables.events.c.kind == "in_review").order_by(tables.events.c.seq)
        )
        with self._reading() as connection:
            slot_ids = list(connection.execute(query).scalars())
            items = [self._review_item(connection, slot_id) for slot_id in slot_ids]
        return tuple(item for item in items if decided or item.decision in (None, "defer"))

    def review_item(self, slot_id: str) -> ReviewItem | None:
        """The candidate of a slot with report and last review; None if it was never put up for review."""
        with self._reading() as connection:
            queued = connection.execute(
                sa.select(tables.events.c.seq).where(
                    tables.events.c.slot_id == slot_id, tables.events.c.kind == "in_review"
                )
            ).scalar()
            return None if queued is None else self._review_item(connection, slot_id)

    def add_review(self, review: Review) -> Review:
        """Keep a decision, with its audit row. A final one is taken once a report; the database enforces it."""
        if review.decision not in DECISIONS:
            raise ValueError(f"unknown decision {review.decision!r}; known: {', '.join(DECISIONS)}")
        with self.transaction() as connection:
            at = self.now()
            inserted = connection.execute(
                tables.reviews.insert().returning(tables.reviews.c.review_id),
                {**values_of(review, "review_id"), "at": at},
            )
            stored = replace(review, review_id=int(inserted.scalar_one()), at=at)
            self.add_audit(review.reviewer, f"review.{review.decision}", review.slot_id, values_of(stored))
        return stored

    def reviews(self, slot_id: str) -> tuple[Review, ...]:
        """All decisions about a slot's candidate, oldest first."""
        query = (
            sa.select(tables.reviews).where(tables.reviews.c.slot_id == slot_id).order_by(tables.reviews.c.review_id)
        )
        with self._reading() as connection:
            return tuple(record_of(Review, row) for row in connection.execute(query))

    # -- agents --------------------------------------------------------------------------------------------------

    def add_agent(
        self,
        name: str,
        spec_id: str,
        spec: Mapping[str, Any],
        *,
        origin: str,
        state: str,
        who: str,
        reason: str,
        slot_id: str | None = None,
        review_id: int | None = None,
    ) -> AgentRecord:
        """Register an agent in `state`, with its first transition and audit row, in one transaction.

        The agent is called `name`, or `name_2`, `name_3`, ... where that is taken.

        Raises:
            CheckFailed: the same rule is an agent already and not retired.
        """
        with self.transaction() as connection:
            known = self.agents()
            twin = next((agent for agent in known if agent.spec_id == spec_id and agent.state != "retired"), None)
            if twin is not None:
                raise CheckFailed(
                    f"{name} is the same rule as the agent {twin.agent_id}, which is {twin.state}",
                    next_step=f"see `touchstone agents show {twin.agent_id}`",
                )
            agent_id = _unique_slug(name, [agent.agent_id for agent in known])
            created = self.now()
            connection.execute(
                tables.agents.insert(),
                {
                    "agent_id": agent_id,
                    "spec_id": spec_id,
                    "spec": dict(spec),
                    "origin": origin,
                    "slot_id": slot_id,
                    "created_at": created,
                },
            )
            self.add_transition(Transition(agent_id, None, state, reason, who, review_id))
        return AgentRecord(agent_id, spec_id, tables.plain(spec), origin, slot_id, created, state)

    def add_transition(self, transition: Transition) -> Transition:
        """Change an agent's state, with its audit row.

        Raises:
            StorageError: the agent is not in `from_state`.
        """
        with self.transaction() as connection:
            at = self.now()
            inserted = connection.execute(
                tables.transitions.insert().returning(tables.transitions.c.seq),
                {**values_of(transition, "seq"), "at": at},
            )
            stored = replace(transition, seq=int(inserted.scalar_one()), at=at)
            self.add_audit(transition.who, f"agent.{transition.to_state}", transition.agent_id, values_of(stored))
        return stored

    def agents(self, state: str | None = None) -> tuple[AgentRecord, ...]:
        """All agents, or those in one state, in the order they were registered."""
        last = sa.select(sa.func.max(tables.transitions.c.seq)).group_by(tables.transitions.c.agent_id)
        first = (
            sa.select(tables.transitions.c.agent_id, sa.func.min(tables.transitions.c.seq).label("entered"))
            .group_by(tables.transitions.c.agent_id)
            .subquery()
        )
        query = (
            sa.select(tables.agents, tables.transitions.c.to_state.label("state"))
            .join(tables.transitions, tables.transitions.c.agent_id == tables.agents.c.agent_id)
            .join(first, first.c.agent_id == tables.agents.c.agent_id)
            .where(tables.transitions.c.seq.in_(last))
            .order_by(first.c.entered)
        )
        if state is not None:
            query = query.where(tables.transitions.c.to_state == state)
        with self._reading() as connection:
            return tuple(record_of(AgentRecord, row) for row in connection.execute(query))

    def transitions(self, agent_id: str) -> tuple[Transition, ...]:
        """The history of an agent, oldest first."""
        query = (
            sa.select(tables.transitions)
            .where(tables.transitions.c.agent_id == agent_id)
            .order_by(tables.transitions.c.seq)
        )
        with self._reading() as connection:
            return tuple(record_of(Transition, row) for row in connection.execute(query))

    def promote(self, promotion: Promotion) -> AgentRecord:
        """Candidate, report and review become an agent in `shadow`: all of it or nothing, in one transaction.

        Where it takes an agent's place, that one retires in the same transaction.

        Raises:
            CheckFailed: the agent to be replaced is not active, or is the last that is.
        """
        review, replaces = promotion.review.review_id, promotion.replaces
        place = f" in the place of {replaces}" if replaces else ""
        with self.transaction():
            agent = self.add_agent(
                promotion.candidate.name,
                promotion.candidate.spec_id,
                promotion.candidate.spec,
                origin=promotion.candidate.origin,
                state="shadow",
                who=promotion.who,
                reason=f"promoted{place}: passed the gate and review {review}",
                slot_id=promotion.candidate.slot_id,
                review_id=review,
            )
            if replaces:
                active = [other.agent_id for other in self.agents("active")]
                if replaces not in active:
                    raise CheckFailed(
                        f"{agent.agent_id} cannot take the place of {replaces}, which is not active any more",
                        kept="nobody was promoted and nobody retired",
                        next_step=f"see `touchstone agents show {replaces}`",
                    )
                if len(active) == 1:
                    raise CheckFailed(
                        f"{replaces} is the only active agent, and {agent.agent_id} would begin in shadow",
                        kept="nobody was promoted and nobody retired",
                        next_step="keep it until another agent is active: candidates are compared with the active ones",
                    )
                why = f"replaced by {agent.agent_id}, which was shown to earn more on the same days, review {review}"
                self.add_transition(Transition(replaces, "active", "retired", why, promotion.who, review))
        return agent

    def verify_audit(self) -> AuditBreak | None:
        """The first break of the chain, or the first opening, review or transition that is not as it was audited."""
        if (broken := super().verify_audit()) is not None:
            return broken
        audited = {
            (row.action.partition(".")[0], row.data[_KEYS[row.action.partition(".")[0]].name]): row
            for row in self.audit_rows()
            if row.action in _DEEDS
        }
        with self._reading() as connection:
            stored = {
                (kind, row._mapping[key.name]): tables.plain(dict(row._mapping))
                for kind, key in _KEYS.items()
                for row in connection.execute(sa.select(key.table))
            }
        for deed, row in audited.items():
            # What an opening answered is filled in later, so it is not in the row of its recording.
            found = {name: value for name, value in stored.get(deed, {}).items() if name in row.data}
            if found != row.data:
                return AuditBreak(
                    row.seq, f"the {deed[0]} of row {row.seq} was changed or removed after it was written"
                )
        if unknown := sorted(set(stored) - set(audited)):
            kind, key = unknown[0]
            return AuditBreak(len(self.audit_rows()) + 1, f"{kind} {key} has no row in the audit trail")
        return None

    def check_report(self, item: ReviewItem) -> bool:
        """True if spec and report are still the ones that were judged: their content id is the stored one."""
        return item.report.report_id == _report_id(item.candidate, item.report.report)

    def _review_item(self, connection: sa.Connection, slot_id: str) -> ReviewItem:
        candidate = self._candidate(connection, slot_id)
        report = self.gate_report(slot_id)
        if report is None:
            raise StorageError(
                f"slot {slot_id} is up for review without a gate report", next_step="run `touchstone doctor`"
            )
        made = self.reviews(slot_id)
        return ReviewItem(candidate, report, made[-1] if made else None)

    @staticmethod
    def _candidate(connection: sa.Connection, slot_id: str) -> Candidate:
        row = connection.execute(
            sa.select(tables.candidates).where(tables.candidates.c.slot_id == slot_id)
        ).one_or_none()
        if row is None:
            raise StorageError(f"slot {slot_id} has no candidate", next_step="see `touchstone runs show`")
        return record_of(Candidate, row)


def _report_id(candidate: Candidate, report: Mapping[str, Any]) -> str:
    return content_id(
        {
            "slot_id": candidate.slot_id,
            "spec_id": candidate.spec_id,
            "spec": tables.plain(candidate.spec),
            "report": tables.plain(report),
        }
    )


def _unique_slug(name: str, taken: Sequence[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:48] or "agent"
    if slug not in taken:
        return slug
    number = 2
    while f"{slug}_{number}" in taken:
        number += 1
    return f"{slug}_{number}"
