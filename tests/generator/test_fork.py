"""Fork: a changed run goes on as another one, and both say so."""

from dataclasses import replace
from typing import Any

import pytest

from agents.archive.store import Archive
from backtesting.errors import StorageError
from generator.fork import open_segment, segment_config
from generator.run import config_of, unfinished_run


def stopped(kit: Any, archive: Archive, slots: int = 8) -> Any:
    """A run whose first block of four is done."""
    run = kit.open_(kit.settings(slots=slots), archive)
    for slot in archive.slots(run.run_id)[:4]:
        archive.append_event(slot.slot_id, "abandoned")
    return run


def test_unchanged_run_is_simply_resumed(kit: Any, archive: Archive) -> None:
    run = stopped(kit, archive)
    again = open_segment(run.record, archive, run.bars, {})
    assert again.run_id == run.run_id
    assert again.resumed
    assert len(archive.runs()) == 1


def test_changed_run_goes_on_as_a_segment_with_what_is_left(kit: Any, archive: Archive) -> None:
    run = stopped(kit, archive)
    bars = kit.with_other_future(run.bars, 1000)
    segment = open_segment(run.record, archive, bars, {})
    assert segment.run_id != run.run_id
    assert segment.record.config["forked_from"] == run.run_id
    assert len(archive.slots(segment.run_id)) == 8 - 4
    # Another seed, or the arms without a model would draw the same rules again.
    assert segment.config.seed != run.config.seed
    assert replace(segment.record, created_at="").config["config"]["market"] == run.config.market
    (event,) = [event for event in archive.events(run.run_id) if event.kind == "forked"]
    was, now = run.bars.bars_id[:11], bars.bars_id[:11]
    assert event.data == {"into": segment.run_id, "changed": [f"data (was {was}, is {now})"]}


def test_resume_after_a_fork_continues_the_segment_and_never_its_parent(kit: Any, archive: Archive) -> None:
    run = stopped(kit, archive)
    bars = kit.with_other_future(run.bars, 1000)
    segment = open_segment(run.record, archive, bars, {})
    assert unfinished_run(archive).run_id == segment.run_id
    assert open_segment(unfinished_run(archive), archive, bars, {}).run_id == segment.run_id
    kit.go(segment)
    assert segment.finished
    with pytest.raises(StorageError, match="no run in this workspace is unfinished"):
        unfinished_run(archive)


def test_segment_is_the_same_whenever_it_is_planned(kit: Any) -> None:
    found = []
    for _ in range(2):
        with Archive.in_memory() as archive:
            found.append(segment_config(stopped(kit, archive).record, archive))
    assert found[0] == found[1]


def test_segment_of_a_run_with_nothing_left_still_has_one_slot(kit: Any, archive: Archive) -> None:
    run = stopped(kit, archive, slots=4)
    assert segment_config(run.record, archive).slots == 1
    assert config_of(run.record).slots == 4
