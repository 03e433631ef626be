"""SIGKILL at every commit of a run, then resume: nothing lost, nothing doubled, nothing stored is paid again."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.archive.store import Archive

DRIVER = Path(__file__).with_name("kill_driver.py")
ROOT = Path(__file__).parents[2]
MOST = 100
FAST = os.environ.get("TOUCHSTONE_FAST") == "1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks, so that nothing is compiled again"),
]


@dataclass(frozen=True)
class Killed:
    """A run that was killed and resumed: what the first process ended with, and the requests that both made."""

    when: str
    number: int
    ended: int
    folder: Path
    first: list[str]
    second: list[str]


def drive(
    kit: Any, server: Any, folder: Path, kills: list[tuple[str, int]], beyond: dict[str, int], *, concurrency: int
) -> Iterator[Killed]:
    """Kill and resume once for each of `kills` that is not after the end of the run, as `beyond` knows it."""
    job = {
        "folder": str(folder),
        "llm": f"openai:tiny@{server.base_url}",
        "concurrency": concurrency,
    }
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def tell(line: str) -> None:
            process.stdin.write(line + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        tell(json.dumps(job))
        assert process.stdout.readline() == "ready\n"
        for when, number in kills:
            if number > beyond.get(when, MOST):
                continue
            ends: list[int] = []
            parts: list[list[str]] = []
            for line in (json.dumps([when, number]), ""):
                server.requests.clear()
                tell(line)
                ends.append(int(process.stdout.readline()))
                parts.append(list(kit.questions(server)))
            assert ends[1] == 0, f"the resumed run failed after a kill {when} commit {number}"
            yield Killed(when, number, ends[0], folder / f"{when}-{number}", *parts)
        process.stdin.close()
        assert process.wait(30) == 0


def uninterrupted(kit: Any, server: Any, folder: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Id, decisions and questions of the same run in one go."""
    server.requests.clear()
    folder.mkdir()
    llm = f"openai:tiny@{server.base_url}"
    config = kit.settings(slots=6, block=3, llm=llm, arms={"llm": 2.0, "random": 1.0, "evolved": 1.0})
    with kit.archive_at(folder) as archive:
        run = kit.go(kit.open_(config, archive))
        return run.run_id, kit.decisions(archive, run.run_id), list(kit.questions(server))


def check(kit: Any, killed: Killed, run_id: str, whole: dict[str, Any], asked: list[str]) -> None:
    """Everything that has to hold after a resumed run."""
    where = f"killed {killed.when} commit {killed.number}"
    with Archive.open(killed.folder / "touchstone.db", read_only=True) as archive:
        assert [run.run_id for run in archive.runs()] == [run_id], where
        assert kit.terminal_events(archive, run_id) == [1] * 6, where
        assert kit.decisions(archive, run_id) == whole, where
        assert archive.verify_audit() is None, where
        openings = archive.earlier_openings("planted", "0001-01-01", "9999-12-31")
        assert [(opening.kind, opening.n_passed is None) for opening in openings] == [("judge", False)], where
        calls = archive.calls(run_id)
    status = Counter(call.status for call in calls)
    assert set(status) <= {"settled", "abandoned"}, where
    assert status["settled"] == len(asked), where
    # A reply is paid again only where the process died between sending the question and storing the answer.
    extra = Counter(killed.first + killed.second) - Counter(asked)
    assert sum(extra.values()) <= status["abandoned"], where
    assert not Counter(asked) - Counter(killed.first + killed.second), where


def test_kill_at_every_commit(kit: Any, chat_server: Any, tmp_path: Path) -> None:
    kit.answer_by_content(chat_server, broken_every=2)
    run_id, whole, asked = uninterrupted(kit, chat_server, tmp_path / "whole")
    # The run has everything worth killing: a repair, a repetition or rejection, arms without a model, a judgement.
    assert {slot["candidate"]["origin"] for slot in whole["slots"] if slot["candidate"]} >= {"llm", "repaired"}
    stride = 9 if FAST else 1
    # `before` a commit finds every state of the archive with the world one step ahead: a question asked, an answer
    # received, and nothing written. `after` finds the same states with the world where the archive says it is.
    kills = [("before", number) for number in range(1, MOST, stride)]
    kills += [("after", number) for number in range(2, MOST, 9 * stride)]
    n_killed, n_resent = 0, 0
    beyond = {"before": MOST, "after": MOST}
    for killed in drive(kit, chat_server, tmp_path, kills, beyond, concurrency=1):
        check(kit, killed, run_id, whole, asked)
        n_resent += len(killed.first) + len(killed.second) - len(asked)
        if killed.ended == 0:
            beyond[killed.when] = killed.number  # the run has fewer commits than that
        else:
            assert killed.ended == -signal.SIGKILL
            n_killed += 1
    assert beyond["before"] < MOST
    assert n_killed >= (4 if FAST else 25)
    if not FAST:
        # Every question was in flight at some death and was asked once more. While a block is evaluated, the next one's
        # question stays in flight over several commits, so there may be more; that none was paid twice which had been
        # stored is what `check` holds.
        assert n_resent >= len(asked)


def test_kill_with_calls_side_by_side(kit: Any, chat_server: Any, tmp_path: Path) -> None:
    kit.answer_by_content(chat_server, broken_every=2)
    run_id, whole, asked = uninterrupted(kit, chat_server, tmp_path / "whole")
    kills = [("before", number) for number in range(8, 30, 11 if FAST else 6)]
    for killed in drive(kit, chat_server, tmp_path, kills, {}, concurrency=3):
        check(kit, killed, run_id, whole, asked)
        assert killed.ended == -signal.SIGKILL
