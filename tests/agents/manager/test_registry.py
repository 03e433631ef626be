from collections.abc import Callable
from typing import Any

import pytest

from agents.archive.records import Candidate, RunRecord, Slot, Transition
from agents.archive.store import Archive
from agents.manager.registry import Registry
from agents.manager.review import decide
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import load_spec
from backtesting.errors import CheckFailed, UsageError

REASON = "margin is wide and costs are covered twice"


def approve(archive: Archive, ref: str, decision: str = "approve") -> None:
    decide(archive, ref, decision, reviewer="ann", reason=REASON, code_version="0.1.0")


def promote(archive: Archive, ref: str, version: str = "0.1.0") -> Any:
    return Registry(archive).promote(ref, who="ann", code_version=version)


def test_shipped_incumbents_are_registered_once(archive: Archive) -> None:
    registry = Registry(archive)
    specs = shipped_incumbents()
    added = registry.ensure_shipped(specs)
    assert [agent.agent_id for agent in added] == [spec.name for spec in specs]
    assert {agent.state for agent in registry.agents()} == {"active"}
    assert [load_spec(agent.spec, origin="registry") for agent in registry.agents()] == list(specs)
    assert registry.ensure_shipped(specs) == ()
    (entered,) = registry.history(specs[0].name)
    assert (entered.who, entered.reason, entered.from_state) == ("touchstone", "shipped", None)


def test_a_retired_incumbent_stays_retired(archive: Archive) -> None:
    registry = Registry(archive)
    name = registry.ensure_shipped(shipped_incumbents())[0].agent_id
    archive.add_transition(Transition(name, "active", "retired", "decayed", "ann"))
    assert registry.ensure_shipped(shipped_incumbents()) == ()
    assert registry.agent(name).state == "retired"
    assert name not in [agent.agent_id for agent in registry.agents("active")]


def test_an_unknown_agent_names_the_nearest(archive: Archive) -> None:
    registry = Registry(archive)
    registry.ensure_shipped(shipped_incumbents())
    with pytest.raises(UsageError, match="there is no agent 'golden_cros'; did you mean 'golden_cross'"):
        registry.history("golden_cros")


def test_an_approved_candidate_enters_as_shadow(archive: Archive) -> None:
    approve(archive, "breakout")
    agent = promote(archive, "breakout")
    assert (agent.agent_id, agent.state, agent.slot_id) == ("breakout", "shadow", "r1/0000")
    assert archive.agents() == (agent,)
    (entered,) = archive.transitions("breakout")
    assert entered.review_id == archive.reviews("r1/0000")[0].review_id
    assert [row.action for row in archive.audit_rows()] == ["opening.judge", "review.approve", "agent.shadow"]
    assert archive.verify_audit() is None


def test_a_candidate_named_like_an_incumbent_gets_a_name_of_its_own(archive: Archive) -> None:
    archive.add_agent("breakout", "b2:x", {}, origin="shipped", state="active", who="touchstone", reason="shipped")
    approve(archive, "breakout")
    assert promote(archive, "breakout").agent_id == "breakout_2"


@pytest.mark.parametrize(
    ("decision", "ref", "version", "sentence"),
    [
        (None, "breakout", "0.1.0", "breakout cannot be promoted, nobody has reviewed it"),
        ("reject", "breakout", "0.1.0", "breakout cannot be promoted, the review says 'reject'"),
        ("defer", "breakout", "0.1.0", "breakout cannot be promoted, the review says 'defer'"),
        ("approve", "breakout", "0.2.0", "the approval of breakout is stale"),
        ("reject", "reversal", "0.1.0", "reversal cannot be promoted, its verdict is 'fail'"),
        ("waive", "reversal", "0.1.0", "reversal is an agent already, in state 'shadow'"),
        (None, "brekout", "0.1.0", "did you mean 'breakout'"),
    ],
)
def test_no_promotion_without_its_evidence(
    archive: Archive, decision: str | None, ref: str, version: str, sentence: str
) -> None:
    if decision is not None:
        approve(archive, ref, decision)
    before = archive.agents()
    with pytest.raises(CheckFailed, match=sentence) as error:
        promote(archive, ref, version)
    assert archive.agents() == before
    last = archive.audit_rows()[-1]
    assert (last.action, last.subject, last.data["why"]) == ("promotion.refused", ref, error.value.what)


