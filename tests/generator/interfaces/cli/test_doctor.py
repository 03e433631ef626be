from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generator.interfaces.cli.doctor import CHECKS


def test_a_healthy_installation_is_said_to_be_healthy(touchstone: Callable[..., Any], home: Path) -> None:
    answer = touchstone("doctor", "--json")
    assert answer.code == 0
    assert [event["name"] for event in answer.events] == list(CHECKS)
    assert all(event["healthy"] for event in answer.events)
    # It looks and changes nothing.
    assert not home.exists()


def test_it_knows_the_workspace(touchstone: Callable[..., Any], judged: Any) -> None:
    found = {event["name"]: event["found"] for event in touchstone("doctor", "--json").events}
    assert "1 runs" in found["workspace"]
    assert "audit trail unbroken" in found["workspace"]


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut"])
def test_a_damaged_database_ends_with_8_and_nothing_else_is_said_to_be_ill(
    touchstone: Callable[..., Any], judged: Any, home: Path, damage: str
) -> None:
    file = home / "touchstone.db"
    size = file.stat().st_size
    if damage == "garbage":
        file.write_bytes(b"\x00\xff" * 5000)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.write_bytes(file.read_bytes()[: size // 2])
    before = file.read_bytes()
    answer = touchstone("doctor", "--json")
    assert answer.code == 8
    assert [event["name"] for event in answer.events if not event["healthy"]] == ["workspace"]
    # Damage is reported and not repaired over: the bytes may be somebody's only copy.
    assert file.read_bytes() == before
    listing = touchstone("review", "list")
    assert listing.code == 7
    assert "touchstone.db" in listing.error


def test_a_changed_row_breaks_the_audit_trail(touchstone: Callable[..., Any], judged: Any, home: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home / "touchstone.db")) as db:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table'")]
        (audit,) = [name for name in tables if "audit" in name]
        for (trigger,) in db.execute("select name from sqlite_master where type='trigger'").fetchall():
            db.execute(f'drop trigger "{trigger}"')
        db.execute(f"update {audit} set who = 'mallory'")  # noqa: S608
        db.commit()
    answer = touchstone("doctor", "--json")
    assert answer.code == 8
    (ill,) = [event for event in answer.events if not event["healthy"]]
    assert ill["name"] == "workspace"
    assert "audit row" in ill["found"]


def test_a_key_is_never_shown(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("doctor", OPENAI_API_KEY="sk-very-secret-0123456789", COLUMNS="200")
    assert answer.code == 0
    assert "a key is set in OPENAI_API_KEY" in answer.out
    assert "secret" not in answer.out + answer.err
