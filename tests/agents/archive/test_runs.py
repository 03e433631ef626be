import math

import pytest
import sqlalchemy as sa

from agents.archive.records import (
    REJECTION_CODES,
    TERMINAL_EVENTS,
    Candidate,
    Proposal,
    Rejection,
    RunRecord,
    Slot,
)
from agents.archive.store import Archive
from backtesting.errors import StorageError, UsageError


def test_a_run_comes_back_as_it_was_with_its_time(archive: Archive, run: RunRecord) -> None:
    stored = archive.add_run(run)
    assert archive.run("r1") == stored
    # The clock ticked once before, for the migrations.
    assert stored.created_at == "2030-01-01T00:00:01.000000+00:00"
    assert {**vars(stored), "created_at": ""} == vars(run)


def test_a_seed_keeps_all_its_64_bits(archive: Archive, run: RunRecord) -> None:
    archive.add_run(RunRecord(**{**vars(run), "seed": 2**64 - 1}))
    assert archive.run("r1").seed == 2**64 - 1


def test_the_same_run_is_not_added_twice(planned: Archive, run: RunRecord) -> None:
    with pytest.raises(UsageError, match=r"run r1 exists already; .*--resume"):
        planned.add_run(run)
    assert len(planned.runs()) == 1


def test_an_unknown_run_names_the_nearest(planned: Archive) -> None:
    with pytest.raises(UsageError, match="no run 'r1x'; did you mean 'r1'"):
        planned.run("r1x")


def test_planned_slots_are_planned_and_unfinished(planned: Archive) -> None:
    assert planned.slot_states("r1") == {"r1/0000": "planned", "r1/0001": "planned", "r1/0002": "planned"}
    assert planned.unfinished_slots("r1") == planned.slots("r1") == tuple(Slot("r1", i, "random", 0) for i in range(3))
    assert planned.run_state("r1") == "started"


def test_a_slot_stands_where_its_last_event_says(planned: Archive) -> None:
    for kind in ("prompted", "responded", "prompted", "responded", "valid", "evaluated"):
        planned.append_event("r1/0001", kind, data={"n": 1})
        assert planned.slot_state("r1/0001") == kind
    planned.reject("r1/0002", Rejection("call", "timeout", "no answer in 120 s", {"attempts": 4}))
    assert planned.count_outcomes("r1") == {"planned": 1, "evaluated": 1, "rejected:timeout": 1}
    assert [slot.index for slot in planned.unfinished_slots("r1")] == [0, 1]
    assert planned.events("r1", "r1/0002")[-1].data["detail"] == {"attempts": 4}


@pytest.mark.parametrize("first", TERMINAL_EVENTS)
@pytest.mark.parametrize("second", [*TERMINAL_EVENTS, "valid"])
def test_a_slot_ends_once(planned: Archive, first: str, second: str) -> None:
    def end(kind: str) -> None:
        planned.append_event("r1/0000", kind, code="schema" if kind == "rejected" else None)

    end(first)
    with pytest.raises(StorageError, match=f"slot r1/0000 has ended as '{first}' and cannot become '{second}'"):
        end(second)
    assert planned.slot_state("r1/0000") == first


@pytest.mark.parametrize("first", TERMINAL_EVENTS)
@pytest.mark.parametrize("second", TERMINAL_EVENTS)
def test_the_database_itself_refuses_a_second_end(planned: Archive, first: str, second: str) -> None:
    insert = sa.text(
        "INSERT INTO events (run_id, slot_id, kind, code, data, at) VALUES ('r1', 'r1/0000', :k, :c, '', '')"
    )

    def end(kind: str) -> None:
        with planned.transaction() as connection:
            connection.execute(insert, {"k": kind, "c": "schema" if kind == "rejected" else None})

    end(first)
    with pytest.raises(StorageError, match=r"the slot has ended"):
        end(second)
    with planned.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER events_end_at_terminal")
    with pytest.raises(StorageError, match=r"UNIQUE constraint failed: events.slot_id"):
        end(second)


@pytest.mark.parametrize("code", REJECTION_CODES)
def test_every_class_of_rejection_is_kept(planned: Archive, code: str) -> None:
    planned.append_event("r1/0000", "rejected", code=code)
    assert planned.events("r1", "r1/0000")[-1].code == code


