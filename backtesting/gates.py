"""Gates: which candidates of a run may be promoted, decided once for all of them on bars that nobody has seen.

`judge` is the only function of the project that reads `split.sealed`. It answers with one bit a claim, passed or not,
because an answer that says more can be climbed: whoever sees a sealed number, even a rank, ends up fitting it.
So a report on a candidate that did not pass holds nothing that depends on sealed prices: its verdict, fail or
underpowered, is settled by the open window and by how long the sealed one is. The sealed numbers travel separately.

Every gate runs, even after a failure. The null hypothesis is "no residual alpha after costs": each sealed statistic is
the intercept of a regression on the incumbents and a constant position within the sealed window. Ratios frozen on the
open window would let an exposure that grew since then pass for alpha (docs/decisions/0004-the-gate.md). All nominees of
a run are tested together by the weighted max-t of `blind_test`: more alpha for those that looked better where one could
look, none for those that an open gate refuses, and every one of them in the count that a report states.

A nomination may name an incumbent. Then each nominee makes a second claim, to be better than that incumbent on the same
days, and both claims of all nominees are one family: alpha is the chance of anything false among all that is signed.
Each claim is answered by itself. Nominees that are blind only after a cutoff are a family of their own on those days,
with the share of alpha that their number is of all that are judged blindly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import isfinite, log2
from typing import Any

import numpy as np

from backtesting.backtest import Strategy, simulate
from backtesting.bars import Bars, FloatArray
from backtesting.blind_test import LEVEL, REPS, SMALLEST_P, blind_test
from backtesting.concentration import Concentration
from backtesting.decisions import Signals
from backtesting.drawdown_band import drawdown_band
from backtesting.errors import CheckFailed
from backtesting.evaluation import CONSTANT_POSITION, market_returns, residual, residual_hedge
from backtesting.metrics import sharpe_ratio
from backtesting.nomination import COST_FACTOR, Nomination, Nominee, Route
from backtesting.occam import OccamTest, occam_test
from backtesting.open_gates import (
    OF_ITS_ALPHA,
    GateResult,
    doubtful_profit,
    open_gates,
    profit_concentration,
    replacement_gates,
)
from backtesting.replacement import Replacement, difference_concentration, differences
from backtesting.result import log_growth
from backtesting.splits import Window
from backtesting.statistics import minimum_detectable_sharpe, years_needed

POWER = 0.80
EDGE_OF_INTEREST = 1.0


class Verdict(StrEnum):
    """`UNDERPOWERED`: it did not pass, and data of this length could not have shown an edge worth having."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNDERPOWERED = "underpowered"


ADD, REPLACE = "add", "replace"


@dataclass(frozen=True)
class Claim:
    """What was claimed of a candidate, and the answer.

    Attributes:
        claim: `add`: it earns something that the book does not; `replace`: it earns more than `incumbent` does.
        results: the gates that this claim had to hold, beside those of the candidate itself.
        minimum_detectable_sharpe: annual, of the residual or of the difference, with 80 % chance to pass.
        minimum_detectable_annual: the same as a return a year, by the open window's volatility of the difference; NaN
            for `add`.
        years_needed: of such days for the edge of interest to have that chance.
    """

    claim: str
    incumbent: str
    verdict: Verdict
    results: tuple[GateResult, ...]
    minimum_detectable_sharpe: float
    minimum_detectable_annual: float
    years_needed: float
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        return {
            **asdict(self),
            "verdict": str(self.verdict),
            "results": [asdict(item) for item in self.results],
            "minimum_detectable_sharpe": _number(self.minimum_detectable_sharpe),
            "minimum_detectable_annual": _number(self.minimum_detectable_annual),
            "years_needed": _number(self.years_needed),
        }


