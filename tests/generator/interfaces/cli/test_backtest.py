import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.archive.store import Archive

GOLDEN = ("backtest", "golden_cross", "--market", "sample:sp500")


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def test_golden_cross_on_the_sample_prints_its_figures(touchstone: Callable[..., Any], home: Path) -> None:
    answer = touchstone(*GOLDEN)
    assert answer.code == 0
    event = touchstone(*GOLDEN, "--json").event("backtest")
    assert f"1,000,000.00 became {event['final_equity']:,.2f}" in answer.out
    assert f"costs paid {event['costs_paid']:,.2f}" in answer.out
    assert "One backtest is one look, not a verdict" in answer.out
    assert all(math.isfinite(number) for number in numbers(event))
    # What the account holds at the end is what it began with and what it gained.
    assert event["final_equity"] == pytest.approx(1e6 * (1 + event["metrics"]["total_return"]), rel=1e-9)
    assert event["metrics"]["n_trades"] == 2
    assert event["metrics"]["profit_factor"] is None  # no losing trade to divide by
    # Looking needs no workspace, and makes none.
    assert not home.exists()


def test_capital_costs_and_trades_do_something(touchstone: Callable[..., Any]) -> None:
    def equity(*options: str) -> float:
        return float(touchstone(*GOLDEN, "--json", *options).event("backtest")["final_equity"])

    usual = equity()
    # Costs are in proportion to what is traded, so ten times less capital ends with ten times less.
    assert equity("--capital", "100000") == pytest.approx(usual / 10, rel=1e-9)
    assert equity("--costs", "free") > usual
    assert "Last 1 of 2 trades" in touchstone(*GOLDEN, "--trades", "1").out
    assert "trades" not in touchstone(*GOLDEN, "--trades", "0").out.replace("n trades", "")


def test_warnings_about_the_data_go_to_stderr(touchstone: Callable[..., Any]) -> None:
    answer = touchstone(*GOLDEN, "--json")
    assert "data: warning not-tradable" in answer.err
    assert len(answer.events) == 1


def test_a_narrow_screen_does_not_break_it(touchstone: Callable[..., Any]) -> None:
    for columns in ("60", "20", "1"):
        assert touchstone(*GOLDEN, COLUMNS=columns).code == 0


