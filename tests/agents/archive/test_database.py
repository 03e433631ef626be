import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from agents.archive import database
from agents.archive.database import APPLICATION_ID
from agents.archive.records import RunRecord, Slot
from agents.archive.store import Archive
from backtesting.errors import StorageError

REPOSITORY = Path(__file__).resolve().parents[3]


def make(path: Path) -> Path:
    Archive.open(path, create=True).close()
    return path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- opening ---------------------------------------------------------------------------------------------------------


def test_nothing_is_created_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no database at .*touchstone.db; .*touchstone init"):
        Archive.open(tmp_path / "touchstone.db")
    assert list(tmp_path.iterdir()) == []


def test_the_workspace_folder_is_made_its_parents_are_not(tmp_path: Path) -> None:
    assert make(tmp_path / ".touchstone" / "touchstone.db").is_file()
    with pytest.raises(StorageError, match="cannot be created: No such file or directory"):
        make(tmp_path / "misspelt" / ".touchstone" / "touchstone.db")
    assert not (tmp_path / "misspelt").exists()


def test_a_new_file_says_whose_it_is_and_logs_ahead(tmp_path: Path) -> None:
    path = make(tmp_path / "touchstone.db")
    assert rows(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(path, "PRAGMA user_version") == [(len(database.MIGRATIONS),)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["touchstone.db"]


def test_every_commit_is_synced_and_keys_are_checked(tmp_path: Path) -> None:
    with Archive.open(tmp_path / "touchstone.db", create=True) as archive, archive.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_what_can_be_made_again_does_not_wait_for_the_disk_and_the_next_commit_does(tmp_path: Path) -> None:
    full, normal = 2, 1  # as SQLite numbers them

    def synced(archive: Archive) -> object:
        return archive._connection.exec_driver_sql("PRAGMA synchronous").scalar()

    with Archive.open(tmp_path / "touchstone.db", create=True) as archive:
        with archive.transaction(durable=False):
            assert synced(archive) == normal
            with archive.transaction():
                assert synced(archive) == normal  # joins the outermost
        assert synced(archive) == full
        with pytest.raises(RuntimeError), archive.transaction(durable=False):
            raise RuntimeError
        assert synced(archive) == full
        with archive.transaction():
            assert synced(archive) == full


@pytest.mark.parametrize("name", ["with space", "per%20cent", "quest?ion#hash", "ümlaut"])
def test_a_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "touchstone.db"
    make(path)
    assert path.is_file()
    with Archive.open(path) as archive:
        assert archive.runs() == ()


def test_an_address_is_accepted_if_it_is_sqlite(tmp_path: Path) -> None:
    make(tmp_path / "touchstone.db")
    with Archive.open(f"sqlite:///{tmp_path}/touchstone.db") as archive:
        assert archive.runs() == ()
    with pytest.raises(StorageError, match=r"the archive cannot be kept at postgresql://\.\.\.") as error:
        Archive.open("postgresql://user:secret@host/db")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "touchstone.db is empty; the file was left as it is"),
        (b"SQLite format 3", "touchstone.db is no database"),
        (b"hello, this is a diary\n" * 100, "touchstone.db is no database"),
        (b"SQLite format 3\0" + b"\xff" * 4080, "touchstone.db is damaged"),
    ],
)
def test_what_is_no_database_of_ours_is_left_alone(tmp_path: Path, create: bool, content: bytes, sentence: str) -> None:
    path = tmp_path / "touchstone.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=sentence):
        Archive.open(path, create=create)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "touchstone.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE diary (entry TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="is a database of another program"):
        Archive.open(path, create=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [100, 4096, 20_000])
def test_a_file_cut_short_is_refused_or_found_by_the_check(tmp_path: Path, keep: int) -> None:
    path = make(tmp_path / "touchstone.db")
    path.write_bytes(path.read_bytes()[:keep])

    def use() -> None:
        with Archive.open(path) as archive:
            archive.check_integrity()

    with pytest.raises(StorageError, match=r"touchstone.db is damaged: "):
        use()


def test_a_page_of_garbage_is_found_by_the_check(tmp_path: Path) -> None:
    path = make(tmp_path / "touchstone.db")
    content = bytearray(path.read_bytes())
    content[4096 * 6 : 4096 * 7] = random.Random(1).randbytes(4096)
    path.write_bytes(content)

    def use() -> None:
        with Archive.open(path) as archive:
            archive.check_integrity()

    with pytest.raises(StorageError, match=r"touchstone.db is damaged: "):
        use()


