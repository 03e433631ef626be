"""Workspace lock: one run of the loop a workspace, held by the operating system.

The lock is on the open file, not in its existence or its text: the system gives it up when the process ends, however
it ends, so there is no stale lock to clear. The text (pid, host, run) only tells the next one who is there, and stays.
It guards a run, not the database: reading and reviewing need no lock.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backtesting.errors import Locked, StorageError

LOCK_NAME = "touchstone.lock"

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    # Windows locks bytes against readers too; one far behind the text leaves the text readable.
    _FAR = 1 << 30

    def _acquire(handle: IO[str]) -> None:
        handle.seek(_FAR)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)

    def _release(handle: IO[str]) -> None:
        handle.seek(_FAR)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _acquire(handle: IO[str]) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(handle: IO[str]) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


@contextmanager
def hold_workspace(folder: Path, run_id: str) -> Iterator[Path]:
    """Hold the workspace `folder` while inside; gives the lock file.

    Raises:
        Locked: another process, or another run of this one, holds it; the sentence names its pid.
        StorageError: the folder cannot be written.
    """
    file = folder / LOCK_NAME
    try:
        # "a" neither truncates what the holder wrote nor needs the file to exist.
        handle = file.open("a+", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the lock {file} cannot be opened: {error.strerror}",
            next_step="check that the workspace exists and can be written",
        ) from error
    with handle:
        try:
            _acquire(handle)
        except OSError as error:
            raise Locked(
                f"the workspace {folder} is held by {_holder(file)}",
                next_step="wait for it to end, or set TOUCHSTONE_HOME to another workspace",
            ) from error
        try:
            handle.truncate(0)
            handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id}))
            handle.flush()
            yield file
        finally:
            _release(handle)


def _holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"run {holder['run_id']} (pid {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process that has not said who it is yet"
