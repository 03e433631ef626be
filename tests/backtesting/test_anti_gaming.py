"""Anti-gaming: agents that try to look good without knowing anything neither rank first nor pass."""

from dataclasses import dataclass, replace
from math import isnan

import numpy as np
import pytest

from agents.manager.agent_manager import SELECT_BY, MetaAgentManager
from backtesting.backtest import simulate
from backtesting.bars import Bars
from backtesting.costs import LIQUID_INDEX
from backtesting.decisions import Signals, TargetDecisions
from backtesting.errors import InvalidConfig
from backtesting.evaluation import evaluate, market_returns, residual, residual_hedge
from backtesting.gates import Verdict, judge
from backtesting.metrics import METRICS
from backtesting.nomination import Nomination, Nominee, Route
from backtesting.replacement import replacement_of
from backtesting.splits import plan_split

N = 5300
CRASH = 700
HINT = np.repeat(np.random.default_rng(3).choice([-1.0, 1.0], size=N // 10 + 1), 10)[:N]


def made_market():
    """Drift for everybody, a hint for who reads it, and one huge up day in the open window."""
    returns = 0.0003 + 0.01 * np.random.default_rng(4).normal(size=N)
    returns[1:] += 0.01 * 1.8 / np.sqrt(252) * HINT[:-1]
    returns[CRASH] = 0.25
    close = 100 * np.exp(np.cumsum(returns))
    opened = np.r_[100.0, close[:-1]]
    columns = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": np.full(N, 1e6),
    }
    return Bars(
        symbols=("M",),
        sessions=np.datetime64("1990-01-01") + np.arange(N),
        source="made",
        features={"hint": HINT[:, None]},
        **{name: values[:, None] for name, values in columns.items()},
    )


@dataclass(frozen=True)
class Agent:
    """A target position from the bars."""

    name: str
    target: object
    warmup_bars: int = 0

    def generate_signals(self, bars):
        values = np.asarray(self.target(bars), dtype=float)
        return Signals(self.name, bars, TargetDecisions(values[:, None], band=0.02))


def constant(size):
    return lambda bars: np.full(bars.n_bars, size)


def lucky(bars):
    """One trade, in front of the huge day."""
    target = np.zeros(bars.n_bars)
    target[CRASH - 3 : CRASH + 2] = 1.0
    return target


def flagged_only(bars):
    """In the market around the suspicious bar alone, and a few bars elsewhere to seem busy."""
    target = lucky(bars)
    target[::400] = 0.3
    return target


def holds_losers(bars):
    """Takes every small profit at once and never closes a loss."""
    close = bars.close[:, 0]
    target, held, entry = np.zeros(bars.n_bars), False, 0.0
    for t in range(bars.n_bars):
        if held and close[t] > entry * 1.005:
            held = False
        elif not held and t % 3 == 0:
            held, entry = True, close[t]
        target[t] = float(held)
    return target


def doubles_down(bars):
    """More of what fell, up to twice the account: steady gains, rare ruin."""
    close = bars.close[:, 0]
    peak = np.maximum.accumulate(close)
    return np.minimum(2.0, 0.5 + 5.0 * (1 - close / peak))


def twist(bars):
    """The incumbent with a wiggle nobody needs."""
    return 1.0 - 0.03 * (np.arange(bars.n_bars) // 50 % 2)


HOLD = Agent("hold", constant(1.0))
READER = Agent("reader", lambda bars: bars.features["hint"][:, 0])
ADVERSARIES = (
    Agent("never trades", constant(0.0)),
    Agent("always in", constant(1.0)),
    Agent("parks cash", constant(0.05)),
    Agent("maximum leverage", constant(2.0)),
    Agent("one lucky trade", lucky),
    Agent("flagged bars only", flagged_only),
    Agent("hides losses", holds_losers),
    Agent("doubles down", doubles_down),
    Agent("copy with a twist", twist),
)


@pytest.fixture(scope="module")
def judged():
    bars = made_market()
    split = plan_split(bars)
    cut = bars.upto(split.open.stop)
    book = {"hold": simulate(HOLD.generate_signals(cut), LIQUID_INDEX, window=split.open)}
    nominees = []
    for agent in (*ADVERSARIES, READER):
        signals = agent.generate_signals(cut)
        evaluation = evaluate(
            agent.name,
            f"b2:{agent.name}",
            simulate(signals, LIQUID_INDEX, window=split.open),
            book,
            market=market_returns(cut, split.open),
            periods_per_year=252.0,
            n_trials=10,
            seed=1,
        )
        doubled = simulate(signals, LIQUID_INDEX.times(2.0), window=split.open)
        nominees.append(Nominee(evaluation, doubled, agent))
    nomination = Nomination(
        nominees=tuple(nominees),
        incumbents=(HOLD,),
        bars_id=bars.bars_id,
        open_bars_id=cut.bars_id,
        split=split,
        costs=LIQUID_INDEX,
        alpha=0.05,
        seed=1,
        n_trials=10,
        code_version="test",
    )
    return bars, nomination, {report.name: report for report in judge(nomination, bars).reports}


def test_the_honest_reader_passes_beside_all_of_them(judged):
    assert judged[2]["reader"].verdict is Verdict.PASS


@pytest.mark.parametrize("name", [agent.name for agent in ADVERSARIES])
def test_no_adversary_passes(judged, name):
    report = judged[2][name]
    assert report.verdict is Verdict.FAIL
    assert any(not gate.passed for gate in report.results)


def test_no_adversary_ranks_before_the_reader(judged):
    scores = {n.name: n.open_evaluation.alpha_t for n in judged[1].nominees}
    for agent in ADVERSARIES:
        assert isnan(scores[agent.name]) or scores[agent.name] < scores["reader"]


def test_constant_positions_of_any_size_have_no_alpha_of_their_own(judged):
    scores = {n.name: n.open_evaluation.alpha_t for n in judged[1].nominees}
    for name in ("never trades", "always in", "parks cash", "maximum leverage"):
        assert isnan(scores[name]) or abs(scores[name]) < 2.0


# --- In the incumbent's place -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def claiming(judged):
    """The same agents, each of which claims the incumbent's place as well."""
    bars, nomination, _ = judged
    window = nomination.split.open
    cut = bars.upto(window.stop)
    signals = HOLD.generate_signals(cut)
    hold, dear = (simulate(signals, LIQUID_INDEX.times(factor), window=window).returns for factor in (1.0, 2.0))
    nominees = [
        replace(
            nominee,
            replacement=replacement_of(
                "hold",
                nominee.open_evaluation.result.returns,
                hold,
                market_returns(cut, window),
                doubled=(nominee.open_doubled_costs.returns, dear),
                periods_per_year=252.0,
            ),
        )
        for nominee in nomination.nominees
    ]
    changed = replace(nomination, nominees=tuple(nominees), replaces="hold")
    return {report.name: report for report in judge(changed, bars).reports}


@pytest.mark.parametrize("name", [agent.name for agent in ADVERSARIES])
def test_no_adversary_takes_the_incumbents_place(claiming, name):
    claims = {claim.claim: claim for claim in claiming[name].claims}
    assert claims["replace"].verdict is not Verdict.PASS
    assert claims["add"].verdict is Verdict.FAIL


def test_the_honest_reader_may_still_join(claiming):
    assert {claim.claim: claim.verdict for claim in claiming["reader"].claims}["add"] is Verdict.PASS


# --- Selection on one backtest, whatever metric is configured -------------------------------------------------------


class Loaded(Agent):
    """An agent as the manager asks for it."""

    def load_model(self):
        return self


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reader_first", [True, False])
def test_no_metric_that_agents_can_be_selected_by_puts_an_adversary_first(metric, reader_first):
    agents = [Loaded(agent.name, agent.target) for agent in ADVERSARIES]
    agents.insert(0 if reader_first else len(agents), Loaded(READER.name, READER.target))
    try:
        manager = MetaAgentManager(agents, metric)
    except InvalidConfig:
        assert metric not in SELECT_BY
        return
    assert metric in SELECT_BY
    assert manager.select_best_agent(made_market()).name == "reader"
    assert manager.failures == {}


@pytest.mark.parametrize("metric", SELECT_BY)
def test_among_adversaries_alone_one_trade_and_no_trade_come_last(metric):
    agents = [Loaded(agent.name, agent.target) for agent in ADVERSARIES]
    manager = MetaAgentManager(agents, metric)
    best = manager.select_best_agent(made_market())
    assert sorted(manager.doubts) == ["flagged bars only", "never trades", "one lucky trade"]
    assert best.name not in manager.doubts
    assert manager.doubts["one lucky trade"] == "it held a position on 5 bars, 60 are needed"


# --- The other two routes --------------------------------------------------------------------------------------------


def routed(judged, **changes):
    bars, nomination, _ = judged
    reader = next(n for n in nomination.nominees if n.name == "reader")
    others = tuple(n for n in nomination.nominees if n.name != "reader")
    changed = replace(nomination, nominees=(*others, replace(reader, **changes)))
    return next(r for r in judge(changed, bars).reports if r.name == "reader")


def test_a_short_rule_of_a_proposer_that_may_remember_passes_by_its_length(judged):
    report = routed(judged, route=Route.OCCAM, route_reason="its model may know these days", code_bits=10.0)
    assert report.verdict is Verdict.PASS
    assert "more than a rule of 10 bits may owe to memory or luck" in report.sentence


def test_a_long_rule_of_such_a_proposer_is_told_what_it_must_show(judged):
    report = routed(judged, route=Route.OCCAM, route_reason="its model may know these days", code_bits=90.0)
    assert report.verdict is Verdict.UNDERPOWERED
    # z(1 - 0.05 / 2^90) = 11.4; (11.4 + 0.84) / sqrt(19.8 years) = 2.7.
    assert "this rule costs 90 bits and must show a residual Sharpe of about 2.69" in report.sentence


def test_without_a_known_cutoff_only_days_to_come_count(judged):
    report = routed(judged, route=Route.FORWARD, route_reason="its model has no published cutoff", code_bits=10.0)
    assert report.verdict is Verdict.UNDERPOWERED
    assert report.sentence == (
        "underpowered: its model has no published cutoff, so no day of this history is clean evidence about it; only"
        " days still to come are."
    )


def test_a_lone_peak_is_refused(judged):
    report = routed(judged, neighbours_t=(0.1, -0.4, 0.2))
    assert report.verdict is Verdict.FAIL
    assert "slightly changed, the rule has a residual alpha with t = 0.10 (median)" in report.sentence


def test_the_route_by_length_needs_a_length(judged):
    with pytest.raises(ValueError, match="reader is to be judged by its length, but has none"):
        routed(judged, route=Route.OCCAM)


def test_an_exposure_that_grows_in_the_sealed_window_is_no_alpha():
    # The agent holds 0.3 of the account on the open window and 0.9 on the sealed one: all of it the market's drift.
    bars = made_market()
    split = plan_split(bars)

    def grows(seen):
        wiggle = 0.03 * HINT[::-1][: seen.n_bars]
        return np.where(np.arange(seen.n_bars) < split.open.stop, 0.3, 0.9) + wiggle

    agent = Agent("grows", grows)
    hold = simulate(HOLD.generate_signals(bars), LIQUID_INDEX, window=split.sealed).returns
    own = simulate(agent.generate_signals(bars), LIQUID_INDEX, window=split.sealed).returns
    frozen = own - 0.3 * hold
    fitted = residual(own, hold[:, None], residual_hedge(own, hold[:, None]))
    # What frozen ratios leave is 0.9 - 0.3 = 0.6 of what everybody earned, less costs; a regression leaves the wiggle.
    assert frozen.mean() == pytest.approx(0.6 * hold.mean(), rel=0.15)
    assert abs(fitted.mean()) < 0.2 * frozen.mean()
