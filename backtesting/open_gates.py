"""Open gates: what a nominee must show on the bars that anybody may see. No statistics about luck; that is the judge's.

A rule that hardly trades, lives off one day, off doubtful prices or off one symbol, dies of doubled costs, falls deeper
than its days let expect or stands on a lone peak of its own parameters is refused here, with its numbers, which may be
shown to anybody at any time. Every gate runs, even after a failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt

import numpy as np

from backtesting.concentration import MAX_PROFIT_SHARE, Concentration, concentration
from backtesting.drawdown_band import BAND_LEVEL, drawdown_band
from backtesting.evaluation import MIN_RESIDUAL_SHARE
from backtesting.nomination import Nominee
from backtesting.replacement import Replacement
from backtesting.result import BacktestResult, log_growth

MIN_EXPOSED_BARS = 60
MIN_TRADING_BARS = 6
SHORT_TRADE_BARS = 63
MIN_NEIGHBOUR_SHARE = 0.25


@dataclass(frozen=True)
class GateResult:
    """One gate's answer about one candidate.

    Attributes:
        statistic, threshold: what was measured and what it is held against; None if sealed or undefined.
        margin: how far on the good side, in the statistic's unit; negative if it failed.
        uses_sealed: the answer depends on the sealed window, so no number is shown.
    """

    name: str
    passed: bool
    statistic: float | None
    threshold: float | None
    margin: float | None
    reason: str
    uses_sealed: bool = False


def exposed_gate(nominee: Nominee) -> GateResult:
    """In the market on at least 60 open bars: a rule that is hardly ever in shows luck, or nothing."""
    bars = int(np.count_nonzero(nominee.open_evaluation.result.exposure))
    return _at_least("exposed-bars", bars, MIN_EXPOSED_BARS, f"a position on {bars} bars")


def active_gate(nominee: Nominee) -> GateResult:
    """Traded on at least 6 open bars, three round trips: fewer are one bet on one regime, not a rule.

    Days of trading and not trades are counted, because a rule that is always in and changes its size has one trade
    only. The bound is low on purpose: slow trend rules decide once or twice a year, and the other gates count days.
    """
    bars = int(np.count_nonzero(nominee.open_evaluation.result.turnover > 0.0))
    return _at_least("trading-bars", bars, MIN_TRADING_BARS, f"it traded on {bars} bars")


def doubled_costs_gate(nominee: Nominee) -> GateResult:
    """Still earns something on the open window when every cost is twice as high."""
    earned = float(np.expm1(log_growth(nominee.open_doubled_costs)))
    return _above("doubled-costs", earned, 0.0, f"with costs doubled it returns {earned:.1%} in all")


def concentration_gate(nominee: Nominee) -> GateResult:
    """No single day or short trade carries more of the open window's profit than a quarter, and than luck explains."""
    found = profit_concentration(nominee.open_evaluation.result)
    if not isfinite(found.share):
        return GateResult(
            "concentration", False, None, MAX_PROFIT_SHARE, None, "it made no profit that could be spread over days"
        )
    return GateResult(
        "concentration",
        found.held,
        found.share,
        found.allowed,
        found.allowed - found.share,
        f"its best day or short trade carries {found.share:.0%} of the profit, at most {found.allowed:.0%} is allowed",
    )


def open_alpha_gate(nominee: Nominee) -> GateResult:
    """The residual alpha was positive where one could look. A near-copy of the incumbents has none of its own."""
    evaluation = nominee.open_evaluation
    if not isfinite(evaluation.alpha_t):
        reason = (
            "it has no residual stream: it never moved"
            if not isfinite(evaluation.residual_share)
            else f"{evaluation.residual_share:.1%} of its volatility is its own, {MIN_RESIDUAL_SHARE:.0%} is needed"
        )
        return GateResult("open-alpha", False, None, 0.0, None, reason)
    return _above(
        "open-alpha", evaluation.alpha_t, 0.0, f"residual alpha on the open window has t = {evaluation.alpha_t:.2f}"
    )


def sub_periods_gate(nominee: Nominee) -> GateResult:
    """Residual alpha in at least half of the walk-forward parts: an edge of one year is that year's."""
    alphas = nominee.open_evaluation.fold_alphas
    positive = sum(alpha > 0.0 for alpha in alphas)
    return _at_least(
        "sub-periods",
        positive,
        (len(alphas) + 1) // 2,
        f"residual alpha in {positive} of {len(alphas)} parts of the window",
    )