def test_an_illegal_spec_trades_nothing(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"kind": "rules", "name": "bad", "long": {"enter": "emaa(close, 3) > 1"}}))
    answer = touchstone("backtest", file, "--market", "sample:sp500")
    assert answer.code == 3
    assert 'did you mean "ema"' in answer.out
    assert "became" not in answer.out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00\x01", "is not UTF-8 text"),
        (b"Date,Close\n2020-01-02,abc\n", "'abc' is not a number"),
        (b"Date,Close\n2020-01-02,inf\n", "is not a number"),
        (b"Date,Close\n2020-01-02\n", "1 cells, the header has 2"),
        (b"a,b\n1,2\n", "prices.csv"),
        (b"Date,Open,High,Low,Close\n2020-01-02,1,1,1,1\n", "has 1 bars, an open and a sealed window need"),
    ],
)
def test_unusable_data_ends_with_4_and_one_sentence(
    touchstone: Callable[..., Any], tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "prices.csv"
    file.write_bytes(content)
    answer = touchstone("backtest", "golden_cross", "--market", f"csv:{file}")
    assert (answer.code, answer.out) == (4, "")
    assert sentence in answer.error


def test_a_missing_file_ends_with_4(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    answer = touchstone("backtest", "golden_cross", "--market", f"csv:{tmp_path / 'no.csv'}")
    assert answer.code == 4
    assert "no such file or directory" in answer.error


def test_a_negative_price_is_a_verdict_on_the_data_with_the_way_around_it(
    touchstone: Callable[..., Any], price_file: Callable[..., Path]
) -> None:
    closes = [50.0 + i % 5 for i in range(900)]
    closes[400] = -36.98
    market = f"csv:{price_file(closes)}"
    answer = touchstone("backtest", "golden_cross", "--market", market)
    assert (answer.code, answer.out) == (4, "")
    # The 401st weekday from Monday 2010-01-04: 80 weeks and one day later, the first is Monday 2011-07-18.
    assert "2011-07-18: " in answer.error
    assert "-36.98 is not positive" in answer.error
    assert f"{market}?to=2011-07-15" in answer.error
    assert "inf" not in answer.error.lower().replace("undefined", "")
    as_json = touchstone("backtest", "golden_cross", "--market", market, "--json")
    assert as_json.event("error")["exit_code"] == 4


def test_before_a_price_that_is_not_positive_the_market_can_be_traded(
    touchstone: Callable[..., Any], price_file: Callable[..., Path]
) -> None:
    closes = [round(50.0 + 20.0 * math.sin(t / 90.0) + math.cos(2.4 * t), 2) for t in range(1500)]
    closes[1400] = -36.98
    market = f"csv:{price_file(closes)}"
    answer = touchstone("backtest", "golden_cross", "--market", market)
    assert (answer.code, answer.out) == (4, "")
    assert "-36.98 is not positive" in answer.error
    assert "no row was dropped" in answer.error
    part = touchstone("backtest", "golden_cross", "--market", f"{market}?to=2015-05-15", "--json")
    assert part.code == 0
    assert all(math.isfinite(number) for number in numbers(part.event("backtest")))


def test_a_flat_market_has_undefined_figures_and_no_infinite_ones(
    touchstone: Callable[..., Any], price_file: Callable[..., Path]
) -> None:
    market = f"csv:{price_file([100.0] * 1500)}"
    answer = touchstone("backtest", "golden_cross", "--market", market, "--json")
    assert answer.code in (0, 4)
    if answer.code == 0:
        assert answer.event("backtest")["metrics"]["sharpe_ratio"] is None


def test_a_look_is_a_trial_where_there_is_a_workspace(touchstone: Callable[..., Any], judged: Any, home: Path) -> None:
    with Archive.open(home / "touchstone.db") as archive:
        before = archive.count_trials()
    assert touchstone(*GOLDEN).code == 0
    with Archive.open(home / "touchstone.db") as archive:
        assert archive.count_trials() == before + 1


def test_showing_the_sealed_window_is_recorded_and_breaks_the_seal(
    touchstone: Callable[..., Any], judged: Any, home: Path
) -> None:
    market = "synthetic:trend?years=20&seed=1"
    answer = touchstone("backtest", "golden_cross", "--market", market, "--window", "all", "--json")
    assert answer.code == 0
    assert answer.event("backtest")["last"] == "2020-12-31"
    assert "no later run on it is judged blindly" in answer.err
    launch = touchstone("evolve", "--market", market, "--slots", "3", "--json").event("launch")
    assert launch["seal_broken"]
    shown = touchstone("runs", "show")
    assert shown.code == 0
    assert "0 pass" in shown.out
    assert "Nobody was judged blindly, only by length" in shown.out
    audit = touchstone("doctor", "--json").events
    assert all(check["healthy"] for check in audit)


def test_without_a_workspace_the_sealed_window_can_be_shown_too(touchstone: Callable[..., Any], home: Path) -> None:
    answer = touchstone(*GOLDEN, "--window", "all", "--json")
    assert answer.code == 0
    assert answer.event("backtest")["last"] == "2018-12-31"


PANEL = "synthetic:planted-panel?years=7&seed=1&assets=6"


def test_on_a_panel_each_symbol_has_its_share_and_the_profits_add_up(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("backtest", "golden_cross", "--market", PANEL)
    assert answer.code == 0
    assert "Each symbol trades by itself on its own share, 1/6 of the account." in answer.out
    event = touchstone("backtest", "golden_cross", "--market", PANEL, "--json").event("backtest")
    assert len(event["symbols"]) == 6
    earned = sum(event["profit_by_symbol"].values())
    assert earned == pytest.approx(event["final_equity"] - event["capital"], abs=1e-3)


def test_a_portfolio_trades_a_panel_and_not_a_single_asset(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "kind: portfolio\nname: winners\nhypothesis: x\nscore: roc(close, 60)\nneutralise: sector\n"
        "select: {kind: count, count: 2}\ndirection: both\n"
    )
    answer = touchstone("backtest", str(file), "--market", PANEL)
    assert answer.code == 0
    assert "one account for all" in answer.out
    alone = touchstone("backtest", str(file), "--market", "sample:sp500")
    assert alone.code == 3
    assert "a portfolio chooses among several assets" in alone.out


SLOW = {
    "kind": "ensemble",
    "name": "slow_weights",
    "hypothesis": "x",
    "weights": "inverse_volatility",
    "window": 1000,
    "members": [
        {"spec": {"kind": "score", "name": "up_one", "hypothesis": "x", "score": "roc(close, 20)"}},
        {"spec": {"kind": "score", "name": "down_one", "hypothesis": "x", "score": "-zscore(close, 5)"}},
    ],
}


def test_a_long_warm_up_is_no_performance_the_window_begins_after_it(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "slow.json"
    file.write_text(json.dumps(SLOW))
    event = touchstone("backtest", file, "--market", "sample:sp500", "--json").event("backtest")
    # roc(close, 20) is known at bar 20, and its weight 1000 bars later: what all rules of a run share begins at 300.
    assert (event["warmup_bars"], event["first_bar"]) == (1020, 1020)
    usual = touchstone(*GOLDEN, "--json").event("backtest")
    assert (usual["warmup_bars"], usual["first_bar"]) == (200, 300)
    assert event["last"] == usual["last"]  # the sealed window begins where it did
    said = touchstone("backtest", file, "--market", "sample:sp500").out
    assert "The window begins at bar 1020, after the warm-up of this rule; for all rules of a run it begins" in said
    assert "for all rules of a run" not in touchstone(*GOLDEN).out


def test_many_rules_share_a_window_and_one_that_needs_more_is_left_out(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "many.jsonl"
    short = {"kind": "score", "name": "up_one", "hypothesis": "x", "score": "roc(close, 20)"}
    file.write_text(json.dumps(SLOW) + "\n" + json.dumps(short))
    answer = touchstone("backtest", file, "--market", "sample:sp500")
    assert answer.code == 3
    assert "window: needs 1020 bars of warm-up (its window included), allowed are 300" in answer.err


def test_what_is_never_known_in_the_window_is_refused_with_its_sentence(
    touchstone: Callable[..., Any], tmp_path: Path, price_file: Callable[..., Path]
) -> None:
    file = tmp_path / "slow.json"
    file.write_text(json.dumps(SLOW))
    prices = price_file([50.0 + i % 7 for i in range(900)])
    answer = touchstone("backtest", file, "--market", f"csv:{prices}", "--window", "all")
    assert answer.code == 3
    # 900 bars less one to decide on and one to trade on.
    assert "needs 1020 bars of warm-up (its window included), allowed are 898; use shorter windows" in answer.out


def test_a_short_history_is_traded_as_a_whole_where_that_is_asked_for(
    touchstone: Callable[..., Any], price_file: Callable[..., Path], judged: Any, home: Path
) -> None:
    market = f"csv:{price_file([50.0 + i % 7 + i / 50 for i in range(900)])}"
    refused = touchstone("backtest", "golden_cross", "--market", market)
    assert refused.code == 4
    assert "has 900 bars, an open and a sealed window need 1162" in refused.error
    assert "--window all" in refused.error
    answer = touchstone("backtest", "golden_cross", "--market", market, "--window", "all", "--json")
    assert answer.code == 0
    event = answer.event("backtest")
    # sma(close, 200) is known at bar 199, its cross a bar later: 40 weeks of 5 weekdays from Monday 2010-01-04.
    assert (event["first_bar"], event["first"]) == (200, "2010-10-11")
    assert "all of it is traded after the warm-up, and nothing is left to judge a rule on" in answer.err
    with Archive.open(home / "touchstone.db") as archive:
        opened = archive.earlier_openings("", "2010-01-01", "2014-01-01", bars_id=event["bars_id"])[-1]
    # What was shown counts as seen, should a longer history of the same symbol come.
    assert (opened.kind, opened.first_session, opened.last_session) == ("shown", event["first"], event["last"])


def test_a_rule_stands_beside_holding_the_market(touchstone: Callable[..., Any]) -> None:
    event = touchstone("backtest", "buy_and_hold", "--market", "sample:sp500", "--costs", "free", "--json").event(
        "backtest"
    )
    # Bought at the open after the window's first close and held: the same as the benchmark but for the first day.
    assert event["benchmark"]["kind"] == "hold"
    assert event["metrics"]["beta"] == pytest.approx(1.0, abs=0.01)
    assert event["metrics"]["alpha"] == pytest.approx(0.0, abs=0.01)
    assert event["metrics"]["total_return"] == pytest.approx(event["benchmark"]["total_return"], abs=0.02)
    answer = touchstone(*GOLDEN)
    assert "against holding SP500 from close to close, free of costs, which returned" in answer.out
    panel = touchstone("backtest", "golden_cross", "--market", PANEL)
    assert "against holding equal shares of the symbols with a price" in panel.out


def test_terms_and_costs_come_from_files(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    costs, terms = tmp_path / "costs.yaml", tmp_path / "terms.json"
    costs.write_text(
        "commission_bps: 1\nhalf_spread_bps: 1\nslippage_bps: 1\nborrow_annual: 0.005\nfinancing_annual: 0.05\n"
    )
    usual = touchstone(*GOLDEN, "--json").event("backtest")
    assert (
        touchstone(*GOLDEN, "--json", "--costs", str(costs)).event("backtest")["final_equity"] == usual["final_equity"]
    )
    terms.write_text('{"fill": "close", "multiplier": 50, "lot": 1, "roll_every": 63, "delisted_after": 5}')
    event = touchstone(*GOLDEN, "--json", "--terms", str(terms)).event("backtest")
    assert event["terms"]["fill"] == "close"
    assert event["terms"]["multiplier"] == 50
    assert event["final_equity"] != usual["final_equity"]
    with_impact = costs.read_text() + "impact: 1.0\nparticipation: 0.0000001\n"
    costs.write_text(with_impact)
    answer = touchstone(*GOLDEN, "--costs", str(costs))
    assert "were dropped: more than the market takes in a bar" in answer.out


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("--terms", "multiplyer: 5", "did you mean 'multiplier'"),
        ("--terms", "lot: many", "lot is 'many', wanted is a number"),
        ("--terms", "roll_every: 1.5", "wanted is a whole number"),
        ("--terms", "fill: noon", "terms.fill is 'noon', allowed is open or close"),
        ("--terms", "funding: 3", "wanted is a word"),
        ("--terms", "haircut: [1]", "haircut is one number, not a list"),
        ("--terms", "multiplier: [1, 2]", "terms.multiplier has 2 numbers, the bars hold 1 symbols"),
        ("--terms", "funding: perp", "funding reads the feature 'perp'"),
        ("--costs", "commission_bps: 1", "half_spread_bps, slippage_bps, borrow_annual, financing_annual is missing"),
        ("--costs", "[1]", "no mapping of names to values"),
    ],
)
def test_a_file_that_says_nothing_usable_is_refused(
    touchstone: Callable[..., Any], tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    answer = touchstone(*GOLDEN, name, str(file))
    assert answer.code in (2, 3)
    assert sentence in answer.error
    missing = touchstone(*GOLDEN, name, str(tmp_path / "none.yaml"))
    assert missing.code in (2, 3)
