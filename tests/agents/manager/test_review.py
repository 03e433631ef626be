from collections.abc import Callable
from typing import Any

import pytest

from agents.archive.records import Review
from agents.archive.store import Archive
from agents.manager.review import decide, digest_of, find_item, review_digest
from backtesting.errors import CheckFailed

REASON = "margin is wide and costs are covered twice"


def say(archive: Archive, ref: str = "breakout", decision: str = "approve", **changes: Any) -> Review:
    given = {"reviewer": "ann", "reason": REASON, "code_version": "0.1.0", **changes}
    return decide(archive, ref, decision, **given)


def test_the_digest_changes_with_each_of_its_parts() -> None:
    report = {"verdict": "pass", "alpha": 0.05}
    base = review_digest("b2:rule", report, "b2:bars", "0.1.0")
    assert base == review_digest("b2:rule", {"alpha": 0.05, "verdict": "pass"}, "b2:bars", "0.1.0")
    others = {
        review_digest("b2:other", report, "b2:bars", "0.1.0"),
        review_digest("b2:rule", {**report, "alpha": 0.04}, "b2:bars", "0.1.0"),
        review_digest("b2:rule", report, "b2:others", "0.1.0"),
        review_digest("b2:rule", report, "b2:bars", "0.1.1"),
    }
    assert len(others | {base}) == 5


def test_an_approval_is_kept_with_digest_and_audit_row(archive: Archive) -> None:
    item = find_item(archive, "breakout")
    review = say(archive, digest=digest_of(archive, item, "0.1.0"))
    assert archive.reviews("r1/0000") == (review,)
    assert (review.decision, review.reviewer, review.reason) == ("approve", "ann", REASON)
    assert review.digest == review_digest("b2:breakout-rule", item.report.report, "b2:bars", "0.1.0")
    assert [row.action for row in archive.audit_rows("r1/0000")] == ["review.approve"]
    assert archive.agents() == ()


@pytest.mark.parametrize("ref", ["r1/0002", "b2:reversal-rule", "reversal", "0002", "reversal-ru"])
def test_a_candidate_goes_by_slot_spec_name_or_part_of_an_id(archive: Archive, ref: str) -> None:
    assert find_item(archive, ref).candidate.slot_id == "r1/0002"


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("brekout", "no candidate 'brekout' is up for review; did you mean 'breakout'"),
        ("zzz", "no candidate 'zzz' is up for review; nothing was changed"),
        ("", "no candidate '' is up for review"),
        ("02", "no candidate '02' is up for review"),
        ("rule", "'rule' names 4 candidates: r1/0000, r1/0001, r1/0002, r1/0003"),
    ],
)
def test_an_unknown_candidate_is_refused_with_the_nearest(archive: Archive, ref: str, sentence: str) -> None:
    with pytest.raises(CheckFailed, match=sentence):
        say(archive, ref)
    (row,) = (row for row in archive.audit_rows() if row.action == "review.refused")
    assert row.subject == ref


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reason": "looks good"}, r"the reason has 10 characters, a review needs 15"),
        ({"reason": "   looks good        "}, r"the reason has 10 characters"),
        ({"reviewer": "  "}, "a review needs the name of the reviewer"),
        ({"decision": "aprove"}, "'aprove' is no decision; did you mean 'approve'"),
        ({"digest": "b2:old"}, "the evidence on breakout is stale: it is not what was shown"),
        ({"code_version": "0.2.0"}, r"is stale: it was judged by version 0.1.0, this is 0.2.0"),
        ({"ref": "reversal"}, "reversal cannot be approved, its verdict is 'fail'; .*--waive"),
        ({"ref": "drift"}, "drift cannot be approved, its verdict is 'underpowered'; .*--waive"),
        ({"decision": "waive"}, "breakout passed the gate and needs no waiver"),
    ],
)
def test_a_refused_attempt_changes_nothing_but_the_audit_trail(
    archive: Archive, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(CheckFailed, match=sentence) as error:
        say(archive, **changes)
    assert error.value.exit_code == 8
    assert len(archive.review_queue()) == 4
    assert archive.agents() == ()
    last = archive.audit_rows()[-1]
    assert (last.action, last.data["why"]) == ("review.refused", error.value.what)
    assert archive.verify_audit() is None


def test_evidence_changed_by_hand_cannot_be_approved(archive: Archive) -> None:
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER gate_reports_no_update")
        connection.exec_driver_sql("UPDATE gate_reports SET verdict = 'pass', report = '{\"verdict\":\"pass\"}'")
    with pytest.raises(CheckFailed, match="is stale: spec or gate report were changed after the judgement"):
        say(archive, "reversal")


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject", "defer"])
def test_what_is_decided_is_decided(archive: Archive, first: str, second: str) -> None:
    say(archive, decision=first)
    with pytest.raises(CheckFailed, match=f"breakout was decided already: {first} by ann on 2030-01-01"):
        say(archive, decision=second)


def test_a_deferred_candidate_stays_in_the_queue(archive: Archive) -> None:
    say(archive, decision="defer")
    say(archive, decision="defer")
    assert len(archive.review_queue()) == 4
    say(archive, decision="reject")
    assert [item.candidate.name for item in archive.review_queue()] == ["squeeze", "reversal", "drift"]


@pytest.mark.parametrize("name", ["reversal", "drift"])
def test_a_waiver_sends_to_shadow_and_says_so(archive: Archive, name: str) -> None:
    review = say(archive, name, "waive", reason="clean evidence has to come from forward data")
    (agent,) = archive.agents()
    assert (agent.agent_id, agent.state, agent.origin) == (name, "shadow", "random")
    (entered,) = archive.transitions(name)
    assert (entered.from_state, entered.to_state, entered.review_id) == (None, "shadow", review.review_id)
    assert entered.reason.startswith("waiver of a verdict ")
    assert archive.verify_audit() is None


def test_a_waiver_that_is_interrupted_happened_not_at_all(make_archive: Callable[[], Archive], clock: Any) -> None:
    """The n-th look at the clock is the last one, for n = 1, 2, ... until the waiver goes through."""
    for steps in range(20):
        archive = make_archive()
        clock.break_at = clock.looks + steps
        try:
            say(archive, "reversal", "waive")
        except KeyboardInterrupt:
            assert archive.agents() == ()
            assert archive.reviews("r1/0002") == ()
            assert archive.verify_audit() is None
        else:
            # Review, its audit row, agent, transition, its audit row.
            assert steps == 5
            assert len(archive.agents()) == len(archive.reviews("r1/0002")) == 1
            return
    pytest.fail("the waiver never went through")
