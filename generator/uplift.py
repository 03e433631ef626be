"""Uplift: what the model added over the best of the arms without it, or without the search, with an interval.

What is compared is the mean score of an arm's best K slots; K is a fifth of the slots of the smallest arm, at least
one. The best slot alone would be an extreme, for which the bootstrap is wrong. A slot without a score (a near-copy, a
flat rule) counts as 0: it adds nothing. Scores are of the open window, so this ranks arms and proves nothing about the
future.

Twice: at equal evaluated slots, where every arm is cut to the length of the shortest; and at equal cost, where the arms
that pay are cut where the cheapest of them ended and those that cost nothing keep all their slots. The interval is over
the slots of this one run. It does not hold the difference between two runs of the same settings, which only more runs
can tell.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import isfinite

import numpy as np

from backtesting.bars import FloatArray
from generator.config import CONTROL_ARMS
from generator.history import History, SlotRow
from generator.leakage import MARGIN, KnownModel, find_model

MODEL_ARM = "llm"
SHARE = 5
REPS = 2000
LEVEL = 0.95
MIN_SLOTS = 3


@dataclass(frozen=True)
class Comparison:
    """The model's arm against the best of its controls on one axis.

    Attributes:
        axis: `evaluated slots` or `cost`.
        best_control: the control arm with the highest score here.
        slots: slots that were compared, by arm; top: how many of the best are averaged.
        uplift: score of the model's arm less the best control's.
        low, high: 95 % bootstrap interval; the best control is chosen anew in every resample.
        note: what is missing, or what the cost was counted in; empty if nothing is to be said.
    """

    axis: str
    best_control: str
    slots: Mapping[str, int]
    top: int
    uplift: float
    low: float
    high: float
    note: str = ""

    @property
    def shown(self) -> bool:
        """Whether the whole interval is above zero."""
        return isfinite(self.low) and self.low > 0.0

    @property
    def sentence(self) -> str:
        """The answer in words; "none shown" is a normal one."""
        if not isfinite(self.uplift):
            return f"At equal {self.axis}: cannot be said, {self.note}."
        counts = ", ".join(f"{arm} {count}" for arm, count in self.slots.items())
        said = "more" if self.shown else "none shown, or less" if self.high < 0.0 else "none shown"
        note = f" {self.note}." if self.note else ""
        best = "the best one of each" if self.top == 1 else f"the best {self.top} of each, averaged"
        return (
            f"At equal {self.axis} ({counts}; {best}): {MODEL_ARM} over {self.best_control}"
            f" {self.uplift:+.2f} in t, 95 % interval {self.low:+.2f} to {self.high:+.2f}: {said}.{note}"
        )


def uplifts(history: History, rng: np.random.Generator) -> tuple[Comparison, ...]:
    """Both comparisons; empty for a run without the model's arm or without a control."""
    arms = [MODEL_ARM, *(arm for arm in CONTROL_ARMS if arm in history.arms)]
    if MODEL_ARM not in history.arms or len(arms) == 1:
        return ()
    rows = {arm: [row for row in history.of_arm(arm) if row.credited] for arm in arms}
    shortest = min(len(found) for found in rows.values())
    if shortest < MIN_SLOTS:
        poor = min(rows, key=lambda arm: len(rows[arm]))
        note = f"the arm {poor} has {len(rows[poor])} evaluated slots and {MIN_SLOTS} are needed"
        return tuple(_unknown(axis, rows, note) for axis in ("evaluated slots", "cost"))
    top = max(1, shortest // SHARE)
    equal = {arm: found[:shortest] for arm, found in rows.items()}
    within, unit = _within_cost(history, rows)
    return (
        _compare("evaluated slots", equal, top, rng),
        _compare("cost", within, top, rng, unit)
        if min(map(len, within.values())) >= top
        else _unknown("cost", within, "the cheapest arm ended before there was anything to compare"),
    )


def memory_note(first: date, last: date, names: Collection[str], models: Sequence[KnownModel]) -> str:
    """Whether what a model added on days `first` to `last` may be memory, as a sentence.

    All days of one open window nearly always lie on the same side of a cutoff, so the uplift is not computed twice; a
    cutoff in between is said, with how much of the time is after it.
    """
    days = f"the days compared, {first} to {last},"
    cutoffs = []
    for name in sorted(names):
        known = find_model(name, models)
        if known is None or known.cutoff is None:
            return f"It may be memory: {days} may be known to {name}, whose cutoff is not published."
        cutoffs.append(known.cutoff + MARGIN)
    if not cutoffs:
        return ""
    known_until = max(cutoffs)
    if last <= known_until:
        return f"It may be memory: {days} all lie before what the model can know ends ({known_until})."
    if first > known_until:
        return f"It is no memory: {days} all lie after what the model can know ({known_until})."
    after = (last - known_until).days / max((last - first).days, 1)
    return f"It may be memory: of {days} {after:.0%} lie after what the model can know ({known_until})."


def _within_cost(history: History, rows: Mapping[str, list[SlotRow]]) -> tuple[dict[str, list[SlotRow]], str]:
    """The evaluated slots of each arm for what the cheapest of the paying arms has cost in all its slots."""
    priced = all(row.usd is not None for row in history.rows)
    spent = {arm: [row.usd if priced else row.tokens for row in history.of_arm(arm)] for arm in rows}
    paying = [sum(value or 0.0 for value in values) for values in spent.values()]
    budget = min((total for total in paying if total > 0.0), default=0.0)
    kept: dict[str, list[SlotRow]] = {}
    for arm, found in rows.items():
        credited = {row.slot_id for row in found}
        total, within = 0.0, []
        for row, value in zip(history.of_arm(arm), spent[arm], strict=True):
            total += value or 0.0
            if total > budget * (1.0 + 1e-12):
                break
            within.append(row)
        kept[arm] = [row for row in within if row.slot_id in credited]
    return kept, "" if priced else "Calls are unpriced, so cost is counted in tokens"


def _compare(
    axis: str, rows: Mapping[str, Sequence[SlotRow]], top: int, rng: np.random.Generator, note: str = ""
) -> Comparison:
    scores = {arm: np.array([row.alpha_t or 0.0 for row in found]) for arm, found in rows.items()}
    exact = {arm: float(_best(values, top)) for arm, values in scores.items()}
    controls = [arm for arm in scores if arm != MODEL_ARM]
    drawn = {
        arm: _best(values[rng.integers(len(values), size=(REPS, len(values)))], top) for arm, values in scores.items()
    }
    rivals = np.max([drawn[arm] for arm in controls], axis=0)
    low, high = np.quantile(drawn[MODEL_ARM] - rivals, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    best = max(controls, key=lambda arm: exact[arm])
    counts = {arm: len(values) for arm, values in scores.items()}
    return Comparison(axis, best, counts, top, exact[MODEL_ARM] - exact[best], float(low), float(high), note)


def _best(values: FloatArray, top: int) -> FloatArray:
    """Mean of the `top` highest along the last axis."""
    best: FloatArray = np.sort(values, axis=-1)[..., -top:].mean(axis=-1)
    return best


def _unknown(axis: str, rows: Mapping[str, Sequence[SlotRow]], note: str) -> Comparison:
    nan = float("nan")
    return Comparison(axis, "", {arm: len(found) for arm, found in rows.items()}, 0, nan, nan, nan, note)
