"""What proposers may look at, and which parents they get to see.

A `Snapshot` is the archive as it stood when a block began, reduced to the open window: it holds no field that the
sealed window could reach. A parent is drawn from a mixture: those that lead a fold, those that rank high, one of each
kind, an incumbent, or nobody at all; who has had many children is drawn less often. The probability of every draw is
recorded, so that the choice can be studied later. Sources: the folds GEPA (Agrawal et al. 2025), the ranks EoH (Liu et
al. 2024), the cells MAP-Elites (Mouret and Clune 2015). The shares are starting values and not tuned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite

import numpy as np

from agents.strategy.spec import Spec
from backtesting.bars import FloatArray
from generator.archive_map import Cell, best_of_cells
from generator.tree_distance import Tree, tree_distance, tree_of

PARETO_SHARE = 0.40
RANK_SHARE = 0.25
CELL_SHARE = 0.20
INCUMBENT_SHARE = 0.10
NONE_SHARE = 0.05

MAX_TRIED = 10
"""Lines of what was tried that a proposer sees; a prompt's inputs hold five more, for lessons."""
MAX_COMPARED = 200
"""Only the latest of what was tried are compared with a parent, so that the work a slot stays the same."""


@dataclass(frozen=True)
class Entry:
    """An evaluated rule as proposers see it.

    Attributes:
        ref: slot id of a candidate, name of an incumbent.
        arm: the arm that proposed it; `incumbent` for the others.
        alpha_t: t-statistic of the residual alpha in the open window, the ranking score; NaN ranks last.
        summary: open-window metrics by name.
        folds: the same score in each fold of the open window; empty for an incumbent.
        cell: its place on the map; None for an incumbent.
    """

    ref: str
    arm: str
    spec: Spec
    spec_id: str
    alpha_t: float
    summary: Mapping[str, float]
    folds: tuple[float, ...] = ()
    cell: Cell | None = None

    @cached_property
    def tree(self) -> Tree:
        """The rule, to be compared with what was tried."""
        return tree_of(self.spec)


@dataclass(frozen=True)
class Tried:
    """A legal rule that came to nothing, and why, in the coarse words of the open window."""

    arm: str
    spec: Spec
    why: str

    @cached_property
    def tree(self) -> Tree:
        """The rule, to be compared with every parent to come."""
        return tree_of(self.spec)

    @property
    def line(self) -> str:
        """The rule by its main expression, and the reason."""
        return f"{next(iter(self.spec.expressions.values()), self.spec.name)}: {self.why}"


@dataclass(frozen=True)
class Snapshot:
    """The archive at the start of a block.

    Attributes:
        failures: lines that a proposer is shown; made for one slot by `shown_to`.
        tried: what came to nothing, oldest first.
        children: legal proposals by the reference of their parents, arm by arm.
        lessons: what the model wrote down after earlier blocks, latest last.
    """

    incumbents: tuple[Entry, ...]
    candidates: tuple[Entry, ...]
    failures: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    children: Mapping[tuple[str, str], int] = field(default_factory=dict)
    lessons: tuple[str, ...] = ()
    _odds: dict[str, tuple[tuple[Entry, ...], FloatArray]] = field(default_factory=dict, repr=False, compare=False)

    def of_arm(self, arm: str) -> tuple[Entry, ...]:
        """This arm's own candidates, best first. Arms that fed each other could not be compared."""
        own = [entry for entry in self.candidates if entry.arm == arm]
        return tuple(sorted(own, key=_rank_key))

    def odds(self, arm: str) -> tuple[tuple[Entry, ...], FloatArray]:
        """Who may be a parent in this arm, and the weight of each; reckoned once for all slots of a block."""
        if arm not in self._odds:
            own = self.of_arm(arm)
            incumbents = _spread([1.0] * len(self.incumbents), _children(self, arm, self.incumbents))
            mixed = _spread(mixture(own), _children(self, arm, own))
            weights = np.concatenate([mixed * (1.0 - INCUMBENT_SHARE - NONE_SHARE), incumbents * INCUMBENT_SHARE])
            self._odds[arm] = (*own, *self.incumbents), weights / weights.sum() if len(weights) else weights
        return self._odds[arm]


@dataclass(frozen=True)
class Chosen:
    """A parent, and the probability that a single draw gives this one."""

    entry: Entry
    probability: float


