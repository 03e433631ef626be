"""Gates: which candidates of a run may be promoted, decided once for all of them on bars that nobody has seen.

`judge` is the only function of the project that reads `split.sealed`. It answers with one bit a candidate, passed or
not, because an answer that says more can be climbed: whoever sees a sealed number, even a rank, ends up fitting it.
So a report on a candidate that did not pass holds nothing that depends on sealed prices: its verdict, fail or
underpowered, is settled by the open window and by how long the sealed one is. The sealed numbers travel separately.

Every gate runs, even after a failure. The null hypothesis is "no residual alpha after costs": the hedge ratios were
frozen on the open window, so each sealed statistic is the mean of a fixed stream. All nominees of a run are
tested together by a step-down max-t, however many of them look hopeless.

Not done yet: spending more alpha on candidates that looked better on the open window, perturbation checks, the test for
replacing an incumbent (a near-copy cannot pass here), and a measured error rate of the gate as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import isfinite, log, pi
from typing import Any

import numpy as np

from backtesting.backtest import Strategy, simulate
from backtesting.bars import Bars, FloatArray
from backtesting.costs import CostModel
from backtesting.decisions import Signals
from backtesting.errors import CheckFailed
from backtesting.evaluation import MIN_RESIDUAL_SHARE, Evaluation, residual
from backtesting.hashing import content_id
from backtesting.metrics import sharpe_ratio
from backtesting.result import BacktestResult
from backtesting.splits import Split, Window
from backtesting.statistics import (
    common_block,
    max_t,
    minimum_detectable_sharpe,
    years_needed,
)

REPS = 1999
POWER = 0.80
EDGE_OF_INTEREST = 1.0
MIN_EXPOSED_BARS = 60
MIN_TRADING_BARS = 6
MAX_PROFIT_SHARE = 0.25
SHORT_TRADE_BARS = 63
COST_FACTOR = 2.0


class Verdict(StrEnum):
    """`UNDERPOWERED`: it did not pass, and data of this length could not have shown an edge worth having."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNDERPOWERED = "underpowered"


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


@dataclass(frozen=True)
class GateReport:
    """Everything that anybody may see about the judgement of one candidate.

    Attributes:
        n_candidates: judged together in this opening of the sealed window.
        n_trials: looks at the open window that led here.
        alpha: family-wise error rate of this opening.
        minimum_detectable_sharpe: annual residual Sharpe ratio that had an 80 % chance to pass (planning value); NaN
            if the sealed window was not opened.
        years_needed: of sealed data for the edge of interest to have that chance; NaN likewise.
    """

    spec_id: str
    name: str
    verdict: Verdict
    results: tuple[GateResult, ...]
    n_candidates: int
    n_trials: int
    alpha: float
    minimum_detectable_sharpe: float
    years_needed: float
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        return {
            **asdict(self),
            "verdict": str(self.verdict),
            "results": [asdict(item) for item in self.results],
            "minimum_detectable_sharpe": _number(self.minimum_detectable_sharpe),
            "years_needed": _number(self.years_needed),
        }


@dataclass(frozen=True, eq=False)
class Nominee:
    """A candidate with its open-window evidence, frozen; the strategy is what will be run on the sealed window."""

    open_evaluation: Evaluation
    open_doubled_costs: BacktestResult
    strategy: Strategy

    @property
    def spec_id(self) -> str:
        """Id of the rule."""
        return self.open_evaluation.spec_id

    @property
    def name(self) -> str:
        """For people."""
        return self.open_evaluation.name

    @property
    def betas(self) -> Mapping[str, float]:
        """Hedge ratio by incumbent, frozen on the open window."""
        return self.open_evaluation.betas


