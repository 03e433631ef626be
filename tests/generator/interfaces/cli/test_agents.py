from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


PANEL = "synthetic:panel?assets=5&years=8"


def test_orders_of_a_portfolio_are_for_the_whole_panel(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("agents", "orders", "panel_momentum", "--market", PANEL, "--standing", "--json")
    assert answer.code == 0, answer.err
    orders = [event for event in answer.events if event["event"] == "order"]
    (end,) = [event for event in answer.events if event["event"] == "orders"]
    assert end["n_orders"] == len(orders) > 1
    assert {order["symbol"] for order in orders} <= {f"panel-{k:03d}" for k in range(1, 6)}
    # Held as ordered, nothing is left to do.
    signed = {order["symbol"]: order["units"] * (1 if order["side"] == "buy" else -1) for order in orders}
    held = ",".join(f"{symbol}={units!r}" for symbol, units in signed.items())
    again = touchstone("agents", "orders", "panel_momentum", "--market", PANEL, "--standing", "--held", held)
    assert "panel_momentum wants no change after" in again.out
    shown = touchstone("agents", "orders", "panel_momentum", "--market", PANEL, "--standing").out
    assert "Paper orders of panel_momentum" in shown
    assert "of equity" in shown


def test_orders_of_a_file_on_one_symbol_in_whole_lots(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    spec, terms = tmp_path / "always.yaml", tmp_path / "terms.yaml"
    spec.write_text(
        "kind: rules\nname: always_long\nhypothesis: x\nlong: {enter: 'close > 0 * close'}\n", encoding="utf-8"
    )
    terms.write_text("lot: 10\n", encoding="utf-8")
    argv = ("agents", "orders", spec, "--market", "sample:sp500", "--terms", terms, "--json")
    order = touchstone(*argv, "--equity", "100000").event("order")
    assert (order["side"], order["reason"], order["units"] % 10) == ("buy", "enter long", 0.0)
    assert 0 <= 100_000 - order["units"] * order["reference_price"] < 10 * order["reference_price"]
    nothing = touchstone("agents", "orders", spec, "--market", "sample:sp500", "--held", "SP500=3")
    assert "wants no change" in nothing.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("panel_mometum",), "there is no agent 'panel_mometum' and no such file; did you mean 'panel_momentum'?"),
        (("golden_cross", "--held", "SP500"), "--held: 'SP500' is not SYMBOL=UNITS"),
        (("golden_cross", "--held", "SP500=many"), "--held: 'SP500=many' is not SYMBOL=UNITS"),
        (
            ("golden_cross", "--held", "SP50=1"),
            "'SP50' is held, but the market has no such symbol; did you mean 'SP500'?",
        ),
    ],
)
def test_orders_that_cannot_be_made_end_with_a_sentence(
    touchstone: Callable[..., Any], options: tuple[str, ...], sentence: str
) -> None:
    answer = touchstone("agents", "orders", *options, "--market", "sample:sp500")
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.error


def test_an_agent_stands_beside_holding_the_market(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("agents", "show", "golden_cross")
    assert "against holding the market" in answer.out
    metrics = touchstone("agents", "show", "golden_cross", "--json").event("agent")["metrics"]
    # Half of the time in the market: a beta between none and all of it.
    assert 0.0 < metrics["beta"] < 1.0
    assert "information ratio" in answer.out


def test_metrics_against_a_market_that_nobody_named_are_not_shown(touchstone: Callable[..., Any], judged: Any) -> None:
    page = touchstone("review", "show", touchstone("review", "list", "--json").events[0]["slot_id"]).out
    assert "break even cost bps" in page
    assert "information ratio" not in page