@dataclass(frozen=True)
class GateReport:
    """Everything that anybody may see about the judgement of one candidate.

    Attributes:
        verdict: `pass` if a claim did; `underpowered` if none did and one could not have.
        results: of the candidate, and of the claim to add something.
        n_candidates: judged together on these days.
        n_trials: looks at the open window that led here.
        alpha: family-wise error rate of these days.
        minimum_detectable_sharpe: annual residual Sharpe ratio that had an 80 % chance to pass (planning value); NaN
            if there was no blind test.
        years_needed: of sealed data for the edge of interest to have that chance; NaN likewise.
        route: which test judged it, and why that one, in half a sentence.
        judged_from, judged_years: first session and length of the sealed days that judged it.
        claims: each with its own answer, where more was claimed than to add something; else empty.
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
    route: str = str(Route.BLIND)
    route_reason: str = ""
    judged_from: str = ""
    judged_years: float = float("nan")
    claims: tuple[Claim, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN is None."""
        return {
            **asdict(self),
            "verdict": str(self.verdict),
            "results": [asdict(item) for item in self.results],
            "minimum_detectable_sharpe": _number(self.minimum_detectable_sharpe),
            "years_needed": _number(self.years_needed),
            "judged_years": _number(self.judged_years),
            "claims": [claim.as_dict() for claim in self.claims],
        }


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
    families = _families(nomination)
    for family in families:
        blind = any(nominee.route in (Route.BLIND, Route.AFTER) for nominee in family.members)
        if blind and family.alpha < SMALLEST_P:
            raise CheckFailed(
                f"alpha {family.alpha:g} is below {SMALLEST_P:g}, the smallest p-value of {REPS} resamples",
                kept="the sealed window was not opened",
                next_step="seal a window that has not been asked so often",
            )
    reports: list[GateReport] = []
    numbers: dict[str, Mapping[str, Any]] = {}
    for family in families:
        for report, sealed in _judge_family(family, nomination, bars, edge_of_interest):
            reports.append(report)
            numbers[report.spec_id] = sealed
    return Judgement(
        nomination_id=nomination.nomination_id,
        reports=tuple(sorted(reports, key=lambda report: report.spec_id)),
        alpha=nomination.alpha,
        n_passed=sum(report.verdict is Verdict.PASS for report in reports),
        sealed_numbers=numbers,
    )


@dataclass(frozen=True, eq=False)
class _Family:
    """Nominees that are judged together, on the same days, at one error rate."""

    members: tuple[Nominee, ...]
    window: Window
    alpha: float


def _families(nomination: Nomination) -> tuple[_Family, ...]:
    """Whoever is blind on all sealed days, with everybody who is not judged blindly; and whoever is blind later on."""
    sealed, everybody = nomination.split.sealed, nomination.ordered
    after = tuple(nominee for nominee in everybody if nominee.route is Route.AFTER)
    others = tuple(nominee for nominee in everybody if nominee.route is not Route.AFTER)
    if not after:
        return (_Family(everybody, sealed, nomination.alpha),)
    # The days that are clean for every one of them, so that one family can be tested on one set of resamples.
    window = Window(max(nominee.blind_from or 0 for nominee in after), sealed.stop)
    blind = sum(nominee.route is Route.BLIND for nominee in others)
    alpha = nomination.alpha * len(after) / (len(after) + blind)
    later = _Family(after, window, alpha)
    return (_Family(others, sealed, nomination.alpha - alpha), later) if others else (later,)


