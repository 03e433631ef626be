from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.archive.records import Candidate, Review, SealedOpening, Transition
from agents.archive.store import Archive
from backtesting.errors import CheckFailed, StorageError


def test_an_opening_is_written_before_and_answered_once(planned: Archive, opening: SealedOpening) -> None:
    stored = planned.record_opening(opening)
    assert planned.opening_of("b2:nom") == stored
    assert stored.n_passed is None
    planned.answer_opening(stored.opening_id, 0)
    assert planned.opening_of("b2:nom") == replace(stored, n_passed=0)
    with pytest.raises(StorageError, match="opening 1 is unknown or has its answer already"):
        planned.answer_opening(stored.opening_id, 1)


def test_the_same_nomination_opens_once(planned: Archive, opening: SealedOpening) -> None:
    first = planned.record_opening(opening)
    assert planned.record_opening(replace(opening, alpha=0.5)) == first
    assert [row.action for row in planned.audit_rows()] == ["opening.judge"]


@pytest.mark.parametrize(
    "change", ["alpha = 0.01", "n_nominees = 1", "first_session = '2018-01-01'", "n_passed = NULL"]
)
def test_an_opening_cannot_be_made_smaller(planned: Archive, opening: SealedOpening, change: str) -> None:
    planned.record_opening(opening)
    statement = f"UPDATE openings SET {change}"  # noqa: S608
    with pytest.raises(StorageError, match="an opening never changes"), planned.transaction() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(StorageError, match="openings is append-only"), planned.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM openings")


@pytest.mark.parametrize(
    ("asked", "bars_id", "found"),
    [
        (("SP500", "2010-01-04", "2018-12-31"), None, 1),
        (("SP500", "2018-12-31", "2020-12-31"), None, 1),
        (("SP500", "2000-01-03", "2010-01-04"), None, 1),
        (("SP500", "2012-01-03", "2012-01-04"), None, 1),
        (("SP500", "2019-01-01", "2020-12-31"), None, 0),
        (("SP500", "2000-01-03", "2010-01-03"), None, 0),
        (("NASDAQ", "2010-01-04", "2018-12-31"), None, 0),
        (("MY_COPY", "2010-01-04", "2018-12-31"), "b2:bars", 1),
        (("MY_COPY", "2010-01-04", "2018-12-31"), "b2:others", 0),
    ],
)
def test_earlier_openings_are_those_that_overlap(
    planned: Archive, opening: SealedOpening, asked: tuple[str, str, str], bars_id: str | None, found: int
) -> None:
    planned.record_opening(opening)
    assert len(planned.earlier_openings(*asked, bars_id=bars_id)) == found


def test_an_opening_of_one_asset_is_one_of_every_panel_that_holds_it(planned: Archive, opening: SealedOpening) -> None:
    planned.record_opening(replace(opening, series="AAA,BBB,CCC"))
    days = (opening.first_session, opening.last_session)
    assert len(planned.earlier_openings("BBB", *days)) == 1
    assert len(planned.earlier_openings("CCC,DDD", *days)) == 1
    assert planned.earlier_openings("AA,DDD", *days) == ()


def test_a_report_comes_back_and_may_be_put_again(gate: Callable[..., Archive]) -> None:
    archive = gate("fail", margin=float("nan"))
    report = archive.gate_report("r1/0000")
    assert report is not None
    assert (report.verdict, report.report) == ("fail", {"verdict": "fail", "spec_id": "b2:rule", "margin": None})
    again = archive.put_gate_report(
        "r1/0000", nomination_id="b2:nom", report={"spec_id": "b2:rule", "margin": float("nan"), "verdict": "fail"}
    )
    assert again == report
    assert archive.gate_reports("r1") == (report,)
    with pytest.raises(StorageError, match="has a gate report already and would get a different one"):
        archive.put_gate_report("r1/0000", nomination_id="b2:nom", report={"verdict": "pass"})


def test_no_sealed_number_without_a_recorded_opening(planned: Archive) -> None:
    planned.add_candidate(Candidate("r1/0000", "b2:rule", {}, "llm"))
    with pytest.raises(StorageError, match="belongs to an opening that was never recorded"):
        planned.put_gate_report("r1/0000", nomination_id="b2:n", report={"verdict": "pass"}, sealed_numbers={"t": 2.0})
    assert planned.gate_report("r1/0000") is None
    declined = planned.put_gate_report("r1/0000", nomination_id="b2:n", report={"verdict": "underpowered"})
    assert planned.gate_report("r1/0000") == declined


