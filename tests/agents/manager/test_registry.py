from collections.abc import Callable
from typing import Any

import pytest

from agents.archive.records import Transition
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
