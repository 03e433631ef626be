"""From `evolve --replace` to a retired incumbent: what was claimed is what may be done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REASON = "the margin is wide and costs are covered"
# Twice the default edge: its rule has to beat the cross day by day, whose returns are another bet.
MARKET = "synthetic:planted?years=20&seed=1&edge=4"
RULE = {
    "kind": "rules",
    "name": "surge_rule",
    "hypothesis": "Volume leads.",
    "long": {"enter": "volume > 1.5 * sma(volume, 20)", "exit": "volume <= 1.5 * sma(volume, 20)"},
    "sizing": {"kind": "fraction", "fraction": 1.0},
}


@pytest.fixture
def evolve(touchstone: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`evolve(*options)` judges the one rule that the market was made for."""
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"purpose": "propose", "reply": RULE}), encoding="utf-8")
    argv = ("evolve", "--market", MARKET, "--slots", "1", "--llm", f"scripted:{script}", "--arms", "llm=1")
    return lambda *options: touchstone(*argv, *options)


def test_what_passed_in_a_place_may_take_it_and_the_incumbent_retires(
    touchstone: Callable[..., Any], evolve: Callable[..., Any]
) -> None:
    answer = evolve("--replace", "golden_cross")
    assert "the claims     each candidate to add to the book, and to take the place of golden_cross" in answer.err
    assert "surge_rule passed to add to the book and in the place of golden_cross." in answer.out
    page = touchstone("review", "show", "surge_rule")
    assert "Claimed: that it adds something to the book, and that it is better than golden_cross. Judged" in page.out
    assert "Claim: add to the book: pass" in page.out
    assert "Claim: replace golden_cross: pass" in page.out
    assert "In place of golden_cross: pass: every gate holds" in page.out
    approved = touchstone("review", "approve", "surge_rule", "--reason", REASON)
    assert "It may take the place of golden_cross, which then retires (--replace)." in approved.out
    other = touchstone("agents", "promote", "surge_rule", "--replace", "macd_trend")
    assert other.code == 8
    assert (
        "cannot take the place of macd_trend: it passed to be added to the book and replace golden_cro" in other.error
    )
    done = touchstone("agents", "promote", "surge_rule", "--replace", "golden_cross", "--json").event("promotion")
    assert (done["name"], done["state"], done["retired"]) == ("surge_rule", "shadow", ["golden_cross"])
    history = touchstone("agents", "show", "golden_cross", "--market", MARKET, "--json").event("agent")["history"]
    assert (history[-1]["from"], history[-1]["to"], history[-1]["who"]) == ("active", "retired", "ann")
    assert history[-1]["reason"].startswith("replaced by surge_rule, which was shown to earn more on the same days")


def test_a_pass_to_join_alone_takes_no_place(touchstone: Callable[..., Any], evolve: Callable[..., Any]) -> None:
    assert evolve().code == 0
    assert (
        "Claimed: that it adds something to the book. Judged blindly" in touchstone("review", "show", "surge_rule").out
    )
    assert touchstone("review", "approve", "surge_rule", "--reason", REASON).code == 0
    answer = touchstone("agents", "promote", "surge_rule", "--replace", "golden_cross")
    assert answer.code == 8
    assert "surge_rule cannot take the place of golden_cross: it passed to be added to the book" in answer.error
    assert "touchstone evolve --replace golden_cross" in answer.error
    states = {event["name"]: event["state"] for event in touchstone("agents", "list", "--json").events}
    assert states["golden_cross"] == "active"
    assert "surge_rule" not in states


def test_a_place_that_nobody_holds_ends_with_2_before_the_run(
    touchstone: Callable[..., Any], evolve: Callable[..., Any]
) -> None:
    answer = evolve("--replace", "golden_cros")
    assert answer.code == 2
    assert "there is no agent 'golden_cros'; did you mean 'golden_cross'?" in answer.error
    assert touchstone("runs", "list", "--json").out == ""


def test_too_few_days_after_a_cutoff_end_with_4_before_the_run(touchstone: Callable[..., Any]) -> None:
    # The sample ends in 2018, before everything that this model may know.
    llm = ("--llm", "openai:gpt-5.5@http://127.0.0.1:9/v1", "--after-cutoff")
    answer = touchstone("evolve", "--market", "sample:sp500", "--slots", "1", *llm, OPENAI_API_KEY="none")
    assert answer.code == 4
    assert (
        "has 0 sealed bars after 2025-11-29, which openai:gpt-5.5@http://127.0.0.1:9/v1 may know up to" in answer.error
    )
    assert touchstone("runs", "list", "--json").out == ""


def test_after_an_unknown_cutoff_no_day_is_known_to_be_blind(touchstone: Callable[..., Any]) -> None:
    llm = ("--llm", "openai:nobodys@http://127.0.0.1:9/v1", "--after-cutoff")
    answer = touchstone("evolve", "--market", "sample:sp500", "--slots", "1", *llm, OPENAI_API_KEY="none")
    assert answer.code == 4
    assert "no day is known to come after what openai:nobodys@http://127.0.0.1:9/v1 has read" in answer.error
    assert "its model nobodys is not in the table of cutoffs; nothing was asked" in answer.error
    assert "ask a model with a published cutoff, or leave --after-cutoff out" in answer.error
    assert touchstone("runs", "list", "--json").out == ""


def test_calibrate_measures_the_test_by_length_and_says_what_cannot_be_drawn(touchstone: Callable[..., Any]) -> None:
    cell = ("--families", "occam-factor", "--years", "5", "--alpha", "0.05", "--reps", "3")
    row = touchstone("calibrate", *cell, "--candidates", "16", "--json").event("calibration")
    assert (row["family"], row["candidates"], row["replications"]) == ("occam-factor", 16, 3)
    refused = touchstone("calibrate", *cell, "--candidates", "100000")
    assert refused.code == 2
    assert "an oracle over more than 8192 sentences cannot be drawn" in refused.error
