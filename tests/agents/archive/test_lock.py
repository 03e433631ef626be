import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.archive.lock import LOCK_NAME, hold_workspace
from backtesting.errors import Locked, StorageError

REPOSITORY = Path(__file__).resolve().parents[3]
HOLD = """
import sys, time
from pathlib import Path
from agents.archive.lock import hold_workspace
with hold_workspace(Path(sys.argv[1]), "run-of-the-other"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_holder_is_told_the_first(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with pytest.raises(Locked, match=f"is held by run run-of-the-other \\(pid {first.pid} on ") as error:
            hold_workspace(tmp_path, "mine").__enter__()
        assert error.value.exit_code == 9
    finally:
        first.kill()
        first.communicate()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    first = holder(tmp_path)
    first.kill()
    first.communicate()
    with hold_workspace(tmp_path, "mine") as file:
        assert f'"pid": {os.getpid()}' in file.read_text()


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with hold_workspace(tmp_path, "first"), pytest.raises(Locked, match="is held by run first"):
        hold_workspace(tmp_path, "second").__enter__()
    with hold_workspace(tmp_path, "second"):
        pass


def test_an_error_inside_gives_it_back(tmp_path: Path) -> None:
    def fail() -> None:
        with hold_workspace(tmp_path, "first"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with hold_workspace(tmp_path, "second"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\udcff"])
def test_a_lock_file_with_other_text_is_no_obstacle(tmp_path: Path, text: str) -> None:
    file = tmp_path / LOCK_NAME
    file.write_text(text, errors="surrogateescape")
    with hold_workspace(tmp_path, "mine"):
        assert '"run_id": "mine"' in file.read_text()
        file.write_text(text, errors="surrogateescape")
        with pytest.raises(Locked, match="another process that has not said who it is yet"):
            hold_workspace(tmp_path, "second").__enter__()


def test_a_workspace_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened: No such file or directory"):
        hold_workspace(tmp_path / "none", "mine").__enter__()
