"""What proposers may look at, and which parents they get to see.

A `Snapshot` is the archive as it stood when a block began, reduced to the open window: it holds no field that the
sealed window could reach. Parents are drawn by rank, and the probability of each draw is recorded, so that the choice
can be studied later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from agents.strategy.spec import Spec

INCUMBENT_SHARE = 0.25
"""Chance that a parent is an incumbent although the archive has candidates; keeps the start of the search in reach."""


@dataclass(frozen=True)
class Entry:
    """An evaluated rule as proposers see it.

    Attributes:
        ref: slot id of a candidate, name of an incumbent.
        arm: the arm that proposed it; `incumbent` for the others.
        alpha_t: t-statistic of the residual alpha in the open window, the ranking score; NaN ranks last.
        summary: open-window metrics by name.
    """

    ref: str
    arm: str
    spec: Spec
    spec_id: str
    alpha_t: float
    summary: Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """The archive at the start of a block: incumbents, candidates, and what was tried and failed (a line each)."""

    incumbents: tuple[Entry, ...]
    candidates: tuple[Entry, ...]
    failures: tuple[str, ...] = ()

    def of_arm(self, arm: str) -> tuple[Entry, ...]:
        """This arm's own candidates, best first. Arms that fed each other could not be compared."""
        own = [entry for entry in self.candidates if entry.arm == arm]
        return tuple(sorted(own, key=_rank_key))


@dataclass(frozen=True)
class Chosen:
    """A parent and the probability with which it was drawn."""

    entry: Entry
    probability: float


def choose_parents(snapshot: Snapshot, arm: str, rng: np.random.Generator, *, n_parents: int) -> tuple[Chosen, ...]:
    """Up to `n_parents` different parents: own candidates with weight 1/(rank + 1), incumbents evenly."""
    own = snapshot.of_arm(arm)
    pool = [*own, *snapshot.incumbents]
    if not pool:
        return ()
    weights = np.zeros(len(pool))
    incumbent_share = INCUMBENT_SHARE if own and snapshot.incumbents else float(not own)
    if own:
        ranks = 1.0 / np.arange(1, len(own) + 1)
        weights[: len(own)] = (1.0 - incumbent_share) * ranks / ranks.sum()
    if snapshot.incumbents:
        weights[len(own) :] = incumbent_share / len(snapshot.incumbents)
    weights /= weights.sum()
    n_drawn = min(n_parents, int(np.count_nonzero(weights)))
    drawn = rng.choice(len(pool), size=n_drawn, replace=False, p=weights)
    return tuple(Chosen(pool[int(i)], float(weights[int(i)])) for i in drawn)


def _rank_key(entry: Entry) -> tuple[bool, float, str]:
    defined = isfinite(entry.alpha_t)
    return (not defined, -entry.alpha_t if defined else 0.0, entry.ref)
