from collections.abc import Callable
from typing import Any

from agents.strategy.incumbents import shipped_incumbents

SHORT = "synthetic:trend?years=20&seed=1"


def test_list_has_every_incumbent_with_its_metrics(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("agents", "list", "--json")
    assert answer.code == 0
    names = [spec.name for spec in shipped_incumbents()]
    assert [event["name"] for event in answer.events] == names
    assert len(names) == 8
    assert {event["state"] for event in answer.events} == {"active"}
    assert all(isinstance(event["metrics"]["sharpe_ratio"], float) for event in answer.events)
    # Who holds one position to the end has closed no trade, so its hit rate is undefined: null, not NaN.
    (hold,) = [event for event in answer.events if event["name"] == "buy_and_hold"]
    assert hold["metrics"]["hit_rate"] is None


def test_metrics_are_those_of_the_market_that_is_asked_for(touchstone: Callable[..., Any]) -> None:
    def sharpe(market: str) -> float:
        event = touchstone("agents", "show", "golden_cross", "--market", market, "--json").event("agent")
        return float(event["metrics"]["sharpe_ratio"])

    backtest = touchstone("backtest", "golden_cross", "--market", SHORT, "--json").event("backtest")
    assert sharpe(SHORT) == backtest["metrics"]["sharpe_ratio"]
    assert sharpe(SHORT) != sharpe("synthetic:trend?years=20&seed=2")


def test_show_says_what_it_does_and_where_it_came_from(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("agents", "show", "golden_cross", "--market", SHORT)
    assert answer.code == 0
    assert answer.out.startswith("golden_cross: active\nEnter long when crosses_above(sma(close, 50), sma(close, 200))")
    assert "new -> active, touchstone: shipped" in answer.out
    assert "Brock, Lakonishok" in answer.out


def test_a_narrow_screen_shows_every_name(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("agents", "list", "--market", SHORT, COLUMNS="60")
    assert answer.code == 0
    names = [line.partition(" ")[0] for line in answer.out.splitlines()]
    assert {spec.name for spec in shipped_incumbents()} <= set(names)


def test_an_unknown_agent_ends_with_2_and_the_nearest(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("agents", "show", "golden_cros")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no agent 'golden_cros'; did you mean 'golden_cross'?" in answer.error


def test_an_unknown_candidate_cannot_be_promoted(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("agents", "promote", "surge_rle")
    assert answer.code == 8
    assert "did you mean 'surge_rule'?" in answer.error


def test_an_incumbent_is_an_agent_already(touchstone: Callable[..., Any], judged: Any) -> None:
    assert touchstone("agents", "list", "--market", SHORT).code == 0
    answer = touchstone("agents", "promote", "golden_cross")
    assert answer.code == 8
    assert "golden_cross is an agent already, in state 'active'" in answer.error