def _judge_family(
    family: _Family, nomination: Nomination, bars: Bars, edge_of_interest: float
) -> list[tuple[GateReport, Mapping[str, Any]]]:
    window, alpha, n = family.window, family.alpha, len(family.members)
    book = _incumbent_returns(nomination, bars, window)
    looks = [_look(nominee, nomination, bars, window) for nominee in family.members]
    hedges = np.column_stack([book[name] for name in sorted(book)])
    own = np.column_stack([look.returns for look in looks])
    # All at once: the hedges are the same for every nominee. The stream of one that broke stays NaN throughout.
    streams = residual(own, hedges, residual_hedge(own, hedges))
    opened = [open_gates(nominee) for nominee in family.members]
    open_t = np.array([_open_t(nominee, found) for nominee, found in zip(family.members, opened, strict=True)])
    claimed: list[tuple[GateResult, ...]] = [()] * n
    if nomination.replaces:
        claims = [nominee.replacement for nominee in family.members if nominee.replacement is not None]
        claimed = [replacement_gates(claim) for claim in claims]
        pairs = [
            differences(look.returns, book[nomination.replaces], book[CONSTANT_POSITION], claim.scale)
            for look, claim in zip(looks, claims, strict=True)
        ]
        streams = np.column_stack([streams, *(plain for plain, _ in pairs), *(rest for _, rest in pairs)])
        evidence = [
            _difference_t(nominee, claim, found, of_claim)
            for nominee, claim, found, of_claim in zip(family.members, claims, opened, claimed, strict=True)
        ]
        open_t = np.concatenate([open_t, evidence, evidence])
    test = blind_test(
        streams,
        open_t,
        open_bars=nomination.split.open.n_bars,
        periods_per_year=bars.periods_per_year,
        edge=edge_of_interest,
        rng=np.random.default_rng(nomination.seed),
    )
    n_claims = n * (2 if nomination.replaces else 1)
    scale = _Scale(
        n_candidates=n,
        n_claims=n_claims,
        alpha=alpha,
        years=window.n_bars / bars.periods_per_year,
        first=str(bars.sessions[window.start]),
        detectable=minimum_detectable_sharpe(window.n_bars, bars.periods_per_year, n_claims, alpha, POWER)
        if alpha > 0.0
        else float("nan"),
        edge=edge_of_interest,
        needed=years_needed(edge_of_interest, n_claims, alpha, POWER) if alpha > 0.0 else float("nan"),
    )
    answers: list[tuple[GateReport, Mapping[str, Any]]] = []
    doubled_incumbent = _doubled_incumbent(nomination, bars, window)
    for at, look in enumerate(looks):
        p_value, statistic, stream = float(test.p_adjusted[at]), float(test.statistic[at]), streams[:, at].copy()
        occam, occam_replace = _occam(look, nomination, bars)
        sealed = _sealed_gates(look, p_value <= alpha if occam is None else occam.passed)
        found = {
            "statistic": _number(statistic),
            "p_adjusted": p_value,
            "occam_p_value": None if occam is None else occam.p_value,
            "critical_value": _number(test.critical_value(LEVEL * alpha)),
            "n_effective": _number(test.n_effective),
            "alpha_annual": _number(float(np.mean(stream)) * bars.periods_per_year),
            "residual_sharpe": _number(sharpe_ratio(stream, bars.periods_per_year)),
            "doubled_costs_growth": _number(look.doubled_growth),
            "concentration": _number(look.concentration.share),
            "drawdown_share": _number(look.drawdown_share),
            "gates": {gate.name: gate.passed for gate in sealed},
            "broke": look.broke,
        }
        replacing: tuple[GateResult, ...] = ()
        if (claim := look.nominee.replacement) is not None:
            p_replace = max(float(test.p_adjusted[n + at]), float(test.p_adjusted[2 * n + at]))
            plain = streams[:, n + at].copy()
            doubled = float(np.mean(claim.scale * look.doubled - doubled_incumbent))
            confirmed = p_replace <= alpha if occam_replace is None else occam_replace.passed
            replacing = _sealed_replacement_gates(claim, plain, doubled, confirmed)
            found |= {
                "replace_p_adjusted": p_replace,
                "replace_occam_p_value": None if occam_replace is None else occam_replace.p_value,
                "replace_annual": _number(float(np.mean(plain)) * bars.periods_per_year),
                "replace_gates": {gate.name: gate.passed for gate in replacing},
            }
        report = _report(look, nomination, opened[at], sealed, claimed[at], replacing, scale, (occam, occam_replace))
        answers.append((report, found))
    return answers


@dataclass(frozen=True, eq=False)
class _Look:
    """One nominee on the sealed window. `broke` is empty, or what went wrong (sealed: it may depend on prices)."""

    nominee: Nominee
    returns: FloatArray
    doubled: FloatArray
    doubled_growth: float
    concentration: Concentration
    drawdown_share: float
    drawdown_held: bool
    doubtful_held: bool
    broke: str


@dataclass(frozen=True)
class _Scale:
    """What the sealed days could show, known before they are opened."""

    n_candidates: int
    n_claims: int
    alpha: float
    years: float
    first: str
    detectable: float
    edge: float
    needed: float


def _open_t(nominee: Nominee, opened: Sequence[GateResult]) -> float:
    """Its evidence on the open window; NaN gets no share of alpha: an open gate failed, or another test judges it."""
    eligible = nominee.route in (Route.BLIND, Route.AFTER) and all(gate.passed for gate in opened)
    return nominee.open_evaluation.alpha_t if eligible else float("nan")


