from collections.abc import Callable

import pytest

from agents.archive.audit import GENESIS
from agents.archive.records import AuditBreak, Review
from agents.archive.store import Archive
from backtesting.errors import StorageError

TRIGGERS = ("audit_no_update", "audit_no_delete", "reviews_no_update", "reviews_no_delete", "transitions_no_delete")


def tamper(archive: Archive, statement: str) -> None:
    """What somebody with the file and a database browser does."""
    with archive.transaction() as connection:
        for trigger in TRIGGERS:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger}")
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql(statement)


def three_rows(archive: Archive) -> Archive:
    for number in range(3):
        archive.add_audit("ann", "note", f"subject {number}", {"n": number, "text": "\ud800 é"})
    return archive


def test_rows_are_chained(archive: Archive) -> None:
    first, second, third = three_rows(archive).audit_rows()
    assert (first.prev_hash, second.prev_hash, third.prev_hash) == (GENESIS, first.hash, second.hash)
    assert len({first.hash, second.hash, third.hash}) == 3
    assert archive.audit_rows("subject 1") == (second,)
    assert archive.verify_audit() is None


def test_an_empty_trail_holds(archive: Archive) -> None:
    assert archive.verify_audit() is None


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET who = 'bob'"])
def test_the_database_refuses_to_change_the_trail(archive: Archive, statement: str) -> None:
    with pytest.raises(StorageError, match="audit is append-only"), three_rows(archive).transaction() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("statement", "seq", "reason"),
    [
        ("UPDATE audit SET who = 'bob' WHERE seq = 2", 2, "row 2 was changed after it was written"),
        ("UPDATE audit SET data = '{}' WHERE seq = 1", 1, "row 1 was changed after it was written"),
        ("UPDATE audit SET at = '2031' WHERE seq = 3", 3, "row 3 was changed after it was written"),
        ("UPDATE audit SET hash = 'x' WHERE seq = 2", 2, "row 2 was changed after it was written"),
        ("UPDATE audit SET prev_hash = 'x' WHERE seq = 3", 3, "row 3 does not follow row 2"),
        ("DELETE FROM audit WHERE seq = 1", 1, "row 1 is missing"),
        ("DELETE FROM audit WHERE seq = 2", 2, "row 2 is missing"),
        ("DELETE FROM audit WHERE seq = 3", 3, "row 3 is missing, 3 were written"),
        ("DELETE FROM audit", 1, "row 1 is missing, 3 were written"),
    ],
)
def test_the_first_broken_row_is_named(archive: Archive, statement: str, seq: int, reason: str) -> None:
    tamper(three_rows(archive), statement)
    assert archive.verify_audit() == AuditBreak(seq, reason)


def review(archive: Archive) -> Archive:
    report = archive.gate_report("r1/0000")
    assert report is not None
    archive.add_review(
        Review("r1/0000", "b2:rule", report.report_id, "reject", "ann", "too few trades to believe", "b2:d")
    )
    return archive


def test_a_review_changed_by_hand_is_noticed(gate: Callable[..., Archive]) -> None:
    archive = review(gate())
    assert archive.verify_audit() is None
    tamper(archive, "UPDATE reviews SET decision = 'approve'")
    assert archive.verify_audit() == AuditBreak(2, "the review of row 2 was changed or removed after it was written")


def test_a_review_removed_by_hand_is_noticed(gate: Callable[..., Archive]) -> None:
    archive = review(gate())
    tamper(archive, "DELETE FROM reviews")
    assert archive.verify_audit() == AuditBreak(2, "the review of row 2 was changed or removed after it was written")


def test_a_review_added_by_hand_is_noticed(gate: Callable[..., Archive]) -> None:
    archive = gate()
    tamper(
        archive,
        "INSERT INTO reviews (slot_id, spec_id, report_id, decision, reviewer, reason, digest, at) "
        "SELECT slot_id, spec_id, report_id, 'approve', 'mallory', 'because I say so', '', '' FROM gate_reports",
    )
    assert archive.verify_audit() == AuditBreak(2, "review 1 has no row in the audit trail")


def test_an_opening_made_cheaper_by_hand_is_noticed(gate: Callable[..., Archive]) -> None:
    archive = gate()
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER openings_only_get_an_answer")
        connection.exec_driver_sql("UPDATE openings SET alpha = 0.0001")
    assert archive.verify_audit() == AuditBreak(1, "the opening of row 1 was changed or removed after it was written")
