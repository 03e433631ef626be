"""An archive in memory with a clock that ticks a second a look, and a run of three planned slots in it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.archive.records import Candidate, RunRecord, SealedOpening, Slot
from agents.archive.store import Archive

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    ticks = iter(range(10**9))
    return lambda: START + timedelta(seconds=next(ticks))


@pytest.fixture
def archive(clock: Callable[[], datetime]) -> Iterator[Archive]:
    with Archive.in_memory(clock=clock) as empty:
        yield empty


@pytest.fixture
def run() -> RunRecord:
    return RunRecord("r1", {"slots": 3}, "sample:sp500", "b2:bars", {"open": {"start": 0, "stop": 9}}, 7, "0.1.0")


@pytest.fixture
def planned(archive: Archive, run: RunRecord) -> Archive:
    archive.add_run(run, [Slot("r1", index, "random", 0) for index in range(3)])
    return archive


@pytest.fixture
def opening() -> SealedOpening:
    return SealedOpening("r1", "SP500", "2010-01-04", "2018-12-31", "b2:bars", "b2:nom", 3, 0.05, "touchstone")


@pytest.fixture
def gate(planned: Archive, opening: SealedOpening) -> Callable[..., Archive]:
    """Bring slot 0 into the review queue with the given verdict."""

    def bring(verdict: str = "pass", **report: Any) -> Archive:
        planned.add_candidate(Candidate("r1/0000", "b2:rule", {"name": "golden", "kind": "rules"}, "llm"))
        stored = planned.record_opening(opening)
        with planned.transaction():
            planned.put_gate_report(
                "r1/0000",
                nomination_id=opening.nomination_id,
                report={"verdict": verdict, "spec_id": "b2:rule", **report},
                sealed_numbers={"sharpe": 1.25},
            )
            planned.append_event("r1/0000", "gated")
        planned.append_event("r1/0000", "in_review")
        planned.answer_opening(stored.opening_id, int(verdict == "pass"))
        return planned

    return bring
