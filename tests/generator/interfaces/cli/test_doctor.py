from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.archive.records import ProbeRecord
from agents.archive.store import Archive
from generator.interfaces.cli import doctor
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
    assert "TOUCHSTONE_LLM=none; a key is in the environment (OPENAI_API_KEY)" in answer.out
    assert "secret" not in answer.out + answer.err


def test_a_key_in_the_keyring_is_told_by_its_place(
    touchstone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {"OPENAI_API_KEY": "sk-very-secret-0123456789", "models.example.org": "sk-other-secret-0123456789"}
    monkeypatch.setattr(doctor, "system_keyring", stored.get)
    vendor = touchstone("doctor", COLUMNS="250")
    other = touchstone("doctor", TOUCHSTONE_LLM="openai:m@https://models.example.org/v1", COLUMNS="250")
    assert (vendor.code, other.code) == (0, 0)
    assert "a key is in the system's keyring (touchstone, OPENAI_API_KEY)" in vendor.out
    assert "a key is in the system's keyring (touchstone, models.example.org)" in other.out
    assert "secret" not in vendor.out + vendor.err + other.out + other.err


def test_a_model_that_needs_a_key_and_has_none_is_no_health(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("doctor", "--json", TOUCHSTONE_LLM="openai:gpt-5")
    assert answer.code == 8
    (ill,) = [event for event in answer.events if not event["healthy"]]
    assert ill["name"] == "model"
    assert "openai:gpt-5 needs a key, and there is none in the environment (OPENAI_API_KEY) nor in" in ill["found"]


def conforming(server: Any, received: Any) -> Any:
    """An endpoint that enforces the schema and is otherwise ordinary."""
    kind = received.body.get("response_format")
    return server.says('{"colour": "red", "count": 3}' if kind else "Hello.")


def test_a_probed_model_is_told_of_and_kept(touchstone: Callable[..., Any], home: Path, chat_server: Any) -> None:
    chat_server.next_answer = lambda received: conforming(chat_server, received)
    address = f"openai:tiny@{chat_server.base_url}"
    answer = touchstone("doctor", "--llm", address)
    assert answer.code == 0, answer.err
    assert "--llm-mode schema, is right" in answer.out
    # Five replies of 100 + 20 tokens.
    assert "5 calls, 600 tokens" in answer.err
    with Archive.open(home / "touchstone.db") as archive:
        kept = archive.last_probe(address)
        assert archive.last_probe("openai:other") is None
    assert kept is not None
    assert (kept.mode, kept.model, kept.findings[0]["name"]) == ("schema", "tiny-1", "schema_enforced")
    events = touchstone("doctor", "--llm", address, "--json").events
    assert [event["name"] for event in events[:-1]] == [found["name"] for found in kept.findings]
    assert (events[-1]["event"], events[-1]["mode"], events[-1]["calls"]) == ("probed", "schema", 5)


def test_a_model_that_ignores_the_schema_gets_the_advice_for_its_mode(
    touchstone: Callable[..., Any], chat_server: Any
) -> None:
    chat_server.always(chat_server.says("Hello."))
    answer = touchstone("doctor", "--llm", f"openai:tiny@{chat_server.base_url}")
    assert answer.code == 0
    assert "use --llm-mode text. A run does not change it by itself" in answer.out


def test_a_model_that_cannot_be_asked_ends_with_5_and_one_that_is_none_with_2(
    touchstone: Callable[..., Any], chat_server: Any
) -> None:
    chat_server.always(chat_server.status(401))
    assert touchstone("doctor", "--llm", f"openai:tiny@{chat_server.base_url}").code == 5
    answer = touchstone("doctor", "--llm", "scripted:x.jsonl")
    assert answer.code == 2
    assert "nothing to find out about it" in answer.error


def test_the_last_probe_is_shown_with_the_runs_of_its_model(
    touchstone: Callable[..., Any], judged: Any, home: Path
) -> None:
    (before,) = [event for event in touchstone("runs", "show", "--json").events if event["event"] == "run"]
    assert before["probe"] is None
    with Archive.open(home / "touchstone.db") as archive:
        for answer in ("no", "yes"):
            found = [{"name": "schema_enforced", "answer": answer, "found": "seen"}]
            archive.add_probe(ProbeRecord(before["config"]["config"]["llm"], "m", "json", found, {}))
    assert "schema enforced yes" in touchstone("runs", "show").out
    (after,) = [event for event in touchstone("runs", "show", "--json").events if event["event"] == "run"]
    assert (after["probe"]["mode"], after["probe"]["findings"][0]["answer"]) == ("json", "yes")