def _of_itself(opened: Sequence[GateResult]) -> list[GateResult]:
    """The open gates that a claim on an incumbent's place has to hold too."""
    return [gate for gate in opened if gate.name not in OF_ITS_ALPHA]


def _difference_t(
    nominee: Nominee, claim: Replacement, opened: Sequence[GateResult], claimed: Sequence[GateResult]
) -> float:
    """The same for its claim on an incumbent's place."""
    blind = nominee.route in (Route.BLIND, Route.AFTER)
    return claim.t if blind and all(gate.passed for gate in (*_of_itself(opened), *claimed)) else float("nan")


def _occam(look: "_Look", nomination: Nomination, bars: Bars) -> tuple[OccamTest | None, OccamTest | None]:
    """The tests on the whole history that hold against any memory, of both claims; None for nominees of other routes.

    Here the hedge is fitted on the whole history too: nothing about the rule was chosen by it that the length does not
    already pay for. Where there are two claims, which of them is made costs a bit, and whose place is claimed the
    logarithm of the number of incumbents; so all claims about all rules together still spend alpha.
    """
    if look.nominee.route is not Route.OCCAM:
        return None, None
    whole, claim = Window(nomination.split.open.start, nomination.split.sealed.stop), look.nominee.replacement
    bits, book = look.nominee.code_bits + (0.0 if claim is None else 1.0), {}
    own = np.full(whole.n_bars, np.nan)
    if not look.broke:
        own = simulate(
            _signals(look.nominee.strategy, bars), nomination.costs, window=whole, terms=nomination.terms
        ).returns
    book = _incumbent_returns(nomination, bars, whole)
    hedges = np.column_stack([book[name] for name in sorted(book)])

    def test(stream: FloatArray, length: float) -> OccamTest:
        return occam_test(stream, length, alpha=nomination.occam_alpha, periods_per_year=bars.periods_per_year)

    add = test(own if look.broke else residual(own, hedges, residual_hedge(own, hedges)), bits)
    if claim is None:
        return add, None
    streams = (own,) * 2
    if not look.broke:
        streams = differences(own, book[claim.incumbent], book[CONSTANT_POSITION], claim.scale)
    longer = bits + log2(len(nomination.incumbents))
    return add, max((test(stream, longer) for stream in streams), key=lambda found: found.p_value)


def _incumbent_returns(nomination: Nomination, bars: Bars, window: Window) -> dict[str, FloatArray]:
    book = {CONSTANT_POSITION: market_returns(bars, window)}
    for incumbent in nomination.incumbents:
        book[incumbent.name] = _of_incumbent(incumbent, bars, nomination, window)
    return book


def _doubled_incumbent(nomination: Nomination, bars: Bars, window: Window) -> FloatArray:
    """Returns of the incumbent whose place is claimed, every cost doubled; NaN where none is."""
    for incumbent in nomination.incumbents:
        if incumbent.name == nomination.replaces:
            return _of_incumbent(incumbent, bars, nomination, window, COST_FACTOR)
    return np.full(window.n_bars, np.nan)


def _of_incumbent(
    incumbent: Strategy, bars: Bars, nomination: Nomination, window: Window, cost_factor: float = 1.0
) -> FloatArray:
    costs = nomination.costs if cost_factor == 1.0 else nomination.costs.times(cost_factor)
    try:
        return simulate(_signals(incumbent, bars), costs, window=window, terms=nomination.terms).returns
    except Exception as error:
        raise CheckFailed(
            f"the incumbent {incumbent.name} broke on the sealed window: {type(error).__name__}",
            kept="no verdict was made and no alpha is spent",
            next_step="repair or retire the incumbent, then judge again",
        ) from error


def _signals(strategy: Strategy, bars: Bars) -> Signals:
    signals = strategy.generate_signals(bars)
    if signals.bars.bars_id != bars.bars_id:
        raise ValueError(f"{strategy.name} hands over signals on other bars than it was given")
    return signals


