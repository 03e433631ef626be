"""An archive with a run of four candidates in the review queue: two passed, one failed, one is underpowered."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from agents.archive.records import Candidate, RunRecord, SealedOpening, Slot
from agents.archive.store import Archive

START = datetime(2030, 1, 1, tzinfo=UTC)
VERDICTS = {"breakout": "pass", "squeeze": "pass", "reversal": "fail", "drift": "underpowered"}


class Clock:
    """Ticks a second a look; after `break_at` looks it raises, which is as good as a kill."""

    def __init__(self) -> None:
        self.looks = 0
        self.break_at: int | None = None

    def __call__(self) -> datetime:
        self.looks += 1
        if self.break_at is not None and self.looks > self.break_at:
            raise KeyboardInterrupt
        return START + timedelta(seconds=self.looks)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_archive(clock: Clock) -> Iterator[Callable[[], Archive]]:
    made: list[Archive] = []

    def make() -> Archive:
        clock.break_at = None
        archive = Archive.in_memory(clock=clock)
        made.append(archive)
        slots = [Slot("r1", index, "random", 0) for index in range(len(VERDICTS))]
        archive.add_run(RunRecord("r1", {}, "sample:sp500", "b2:bars", {}, 7, "0.1.0"), slots)
        opening = archive.record_opening(
            SealedOpening("r1", "SP500", "2010-01-04", "2018-12-31", "b2:bars", "b2:nom", 4, 0.05, "touchstone")
        )
        for slot, (name, verdict) in zip(slots, VERDICTS.items(), strict=True):
            archive.add_candidate(Candidate(slot.slot_id, f"b2:{name}-rule", {"name": name, "kind": "rules"}, "random"))
            archive.add_evaluation(slot.slot_id, f"b2:{name}-rule", "b2:bars", {"alpha_t": 2.5})
            archive.put_gate_report(
                slot.slot_id, nomination_id="b2:nom", report={"verdict": verdict, "spec_id": f"b2:{name}-rule"}
            )
            archive.append_event(slot.slot_id, "gated")
            archive.append_event(slot.slot_id, "in_review")
        archive.answer_opening(opening.opening_id, 2)
        return archive

    yield make
    for archive in made:
        archive.close()


@pytest.fixture
def archive(make_archive: Callable[[], Archive]) -> Archive:
    return make_archive()