def choose_parents(
    snapshot: Snapshot, arm: str, rng: np.random.Generator, *, n_parents: int, none_share: float = NONE_SHARE
) -> tuple[Chosen, ...]:
    """Up to `n_parents` different parents; none at all with probability `none_share`.

    An arm without candidates of its own draws from the incumbents only, and one without incumbents from its own.
    """
    pool, weights = snapshot.odds(arm)
    if rng.random() < none_share or not pool:
        return ()
    n_drawn = min(n_parents, int(np.count_nonzero(weights)))
    drawn = rng.choice(len(pool), size=n_drawn, replace=False, p=weights)
    return tuple(Chosen(pool[int(i)], float(weights[int(i)]) * (1.0 - none_share)) for i in drawn)


def mixture(own: Sequence[Entry]) -> list[float]:
    """Weights of an arm's own candidates, best first, before their children count; they add up to 0.85."""
    n = len(own)
    ranks = np.array([1.0 / (rank + n) for rank in range(1, n + 1)])
    cells = best_of_cells(own)
    kinds = np.zeros(n)
    place = {entry.ref: at for at, entry in enumerate(own)}
    for found in cells.values():
        for entry in found:
            kinds[place[entry.ref]] += 1.0 / (len(cells) * len(found))
    parts = ((PARETO_SHARE, pareto_frequency(own)), (RANK_SHARE, ranks), (CELL_SHARE, kinds))
    weights = sum((share * part / part.sum() for share, part in parts if part.sum() > 0.0), start=np.zeros(n))
    return [float(weight) for weight in weights]


def pareto_frequency(own: Sequence[Entry]) -> FloatArray:
    """(n,) in how many folds each entry is the best; entries that the folds know to be worse elsewhere win nothing.

    A leader of a fold that another one equals there and beats in the next is no specialist: it is not on the Pareto
    frontier, and its wins are given to those that are. Equals share a win. Undefined folds are never won.
    """
    n_folds = max((len(entry.folds) for entry in own), default=0)
    if n_folds == 0:
        return np.zeros(len(own))
    scores = np.full((len(own), n_folds), -np.inf)
    for place, entry in enumerate(own):
        folds = np.array(entry.folds)
        scores[place, : len(folds)] = np.where(np.isfinite(folds), folds, -np.inf)
    leads = (scores == scores.max(axis=0)) & np.isfinite(scores)
    for leader in np.flatnonzero(leads.any(axis=1)):
        beaten = (scores >= scores[leader]).all(axis=1) & (scores > scores[leader]).any(axis=1)
        leads[leader] &= not beaten.any()
    wins: FloatArray = (leads / np.maximum(leads.sum(axis=0), 1)).sum(axis=1)
    return wins


def shown_to(snapshot: Snapshot, arm: str, parents: Sequence[Chosen]) -> Snapshot:
    """The snapshot as a proposer of this arm sees it: its own arm only, what was tried nearest to the parents first.

    Without parents the latest come first.
    """
    own = [tried for tried in snapshot.tried if tried.arm == arm][-MAX_COMPARED:]
    newest_first = own[::-1]
    if parents:
        # Sorting keeps the order of equals: of two as near, the later one was learnt with more behind it.
        newest_first.sort(key=lambda tried: min(tree_distance(tried.tree, chosen.entry.tree) for chosen in parents))
    lines = tuple(tried.line for tried in newest_first[:MAX_TRIED])
    return Snapshot(snapshot.incumbents, snapshot.of_arm(arm), (*lines, *snapshot.lessons), lessons=snapshot.lessons)


def _children(snapshot: Snapshot, arm: str, entries: Sequence[Entry]) -> list[int]:
    return [snapshot.children.get((arm, entry.ref), 0) for entry in entries]


def _spread(weights: Sequence[float], children: Sequence[int]) -> FloatArray:
    """Weights that add up to 1, each divided by one more than the children there are already."""
    spread = np.array(weights, dtype=np.float64) / (1.0 + np.array(children, dtype=np.float64))
    total = float(spread.sum())
    return spread / total if total > 0.0 else spread


def _rank_key(entry: Entry) -> tuple[bool, float, str]:
    defined = isfinite(entry.alpha_t)
    return (not defined, -entry.alpha_t if defined else 0.0, entry.ref)
