import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agents.manager import review as bench

REASON = "the margin is wide and costs are covered"


def test_the_queue_shows_what_waits_with_its_verdict(touchstone: Callable[..., Any], judged: Any) -> None:
    events = touchstone("review", "list", "--json").events
    verdicts = {event["name"]: event["verdict"] for event in events}
    # The rule that the market was made for passes; no other of the four can, they know nothing of volume.
    assert verdicts.pop("surge_rule") == "pass"
    assert set(verdicts) == {"dip_rule", "cross_rule", "calm_rule"}
    assert "pass" not in verdicts.values()
    assert {event["decision"] for event in events} == {None}
    table = touchstone("review", "list").out
    assert all(name in table for name in ("surge_rule", *verdicts))


def test_an_empty_queue_says_how_to_fill_it(touchstone: Callable[..., Any], home: Path) -> None:
    assert touchstone("agents", "list", "--market", "synthetic:trend?years=6").code == 0
    answer = touchstone("review", "list")
    assert answer.code == 0
    assert answer.out.startswith("The queue is empty. Fill it: touchstone evolve")
    assert touchstone("review", "list", "--json").out == ""


def test_a_page_has_verdict_and_numbers_before_words(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("review", "show", "surge_rule")
    assert answer.code == 0
    places = [
        answer.out.index(part)
        for part in ("surge_rule: pass", "What it does", "Gates", "Against the incumbents", "which no gate has read")
    ]
    assert places == sorted(places)
    assert "proposed by the model" in answer.out
    event = touchstone("review", "show", "surge_rule", "--json").event("review_item")
    assert event["digest"] in answer.out
    # A page shows no number of the sealed window, not even of what passed.
    sealed = [result for result in event["report"]["results"] if result["name"].startswith("sealed")]
    assert sealed
    assert {(result["statistic"], result["margin"]) for result in sealed} == {(None, None)}


def test_words_of_a_model_are_shown_as_text(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("review", "show", "surge_rule", COLUMNS="60")
    assert "[red]push[/red] </b><script>alert(1)</script> [link=https://example.org]prices[/link]" in answer.out
    assert "\x1b" not in answer.out
    assert "Red flag: the claim holds markup, an address. It is shown as plain text only." in " ".join(
        answer.out.split()
    )
    assert touchstone("review", "show", "surge_rule", "--json").event("review_item")["red_flags"] == [
        "markup",
        "an address",
    ]
    assert "Red flag" not in touchstone("review", "show", "dip_rule").out


def test_escapes_that_got_into_the_database_stay_off_the_screen(
    touchstone: Callable[..., Any], judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The language refuses such a text, so only another writer of the database could have put it there.
    find = bench.find_item

    def found(*arguments: Any) -> Any:
        from dataclasses import replace

        item = find(*arguments)
        spec = dict(item.candidate.spec) | {"hypothesis": "a\x1b[2Jb\u202ec", "name": "x\x1b[31my"}
        return replace(item, candidate=replace(item.candidate, spec=spec))

    monkeypatch.setattr("generator.interfaces.cli.review.find_item", found)
    answer = touchstone("review", "show", "surge_rule")
    assert "a\ufffd[2Jb\ufffdc" in answer.out
    assert "x\ufffd[31my" in answer.out
    assert not set(answer.out) & set("\x1b\u202e")
    assert touchstone("review", "show", "surge_rule", "--json").out.isascii()


def test_a_candidate_goes_by_name_slot_spec_or_a_part_of_an_id(touchstone: Callable[..., Any], judged: Any) -> None:
    event = touchstone("review", "show", "dip_rule", "--json").event("review_item")
    for ref in (event["slot_id"], event["spec_id"], event["spec_id"][:12], event["slot_id"][-7:]):
        assert touchstone("review", "show", ref, "--json").event("review_item")["name"] == "dip_rule"


def test_an_unknown_candidate_ends_with_8_and_the_nearest(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("review", "show", "surge_rul")
    assert answer.code == 8
    assert "did you mean 'surge_rule'?" in answer.error
    assert "touchstone review list" in answer.error


def test_what_passed_is_approved_promoted_and_then_an_agent(touchstone: Callable[..., Any], judged: Any) -> None:
    approved = touchstone("review", "approve", "surge_rule", "--reason", REASON)
    assert approved.code == 0
    assert "surge_rule: approve by ann, recorded." in approved.out
    assert "touchstone agents promote surge_rule" in approved.out
    promoted = touchstone("agents", "promote", "surge_rule", "--json").event("promotion")
    assert (promoted["name"], promoted["state"]) == ("surge_rule", "shadow")
    history = touchstone("agents", "show", "surge_rule", "--json").event("agent")["history"]
    assert [(step["from"], step["to"], step["who"]) for step in history] == [(None, "shadow", "ann")]
    assert "surge_rule" not in touchstone("review", "list").out
    assert "surge_rule" in touchstone("review", "list", "--all").out
    again = touchstone("review", "reject", "surge_rule", "--reason", REASON)
    assert again.code == 8
    assert "surge_rule was decided already: approve by ann" in again.error
    twice = touchstone("agents", "promote", "surge_rule")
    assert twice.code == 8
    assert "is an agent already" in twice.error


def test_what_did_not_pass_cannot_be_approved(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("review", "approve", "dip_rule", "--reason", REASON)
    assert answer.code == 8
    assert "dip_rule cannot be approved, its verdict is 'fail'" in answer.error
    assert "--waive" in answer.error
    promoted = touchstone("agents", "promote", "dip_rule")
    assert promoted.code == 8
    assert "nobody has reviewed it" in promoted.error


def test_a_waiver_sends_to_shadow_and_is_no_promotion(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("review", "approve", "dip_rule", "--waive", "--reason", REASON, "--reviewer", "bob")
    assert answer.code == 0
    assert "by a waiver; this is no promotion" in answer.out
    agent = touchstone("agents", "show", "dip_rule", "--json").event("agent")
    assert agent["state"] == "shadow"
    assert agent["history"][0]["who"] == "bob"
    assert agent["history"][0]["reason"] == f"waiver of a verdict 'fail': {REASON}"
    needless = touchstone("review", "approve", "surge_rule", "--waive", "--reason", REASON)
    assert needless.code == 8
    assert "needs no waiver" in needless.error


def test_rejected_is_final_and_deferred_waits(touchstone: Callable[..., Any], judged: Any) -> None:
    assert touchstone("review", "reject", "cross_rule", "--reason", REASON, "--json").event("review")["decision"] == (
        "reject"
    )
    assert touchstone("review", "defer", "calm_rule", "--reason", REASON).code == 0
    waiting = [event["name"] for event in touchstone("review", "list", "--json").events]
    assert "cross_rule" not in waiting
    assert "calm_rule" in waiting
    page = touchstone("review", "show", "calm_rule")
    assert f"ann: defer, {REASON}" in page.out
    assert touchstone("review", "reject", "calm_rule", "--reason", REASON).code == 0


@pytest.mark.parametrize("reason", ["", "good", "              x"])
def test_a_reason_is_needed_and_has_to_say_something(touchstone: Callable[..., Any], judged: Any, reason: str) -> None:
    answer = touchstone("review", "reject", "dip_rule", "--reason", reason)
    assert answer.code == 8
    assert f"the reason has {len(reason.strip())} characters, a review needs 15" in answer.error
    without = touchstone("review", "reject", "dip_rule")
    assert without.code == 2
    assert "missing option '--reason'" in without.error


def test_a_reason_of_a_stranger_is_shown_inert(touchstone: Callable[..., Any], judged: Any) -> None:
    reason = "[red]markup[/red] and \x1b[2J escapes"
    assert touchstone("review", "defer", "dip_rule", "--reason", reason).code == 0
    page = touchstone("review", "show", "dip_rule").out
    assert "[red]markup[/red] and \ufffd[2J escapes" in page
    assert "\x1b" not in page


def test_evidence_of_other_code_is_stale(
    touchstone: Callable[..., Any], judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert touchstone("review", "approve", "surge_rule", "--reason", REASON).code == 0
    for module in ("review", "agents"):
        monkeypatch.setattr(f"generator.interfaces.cli.{module}.code_version", lambda: "b2:other")
    decided = touchstone("review", "reject", "dip_rule", "--reason", REASON)
    assert decided.code == 8
    assert "the evidence on dip_rule is stale: it was judged by version b2:" in decided.error
    promoted = touchstone("agents", "promote", "surge_rule")
    assert promoted.code == 8
    assert "the approval of surge_rule is stale" in promoted.error
    assert touchstone("agents", "show", "surge_rule").code == 2


def test_a_refused_attempt_is_in_the_audit_trail(touchstone: Callable[..., Any], judged: Any, home: Path) -> None:
    assert touchstone("review", "approve", "dip_rule", "--reason", REASON).code == 8
    with closing(sqlite3.connect(home / "touchstone.db")) as db:
        (table,) = [
            name for (name,) in db.execute("select name from sqlite_master where type='table'") if "audit" in name
        ]
        actions = [action for (action,) in db.execute(f"select action from {table} order by seq")]  # noqa: S608
    assert actions[-1] == "review.refused"
    assert touchstone("doctor").code == 0
