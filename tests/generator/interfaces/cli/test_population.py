import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.hashing import content_id
from backtesting.splits import plan_split
from backtesting.statistics import expected_max_sharpe

MARKET = ("--market", "sample:sp500")
N_RULES = 12


def rule(fast: int, slow: int = 50, **more: Any) -> dict[str, Any]:
    return {
        "kind": "rules",
        "name": f"cross_{fast}_{slow}",
        "hypothesis": "Trends last.",
        "long": {
            "enter": f"sma(close, {fast}) > sma(close, {slow})",
            "exit": f"sma(close, {fast}) < sma(close, {slow})",
        },
        **more,
    }


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twelve rules, most with a stop; an empty line is no spec."""
    rules = [rule(fast, protect={"stop_share": 0.05} if fast % 3 else {}) for fast in range(5, 5 + N_RULES)]
    file = tmp_path / "many.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rules)) + "\n", encoding="utf-8")
    return file


def candidates(answer: Any) -> list[dict[str, Any]]:
    return [event for event in answer.events if event["event"] == "candidate"]


def test_each_of_many_is_what_it_is_alone(touchstone: Callable[..., Any], many: Path, home: Path) -> None:
    together = touchstone("backtest", many, *MARKET, "--json")
    assert together.code == 0
    found = candidates(together)
    assert [event["file"] for event in found] == [f"many.jsonl:{1 + 2 * i}" for i in range(N_RULES)]
    for event in found[:4]:
        alone = touchstone("backtest", many, *MARKET, "--only", event["name"], "--json").event("backtest")
        assert alone["spec_id"] == event["spec_id"]
        assert alone["final_equity"] == pytest.approx(event["metrics"]["final_equity"], rel=1e-12)
        assert alone["metrics"]["n_trades"] == event["metrics"]["n_trades"]
        for name in ("sharpe_ratio", "max_drawdown"):
            assert alone["metrics"][name] == pytest.approx(event["metrics"][name], rel=1e-9)
    assert not home.exists()


def test_the_best_come_first_and_beside_what_luck_would_show(touchstone: Callable[..., Any], many: Path) -> None:
    answer = touchstone("backtest", many, *MARKET, "--top", "3")
    assert answer.code == 0
    said = touchstone("backtest", many, *MARKET, "--json")
    sharpe = sorted((event["metrics"]["sharpe_ratio"], event["name"]) for event in candidates(said))[::-1]
    rows = [line.split() for line in answer.out.splitlines() if line.startswith("cross_")]
    assert [(row[0], row[1]) for row in rows] == [(name, f"{value:.2f}") for value, name in sharpe[:3]]
    assert "3 of 12 rules by Sharpe ratio" in answer.out
    event = said.event("population")
    window = plan_split(fetch_bars("sample:sp500")).open
    luck = expected_max_sharpe(N_RULES, window.n_bars, 252)
    assert (event["n_rules"], event["best_sharpe"]) == (N_RULES, sharpe[0][0])
    assert event["expected_max_sharpe"] == luck
    assert f"luck alone would show {event['expected_max_sharpe']:.2f}" in answer.out
    assert "this is no verdict" in answer.out


def test_what_is_not_legal_is_named_and_the_others_run(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    same = rule(5) | {"name": "the_same_again"}
    far = rule(5, 1_900) | {"name": "too_far_back"}
    lines = [json.dumps(rule(5)), '{"kind": "rules"', json.dumps(rule(6) | {"long": {"enter": "rsii(close, 3) < 9"}})]
    file.write_text("\n".join([*lines, json.dumps(same), json.dumps(far)]), encoding="utf-8")
    answer = touchstone("backtest", file, *MARKET)
    assert answer.code == 3
    assert "1 of 1 rules by Sharpe ratio" in answer.out
    assert "mixed.jsonl:2: the JSON is broken" in answer.err
    assert 'did you mean "rsi"' in answer.err
    assert "mixed.jsonl:5: " in answer.err
    assert "3 of 5 specs are not legal here and were left out; touchstone validate" in answer.err
    assert "1 of 5 specs say in other words what an earlier one says; each rule is run once" in answer.err
    events = touchstone("backtest", file, *MARKET, "--json").events
    assert [event["file"] for event in events if event["event"] == "invalid"] == [
        f"mixed.jsonl:{line}" for line in (2, 3, 5)
    ]
    (repeated,) = [event for event in events if event["event"] == "repeated"]
    assert (repeated["name"], repeated["same_as"]) == ("the_same_again", "mixed.jsonl:1")


def test_a_folder_is_many_specs_too(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    for fast in (5, 6):
        (tmp_path / f"{fast}.json").write_text(json.dumps(rule(fast)))
    (tmp_path / "notes.txt").write_text("no spec")
    found = candidates(touchstone("backtest", tmp_path, *MARKET, "--json"))
    assert [(event["file"], event["name"]) for event in found] == [("5.json", "cross_5_50"), ("6.json", "cross_6_50")]


def test_nothing_legal_runs_nothing(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text("{}\n[1]\nnull\n\x00\n" * 3)
    answer = touchstone("backtest", file, *MARKET)
    assert answer.code == 3
    assert "12 of 12 specs are not legal here and were left out, 7 of them not shown" in answer.err
    assert answer.out == "No legal spec is left; nothing was run.\n"


@pytest.mark.parametrize("workers", ["1", "3", "processes:2"])
def test_workers_do_not_change_a_byte(touchstone: Callable[..., Any], many: Path, workers: str) -> None:
    usual = touchstone("backtest", many, *MARKET, "--parts", "3", "--json")
    assert touchstone("backtest", many, *MARKET, "--parts", "3", "--json", "--workers", workers).out == usual.out


def test_parts_are_traded_one_by_one_flat_at_their_start(touchstone: Callable[..., Any], many: Path) -> None:
    answer = touchstone("backtest", many, *MARKET, "--parts", "4", "--json")
    for event in candidates(answer):
        assert len(event["parts"]) == 4
        # A position over a border of two parts is one trade of the whole and one of each part, at most.
        trades = sum(part["n_trades"] for part in event["parts"])
        assert event["metrics"]["n_trades"] <= trades + 3
        assert trades <= event["metrics"]["n_trades"] + 3
    table = touchstone("backtest", many, *MARKET, "--parts", "4").out
    assert "parts > 0" in table
    assert "/4" in table


def test_a_look_at_many_is_as_many_trials(touchstone: Callable[..., Any], many: Path, judged: Any, home: Path) -> None:
    with Archive.open(home / "touchstone.db") as archive:
        before = archive.count_trials()
    answer = touchstone("backtest", many, *MARKET)
    assert "12 trials were entered into the ledger of this workspace" in answer.err
    with Archive.open(home / "touchstone.db") as archive:
        assert archive.count_trials() == before + N_RULES
        assert {trial.purpose for trial in archive.trials()[-N_RULES:]} == {"open"}


def test_showing_the_sealed_window_to_many_breaks_the_seal(
    touchstone: Callable[..., Any], many: Path, judged: Any, home: Path
) -> None:
    answer = touchstone("backtest", many, *MARKET, "--window", "all", "--json")
    event = answer.event("population")
    assert event["last"] == "2018-12-31"
    assert "no later run on it is judged blindly" in answer.err
    with Archive.open(home / "touchstone.db") as archive:
        (opening,) = archive.earlier_openings("", event["first"], event["last"], bars_id=event["bars_id"])
    assert (opening.kind, opening.n_nominees) == ("shown", N_RULES)
    assert opening.nomination_id == content_id([candidate["spec_id"] for candidate in candidates(answer)])


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--workers", "0"), 2, "unknown workers '0'"),
        (("--workers", "threads:3"), 2, "give a number of threads, processes:NUMBER, or ray"),
        (("--parts", "900"), 2, "cannot be cut into 900 parts"),
        (("--only", "cross_5_51"), 3, "did you mean 'cross_5_50'?"),
    ],
)
def test_wrong_options_end_with_one_sentence(
    touchstone: Callable[..., Any], many: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    answer = touchstone("backtest", many, *MARKET, *options)
    assert (answer.code, answer.out) == (code, "")
    assert sentence in answer.error


def test_options_for_many_are_refused_for_one(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("backtest", "golden_cross", *MARKET, "--top", "3")
    assert answer.code == 2
    assert "golden_cross is one spec, and --only, --top, --parts and --workers are for many" in answer.error


def test_an_empty_folder_holds_no_spec(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    answer = touchstone("backtest", tmp_path, *MARKET)
    assert answer.code == 3
    assert "holds no spec" in answer.error