@dataclass(frozen=True, eq=False)
class Nomination:
    """All candidates of a run with everything that the judgement depends on, settled before the sealed window opens.

    Attributes:
        bars_id, open_bars_id: of the whole history, and of the same bars cut at the end of the open window, which
            is where the nominees' evidence is from.
        incumbents: the strategies whose names the nominees' hedge ratios use.
        alpha: what this opening may spend, after `alpha_for_opening`.
        seed: of the bootstrap draws.
        n_trials: looks at the open window so far.

    Raises:
        ValueError: no nominee, one twice, evidence from different bars, windows or costs, or a hedge on other
            incumbents than these.
    """

    nominees: tuple[Nominee, ...]
    incumbents: tuple[Strategy, ...]
    bars_id: str
    open_bars_id: str
    split: Split
    costs: CostModel
    alpha: float
    seed: int
    n_trials: int
    code_version: str

    def __post_init__(self) -> None:
        ids = [nominee.spec_id for nominee in self.nominees]
        if not ids or len(set(ids)) != len(ids):
            raise ValueError(f"a nomination needs at least one nominee and each only once, got {len(ids)}")
        known = sorted(incumbent.name for incumbent in self.incumbents)
        for nominee in self.nominees:
            if sorted(nominee.betas) != known:
                raise ValueError(f"{nominee.name} is hedged with {sorted(nominee.betas)}, the incumbents are {known}")
            for result, costs in (
                (nominee.open_evaluation.result, self.costs),
                (nominee.open_doubled_costs, self.costs.times(COST_FACTOR)),
            ):
                if (result.bars_id, result.window, result.costs) != (self.open_bars_id, self.split.open, costs):
                    raise ValueError(f"{nominee.name} brings evidence from other bars, another window or other costs")

    @property
    def nomination_id(self) -> str:
        """Content id of the ids and numbers; the same whatever order the nominees are in."""
        return content_id(
            {
                "nominees": [
                    {
                        "evaluation": nominee.open_evaluation.as_dict(),
                        "doubled_costs_growth": _number(_growth(nominee.open_doubled_costs)),
                    }
                    for nominee in self.ordered
                ],
                "incumbents": sorted(incumbent.name for incumbent in self.incumbents),
                "bars_id": self.bars_id,
                "open_bars_id": self.open_bars_id,
                "split": self.split.as_dict(),
                "costs": self.costs.as_dict(),
                "alpha": self.alpha,
                "seed": self.seed,
                "n_trials": self.n_trials,
                "code_version": self.code_version,
            }
        )

    @property
    def ordered(self) -> tuple[Nominee, ...]:
        """The nominees by spec_id, the order in which they are judged and reported."""
        return tuple(sorted(self.nominees, key=lambda nominee: nominee.spec_id))


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one opening of the sealed window said.

    `reports` and the counts may be shown to anybody. `sealed_numbers`, by spec_id, may be stored but shown to nobody:
    whoever shows one has opened the window for good, and says so in the archive first.
    """

    nomination_id: str
    reports: tuple[GateReport, ...]
    alpha: float
    n_passed: int
    sealed_numbers: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON-like, without the sealed numbers."""
        return {
            "nomination_id": self.nomination_id,
            "alpha": self.alpha,
            "n_passed": self.n_passed,
            "reports": [report.as_dict() for report in self.reports],
        }


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
    earned = float(np.expm1(_growth(nominee.open_doubled_costs)))
    return _above("doubled-costs", earned, 0.0, f"with costs doubled it returns {earned:.1%} in all")