def drawdown_gate(nominee: Nominee) -> GateResult:
    """Its account fell no deeper than 99 of 100 resamples of its own stream: its days tell its risk."""
    returns = nominee.open_evaluation.result.returns
    band = drawdown_band(returns, returns, drift=True)
    return GateResult(
        "drawdown-band",
        band.held,
        band.share,
        BAND_LEVEL,
        band.share - BAND_LEVEL,
        f"{band.share:.1%} of the resamples of its stream fall as deep as it did, {band.depth:.1%};"
        f" more than {BAND_LEVEL:.0%} must",
    )


def doubtful_data_gate(nominee: Nominee) -> GateResult:
    """Not more than a quarter of the profit above their due is from bars that the quality report flags."""
    found = doubtful_profit(nominee.open_evaluation.result, nominee.doubtful)
    name = "doubtful-data"
    if found is None:
        return GateResult(name, True, None, None, None, "no bar of the open window has a doubtful price")
    if not isfinite(found.share):
        return GateResult(name, False, None, None, None, "it made no profit that could be held against doubtful prices")
    return GateResult(
        name,
        found.share <= found.allowed,
        found.share,
        found.allowed,
        found.allowed - found.share,
        f"{found.n_bars} bars touched by doubtful prices carry {found.share:.0%} of its profit, at most"
        f" {found.allowed:.0%} is allowed",
    )


def dropped_symbols_gate(nominee: Nominee) -> GateResult:
    """Without any one of the symbols that earned most, a quarter of the t-statistic is left: no single name made it."""
    if not nominee.dropped_t:
        return GateResult("dropped-symbols", True, None, None, None, "there was no symbol to leave out")
    own = nominee.open_evaluation.alpha_t
    symbol, worst = _worst(nominee.dropped_t)
    least = MIN_NEIGHBOUR_SHARE * own if own > 0.0 else 0.0
    return _above("dropped-symbols", worst, least, f"without {symbol} its residual alpha has t = {worst:.2f}")


def neighbours_gate(nominee: Nominee) -> GateResult:
    """The rule slightly changed still earns something: the median neighbour keeps a quarter of its t-statistic.

    An edge that is there is seen through windows a fifth longer or shorter as well; a lone peak was found by searching.
    A rule without anything to change has no neighbours and passes.
    """
    own = nominee.open_evaluation.alpha_t
    if not nominee.neighbours_t:
        return GateResult("neighbours", True, None, None, None, "it has no neighbours that were looked at")
    middle = float(np.median(np.nan_to_num(nominee.neighbours_t, nan=0.0)))
    least = MIN_NEIGHBOUR_SHARE * own if own > 0.0 else 0.0
    return _above(
        "neighbours", middle, least, f"slightly changed, the rule has a residual alpha with t = {middle:.2f} (median)"
    )


OPEN_GATES: dict[str, Callable[[Nominee], GateResult]] = {
    "exposed-bars": exposed_gate,
    "trading-bars": active_gate,
    "doubled-costs": doubled_costs_gate,
    "concentration": concentration_gate,
    "drawdown-band": drawdown_gate,
    "doubtful-data": doubtful_data_gate,
    "open-alpha": open_alpha_gate,
    "sub-periods": sub_periods_gate,
    "dropped-symbols": dropped_symbols_gate,
    "neighbours": neighbours_gate,
}


OF_ITS_ALPHA = ("open-alpha", "sub-periods", "dropped-symbols", "neighbours")
"""The open gates that ask for an alpha of its own. A claim on an incumbent's place asks the same of the difference."""


def open_gates(nominee: Nominee) -> tuple[GateResult, ...]:
    """Every gate that needs the open window only; its numbers may be shown to anybody, at any time."""
    return tuple(gate(nominee) for gate in OPEN_GATES.values())