@pytest.mark.parametrize(
    ("kind", "code"), [("rejected", None), ("rejected", "bad luck"), ("valid", "schema"), ("thought", None)]
)
def test_a_wrong_event_is_a_bug_of_the_caller(planned: Archive, kind: str, code: str | None) -> None:
    with pytest.raises(ValueError, match=r"unknown slot event|carries one of the known codes"):
        planned.append_event("r1/0000", kind, code=code)
    assert planned.slot_state("r1/0000") == "planned"


def test_an_unplanned_slot_has_no_events(planned: Archive) -> None:
    with pytest.raises(StorageError, match="slot r1/0099 was never planned"):
        planned.append_event("r1/0099", "valid")
    assert planned.slot_state("r1/0099") is None


def test_review_follows_the_gate_and_its_report(planned: Archive) -> None:
    with pytest.raises(StorageError, match="slot r1/0000 is 'planned' and cannot be put up for review"):
        planned.append_event("r1/0000", "in_review")
    planned.append_event("r1/0000", "gated")
    with pytest.raises(StorageError, match="there is no gate report to review"):
        planned.append_event("r1/0000", "in_review")


def test_a_transaction_is_kept_whole_or_not_at_all(planned: Archive) -> None:
    def half() -> None:
        with planned.transaction():
            planned.append_event("r1/0000", "prompted")
            planned.add_candidate(Candidate("r1/0000", "b2:rule", {}, "llm"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert planned.slot_state("r1/0000") == "planned"
    assert planned.candidate("r1/0000") is None


def test_hostile_text_comes_back_letter_by_letter(planned: Archive) -> None:
    reply = "NUL \0, half a pair \ud800, 💹, '; DROP TABLE runs; --, \u202e"
    planned.add_proposal(
        Proposal("r1/0000", 0, "llm", "propose@1", "m", [{"role": "user", "content": reply}], reply, ("b2:p",))
    )
    (stored,) = planned.proposals("r1/0000")
    assert stored.reply == reply
    assert stored.prompt == [{"role": "user", "content": reply}]
    assert list(stored.parents) == ["b2:p"]
    assert stored.cost_usd is None


def test_a_second_proposal_of_the_same_attempt_is_refused(planned: Archive) -> None:
    planned.add_proposal(Proposal("r1/0000", 0, "random"))
    with pytest.raises(StorageError, match="refused a row"):
        planned.add_proposal(Proposal("r1/0000", 0, "random"))
    planned.add_proposal(Proposal("r1/0000", 1, "random"))
    assert [proposal.attempt for proposal in planned.proposals("r1/0000")] == [0, 1]


def test_an_origin_is_one_of_five(planned: Archive) -> None:
    with pytest.raises(ValueError, match="unknown origin 'guessed'"):
        planned.add_proposal(Proposal("r1/0000", 0, "guessed"))
    with pytest.raises(ValueError, match="unknown origin 'guessed'"):
        planned.add_candidate(Candidate("r1/0000", "b2:rule", {}, "guessed"))


def test_candidates_and_evaluations_come_in_the_order_of_the_slots(planned: Archive) -> None:
    for index in (2, 0):
        planned.add_candidate(Candidate(f"r1/{index:04d}", f"b2:{index}", {"name": f"n{index}"}, "random", index))
        planned.add_evaluation(f"r1/{index:04d}", f"b2:{index}", "b2:bars", {"alpha_t": math.nan, "n": index})
    assert [candidate.name for candidate in planned.candidates("r1")] == ["n0", "n2"]
    assert planned.candidates() == planned.candidates("r1")
    assert planned.evaluations("r1") == {"r1/0000": {"alpha_t": None, "n": 0}, "r1/0002": {"alpha_t": None, "n": 2}}
    assert planned.evaluation("r1/0002") == {"alpha_t": None, "n": 2}
    assert planned.evaluation("r1/0001") is None


TABLES = ("runs", "slots", "events", "proposals", "candidates", "evaluations")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET rowid = rowid + 1000"])
def test_what_happened_cannot_be_changed(planned: Archive, table: str, statement: str) -> None:
    planned.add_proposal(Proposal("r1/0000", 0, "random"))
    planned.add_candidate(Candidate("r1/0000", "b2:rule", {}, "random"))
    planned.add_evaluation("r1/0000", "b2:rule", "b2:bars", {})
    with pytest.raises(StorageError, match=f"{table} is append-only"), planned.transaction() as connection:
        connection.exec_driver_sql(statement.format(table))


def test_replacing_a_row_is_changing_it(planned: Archive) -> None:
    with pytest.raises(StorageError, match="runs is append-only"), planned.transaction() as connection:
        connection.exec_driver_sql("INSERT OR REPLACE INTO runs SELECT * FROM runs")