def test_a_second_promotion_waits_for_forward_evidence(archive: Archive) -> None:
    approve(archive, "breakout")
    promote(archive, "breakout")
    for ref in ("breakout", "r1/0000"):
        with pytest.raises(CheckFailed, match=r"breakout is an agent already, in state 'shadow'; .*not collected yet"):
            promote(archive, ref)
    Registry(archive).ensure_shipped(shipped_incumbents())
    with pytest.raises(CheckFailed, match="golden_cross is an agent already, in state 'active'"):
        promote(archive, "golden_cross")


def claims(add: str, replace: str, incumbent: str = "golden_cross") -> list[dict[str, str]]:
    return [
        {"claim": "add", "incumbent": "", "verdict": add},
        {"claim": "replace", "incumbent": incumbent, "verdict": replace},
    ]


def passed_for(archive: Archive, name: str, add: str, replace: str, incumbent: str = "golden_cross") -> None:
    """One more approved candidate, which passed for what is said."""
    index = len(archive.runs())
    slot = Slot(f"r{index + 1}", 0, "random", 0)
    archive.add_run(RunRecord(slot.run_id, {}, "sample:sp500", "b2:bars", {}, 7, "0.1.0"), [slot])
    archive.add_candidate(Candidate(slot.slot_id, f"b2:{name}-rule", {"name": name, "kind": "rules"}, "random"))
    archive.add_evaluation(slot.slot_id, f"b2:{name}-rule", "b2:bars", {"alpha_t": 2.5})
    report = {"verdict": "pass", "spec_id": f"b2:{name}-rule", "claims": claims(add, replace, incumbent)}
    archive.put_gate_report(slot.slot_id, nomination_id="b2:nom", report=report)
    archive.append_event(slot.slot_id, "gated")
    archive.append_event(slot.slot_id, "in_review")
    approve(archive, name)


def states(archive: Archive) -> dict[str, str]:
    return {agent.agent_id: agent.state for agent in archive.agents()}


def test_a_pass_in_an_incumbents_place_retires_it_in_the_same_transaction_with_the_reason(archive: Archive) -> None:
    Registry(archive).ensure_shipped(shipped_incumbents())
    passed_for(archive, "better_cross", "fail", "pass")
    agent = promote(archive, "better_cross")
    assert agent.state == "shadow"
    assert states(archive)["golden_cross"] == "retired"
    *_, left = archive.transitions("golden_cross")
    assert (left.from_state, left.who) == ("active", "ann")
    assert left.reason == "replaced by better_cross, which was shown to earn more on the same days, review 1"
    assert archive.transitions("better_cross")[0].reason.startswith("promoted in the place of golden_cross: passed")
    assert left.review_id == archive.reviews(agent.slot_id or "")[0].review_id
    assert [row.action for row in archive.audit_rows()][-2:] == ["agent.shadow", "agent.retired"]
    assert archive.verify_audit() is None


def test_a_pass_for_both_joins_unless_the_place_is_asked_for(archive: Archive) -> None:
    Registry(archive).ensure_shipped(shipped_incumbents())
    passed_for(archive, "joins", "pass", "pass")
    promote(archive, "joins")
    assert states(archive)["golden_cross"] == "active"
    passed_for(archive, "takes", "pass", "pass")
    Registry(archive).promote("takes", who="ann", code_version="0.1.0", replaces="golden_cross")
    assert states(archive)["golden_cross"] == "retired"


