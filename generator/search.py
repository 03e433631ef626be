"""Search: what a run has found so far, arm by arm, and what a proposer may learn of it.

It is the loop's memory: built from the archive at the start, kept up slot by slot, never stored itself. A snapshot is
cut at a block, so that a resumed run sees what the first process saw. It holds open-window evidence only, and what one
arm found never reaches another. Curves and trades are let go: of a candidate its figures stay, and its positions, which
the next one is compared with.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from agents.archive.records import Rejection, Slot
from agents.strategy.spec import Spec
from backtesting.evaluation import Evaluation
from generator.archive_map import Cell, cell_of
from generator.behaviour import Behaviour
from generator.novelty import DUPLICATE_CODES, Known, positions_of
from generator.run import Run
from generator.selection import Entry, Snapshot, Tried

LAG = 1
"""Blocks that are proposed ahead of the one that is evaluated."""
WINDOW = 50
"""Slots over which new cells are counted: whether the search still goes anywhere."""


@dataclass(frozen=True)
class Searched:
    """How the search goes, in counters.

    Attributes:
        duplicates: legal proposals that were known already, by rejection code.
        occupied: cells of the map that each arm has reached.
        new_cells: cells that an arm reached for the first time in its last 50 evaluated or refused slots, by arm.
    """

    duplicates: Mapping[str, int]
    occupied: Mapping[str, int]
    new_cells: Mapping[str, int]

    @property
    def words(self) -> str:
        """The counters in one line."""
        cells = ", ".join(
            f"{arm} {count} (+{self.new_cells.get(arm, 0)})" for arm, count in sorted(self.occupied.items())
        )
        codes = ", ".join(f"{code} {count}" for code, count in sorted(self.duplicates.items()))
        return f"cells {cells or 'none yet'}; repetitions {codes or 'none'}"


NOTHING_SEARCHED = Searched({}, {}, {})


class Search:
    """Entries, failures and children of one run, and what each arm must not repeat.

    Attributes:
        best: name and open-window Sharpe ratio of the candidate with the highest one; None before the first.
        luck: the Sharpe ratio that the best of so many worthless trials shows.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._slots = {slot.slot_id: slot for slot in run.archive.slots(run.run_id)}
        self.best: tuple[str, float] | None = None
        self.luck = 0.0
        self._entries: dict[str, Entry] = {}
        self._tried: dict[str, Tried] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._duplicates: Counter[str] = Counter()
        self._cells: dict[str, list[Cell | None]] = {}
        self._lessons: dict[int, tuple[str, ...]] = {}
        self.known: dict[str, Known] = {arm: self._known_at_start() for arm in run.config.shares}
        # Legal rules by arm, also those that wait for their evaluation: a draw should not repeat them.
        self.drawn: dict[str, set[str]] = {arm: set(known.rules) for arm, known in self.known.items()}

    def proposed(self, slot: Slot, spec: Spec, parents: tuple[str, ...]) -> None:
        """A slot has come to a legal rule."""
        self.drawn[slot.arm].add(spec.spec_id)
        self._parents[slot.slot_id] = parents

    def found(self, slot: Slot, spec: Spec, evaluation: Evaluation, behaviour: Behaviour) -> None:
        """A slot's rule was new, and this is what it did on the open window."""
        # Models give the same name to different rules, so a twin is named with its slot.
        name = f"{evaluation.name} (slot {slot.index})"
        sharpe = evaluation.result.metrics.get("sharpe_ratio", float("nan"))
        sharpe = sharpe if isfinite(sharpe) else float("-inf")
        if self.best is None or sharpe > self.best[1]:
            self.best = (evaluation.name, sharpe)
        self.luck = max(self.luck, evaluation.expected_max_sharpe)
        known, cell = self.known[slot.arm], cell_of(behaviour)
        known.add_rule(spec, name)
        known.add_behaviour(name, positions_of(evaluation.result), evaluation.alpha_t, behaviour.signature)
        self._entries[slot.slot_id] = Entry(
            slot.slot_id,
            slot.arm,
            spec,
            evaluation.spec_id,
            evaluation.alpha_t,
            evaluation.result.metrics,
            behaviour.folds,
            cell,
        )
        self._cells.setdefault(slot.arm, []).append(cell)
        if not evaluation.alpha_t > 0.0:
            turnover = f"{behaviour.turnover:.2g} times equity a year"
            self._tried[slot.slot_id] = Tried(
                slot.arm, spec, f"adds nothing to the ordinary rules, with a turnover of {turnover}"
            )

    def refused(self, slot: Slot, spec: Spec, rejection: Rejection) -> None:
        """A slot's legal rule came to nothing."""
        self._tried[slot.slot_id] = Tried(slot.arm, spec, rejection.reason)
        self._cells.setdefault(slot.arm, []).append(None)
        if rejection.code in DUPLICATE_CODES:
            self._duplicates[rejection.code] += 1

    def learnt(self, block: int, lessons: tuple[str, ...]) -> None:
        """What the model wrote down after a block."""
        self._lessons[block] = lessons

    def snapshot(self, block: int) -> Snapshot:
        """The archive as it stood one block before this one began."""
        run = self._run
        incumbents = tuple(
            Entry(strategy.name, "incumbent", strategy.spec, strategy.spec_id, float("nan"), result.metrics)
            for strategy, result in ((strategy, run.open.incumbents[strategy.name]) for strategy in run.incumbents)
        )
        before = {slot_id for slot_id, slot in self._slots.items() if slot.block < block - LAG}
        children = Counter(
            (self._slots[slot_id].arm, parent)
            for slot_id, parents in self._parents.items()
            if slot_id in before
            for parent in parents
        )
        written = [lessons for after, lessons in sorted(self._lessons.items()) if after < block - LAG and lessons]
        return Snapshot(
            incumbents=incumbents,
            candidates=tuple(self._entries[slot_id] for slot_id in sorted(self._entries) if slot_id in before),
            tried=tuple(self._tried[slot_id] for slot_id in sorted(self._tried) if slot_id in before),
            children=children,
            lessons=written[-1] if written else (),
        )

    def searched(self) -> Searched:
        """The counters now."""
        return Searched(
            duplicates=dict(self._duplicates),
            occupied={arm: len(set(cells) - {None}) for arm, cells in self._cells.items()},
            new_cells={
                arm: len(set(cells[-WINDOW:]) - set(cells[:-WINDOW]) - {None}) for arm, cells in self._cells.items()
            },
        )

    def _known_at_start(self) -> Known:
        """The run's incumbents.

        Not the other agents of the registry: they are there because of sealed verdicts, and a search that is told "this
        is known" learns them. Incumbents are part of what the run is.
        """
        run, known = self._run, Known()
        for strategy in run.incumbents:
            known.add_rule(strategy.spec, strategy.name)
            known.add_behaviour(strategy.name, positions_of(run.open.incumbents[strategy.name]), 0.0)
        return known


def parents_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The references of the parents that a `valid` event names."""
    return tuple(str(parent["ref"]) for parent in data.get("parents", ()))
