"""Portfolio decisions: which names of a panel are held, and how much of each, bar by bar.

Everything of one bar is computed from that bar's row alone, so nothing looks ahead. A target row is written every
`every_bars` bars and NaN (keep what is held) between them, so scores, universe and volatilities are asked for at those
bars only. Ties of the score go to the asset that stands first.
"""

import numpy as np

from agents.strategy import kernels_portfolio as kernels
from agents.strategy.expression.canonical import invert
from agents.strategy.expression.evaluate import EvaluationCache, condition_at, numbers_at
from agents.strategy.expression.nodes import Node
from agents.strategy.functions.cross_section import neutral_to
from agents.strategy.spec import CountSelection, PortfolioSpec
from backtesting.bars import Bars, FloatArray
from backtesting.decisions import TargetDecisions
from backtesting.errors import DataError

_SIDES = {"long": kernels.LONG, "short": kernels.SHORT, "both": kernels.BOTH}
_WEIGHTS = {"equal": kernels.EQUAL, "score": kernels.BY_SCORE, "inverse_volatility": kernels.INVERSE}


def portfolio_targets(
    spec: PortfolioSpec, nodes: dict[str, Node], bars: Bars, cache: EvaluationCache
) -> TargetDecisions:
    """Targets as fractions of equity.

    An asset without a price keeps what is held; one that may not be held gets 0. A bar on which nobody can be held,
    but for some asset the universe or the score is unknown, decides nothing (NaN).

    Raises:
        DataError: the bars lack a feature that the spec names.
    """
    target = np.full(bars.close.shape, np.nan)
    target[:: spec.rebalance.every_bars] = portfolio_rows(spec, nodes, bars, cache)
    return TargetDecisions(target=target, band=spec.rebalance.band)


def portfolio_rows(spec: PortfolioSpec, nodes: dict[str, Node], bars: Bars, cache: EvaluationCache) -> FloatArray:
    """The targets of the bars that rebalance alone: bars 0, every_bars, 2 * every_bars, ..."""
    every = spec.rebalance.every_bars
    score = numbers_at(nodes["score"], bars, cache, every)
    if spec.neutralise is not None:
        if spec.neutralise not in bars.features:
            raise DataError(
                f"{bars.source} has no feature {spec.neutralise!r} to neutralise by",
                next_step="add the feature to the market or drop neutralise",
            )
        score = neutral_to(score, bars.features[spec.neutralise][::every])
    priced = np.isfinite(bars.close[::every])
    admitted = unsure = priced
    if "universe" in nodes:
        admitted = priced & condition_at(nodes["universe"], bars, cache, every)
        unsure = priced & ~condition_at(invert(nodes["universe"]), bars, cache, every)
    volatility = numbers_at(nodes["weight"], bars, cache, every) if "weight" in nodes else np.zeros((0, 0))
    count, share = (spec.select.count, 0.0) if isinstance(spec.select, CountSelection) else (0, spec.select.share)
    return kernels.chosen_rows(
        score, priced, admitted, unsure, volatility, _SIDES[spec.direction],
        count, float(share), _WEIGHTS[spec.weight.kind], float(spec.gross), float(spec.cap),
    )  # fmt: skip