@pytest.mark.parametrize(
    ("add", "replace", "wanted", "sentence"),
    [
        ("pass", "fail", "golden_cross", "cannot take the place of golden_cross: it passed to be added to the book"),
        ("pass", "pass", "macd", "cannot take the place of macd: it passed to be added to the book and replace golden"),
        ("fail", "pass", "macd", "cannot take the place of macd: it passed to replace golden_cross"),
    ],
)
def test_a_place_that_was_not_tested_cannot_be_taken(
    archive: Archive, add: str, replace: str, wanted: str, sentence: str
) -> None:
    Registry(archive).ensure_shipped(shipped_incumbents())
    passed_for(archive, "rule", add, replace)
    before = states(archive)
    with pytest.raises(CheckFailed, match=sentence):
        Registry(archive).promote("rule", who="ann", code_version="0.1.0", replaces=wanted)
    assert states(archive) == before
    assert archive.audit_rows()[-1].action == "promotion.refused"


def test_a_report_without_claims_is_a_pass_to_join_alone(archive: Archive) -> None:
    Registry(archive).ensure_shipped(shipped_incumbents())
    approve(archive, "breakout")
    with pytest.raises(CheckFailed, match="cannot take the place of golden_cross: it passed to be added to the book"):
        Registry(archive).promote("breakout", who="ann", code_version="0.1.0", replaces="golden_cross")


def test_nobody_retires_twice_and_the_last_active_agent_not_at_all(archive: Archive) -> None:
    names = [agent.agent_id for agent in Registry(archive).ensure_shipped(shipped_incumbents())]
    passed_for(archive, "first", "fail", "pass")
    passed_for(archive, "second", "fail", "pass")
    promote(archive, "first")
    before = states(archive)
    with pytest.raises(CheckFailed, match="second cannot take the place of golden_cross, which is not active any more"):
        promote(archive, "second")
    assert states(archive) == before
    *others, last = [name for name in names if name != "golden_cross"]
    for name in others:
        archive.add_transition(Transition(name, "active", "retired", "decayed", "ann"))
    passed_for(archive, "third", "fail", "pass", last)
    with pytest.raises(CheckFailed, match=f"{last} is the only active agent, and third would begin in shadow"):
        promote(archive, "third")
    assert states(archive)[last] == "active"
    assert "third" not in states(archive)


def test_a_broken_audit_trail_stops_promotion(archive: Archive) -> None:
    approve(archive, "breakout")
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_no_update")
        connection.exec_driver_sql("UPDATE audit SET who = 'bob' WHERE seq = 2")
    with pytest.raises(CheckFailed, match="the audit trail is broken: row 2 was changed after it was written"):
        promote(archive, "breakout")


def test_a_review_turned_by_hand_stops_promotion(archive: Archive) -> None:
    approve(archive, "breakout", "reject")
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER reviews_no_update")
        connection.exec_driver_sql("UPDATE reviews SET decision = 'approve'")
    with pytest.raises(CheckFailed, match="the audit trail is broken: the review of row 2 was changed"):
        promote(archive, "breakout")


def test_a_promotion_that_is_interrupted_happened_not_at_all(make_archive: Callable[[], Archive], clock: Any) -> None:
    """The n-th look at the clock is the last one, for n = 1, 2, ... until the promotion goes through."""
    for steps in range(20):
        archive = make_archive()
        approve(archive, "breakout")
        clock.break_at = clock.looks + steps
        try:
            promote(archive, "breakout")
        except KeyboardInterrupt:
            assert archive.agents() == ()
            assert archive.transitions("breakout") == ()
            assert archive.verify_audit() is None
        else:
            # Agent, transition, audit row.
            assert steps == 3
            assert len(archive.agents()) == 1
            return
    pytest.fail("the promotion never went through")


def test_without_an_evaluation_there_is_no_promotion(archive: Archive) -> None:
    approve(archive, "breakout")
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER evaluations_no_delete")
        connection.exec_driver_sql("DELETE FROM evaluations")
    with pytest.raises(CheckFailed, match="breakout cannot be promoted, it was never evaluated on the open window"):
        promote(archive, "breakout")