def test_a_folder_or_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StorageError, match=r"folder.db is no file"):
        Archive.open(tmp_path / "folder.db", create=True)
    for target in (make(tmp_path / "real.db"), tmp_path / "nowhere.db"):
        link = tmp_path / f"link-to-{target.name}"
        link.symlink_to(target)
        with pytest.raises(StorageError, match="is a symbolic link"):
            Archive.open(link, create=True)
    assert not (tmp_path / "nowhere.db").exists()


def test_reading_needs_no_right_to_write(tmp_path: Path, run: RunRecord) -> None:
    path = tmp_path / "touchstone.db"
    with Archive.open(path, create=True) as archive:
        archive.add_run(run)
    with Archive.open(path, read_only=True) as archive:
        assert archive.run("r1").market == "sample:sp500"
        with pytest.raises(
            StorageError, match=r"touchstone.db cannot be written: attempt to write a readonly database"
        ):
            archive.append_run_event("r1", "stopped")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_a_read_only_folder_is_refused_at_once_but_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "touchstone.db")
    # Said by the system rather than by chmod, because the superuser may write anywhere.
    monkeypatch.setattr(database.os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(StorageError, match=f"{tmp_path} cannot be written; nothing was changed"):
        Archive.open(path)
    with Archive.open(path, read_only=True) as archive:
        assert archive.runs() == ()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["touchstone.db"]


def test_a_creation_that_was_killed_left_nothing_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "touchstone.db"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database, "_publish", killed)
        # What a kill leaves behind, because nobody cleans up after it.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            Archive.open(path, create=True)
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    Archive.open(path, create=True).close()
    assert path.is_file()


def test_two_openers_at_once_make_one_database(tmp_path: Path) -> None:
    path = tmp_path / "touchstone.db"
    failures: list[BaseException] = []

    def opener(number: int) -> None:
        try:
            with Archive.open(path, create=True) as archive:
                archive.add_run(RunRecord(f"r{number}", {}, "m", "b", {}, number, "0"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=opener, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(rows(path, "SELECT run_id FROM runs")) == [(f"r{number}",) for number in range(6)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["touchstone.db"]


# -- transactions ----------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_is_said_and_nothing_is_lost(tmp_path: Path, run: RunRecord) -> None:
    path = tmp_path / "touchstone.db"
    with Archive.open(path, create=True) as archive:
        archive.add_run(run, [Slot("r1", 0, "random", 0)])
        with archive.transaction() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match=r"the disk of .* is full; everything stored before is kept; .*--resume"):
            archive.append_event("r1/0000", "valid", data={"text": "x" * 100_000})
        assert archive.slot_state("r1/0000") == "planned"
        with archive.transaction() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1000}")
        archive.append_event("r1/0000", "valid", data={"text": "x" * 100_000})
        archive.check_integrity()


def test_a_database_that_stays_busy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: RunRecord) -> None:
    monkeypatch.setattr(database, "TIMEOUT_SECONDS", 0.2)
    path = make(tmp_path / "touchstone.db")
    with Archive.open(path) as archive, Archive.open(path) as other, other.transaction():
        with pytest.raises(StorageError, match=r"was busy for 0.2 seconds; everything stored before is kept"):
            archive.add_run(run)
        assert archive.runs() == ()


def test_a_reader_never_waits_for_a_writer(tmp_path: Path, run: RunRecord) -> None:
    path = make(tmp_path / "touchstone.db")
    with Archive.open(path) as writer, Archive.open(path, read_only=True) as reader, writer.transaction():
        writer.add_run(run)
        # A reader that waited would wait for itself here, and be told that the database is busy.
        assert reader.runs() == ()
    with Archive.open(path) as archive:
        assert len(archive.runs()) == 1


WRITE = """
import sys
from agents.archive.records import RunRecord, Slot
from agents.archive.store import Archive
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Archive.open(path) as archive:
    archive.add_run(RunRecord(name, {}, "m", "b", {}, 0, "0"), [Slot(name, 0, "random", 0)])
    for number in range(count):
        # Reads before it writes, in one transaction: the pattern that a deferred transaction fails on.
        with archive.transaction():
            assert len(archive.events(name, f"{name}/0000")) == number + 1
            archive.append_event(f"{name}/0000", "prompted", data={"number": number})
        print(number, flush=True)
"""


