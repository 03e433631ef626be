"""Behaviour: what a rule does on the open window, in a few numbers: how it trades, what it rides on, where it earns.

It is what the search sorts rules by, and no claim about any of them. The folds are contiguous quarters of the open
window; the hedge is fitted on the whole of it, so that a fold says where the residual was earned and not how well a
short piece can be hedged. Nothing here is fitted to the population: the same rule on the same window has the same
behaviour in every run.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from agents.strategy.expression.nodes import Node
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.spec import Spec
from backtesting.bars import FloatArray
from backtesting.evaluation import MIN_RESIDUAL_SHARE, residual, residual_hedge
from backtesting.result import BacktestResult
from backtesting.statistics import FLAT, hac_t

N_FOLDS = 4
PRICE_FAMILY = "price"


@dataclass(frozen=True)
class Behaviour:
    """How a rule behaves on the open window; NaN where undefined.

    Attributes:
        turnover: traded notional, as multiples of equity a year.
        holding: mean bars that a closed trade was held; NaN if none was closed.
        exposure: mean size of the position, as a fraction of equity.
        beta: slope of its returns on those of a constant position in the market.
        family: the family of functions that the rule is mostly made of; `price` if it uses none.
        folds: HAC t-statistic of the residual alpha in each quarter of the window; NaN for a near-copy of the
            incumbents and where nothing moved.
    """

    turnover: float
    holding: float
    exposure: float
    beta: float
    family: str
    folds: tuple[float, ...]

    @property
    def signature(self) -> tuple[float, ...] | None:
        """The scores as a mark of the rule: two rules that share it earn the same. None if a fold is undefined."""
        return tuple(round(score, 6) for score in self.folds) if all(map(isfinite, self.folds)) else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        values = asdict(self) | {"folds": [_number(score) for score in self.folds]}
        return {name: _number(value) if isinstance(value, float) else value for name, value in values.items()}


def behaviour_of(
    spec: Spec, result: BacktestResult, incumbents: Mapping[str, BacktestResult], market: FloatArray
) -> Behaviour:
    """The behaviour of a simulated rule beside the incumbents' results on the same window.

    Args:
        market: (n,) returns of a constant position, `market_returns` of the same bars and window.
    """
    own = result.returns
    book = np.column_stack([market, *(incumbents[name].returns for name in sorted(incumbents))])
    left = residual(own, book, residual_hedge(own, book))
    stands_alone = float(np.std(own)) > FLAT and float(np.std(left)) >= MIN_RESIDUAL_SHARE * float(np.std(own))
    folds = [hac_t(part) for part in np.array_split(left, N_FOLDS)] if stands_alone else [float("nan")] * N_FOLDS
    return Behaviour(
        turnover=result.metrics["turnover_annual"],
        holding=result.metrics["average_bars_held"],
        exposure=result.metrics["exposure"],
        beta=_slope(own, market),
        family=dominant_family(spec),
        folds=tuple(folds),
    )


def dominant_family(spec: Spec) -> str:
    """The family that most function calls of the rule belong to; of equals the first by name."""
    counts: Counter[str] = Counter()

    def count(node: Node) -> None:
        if node.op in FUNCTIONS:
            counts[FUNCTIONS[node.op].family] += 1
        for arg in node.args:
            count(arg)

    for root in spec.nodes.values():
        count(root)
    return min(counts, key=lambda family: (-counts[family], family)) if counts else PRICE_FAMILY


def _slope(own: FloatArray, market: FloatArray) -> float:
    centred = market - market.mean()
    spread = float(centred @ centred)
    return float(centred @ own) / spread if spread > 0.0 else float("nan")


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