def test_sealed_numbers_are_shown_for_a_price(gate: Callable[..., Archive]) -> None:
    archive = gate("fail")
    shown = archive.unseal_numbers("r1/0000", who="ann", reason="curious about the curve")
    assert shown == {"sharpe": 1.25}
    openings = archive.earlier_openings("SP500", "2015-01-01", "2015-01-02")
    assert [(opening.kind, opening.by) for opening in openings] == [("judge", "touchstone"), ("shown", "ann")]
    assert [row.action for row in archive.audit_rows()] == ["opening.judge", "opening.shown", "sealed.shown"]
    with pytest.raises(StorageError, match="slot r1/0001 has no sealed numbers"):
        archive.unseal_numbers("r1/0001", who="ann", reason="curious")


def test_no_other_method_gives_a_sealed_number(gate: Callable[..., Archive]) -> None:
    archive = gate("fail")
    seen = [
        *(archive.runs(), archive.events("r1"), archive.candidates(), archive.evaluations("r1"), archive.trials()),
        *(archive.gate_reports("r1"), archive.review_queue(decided=True), archive.audit_rows(), archive.agents()),
    ]
    assert "1.25" not in repr(seen)


def test_the_queue_holds_what_is_open(gate: Callable[..., Archive]) -> None:
    archive = gate()
    (item,) = archive.review_queue()
    assert (item.candidate.name, item.report.verdict, item.decision) == ("golden", "pass", None)
    review = Review("r1/0000", "b2:rule", item.report.report_id, "defer", "ann", "asking a colleague", "b2:d")
    archive.add_review(review)
    assert [item.decision for item in archive.review_queue()] == ["defer"]
    archive.add_review(replace(review, decision="reject"))
    assert archive.review_queue() == ()
    assert [item.decision for item in archive.review_queue(decided=True)] == ["reject"]
    assert [review.decision for review in archive.reviews("r1/0000")] == ["defer", "reject"]
    with pytest.raises(StorageError, match=r"UNIQUE constraint failed: reviews.report_id"):
        archive.add_review(replace(review, decision="approve"))
    assert archive.review_item("r1/0001") is None


def add(archive: Archive, name: str, spec_id: str, state: str = "active") -> str:
    return archive.add_agent(
        name, spec_id, {}, origin="shipped", state=state, who="touchstone", reason="shipped"
    ).agent_id


def test_agent_names_are_slugs_and_unique(archive: Archive) -> None:
    names = [
        add(archive, name, f"b2:{n}") for n, name in enumerate(["Golden Cross!", "golden_cross", "golden cross", "…"])
    ]
    assert names == ["golden_cross", "golden_cross_2", "golden_cross_3", "agent"]
    assert [agent.agent_id for agent in archive.agents()] == names


def test_the_same_rule_is_one_agent_unless_retired(archive: Archive) -> None:
    add(archive, "golden", "b2:rule")
    with pytest.raises(CheckFailed, match="silver is the same rule as the agent golden, which is active"):
        add(archive, "silver", "b2:rule")
    archive.add_transition(Transition("golden", "active", "retired", "decayed", "ann"))
    assert add(archive, "silver", "b2:rule", "shadow") == "silver"
    assert [(agent.agent_id, agent.state) for agent in archive.agents()] == [
        ("golden", "retired"),
        ("silver", "shadow"),
    ]
    assert [agent.agent_id for agent in archive.agents("shadow")] == ["silver"]


def test_an_agent_moves_from_where_it_is(archive: Archive) -> None:
    add(archive, "golden", "b2:rule", "shadow")
    with pytest.raises(StorageError, match="the agent is not in that state"):
        archive.add_transition(Transition("golden", "active", "retired", "decayed", "ann"))
    archive.add_transition(Transition("golden", "shadow", "retired", "decayed", "ann"))
    assert [(move.from_state, move.to_state) for move in archive.transitions("golden")] == [
        (None, "shadow"),
        ("shadow", "retired"),
    ]
    assert archive.verify_audit() is None


def test_a_spec_changed_by_hand_no_longer_fits_its_report(gate: Callable[..., Archive]) -> None:
    archive = gate()
    assert archive.check_report(archive.review_queue()[0])
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER candidates_no_update")
        connection.exec_driver_sql("""UPDATE candidates SET spec = '{"name":"golden","kind":"score"}'""")
    assert not archive.check_report(archive.review_queue()[0])
