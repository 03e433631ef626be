"""Evaluation: a candidate beside the incumbents on the same bars, window and costs, after costs, on the same days.

It ranks; it makes no claim. The ranking score is the t-statistic of the *residual alpha*: what is left of the
candidate's returns after the incumbents' share, by least squares, is taken out. That, and not the difference of two
Sharpe ratios, says whether a candidate adds something to the book.

One more hedge is always there: a constant position in the market. Who is long most of the time earns what the market
gives to anybody, and it is not theirs; what a constant position of any size explains is taken out with the incumbents.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np

from backtesting.bars import Bars, FloatArray
from backtesting.folds import walk_forward
from backtesting.resampling import shared_blocks
from backtesting.result import BacktestResult
from backtesting.splits import Window
from backtesting.statistics import (
    FLAT,
    common_block,
    expected_max_sharpe,
    hac_t,
    mean_intervals,
    minimum_detectable_sharpe,
    newey_west_variance,
    step_up,
)

# The name of that hedge among the betas; no spec can have it, for a name holds no brackets.
CONSTANT_POSITION = "(constant position)"
FOLDS = 5
INTERVAL_LEVEL = 0.90
INTERVAL_REPS = 999
# Below this share of its own volatility the residual of a candidate is the tail of a copy: 10 % is an R^2 of 0.99.
MIN_RESIDUAL_SHARE = 0.10


@dataclass(frozen=True)
class PairedDifference:
    """Candidate minus one incumbent on the same days; annual simple returns, as fractions.

    Attributes:
        low, high: 90 % studentised stationary-bootstrap interval of the mean.
        mde_annual: the smallest true difference that a one-sided 5 % test on this window finds with 80 % probability.
    """

    incumbent: str
    mean_annual: float
    low: float
    high: float
    mde_annual: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known about a candidate on one window. Same inputs, same bytes.

    Attributes:
        betas: hedge ratio by incumbent and to `CONSTANT_POSITION`, to be frozen when the candidate is nominated.
        residual_share: volatility of the residual stream over the candidate's own.
        alpha_annual: mean of the residual stream a year, as a fraction.
        fold_alphas: the same by walk-forward part, oldest first; the fold before the first part only warms up.
        alpha_t: its HAC t-statistic, the ranking score; NaN for a flat candidate or a near-copy of the incumbents.
        n_trials: looks at this data so far, by anybody.
        expected_max_sharpe: annual Sharpe ratio that the best of so many worthless trials shows by luck alone.
        warnings: sentences for people.
    """

    name: str
    spec_id: str
    result: BacktestResult
    periods_per_year: float
    paired: tuple[PairedDifference, ...]
    betas: Mapping[str, float]
    residual_share: float
    alpha_annual: float
    alpha_t: float
    n_trials: int
    expected_max_sharpe: float
    warnings: tuple[str, ...]
    fold_alphas: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None. Curves and trades are left out: `bars_id`, window and costs make them again."""
        result = self.result
        return {
            "name": self.name,
            "spec_id": self.spec_id,
            "bars_id": result.bars_id,
            "source": result.source,
            "window": asdict(result.window),
            "costs": result.costs.as_dict(),
            "periods_per_year": self.periods_per_year,
            "metrics": {key: _number(value) for key, value in sorted(result.metrics.items())},
            "paired": [
                {key: _number(value) if isinstance(value, float) else value for key, value in asdict(pair).items()}
                for pair in self.paired
            ],
            "betas": {key: _number(value) for key, value in sorted(self.betas.items())},
            "residual_share": _number(self.residual_share),
            "alpha_annual": _number(self.alpha_annual),
            "alpha_t": _number(self.alpha_t),
            "fold_alphas": [_number(alpha) for alpha in self.fold_alphas],
            "n_trials": self.n_trials,
            "expected_max_sharpe": _number(self.expected_max_sharpe),
            "warnings": list(self.warnings),
        }


def evaluation_of(stored: Mapping[str, Any], result: BacktestResult) -> Evaluation:
    """The evaluation that `Evaluation.as_dict` made `stored` of, with its result, which was simulated again.

    Raises ValueError if `result` is from other bars, another window or other costs than what was stored.
    """
    for what, found in (
        ("bars_id", result.bars_id),
        ("window", asdict(result.window)),
        ("costs", result.costs.as_dict()),
    ):
        if stored[what] != found:
            raise ValueError(f"{stored['name']} was evaluated with other {what} than it is simulated with")
    return Evaluation(
        name=stored["name"],
        spec_id=stored["spec_id"],
        result=result,
        periods_per_year=stored["periods_per_year"],
        paired=tuple(
            PairedDifference(
                pair["incumbent"], *(_value(pair[name]) for name in ("mean_annual", "low", "high", "mde_annual"))
            )
            for pair in stored["paired"]
        ),
        betas={key: _value(value) for key, value in stored["betas"].items()},
        residual_share=_value(stored["residual_share"]),
        alpha_annual=_value(stored["alpha_annual"]),
        alpha_t=_value(stored["alpha_t"]),
        n_trials=stored["n_trials"],
        expected_max_sharpe=_value(stored["expected_max_sharpe"]),
        warnings=tuple(stored["warnings"]),
        fold_alphas=tuple(_value(alpha) for alpha in stored["fold_alphas"]),
    )


def residual_hedge(candidate: FloatArray, incumbents: FloatArray) -> FloatArray:
    """(K,) least-squares hedge ratios of a stream (n,) against K incumbents (n, K), fitted with an intercept.

    (K, N) for N streams (n, N) at once.

    Minimum norm where incumbents repeat each other; 0 for a constant incumbent. Estimate it on the open window and
    freeze it: then the residual on the sealed window is a fixed stream, whatever was fitted before.
    """
    betas = np.zeros((incumbents.shape[1], *candidate.shape[1:]))
    moving = incumbents.std(axis=0) > FLAT
    if moving.any():
        centred = incumbents[:, moving] - incumbents[:, moving].mean(axis=0)
        # The pseudoinverse and not lstsq: for a thousand streams at once it is one product, thirty times as fast.
        betas[moving] = np.linalg.pinv(centred, rcond=1e-8) @ (candidate - candidate.mean(axis=0))
    return betas


def residual(candidate: FloatArray, incumbents: FloatArray, betas: FloatArray) -> FloatArray:
    """(n,) the candidate's returns without the incumbents' share; the intercept, its alpha, stays in."""
    return candidate - incumbents @ betas


def market_returns(bars: Bars, window: Window) -> FloatArray:
    """(n,) simple return a bar of an equal, constant position in every asset, without costs; 0 where none traded.

    The first bar of the window is measured from its open, for there is no position before it.
    """
    before = np.concatenate([bars.open[window.start : window.start + 1], bars.close[window.start : window.stop - 1]])
    moves = bars.close[window.start : window.stop] / before - 1.0
    traded = np.isfinite(moves)
    total: FloatArray = np.where(traded, moves, 0.0).sum(axis=1) / np.maximum(traded.sum(axis=1), 1)
    return total


def evaluate(
    name: str,
    spec_id: str,
    result: BacktestResult,
    incumbents: Mapping[str, BacktestResult],
    *,
    market: FloatArray,
    periods_per_year: float,
    n_trials: int,
    seed: int,
) -> Evaluation:
    """Compare a result with the incumbents' results on the same bars, window and costs.

    Args:
        market: (n,) `market_returns` of the same bars and window.
        seed: of the resamples behind the intervals; candidates that are compared with each other share them.

    Raises:
        ValueError: an incumbent's result is from other bars, another window or other costs, or there is no incumbent.
    """
    if not incumbents:
        raise ValueError(f"{name} has no incumbent to be compared with")
    for incumbent, other in incumbents.items():
        for what in ("bars_id", "window", "costs"):
            if getattr(other, what) != getattr(result, what):
                raise ValueError(
                    f"{name} and the incumbent {incumbent} differ in {what}: {getattr(result, what)} and"
                    f" {getattr(other, what)}; compare results of one run only"
                )
    names = sorted(incumbents)
    book = np.column_stack([incumbents[key].returns for key in names])
    own = result.returns
    hedges = np.column_stack([market, book])
    betas = residual_hedge(own, hedges)
    left = residual(own, hedges, betas)
    volatility = float(np.std(own))
    share = float(np.std(left)) / volatility if volatility > FLAT else float("nan")
    stands_alone = isfinite(share) and share >= MIN_RESIDUAL_SHARE
    part = max(1, len(own) // FOLDS)
    luck = expected_max_sharpe(n_trials, len(own), periods_per_year)
    return Evaluation(
        name=name,
        spec_id=spec_id,
        result=result,
        periods_per_year=periods_per_year,
        paired=_paired(own, book, names, periods_per_year, seed),
        betas=dict(zip([CONSTANT_POSITION, *names], betas.tolist(), strict=True)),
        residual_share=share,
        alpha_annual=float(np.mean(left)) * periods_per_year,
        alpha_t=hac_t(left) if stands_alone else float("nan"),
        fold_alphas=tuple(
            float(np.mean(left[fold.test])) * periods_per_year
            for fold in walk_forward(len(left), train=part, test=part)
        ),
        n_trials=n_trials,
        expected_max_sharpe=luck,
        warnings=tuple(_warnings(result, periods_per_year, share, n_trials, luck)),
    )


def _paired(
    own: FloatArray, book: FloatArray, names: list[str], periods_per_year: float, seed: int
) -> tuple[PairedDifference, ...]:
    differences = own[:, None] - book
    block = step_up(common_block(differences), len(own))
    resamples = shared_blocks(len(own), block, INTERVAL_REPS, seed)
    low, high = mean_intervals(differences, level=INTERVAL_LEVEL, block=block, resamples=resamples)
    # The planning Sharpe of one candidate over one year of one bar a year is z(0.95) + z(0.80), in standard errors.
    needed = minimum_detectable_sharpe(1, 1.0, 1, 0.05, 0.80)
    return tuple(
        PairedDifference(
            incumbent=name,
            mean_annual=float(np.mean(differences[:, i])) * periods_per_year,
            low=float(low[i]) * periods_per_year,
            high=float(high[i]) * periods_per_year,
            mde_annual=needed * sqrt(newey_west_variance(differences[:, i]) / len(own)) * periods_per_year,
        )
        for i, name in enumerate(names)
    )


def _warnings(result: BacktestResult, periods_per_year: float, share: float, n_trials: int, luck: float) -> list[str]:
    notes = []
    if not isfinite(share):
        notes.append("it never held a position that moved, so nothing can be said about it")
    elif share < MIN_RESIDUAL_SHARE:
        notes.append(f"only {share:.1%} of its volatility is its own: a near-copy of the incumbents has no score")
    sharpe = result.metrics.get("sharpe_ratio", float("nan"))
    if n_trials > 1 and sharpe <= luck:
        notes.append(
            f"its Sharpe ratio {sharpe:.2f} is not above {luck:.2f}, the luck of the best of {n_trials} trials"
        )
    years = len(result.returns) / periods_per_year
    if years < 3.0:
        notes.append(f"the window has {years:.1f} years; a ranking on so little data is mostly noise")
    return notes


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _value(stored: float | None) -> float:
    return float("nan") if stored is None else float(stored)