def _look(nominee: Nominee, nomination: Nomination, bars: Bars, window: Window) -> _Look:
    try:
        signals = _signals(nominee.strategy, bars)
        again = simulate(signals, nomination.costs, window=nomination.split.open, terms=nomination.terms)
        # One part in 1e9: a sum over a longer history may round otherwise.
        if not np.allclose(again.returns, nominee.open_evaluation.result.returns, rtol=0.0, atol=1e-9):
            raise ValueError("on the open window it decides otherwise than when it was nominated")
        result = simulate(signals, nomination.costs, window=window, terms=nomination.terms)
        doubled = simulate(signals, nomination.costs.times(COST_FACTOR), window=window, terms=nomination.terms)
    except Exception as error:  # whatever a candidate does, the others are judged and it counts as failed
        nothing = np.full(window.n_bars, np.nan)
        nan = float("nan")
        spread = Concentration(nan, nan)
        return _Look(nominee, nothing, nothing, nan, spread, nan, False, False, f"{type(error).__name__}: {error}")
    band = drawdown_band(nominee.open_evaluation.result.returns, result.returns, drift=False)
    flagged = doubtful_profit(result, nomination.doubtful)
    return _Look(
        nominee,
        result.returns,
        doubled.returns,
        log_growth(doubled),
        profit_concentration(result),
        band.share,
        band.held,
        flagged is None or flagged.share <= flagged.allowed,  # also false for NaN
        "",
    )


def _sealed_gates(look: _Look, confirmed: bool) -> tuple[GateResult, ...]:
    answers = {
        "sealed-alpha": (confirmed, "its residual alpha holds on the sealed window, all candidates counted"),
        "sealed-doubled-costs": (look.doubled_growth > 0.0, "it earns on the sealed window with costs doubled"),
        "sealed-concentration": (
            look.concentration.held,
            "its sealed profit does not hang on a single day or trade",
        ),
        "sealed-drawdown": (
            look.drawdown_held,
            "on the sealed window it fell no deeper than its open stream would without an edge",
        ),
        "sealed-doubtful-data": (look.doubtful_held, "its sealed profit does not hang on doubtful prices"),
    }
    return tuple(
        GateResult(name, bool(passed), None, None, None, reason, uses_sealed=True)
        for name, (passed, reason) in answers.items()
    )


def _sealed_replacement_gates(
    claim: Replacement, plain: FloatArray, doubled: float, confirmed: bool
) -> tuple[GateResult, ...]:
    other = claim.incumbent
    answers = {
        "sealed-replace-difference": (
            confirmed,
            f"on the sealed window it earns more than {other} at no more risk, all candidates counted",
        ),
        "sealed-replace-doubled-costs": (doubled > 0.0, f"it does so with all costs doubled, {other}'s too"),
        "sealed-replace-concentration": (
            difference_concentration(plain).held,
            "the difference does not hang on a single day",
        ),
    }
    return tuple(
        GateResult(name, bool(passed), None, None, None, reason, uses_sealed=True)
        for name, (passed, reason) in answers.items()
    )


def _report(
    look: _Look,
    nomination: Nomination,
    opened: tuple[GateResult, ...],
    sealed: tuple[GateResult, ...],
    claimed: tuple[GateResult, ...],
    replacing: tuple[GateResult, ...],
    scale: _Scale,
    occam: tuple[OccamTest | None, OccamTest | None],
) -> GateReport:
    """The public report. Apart from the one bit "passed" of each claim, nothing in it may depend on sealed prices."""
    nominee = look.nominee
    claims = [_claim(look, ADD, None, opened, sealed, scale, occam[0], float("nan"))]
    if (found := nominee.replacement) is not None:
        # What the candidate has to hold whatever is claimed of it, without the question whether its alpha is confirmed.
        own = tuple(gate for gate in sealed if gate.name != "sealed-alpha")
        open_part = (*_of_itself(opened), *claimed)
        annual = scale.detectable * found.volatility_annual
        claims.append(_claim(look, REPLACE, found, open_part, (*own, *replacing), scale, occam[1], annual))
    verdicts = [claim.verdict for claim in claims]
    verdict = min(verdicts, key=[Verdict.PASS, Verdict.UNDERPOWERED, Verdict.FAIL].index)
    first, *more = claims
    sentence = first.sentence
    if more:
        sentence = f"To add to the book: {first.sentence} In place of {more[0].incumbent}: {more[0].sentence}"
    return GateReport(
        spec_id=nominee.spec_id,
        name=nominee.name,
        verdict=verdict,
        results=first.results,
        n_candidates=scale.n_candidates,
        n_trials=nomination.n_trials,
        alpha=scale.alpha,
        minimum_detectable_sharpe=scale.detectable,
        years_needed=scale.needed,
        sentence=sentence,
        route=str(nominee.route),
        route_reason=nominee.route_reason,
        judged_from=scale.first,
        judged_years=scale.years,
        claims=tuple(claims) if more else (),
    )