def concentration_gate(nominee: Nominee) -> GateResult:
    """No single day or short trade carries more than a quarter of the open window's profit."""
    share = profit_concentration(nominee.open_evaluation.result)
    if not isfinite(share):
        return GateResult(
            "concentration", False, None, MAX_PROFIT_SHARE, None, "it made no profit that could be spread over days"
        )
    return GateResult(
        "concentration",
        share <= MAX_PROFIT_SHARE,
        share,
        MAX_PROFIT_SHARE,
        MAX_PROFIT_SHARE - share,
        f"its best day or short trade carries {share:.0%} of the profit, at most {MAX_PROFIT_SHARE:.0%} is allowed",
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


OPEN_GATES: dict[str, Callable[[Nominee], GateResult]] = {
    "exposed-bars": exposed_gate,
    "trading-bars": active_gate,
    "doubled-costs": doubled_costs_gate,
    "concentration": concentration_gate,
    "open-alpha": open_alpha_gate,
}


def open_gates(nominee: Nominee) -> tuple[GateResult, ...]:
    """Every gate that needs the open window only; its numbers may be shown to anybody, at any time."""
    return tuple(gate(nominee) for gate in OPEN_GATES.values())


def profit_concentration(result: BacktestResult) -> float:
    """Largest share of the total log growth that one bar, or one trade of at most 63 bars, contributes.

    Longer positions are judged by their days: a rule that is always in has a single trade. Log growth and not money, or
    the late days of a long window would weigh most. NaN if there was no profit.
    """
    total = _growth(result)
    if not total > 0.0:
        return float("nan")
    # One account value before the window, so that value[i] is the account before bar i of the window.
    value = np.concatenate([[result.capital], result.equity])
    largest = float(np.max(np.log1p(result.returns)))
    for trade in result.trades:
        first, last = trade.entry_bar - result.window.start, trade.exit_bar - result.window.start
        if last - first < SHORT_TRADE_BARS:
            largest = max(largest, log(value[last + 1] / value[first]))
    return largest / total


@dataclass(frozen=True)
class EarlierOpening:
    """An earlier opening of the same sealed days, by whatever run: how many were judged, how many passed."""

    n_nominees: int
    n_passed: int


def alpha_for_opening(alpha: float, earlier: Sequence[EarlierOpening]) -> float:
    """What the next opening of a sealed window may spend, after the answers that earlier ones have given away.

    alpha * s_r * q: s_r = 6 / (pi^2 r^2) for the r-th opening (they sum to 1 over r), and q the weight of the answers
    so far, 0.9 for each "none passed" and 0.1 * 2^-n for each answer that names passes among n nominees. The weights
    of all possible answers sum to at most 1, so the error over every history is at most alpha: a union bound, which
    holds however the answers were used. An answer with a pass is dear; among more than a few nominees it spends the
    window.

    Raises:
        CheckFailed: what is left is below 1 / 2000, the smallest p-value that 1999 resamples can show.
    """
    weight = 1.0
    for opening in earlier:
        weight *= 0.9 if opening.n_passed == 0 else 0.1 * 2.0**-opening.n_nominees
    opening_number = len(earlier) + 1
    left = alpha * weight * 6.0 / (pi * opening_number) ** 2
    if left < 1.0 / (REPS + 1):
        raise CheckFailed(
            f"the sealed window is spent: opening {opening_number} would have {left:.2g} of {alpha:g} left",
            kept="the candidates and their open-window evidence are kept, nothing was opened",
            next_step="wait for new bars, seal a window of another market, or send a candidate to shadow by a waiver",
        )
    return left


def judge(nomination: Nomination, bars: Bars, *, edge_of_interest: float = EDGE_OF_INTEREST) -> Judgement:
    """Open the sealed window once, for all nominees together. Same nomination and bars, same bytes.

    A nominee passes when every open gate holds, its step-down p-value on the sealed window is at most alpha, and the
    economic checks hold on the sealed window too. One whose code breaks there, or that decides otherwise on the open
    window once it is given the sealed one as well, is not confirmed and stays in the count. That it broke is told
    with the sealed numbers only, or a strategy could speak by breaking.

    Args:
        edge_of_interest: annual residual Sharpe ratio worth having. A candidate that did not pass is underpowered, and
            not failed, if the sealed window had less than an 80 % chance to show it.

    Raises:
        CheckFailed: the bars are not the nominated ones, alpha is too small to be resolved, or an incumbent breaks.
    """
    cut = bars.upto(min(nomination.split.open.stop, bars.n_bars))
    if (bars.bars_id, cut.bars_id) != (nomination.bars_id, nomination.open_bars_id):
        raise CheckFailed(
            f"the nomination was made on bars {nomination.bars_id} and their open part {nomination.open_bars_id},"
            f" these are {bars.bars_id} and {cut.bars_id}",
            kept="the sealed window was not opened",
            next_step="judge with the snapshot that the run used",
        )
    if nomination.alpha < 1.0 / (REPS + 1):
        raise CheckFailed(
            f"alpha {nomination.alpha:g} is below {1.0 / (REPS + 1):g}, the smallest p-value of {REPS} resamples",
            kept="the sealed window was not opened",
            next_step="seal a window that has not been asked so often",
        )
    window = nomination.split.sealed
    book = _incumbent_returns(nomination, bars, window)
    looks = [_look(nominee, nomination, bars, window, book) for nominee in nomination.ordered]
    streams = np.column_stack([look.stream for look in looks])
    test = max_t(streams, block=common_block(streams), reps=REPS, rng=np.random.default_rng(nomination.seed))
    detectable = minimum_detectable_sharpe(window.n_bars, bars.periods_per_year, len(looks), nomination.alpha, POWER)
    scale = _Scale(
        n_candidates=len(looks),
        years=window.n_bars / bars.periods_per_year,
        detectable=detectable,
        edge=edge_of_interest,
        needed=years_needed(edge_of_interest, len(looks), nomination.alpha, POWER),
    )
    reports = []
    numbers: dict[str, Mapping[str, Any]] = {}
    for look, p_value, statistic in zip(looks, test.p_adjusted.tolist(), test.statistic.tolist(), strict=True):
        sealed = _sealed_gates(look, p_value <= nomination.alpha)
        reports.append(_report(look.nominee, nomination, sealed, look.broke, scale))
        numbers[look.nominee.spec_id] = {
            "statistic": _number(statistic),
            "p_adjusted": p_value,
            "critical_value": _number(test.critical_value(nomination.alpha)),
            "n_effective": _number(test.n_effective),
            "alpha_annual": _number(float(np.mean(look.stream)) * bars.periods_per_year),
            "residual_sharpe": _number(sharpe_ratio(look.stream, bars.periods_per_year)),
            "doubled_costs_growth": _number(look.doubled_growth),
            "concentration": _number(look.concentration),
            "gates": {gate.name: gate.passed for gate in sealed},
            "broke": look.broke,
        }
    return Judgement(
        nomination_id=nomination.nomination_id,
        reports=tuple(reports),
        alpha=nomination.alpha,
        n_passed=sum(report.verdict is Verdict.PASS for report in reports),
        sealed_numbers=numbers,
    )


def decline(nomination: Nomination, why: str) -> Judgement:
    """The judgement of a run whose sealed window may not be opened any more: nothing sealed is read, nothing is spent.

    A candidate that fails an open gate fails; the others are underpowered, for there is nothing left to show them on.

    Args:
        why: half a sentence, such as "it was shown to a reviewer, so it is not sealed any more".
    """
    reports = []
    for nominee in nomination.ordered:
        opened = open_gates(nominee)
        failed = [gate for gate in opened if not gate.passed]
        unopened = GateResult("sealed-window", False, None, None, None, f"not opened: {why}")
        reports.append(
            GateReport(
                spec_id=nominee.spec_id,
                name=nominee.name,
                verdict=Verdict.FAIL if failed else Verdict.UNDERPOWERED,
                results=(*opened, unopened),
                n_candidates=len(nomination.nominees),
                n_trials=nomination.n_trials,
                alpha=0.0,
                minimum_detectable_sharpe=float("nan"),
                years_needed=float("nan"),
                sentence=_failed_open(failed) if failed else f"underpowered: the sealed window was not opened: {why}.",
            )
        )
    return Judgement(nomination.nomination_id, tuple(reports), alpha=0.0, n_passed=0, sealed_numbers={})


@dataclass(frozen=True, eq=False)
class _Look:
    """One nominee on the sealed window. `broke` is empty, or what went wrong (sealed: it may depend on prices)."""

    nominee: Nominee
    stream: FloatArray
    doubled_growth: float
    concentration: float
    broke: str


@dataclass(frozen=True)
class _Scale:
    """What the sealed window could show, known before it is opened."""

    n_candidates: int
    years: float
    detectable: float
    edge: float
    needed: float


def _incumbent_returns(nomination: Nomination, bars: Bars, window: Window) -> dict[str, FloatArray]:
    book = {}
    for incumbent in nomination.incumbents:
        try:
            result = simulate(_signals(incumbent, bars), nomination.costs, window=window)
        except Exception as error:
            raise CheckFailed(
                f"the incumbent {incumbent.name} broke on the sealed window: {type(error).__name__}",
                kept="no verdict was made and no alpha is spent",
                next_step="repair or retire the incumbent, then judge again",
            ) from error
        book[incumbent.name] = result.returns
    return book


def _signals(strategy: Strategy, bars: Bars) -> Signals:
    signals = strategy.generate_signals(bars)
    if signals.bars.bars_id != bars.bars_id:
        raise ValueError(f"{strategy.name} hands over signals on other bars than it was given")
    return signals


def _look(
    nominee: Nominee, nomination: Nomination, bars: Bars, window: Window, book: Mapping[str, FloatArray]
) -> _Look:
    try:
        signals = _signals(nominee.strategy, bars)
        again = simulate(signals, nomination.costs, window=nomination.split.open)
        # One part in 1e9: a sum over a longer history may round otherwise.
        if not np.allclose(again.returns, nominee.open_evaluation.result.returns, rtol=0.0, atol=1e-9):
            raise ValueError("on the open window it decides otherwise than when it was nominated")
        result = simulate(signals, nomination.costs, window=window)
        doubled = simulate(signals, nomination.costs.times(COST_FACTOR), window=window)
    except Exception as error:  # whatever a candidate does, the others are judged and it counts as failed
        nothing = np.full(window.n_bars, np.nan)
        return _Look(nominee, nothing, float("nan"), float("nan"), f"{type(error).__name__}: {error}")
    names = sorted(book)
    hedge = np.array([nominee.betas[name] for name in names])
    stream = residual(result.returns, np.column_stack([book[name] for name in names]), hedge)
    return _Look(nominee, stream, _growth(doubled), profit_concentration(result), "")


def _sealed_gates(look: _Look, confirmed: bool) -> tuple[GateResult, ...]:
    answers = {
        "sealed-alpha": (confirmed, "its residual alpha holds on the sealed window, all candidates counted"),
        "sealed-doubled-costs": (look.doubled_growth > 0.0, "it earns on the sealed window with costs doubled"),
        "sealed-concentration": (
            look.concentration <= MAX_PROFIT_SHARE,  # also false for NaN
            "its sealed profit does not hang on a single day or trade",
        ),
    }
    return tuple(
        GateResult(name, bool(passed), None, None, None, reason, uses_sealed=True)
        for name, (passed, reason) in answers.items()
    )


def _report(
    nominee: Nominee, nomination: Nomination, sealed: tuple[GateResult, ...], broke: str, scale: _Scale
) -> GateReport:
    """The public report. Apart from the one bit "passed", nothing in it may depend on sealed prices."""
    opened = open_gates(nominee)
    failed = [gate for gate in opened if not gate.passed]
    passed = not failed and not broke and all(gate.passed for gate in sealed)
    plural = "" if scale.n_candidates == 1 else "s"
    chance = f"{scale.n_candidates} candidate{plural} on {scale.years:.1f} sealed years"
    if passed:
        verdict = Verdict.PASS
        shown = sealed
        sentence = (
            f"pass: every gate holds, and its residual alpha is confirmed among {chance}"
            f" at a family-wise error rate of {nomination.alpha:.2g}."
        )
    else:
        reason = "not confirmed" if not failed else "not said, because a gate on the open window had already failed"
        shown = (GateResult("sealed-window", False, None, None, None, reason, uses_sealed=True),)
        if failed:
            verdict = Verdict.FAIL
            sentence = _failed_open(failed)
        elif scale.detectable > scale.edge:
            verdict = Verdict.UNDERPOWERED
            sentence = (
                f"underpowered: not confirmed, and {chance} can show an edge with 80 % probability only from Sharpe"
                f" {scale.detectable:.2f} on; {scale.edge:.2f} would need {scale.needed:.1f} years."
            )
        else:
            verdict = Verdict.FAIL
            sentence = (
                f"fail: the sealed window did not confirm it; among {chance} an edge of Sharpe"
                f" {scale.detectable:.2f} would have shown with 80 % probability."
            )
    return GateReport(
        spec_id=nominee.spec_id,
        name=nominee.name,
        verdict=verdict,
        results=(*opened, *shown),
        n_candidates=scale.n_candidates,
        n_trials=nomination.n_trials,
        alpha=nomination.alpha,
        minimum_detectable_sharpe=scale.detectable,
        years_needed=scale.needed,
        sentence=sentence,
    )


def _failed_open(failed: Sequence[GateResult]) -> str:
    return f"fail: {'; '.join(gate.reason for gate in failed)}."


def _at_least(name: str, value: int, least: int, found: str) -> GateResult:
    return GateResult(
        name, value >= least, float(value), float(least), float(value - least), f"{found}, at least {least} are needed"
    )


def _above(name: str, value: float, bound: float, found: str) -> GateResult:
    return GateResult(name, value > bound, value, bound, value - bound, f"{found}, more than {bound:g} is needed")


def _growth(result: BacktestResult) -> float:
    """Log growth of the account over the window; -inf is NaN, as after a bankruptcy."""
    last = float(result.equity[-1])
    return log(last / result.capital) if last > 0.0 else float("nan")


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
