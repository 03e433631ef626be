"""History: what a run did, slot by slot, as plain rows from the archive. Reports are made from it and nothing else.

It says for every candidate whose it is. A proposal counts as the model's only if the model wrote it: what a fallback
drew for an arm of the model stays in the arm's slots, and out of what the model is credited with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.archive.records import RunRecord, Spend
from agents.archive.store import Archive
from generator.archive_map import Cell
from generator.comparison import wilson
from generator.config import MODEL_ARMS
from generator.lessons import lessons_of
from generator.novelty import DUPLICATE_CODES

MODEL_ORIGINS = ("llm", "repaired")


@dataclass(frozen=True)
class SlotRow:
    """One slot.

    Attributes:
        state: kind of its last event; code: of its rejection, or empty; reason: of its rejection in words.
        origin, name, repairs: of its candidate, or empty.
        parents: references, as the `valid` event names them.
        evaluated: it was new and has a score; alpha_t: the score, None where undefined.
        cell: its place on the map.
        verdict: of the gate, or empty.
        n_asked: proposals that a model was asked for, the repairs included.
        usd: what its calls cost, None where one of them has no price; tokens: of its calls.
    """

    slot_id: str
    index: int
    block: int
    arm: str
    state: str
    code: str
    reason: str
    origin: str
    name: str
    repairs: int
    parents: tuple[str, ...]
    evaluated: bool
    alpha_t: float | None
    sharpe: float | None
    cell: Cell | None
    verdict: str
    n_asked: int
    usd: float | None
    tokens: int

    @property
    def credited(self) -> bool:
        """Evaluated, and made by what its arm is named after."""
        return self.evaluated and (self.arm not in MODEL_ARMS or self.origin in MODEL_ORIGINS)

    @property
    def repeated(self) -> bool:
        """Legal, and known already."""
        return self.code in DUPLICATE_CODES


@dataclass(frozen=True)
class Validity:
    """How many of a model's replies were legal rules.

    Attributes:
        answered: slots of the arm in which the model answered; one that no call reached is not the model's doing.
        first, repaired: slots whose rule was legal at once, and after it was given its errors back. What was not the
            model's own, such as a draw in its place, is in neither.
    """

    arm: str
    answered: int
    first: int
    repaired: int

    @property
    def sentence(self) -> str:
        """Both rates, each with its interval."""
        whole = self.first + self.repaired
        return (
            f"Replies of the model in {self.arm}: {_rate(self.first, self.answered)} were legal at first,"
            f" {_rate(whole, self.answered)} after repair."
        )


@dataclass(frozen=True)
class History:
    """A run.

    Attributes:
        ending: data of its `finished` event, or None.
        rows: one a slot, in their order.
        by_purpose: spend by the purpose of the calls.
        failed: calls that brought no reply, by purpose.
        lessons: block, sentence and slots.
        forked_from: the run that this one goes on from, or empty.
    """

    record: RunRecord
    ending: Mapping[str, Any] | None
    rows: tuple[SlotRow, ...]
    spend: Spend
    by_purpose: Mapping[str, Spend]
    failed: Mapping[str, int]
    lessons: tuple[tuple[int, str, tuple[str, ...]], ...]
    forked_from: str

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms with slots, in the order of their first one."""
        return tuple(dict.fromkeys(row.arm for row in self.rows))

    @property
    def validity(self) -> tuple[Validity, ...]:
        """Of every arm in which a model answered."""
        found = []
        for arm in self.arms:
            rows = [row for row in self.of_arm(arm) if arm in MODEL_ARMS and row.n_asked]
            legal = [row.repairs for row in rows if row.origin in MODEL_ORIGINS]
            if rows:
                found.append(Validity(arm, len(rows), legal.count(0), len(legal) - legal.count(0)))
        return tuple(found)

    def of_arm(self, arm: str) -> tuple[SlotRow, ...]:
        """The rows of an arm."""
        return tuple(row for row in self.rows if row.arm == arm)


def history_of(archive: Archive, run_id: str) -> History:
    """Read a run; UsageError if there is none of this id."""
    record = archive.run(run_id)
    states = archive.slot_states(run_id)
    candidates = {candidate.slot_id: candidate for candidate in archive.candidates(run_id)}
    evaluations, verdicts = archive.evaluations(run_id), {r.slot_id: r.verdict for r in archive.gate_reports(run_id)}
    parents: dict[str, tuple[str, ...]] = {}
    rejected: dict[str, Mapping[str, Any]] = {}
    ending = None
    for event in archive.events(run_id):
        if event.slot_id is None:
            ending = event.data if event.kind == "finished" else ending
        elif event.kind == "valid":
            parents[event.slot_id] = tuple(str(parent["ref"]) for parent in event.data.get("parents", ()))
        elif event.kind == "rejected":
            rejected[event.slot_id] = event.data
    by_slot: dict[str, list[Spend]] = {}
    by_purpose: dict[str, Spend] = {}
    asked: dict[str, int] = {}
    failed: dict[str, int] = {}
    for call in archive.calls(run_id):
        spend = archive.spend_of(call)
        by_purpose[call.purpose] = by_purpose.get(call.purpose, Spend(0.0, 0, 0, 0)) + spend
        failed[call.purpose] = failed.get(call.purpose, 0) + (call.status == "failed")
        if call.slot_id is not None:
            by_slot.setdefault(call.slot_id, []).append(spend)
            asked[call.slot_id] = asked.get(call.slot_id, 0) + (call.status == "settled")
    rows = []
    for slot in archive.slots(run_id):
        candidate, evaluation = candidates.get(slot.slot_id), evaluations.get(slot.slot_id)
        spends, refusal = by_slot.get(slot.slot_id, []), rejected.get(slot.slot_id, {})
        cell = None if evaluation is None else evaluation.get("cell")
        rows.append(
            SlotRow(
                slot_id=slot.slot_id,
                index=slot.index,
                block=slot.block,
                arm=slot.arm,
                state=states[slot.slot_id],
                code=str(refusal.get("code", "")),
                reason=str(refusal.get("reason", "")),
                origin=candidate.origin if candidate else "",
                name=candidate.name if candidate else "",
                repairs=candidate.repairs if candidate else 0,
                parents=parents.get(slot.slot_id, ()),
                evaluated=evaluation is not None,
                alpha_t=None if evaluation is None else evaluation["alpha_t"],
                sharpe=None if evaluation is None else evaluation["metrics"].get("sharpe_ratio"),
                cell=None if cell is None else (cell[0], cell[1], cell[2], cell[3], cell[4]),
                verdict=verdicts.get(slot.slot_id, ""),
                n_asked=asked.get(slot.slot_id, 0),
                usd=None if any(spend.unpriced for spend in spends) else sum(spend.usd for spend in spends),
                tokens=sum(spend.tokens for spend in spends),
            )
        )
    lessons = tuple((block, x.lesson, x.slots) for block, found in lessons_of(archive, run_id) for x in found)
    return History(
        record,
        ending,
        tuple(rows),
        archive.spend(run_id),
        by_purpose,
        failed,
        lessons,
        str(record.config.get("forked_from", "")),
    )


def _rate(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{count} of {of} ({count / of:.0%}, 95 % interval {low:.0%} to {high:.0%})"