def _claim(
    look: _Look,
    claim: str,
    replacement: Replacement | None,
    opened: tuple[GateResult, ...],
    sealed: tuple[GateResult, ...],
    scale: _Scale,
    occam: OccamTest | None,
    detectable_annual: float,
) -> Claim:
    """The answer to one claim, by the gates that it has to hold."""
    nominee, other = look.nominee, "" if replacement is None else replacement.incumbent
    failed = [gate for gate in opened if not gate.passed]
    passed = not failed and not look.broke and nominee.route is not Route.FORWARD and all(g.passed for g in sealed)
    plural = "" if scale.n_candidates == 1 else "s"
    days = f"sealed years from {scale.first} on" if nominee.route is Route.AFTER else "sealed years"
    twice = "" if scale.n_claims == scale.n_candidates else " and two claims on each"
    chance = f"{scale.n_candidates} candidate{plural}{twice} on {scale.years:.1f} {days}"
    measure = "Sharpe" if replacement is None else "a Sharpe ratio of the difference of"
    stands = "its residual alpha" if replacement is None else f"what it earned more than {other} at no more risk"
    verdict = Verdict.FAIL
    if passed:
        verdict = Verdict.PASS
        shown = sealed
        sentence = (
            f"pass: every gate holds, and {stands} is confirmed among {chance}"
            f" at a family-wise error rate of {scale.alpha:.2g}."
            if occam is None
            else f"pass: every gate holds, and {stands} on the whole history is more than a rule of"
            f" {occam.bits:.0f} bits may owe to memory or luck."
        )
    else:
        reason = "not confirmed" if not failed else "not said, because a gate on the open window had already failed"
        shown = (GateResult("sealed-window", False, None, None, None, reason, uses_sealed=True),)
        if failed:
            sentence = _failed_open(failed)
        elif nominee.route is Route.FORWARD:
            verdict = Verdict.UNDERPOWERED
            sentence = (
                f"underpowered: {nominee.route_reason}, so no day of this history is clean evidence about it; only"
                " days still to come are."
            )
        elif occam is not None:
            verdict = Verdict.UNDERPOWERED if occam.detectable > scale.edge else Verdict.FAIL
            shows = "a residual Sharpe" if replacement is None else f"a Sharpe ratio of its difference to {other}"
            sentence = (
                f"{verdict}: {nominee.route_reason}, so it has to convince by its length: this rule costs"
                f" {occam.bits:.0f} bits and must show {shows} of about {occam.detectable:.2f} on the whole"
                " history; it was not confirmed."
            )
        elif scale.detectable > scale.edge:
            verdict = Verdict.UNDERPOWERED
            sentence = (
                f"underpowered: not confirmed, and {chance} can show an edge with 80 % probability only from {measure}"
                f" {scale.detectable:.2f} on; {scale.edge:.2f} would need {scale.needed:.1f} years."
            )
        else:
            sentence = (
                f"fail: the sealed window did not confirm it; among {chance} an edge of {measure}"
                f" {scale.detectable:.2f} would have shown with 80 % probability."
            )
    if replacement is not None and isfinite(detectable_annual):
        sentence += f" Detectable was a difference of {detectable_annual:.1%} a year."
    return Claim(
        claim=claim,
        incumbent=other,
        verdict=verdict,
        results=(*opened, *shown),
        minimum_detectable_sharpe=scale.detectable if occam is None else occam.detectable,
        minimum_detectable_annual=detectable_annual,
        years_needed=scale.needed,
        sentence=sentence,
    )


def _failed_open(failed: Sequence[GateResult]) -> str:
    return f"fail: {'; '.join(gate.reason for gate in failed)}."


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
