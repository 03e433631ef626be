"""A program that runs the loop and kills itself, for test_kill_and_resume.py.

It reads lines from stdin. The first is a JSON object: `folder`, `llm` (a model address) and `concurrency`. When it has
written `ready`, each further line is a list [when, k]: a forked process starts a run in a new workspace and sends
itself SIGKILL at its k-th commit, `before` it or `after` it. What it ended with is written to stdout. The next line,
an empty one, lets a second process resume the run, as `evolve` does. So the test can count the requests of each.
Forking keeps what is compiled.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import loop_kit as kit

from agents.archive.database import Database
from agents.archive.store import Archive
from generator.config import RunConfig


def run_once(folder: Path, config: RunConfig, concurrency: int) -> None:
    """Start the run of this configuration, or go on with it."""
    folder.mkdir(exist_ok=True)
    with kit.archive_at(folder) as archive:
        # A killed process loses nothing that it handed to the system, so the wait for the disk can be spared here.
        archive._connection.exec_driver_sql("PRAGMA synchronous = OFF")
        kit.go(kit.open_(config, archive), concurrency=concurrency)


def kill_at(when: str, number: int) -> None:
    """From now on, this process dies at its `number`-th commit."""
    commits = 0
    whole = Database.transaction

    @contextmanager
    def transaction(self: Database, **more: Any) -> Iterator[Any]:
        nonlocal commits
        outermost = not self._writing
        with whole(self, **more) as connection:
            yield connection
            if outermost:
                commits += 1
                if commits == number and when == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
        if outermost and commits == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Database.transaction = transaction  # type: ignore[method-assign]


def in_a_process(work: Callable[[], None]) -> int:
    """What a forked process ended with: 0, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """The protocol above."""
    job = json.loads(sys.stdin.readline())
    config = kit.settings(slots=6, block=3, llm=job["llm"], arms={"llm": 2.0, "random": 1.0, "evolved": 1.0})
    with Archive.in_memory() as archive:
        # Compile and import everything once, before the first fork.
        kit.go(kit.open_(config, archive))
    print("ready", flush=True)

    for line in sys.stdin:
        when, number = json.loads(line)
        folder = Path(job["folder"]) / f"{when}-{number}"

        def killed(when: str = when, number: int = number, folder: Path = folder) -> None:
            kill_at(when, number)
            run_once(folder, config, job["concurrency"])

        def resumed(folder: Path = folder) -> None:
            run_once(folder, config, job["concurrency"])

        print(in_a_process(killed), flush=True)
        sys.stdin.readline()
        print(in_a_process(resumed), flush=True)


if __name__ == "__main__":
    main()