def test_two_processes_lose_no_row(tmp_path: Path) -> None:
    path = make(tmp_path / "touchstone.db")
    writers = [python(WRITE, str(path), name, "200") for name in ("a", "b")]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    assert rows(path, "SELECT run_id, count(*) FROM events WHERE kind = 'prompted' GROUP BY run_id") == [
        ("a", 200),
        ("b", 200),
    ]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = make(tmp_path / "touchstone.db")
    chance = random.Random(7)
    acknowledged: dict[str, int] = {}
    for kill in range(6):
        writer = python(WRITE, str(path), f"k{kill}", "1000000")
        assert writer.stdout is not None
        enough = chance.randrange(1, 60)
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last >= enough:
                break
        time.sleep(chance.random() * 0.01)
        writer.kill()
        rest, _ = writer.communicate(timeout=30)
        complete = rest.splitlines()[: rest.count("\n")]
        acknowledged[f"k{kill}"] = int(complete[-1]) if complete else last
        with Archive.open(path) as archive:
            archive.check_integrity()
            for name, number in acknowledged.items():
                stored = [event.data["number"] for event in archive.events(name, f"{name}/0000")[1:]]
                assert stored == list(range(len(stored)))
                # One more may be on the disk than was said, never one fewer.
                assert number + 1 <= len(stored) <= number + 2


# -- migrations ------------------------------------------------------------------------------------------------------


def old_database(path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], datetime], run: RunRecord) -> None:
    """A file of the release that knew the first migration only, with a run in it."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", database.MIGRATIONS[:1])
        with Archive.open(path, create=True, clock=clock) as archive:
            archive.add_run(run, [Slot("r1", 0, "random", 0)])


def test_an_older_file_is_copied_and_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], datetime], run: RunRecord
) -> None:
    path = tmp_path / "touchstone.db"
    old_database(path, monkeypatch, clock, run)
    with Archive.open(path) as archive:
        assert archive.run("r1").seed == 7
        assert archive.review_queue() == ()
        archive.check_integrity()
    names = [migration.__name__ for migration in database.MIGRATIONS]
    assert rows(path, "SELECT name FROM migrations ORDER BY number") == [(name,) for name in names]
    backup = tmp_path / "touchstone.db.001.backup"
    assert rows(backup, "SELECT run_id FROM runs") == [("r1",)]
    assert rows(backup, "PRAGMA user_version") == [(1,)]
    fresh = make(tmp_path / "fresh.db")
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    assert rows(path, schema) == rows(fresh, schema)


def test_a_migration_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], datetime], run: RunRecord
) -> None:
    path = tmp_path / "touchstone.db"
    old_database(path, monkeypatch, clock, run)

    def m002_decisions(connection: database.sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (a)")
        connection.exec_driver_sql("CREATE TABLE runs (a)")

    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", (database.MIGRATIONS[0], m002_decisions))
        with pytest.raises(StorageError, match="table runs already exists"):
            Archive.open(path)
    assert rows(path, "SELECT name FROM sqlite_schema WHERE name = 'half'") == []
    assert rows(path, "PRAGMA user_version") == [(1,)]
    Archive.open(path).close()


def test_an_older_file_is_not_read_without_the_right_to_update_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], datetime], run: RunRecord
) -> None:
    path = tmp_path / "touchstone.db"
    old_database(path, monkeypatch, clock, run)
    with pytest.raises(StorageError, match="is from an older Touchstone and has to be updated"):
        Archive.open(path, read_only=True)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "touchstone.db")
    connection = sqlite3.connect(path)
    newer = len(database.MIGRATIONS) + 1
    connection.execute("INSERT INTO migrations VALUES (?, ?, '')", (newer, f"m{newer:03d}_future"))
    connection.execute(f"PRAGMA user_version = {newer}")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="was written by a newer or a different Touchstone"):
        Archive.open(path)


def test_migrations_are_numbered_in_their_names() -> None:
    assert [migration.__name__[:5] for migration in database.MIGRATIONS] == [
        f"m{number:03d}_" for number in range(1, len(database.MIGRATIONS) + 1)
    ]


def test_in_memory_has_the_tables_of_a_file(tmp_path: Path) -> None:
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    with Archive.in_memory() as archive, archive.transaction() as connection:
        made = [tuple(row) for row in connection.exec_driver_sql(schema)]
    assert made == rows(make(tmp_path / "touchstone.db"), schema)
