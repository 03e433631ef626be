"""Novelty: is this rule new, or a known one in other words or other clothes? A rejection names the twin.

The questions go from cheap to dear. Before the evaluation: is it the same rule (`spec_id`), the same tree with nearly
the same numbers, does it hold the same positions? Positions are read off a simulation whose returns nobody sees, so
what is refused here is no trial. After it: does it earn the same, and where it is much like a known rule, does it add
more than that one?

The probe window is the whole open window. A shorter one would call two slow rules the same that happen to hold the same
position while it lasts. Each arm has its own `Known`: an arm that was refused what another had found first could not be
compared with it.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from agents.archive.records import Rejection
from agents.strategy.spec import Spec
from backtesting.bars import FloatArray
from backtesting.result import BacktestResult
from generator.tree_distance import Shape, shape_of

SAME_POSITIONS = 0.95
"""Correlation of positions from which on two rules are one."""
ALIKE_POSITIONS = 0.80
"""From here on they are siblings, and the younger one has to be better."""

MOST_POSITIONS = 20_000
"""Positions that are compared of one rule; of a large panel, those of every so many bars."""

DUPLICATE_CODES = ("duplicate_exact", "duplicate_structure", "duplicate_behaviour", "not_better")
"""The codes of this module: what a search spends on going round in circles."""


def positions_of(result: BacktestResult) -> FloatArray:
    """(n,) what a simulated rule held: its exposure at every close, or on a panel the position in every asset.

    The sum over the assets would say nothing of two portfolios that are both neutral to the market.
    """
    if result.positions is None:
        return result.exposure
    step = -(-result.positions.size // MOST_POSITIONS)
    return result.positions[::step].ravel()


@dataclass(frozen=True)
class Sibling:
    """The known rule whose positions are most like those of a candidate.

    Attributes:
        likeness: correlation of the positions, 1 for two rules that hold the same constant.
        alpha_t: its score; what has to be beaten. 0 for an incumbent: a candidate adds something to it or does not.
    """

    name: str
    likeness: float
    alpha_t: float


class Known:
    """What an arm must not repeat: rules, shapes, positions and scores, in order of arrival; the first one is named."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {}
        self._shapes: dict[str, list[tuple[Shape, str]]] = {}
        self._signatures: dict[tuple[float, ...], str] = {}
        self._constants: dict[float, Sibling] = {}
        self._names: list[str] = []
        self._scores: list[float] = []
        # Standardised positions, one a row, with room for more: a comparison with all of them is one product.
        self._rows: FloatArray = np.empty((0, 0))

    def add_rule(self, spec: Spec, name: str) -> None:
        """A rule that exists, whether or not it was ever simulated here."""
        self.rules.setdefault(spec.spec_id, name)
        shape = shape_of(spec)
        self._shapes.setdefault(shape.text, []).append((shape, name))

    def add_behaviour(
        self, name: str, positions: FloatArray, alpha_t: float, signature: tuple[float, ...] | None = None
    ) -> None:
        """How a rule behaves on the open window: its positions (n,), its score and the mark of its returns."""
        if signature is not None:
            self._signatures.setdefault(signature, name)
        unit = _unit(positions)
        if unit is None:
            self._constants.setdefault(round(float(positions[0]), 9), Sibling(name, 1.0, alpha_t))
            return
        count = len(self._names)
        if count == len(self._rows):
            grown = np.empty((max(64, 2 * count), len(unit)))
            grown[:count] = self._rows[:count] if count else 0.0
            self._rows = grown
        self._rows[count] = unit
        self._names.append(name)
        self._scores.append(alpha_t)

    def closest(self, positions: FloatArray) -> Sibling | None:
        """The rule with the most similar positions; None if there is none with any likeness."""
        unit = _unit(positions)
        if unit is None:
            return self._constants.get(round(float(positions[0]), 9))
        if not self._names:
            return None
        # Rounded, so that the order of a sum decides neither the twin nor its number.
        likeness = np.round(self._rows[: len(self._names)] @ unit, 9)
        at = int(np.argmax(likeness))
        return Sibling(self._names[at], float(likeness[at]), self._scores[at]) if likeness[at] > 0.0 else None

    def same_rule(self, spec: Spec) -> Rejection | None:
        """A rejection if the rule itself is known."""
        twin = self.rules.get(spec.spec_id)
        return _no("duplicate_exact", f"the same rule as {twin}", twin) if twin is not None else None

    def same_structure(self, spec: Spec) -> Rejection | None:
        """A rejection if a known rule is the same tree with nearly the same numbers."""
        shape = shape_of(spec)
        twin = next((name for other, name in self._shapes.get(shape.text, ()) if shape.nearly(other)), None)
        if twin is None:
            return None
        return _no("duplicate_structure", f"the same tree as {twin}, no number more than 5 % apart", twin)

    def same_scores(self, signature: tuple[float, ...] | None) -> Rejection | None:
        """A rejection if a known rule earned the same in every fold."""
        twin = None if signature is None else self._signatures.get(signature)
        return _no("duplicate_behaviour", f"earns the same as {twin} in every fold", twin) if twin else None


def refuse_text(spec: Spec, known: Known) -> Rejection | None:
    """What the rule itself says, before anything is simulated."""
    return known.same_rule(spec) or known.same_structure(spec)


def refuse_positions(positions: FloatArray, known: Known) -> Rejection | Sibling | None:
    """What the positions (n,) of `positions_of` say: a repetition, or the rule most like it, or nothing."""
    sibling = known.closest(positions)
    if sibling is None or sibling.likeness < SAME_POSITIONS:
        return sibling
    reason = f"holds the same positions as {sibling.name} (correlation {sibling.likeness:.3f} on the open window)"
    return _no("duplicate_behaviour", reason, sibling.name, correlation=round(sibling.likeness, 4))


def refuse_scores(
    alpha_t: float, signature: tuple[float, ...] | None, sibling: Sibling | None, known: Known
) -> Rejection | None:
    """What the evaluation adds: the same returns, or a sibling that is not beaten."""
    refused = known.same_scores(signature)
    if refused is not None or sibling is None or sibling.likeness < ALIKE_POSITIONS:
        return refused
    bar = sibling.alpha_t if isfinite(sibling.alpha_t) else 0.0
    if alpha_t > bar:
        return None
    reason = f"much like {sibling.name} (correlation {sibling.likeness:.2f}) and adds no more than it does"
    return _no("not_better", reason, sibling.name, correlation=round(sibling.likeness, 4))


def _no(code: str, reason: str, twin: str | None, **more: float) -> Rejection:
    return Rejection("novelty", code, reason, {"twin": twin, **more})


def _unit(positions: FloatArray) -> FloatArray | None:
    """Positions less their mean, of length one, so that a product is a correlation; None if they never change."""
    if not float(np.ptp(positions)) > 0.0:
        return None
    centred = positions - positions.mean()
    unit: FloatArray = centred / np.sqrt(centred @ centred)
    return unit
