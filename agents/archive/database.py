"""Database: the file that the archive lives in. Opening, checking, migrating, and transactions; no table by name.

It never creates a file over something that is there: a damaged, empty or foreign file is refused with a sentence,
because SQLite itself would take an empty file for a new database. A new file is built beside its place and linked there
complete, so a kill in the middle leaves either no database or a whole one.
One connection, one lock: writers start with BEGIN IMMEDIATE (a transaction that begins as a reader and then writes
fails at once when another process wrote in between, and waiting does not help), and every commit is synced to the disk.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from sqlalchemy import exc

from agents.archive.migrations import MIGRATIONS, Migration
from backtesting.errors import StorageError

Clock = Callable[[], datetime]

APPLICATION_ID = 0x746F7563
"""`touc` in ASCII: says that a SQLite file is ours."""

TIMEOUT_SECONDS = 30.0
_SQLITE_MAGIC = b"SQLite format 3\0"

T = TypeVar("T")


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


class Database:
    """One SQLite database with its transactions. Safe to share between threads; processes each open their own."""

    def __init__(self, connection: sa.Connection, clock: Clock, where: str) -> None:
        self._connection = connection
        self._clock = clock
        self._where = where
        self._lock = threading.RLock()
        self._writing = False

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False, read_only: bool = False, clock: Clock = utc_now) -> Self:
        """The database at `path`, brought up to date.

        Args:
            path: a file, or `sqlite:///PATH`.
            create: make it, and the folder it stands in, if there is none.
            read_only: for commands that only look, on folders that cannot be written.
            clock: what stamps the rows.

        Raises:
            StorageError: no file and not `create`; damaged, empty, foreign or newer; cannot be written.
        """
        file = _as_file(path)
        if not os.path.lexists(file):
            if not create or read_only:
                raise StorageError(
                    f"there is no database at {file}",
                    next_step="run `touchstone init` in the folder of the project, or set TOUCHSTONE_HOME to it",
                )
            _build(file, clock)
        _check_header(file)
        connection = _connect(file, read_only)
        try:
            _check_identity(connection, file)
            database = cls(connection, clock, str(file))
            database._migrate(file, read_only)
            if not read_only:
                with database.transaction():
                    pass
        except BaseException:
            connection.close()
            connection.engine.dispose()
            raise
        return database

    @classmethod
    def in_memory(cls, *, clock: Clock = utc_now) -> Self:
        """An empty database that is gone when it is closed."""
        connection = _engine("file::memory:", read_only=False).connect()
        database = cls(connection, clock, "memory")
        with database.transaction() as writer:
            _initialise(writer, database.now(), MIGRATIONS)
        return database

    def close(self) -> None:
        """Give the file back; the object is of no use afterwards."""
        with self._lock:
            self._connection.close()
            self._connection.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def now(self) -> str:
        """The injected clock, as UTC ISO-8601 with microseconds."""
        return self._clock().astimezone(UTC).isoformat(timespec="microseconds")

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """All writes inside it are kept together or not at all; nested ones join the outermost.

        Args:
            durable: wait until the disk has it. Without, a power cut may take back the last of such transactions,
                never the middle of one, and a killed process loses nothing: right for what is made again from what
                is stored, as an evaluation is from a reply, and wrong for money, openings and decisions.

        Raises:
            StorageError: busy for longer than the timeout, disk full, read-only, damaged.
        """
        with self._lock:
            if self._writing:
                yield self._connection
                return
            with self._translated():
                self._connection.rollback()
                if not durable:
                    self._connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
                    self._connection.rollback()
                self._connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._writing = True
                try:
                    yield self._connection
                    self._connection.commit()
                except BaseException:
                    with suppress(exc.SQLAlchemyError):
                        self._connection.rollback()
                    raise
                finally:
                    self._writing = False
                    if not durable:
                        with suppress(exc.SQLAlchemyError):
                            self._connection.exec_driver_sql("PRAGMA synchronous = FULL")
                            self._connection.rollback()

    def check_integrity(self) -> None:
        """Read the whole file.

        Raises:
            StorageError: a page or an index is damaged.
        """
        with self._reading() as connection:
            answer = connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if answer != "ok" or orphans:
            raise _damaged(self._where, str(answer) if answer != "ok" else f"{len(orphans)} rows refer to nothing")

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._lock:
            if self._writing:
                yield self._connection
                return
            with self._translated():
                try:
                    yield self._connection
                finally:
                    self._connection.rollback()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError as error:
            raise StorageError(
                f"{self._where} refused a row: {error.orig}",
                kept="everything stored before is kept",
                next_step="this is what two runs on one slot would do; run `touchstone doctor`",
            ) from error
        except exc.DatabaseError as error:
            raise _as_storage_error(self._where, error.orig) from error

    def _migrate(self, file: Path, read_only: bool) -> None:
        with self._reading() as connection:
            applied = list(connection.exec_driver_sql("SELECT name FROM migrations ORDER BY number").scalars())
        known = [migration.__name__ for migration in MIGRATIONS]
        if applied != known[: len(applied)]:
            raise StorageError(
                f"{file} was written by a newer or a different Touchstone (it knows {', '.join(applied)})",
                next_step="update Touchstone, or use another workspace",
            )
        pending = MIGRATIONS[len(applied) :]
        if not pending:
            return
        if read_only:
            raise StorageError(
                f"{file} is from an older Touchstone and has to be updated before it can be read",
                next_step="run any command that may write to the workspace",
            )
        self._back_up(file.with_name(f"{file.name}.{len(applied):03d}.backup"))
        for number, migration in enumerate(pending, start=len(applied) + 1):
            with self.transaction() as writer:
                # Another process may have been faster between the look above and this transaction.
                done = writer.exec_driver_sql("SELECT count(*) FROM migrations").scalar_one()
                if done < number:
                    _apply(writer, number, migration, self.now())

    def _back_up(self, target: Path) -> None:
        unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
        with self._reading() as connection, self._translated():
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)  # noqa: S101 - the only driver there is
            try:
                with closing(sqlite3.connect(unfinished)) as copy:
                    source.backup(copy)
                os.replace(unfinished, target)
            except (sqlite3.Error, OSError) as error:
                raise StorageError(
                    f"the copy {target} could not be made before the update: {error}",
                    kept="the database was not updated",
                    next_step="make room beside the database, then run the command again",
                ) from error


def values_of(record: Any, *without: str) -> dict[str, Any]:
    """The columns of a record: its fields except those that the database fills in."""
    return {item.name: getattr(record, item.name) for item in fields(record) if item.name not in without}


def record_of(kind: type[T], row: sa.Row[Any]) -> T:
    """The record that a row holds: the columns that are named like its fields."""
    columns = row._mapping
    return kind(**{item.name: columns[item.name] for item in fields(kind)})  # type: ignore[arg-type]


def _as_file(path: Path | str) -> Path:
    text = str(path)
    if "://" in text:
        if not text.startswith("sqlite:///"):
            raise StorageError(
                f"the archive cannot be kept at {text.split('://', maxsplit=1)[0]}://...",
                next_step="give the path of a file, or sqlite:///PATH",
            )
        text = text.removeprefix("sqlite:///")
    return Path(text).absolute()


def _uri(file: Path, **query: str) -> str:
    # Quoted by us: a folder may be called anything, and SQLAlchemy would hand its own quoting on to SQLite.
    # Three slashes, so that a drive letter is no host.
    return f"file:///{quote(file.as_posix().lstrip('/'))}?{urlencode(query)}"


def _engine(uri: str, *, read_only: bool) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS, check_same_thread=False, isolation_level=None)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.StaticPool)

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # Without it INSERT OR REPLACE would delete rows behind the back of the triggers.
        connection.execute("PRAGMA recursive_triggers = ON")
        if not read_only:
            connection.execute("PRAGMA synchronous = FULL")

    return engine


def _connect(file: Path, read_only: bool) -> sa.Connection:
    query = {"mode": "ro" if read_only else "rw"}
    if read_only:
        # SQLite wants to write its index of the log even to read; without a log there is nothing to index.
        if not os.access(file.parent, os.W_OK) and not _log_of(file).exists():
            query["immutable"] = "1"
    else:
        for place in (file, file.parent):
            if not os.access(place, os.W_OK):
                raise StorageError(
                    f"{place} cannot be written", next_step="change its permissions, or use another workspace"
                )
    try:
        return _engine(_uri(file, **query), read_only=read_only).connect()
    except exc.DatabaseError as error:
        raise _as_storage_error(str(file), error.orig) from error


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _check_header(file: Path) -> None:
    if file.is_symlink():
        raise StorageError(f"{file} is a symbolic link", next_step="set TOUCHSTONE_HOME to the folder it points into")
    if not file.is_file():
        raise StorageError(f"{file} is no file", next_step="move it away, or set TOUCHSTONE_HOME to another folder")
    try:
        with file.open("rb") as handle:
            magic = handle.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}", next_step="change its permissions") from error
    if not magic:
        raise StorageError(
            f"{file} is empty",
            kept="the file was left as it is",
            next_step="restore a copy (look for *.backup beside it), or move the file away and run `touchstone init`",
        )
    if magic != _SQLITE_MAGIC:
        raise StorageError(
            f"{file} is no database",
            kept="the file was left as it is",
            next_step="restore a copy (look for *.backup beside it), or move the file away and run `touchstone init`",
        )


def _check_identity(connection: sa.Connection, file: Path) -> None:
    try:
        application_id = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if application_id == APPLICATION_ID:
            names = connection.exec_driver_sql("SELECT count(*) FROM migrations").scalar_one()
    except exc.DatabaseError as error:
        raise _damaged(str(file), str(error.orig)) from error
    finally:
        connection.rollback()
    if application_id != APPLICATION_ID:
        raise StorageError(
            f"{file} is a database of another program",
            kept="the file was left as it is",
            next_step="set TOUCHSTONE_HOME to another folder",
        )
    if version != names:
        raise _damaged(str(file), f"user_version {version} but {names} migrations")


def _build(file: Path, clock: Clock) -> None:
    """A complete new database, first beside its place."""
    part = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        if not file.parent.exists():
            # The workspace folder itself, never a whole path: a mistyped TOUCHSTONE_HOME should be heard of.
            file.parent.mkdir(exist_ok=True)
        part.unlink(missing_ok=True)
        engine = _engine(_uri(part, mode="rwc"), read_only=False)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _initialise(connection, clock().astimezone(UTC).isoformat(timespec="microseconds"), MIGRATIONS)
            connection.commit()
        engine.dispose()
        _publish(part, file)
    except OSError as error:
        raise StorageError(
            f"{file} cannot be created: {error.strerror}",
            next_step="check that the folder exists and can be written",
        ) from error
    except exc.DatabaseError as error:
        raise _as_storage_error(str(file), error.orig) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _publish(part: Path, file: Path) -> None:
    """`part` becomes `file`, unless another process was faster: then theirs stays."""
    with suppress(FileExistsError):
        if os.name == "posix":
            os.link(part, file)
            folder = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        else:
            os.rename(part, file)


def _initialise(connection: sa.Connection, at: str, migrations: tuple[Migration, ...]) -> None:
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.exec_driver_sql(
        "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, at TEXT NOT NULL)"
    )
    for number, migration in enumerate(migrations, start=1):
        _apply(connection, number, migration, at)


def _apply(connection: sa.Connection, number: int, migration: Migration, at: str) -> None:
    migration(connection)
    connection.exec_driver_sql("INSERT INTO migrations VALUES (?, ?, ?)", (number, migration.__name__, at))
    connection.exec_driver_sql(f"PRAGMA user_version = {number}")


def _damaged(where: str, detail: str) -> StorageError:
    return StorageError(
        f"{where} is damaged: {detail}",
        kept="the file was left as it is",
        next_step="keep a copy, then restore a *.backup from beside it, or move it away and run `touchstone init`",
    )


def _as_storage_error(where: str, error: BaseException | None) -> StorageError:
    text = str(error)
    kept = "everything stored before is kept"
    if "locked" in text or "busy" in text:
        return StorageError(
            f"{where} was busy for {TIMEOUT_SECONDS:g} seconds",
            kept=kept,
            next_step="wait for the other command to end, then run this one again",
        )
    if "full" in text:
        return StorageError(f"the disk of {where} is full", kept=kept, next_step="make room, then run with --resume")
    if "readonly" in text or "unable to open" in text:
        return StorageError(f"{where} cannot be written: {text}", kept=kept, next_step="change its permissions")
    if "malformed" in text or "not a database" in text:
        return _damaged(where, text)
    return StorageError(f"{where} failed: {text}", kept=kept, next_step="run `touchstone doctor`")