def replacement_gates(found: Replacement) -> tuple[GateResult, ...]:
    """What a claim on an incumbent's place must show on the open window beside the gates that are not `OF_ITS_ALPHA`.

    The difference, and not the candidate, has to be positive, last, stand doubled costs, spread over days, hold where
    the candidate is slightly changed, and not hang on one symbol.
    """
    other = found.incumbent
    if not isfinite(found.t):
        nothing = f"day by day it does not differ from {other}, or {other} never moved"
        return (GateResult("replace-difference", False, None, 0.0, None, nothing),)
    positive = sum(mean > 0.0 for mean in found.fold_means)
    spread = found.concentration
    results = [
        _above("replace-difference", found.t, 0.0, f"the difference to {other} has t = {found.t:.2f}"),
        _above(
            "replace-doubled-costs",
            found.doubled_costs_annual,
            0.0,
            f"with all costs doubled it earns {found.doubled_costs_annual:.1%} a year more than {other}",
        ),
        GateResult(
            "replace-concentration",
            spread.held,
            spread.share if isfinite(spread.share) else None,
            spread.allowed if isfinite(spread.share) else MAX_PROFIT_SHARE,
            spread.allowed - spread.share if isfinite(spread.share) else None,
            f"one day carries {spread.share:.0%} of the difference, at most {spread.allowed:.0%} is allowed"
            if isfinite(spread.share)
            else f"it did not earn more than {other}",
        ),
        _at_least(
            "replace-sub-periods",
            positive,
            (len(found.fold_means) + 1) // 2,
            f"it earned more than {other} in {positive} of {len(found.fold_means)} parts of the window",
        ),
    ]
    least = MIN_NEIGHBOUR_SHARE * found.t if found.t > 0.0 else 0.0
    if found.neighbours_t:
        middle = float(np.median(np.nan_to_num(found.neighbours_t, nan=0.0)))
        words = f"slightly changed, its difference to {other} has t = {middle:.2f} (median)"
        results.append(_above("replace-neighbours", middle, least, words))
    if found.dropped_t:
        symbol, worst = _worst(found.dropped_t)
        words = f"without {symbol} its difference to {other} has t = {worst:.2f}"
        results.append(_above("replace-dropped-symbols", worst, least, words))
    return tuple(results)


def profit_concentration(result: BacktestResult) -> Concentration:
    """Largest share of the total log growth that one bar, or one trade of at most 63 bars, contributes.

    Longer positions are judged by their days: a rule that is always in has a single trade. Log growth and not money, or
    the late days of a long window would weigh most. NaN if there was no profit. Where several assets were traded, a
    trade contributes its own profit and not what the account did meanwhile, which the other positions did too.
    """
    total = log_growth(result)
    if not total > 0.0:
        return concentration((), total)
    # One account value before the window, so that value[i] is the account before bar i of the window.
    value = np.concatenate([[result.capital], result.equity])
    several = len({trade.asset for trade in result.trades}) > 1
    trades = []
    for trade in result.trades:
        first, last = trade.entry_bar - result.window.start, trade.exit_bar - result.window.start
        if last - first < SHORT_TRADE_BARS:
            after = value[first] + trade.pnl if several else value[last + 1]
            trades.append(log(after / value[first]) if after > 0.0 else -inf)
    return concentration((np.log1p(result.returns), np.array(trades)), total)


@dataclass(frozen=True)
class DoubtfulProfit:
    """What bars with doubtful prices contributed.

    Attributes:
        n_bars: of the window whose return such a price is in: the flagged bars, and those right after.
        share: of the total log growth; NaN if there was no profit.
        allowed: their share of all bars, and on top a quarter, or where that is more what as many bars taken at random
            exceed once in a hundred times.
    """

    n_bars: int
    share: float
    allowed: float


def doubtful_profit(result: BacktestResult, doubtful: Sequence[int]) -> DoubtfulProfit | None:
    """How much of the profit hangs on these bars (numbers in the market); None if none of them is in the window.

    Only what goes beyond their due counts: where a source flags every tenth bar, a tenth of the profit is theirs. Of a
    panel a bar counts whichever asset is flagged, so a bad price of an asset that was not held weighs too.
    """
    window = result.window
    touched = {at for bar in doubtful for at in (bar, bar + 1) if window.start <= at < window.stop}
    if not touched:
        return None
    n, m = len(result.returns), len(touched)
    total = log_growth(result)
    if not total > 0.0:
        return DoubtfulProfit(m, float("nan"), float("nan"))
    logs = np.log1p(result.returns)
    share = float(np.sum(logs[np.array(sorted(touched)) - window.start])) / total
    by_chance = 2.33 * float(np.std(logs)) * sqrt(m * (1.0 - m / n)) / total
    return DoubtfulProfit(m, share, m / n + max(MAX_PROFIT_SHARE, by_chance))


def _worst(dropped_t: Sequence[tuple[str, float]]) -> tuple[str, float]:
    return min(((symbol, t if isfinite(t) else 0.0) for symbol, t in dropped_t), key=lambda found: (found[1], found[0]))


def _at_least(name: str, value: int, least: int, found: str) -> GateResult:
    return GateResult(
        name, value >= least, float(value), float(least), float(value - least), f"{found}, at least {least} are needed"
    )


def _above(name: str, value: float, bound: float, found: str) -> GateResult:
    return GateResult(name, value > bound, value, bound, value - bound, f"{found}, more than {bound:.3g} is needed")
