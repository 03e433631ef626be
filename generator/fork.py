"""Fork: go on after something changed, as a run of its own that says which run it goes on from.

A resumed run must decide as the first process would have, so changed code, data, prompts or incumbents refuse to
resume. A fork is the honest way on: a new segment with the slots that were left, judged by itself. The earlier
candidates stay in their run, because they were evaluated under what has changed; their looks stay counted.
"""

from collections.abc import Mapping

from agents.archive.records import RunRecord
from agents.archive.store import Archive
from backtesting.bars import Bars
from generator.config import RunConfig
from generator.run import Run, changed_parts, config_of, open_run
from generator.slots import random_stream
from generator.templates import Prompt

NOT_EVALUATED = ("planned", "prompted", "responded", "valid")
"""Slots that are left; an evaluated one has had its look, and its candidate stays in the run that it was found in."""


def segment_config(record: RunRecord, archive: Archive) -> RunConfig:
    """The configuration of the segment after a stopped run: what is left of its slots, with another seed.

    With the same seed the arms without a model would draw the same rules again.
    """
    config = config_of(record)
    states = archive.slot_states(record.run_id)
    left = sum(state in NOT_EVALUATED for state in states.values())
    seed = int(random_stream(config.seed, record.run_id, "fork").integers(2**31))
    return config.model_copy(update={"slots": max(1, left), "seed": seed})


def open_segment(record: RunRecord, archive: Archive, bars: Bars, prompts: Mapping[str, Prompt]) -> Run:
    """The stopped run itself if nothing changed, else a segment that goes on from it; both runs say so."""
    config = config_of(record)
    parent = str(record.config.get("forked_from", ""))
    changed = changed_parts(record, config, archive, bars, prompts)
    if not changed:
        return open_run(config, archive, bars, prompts, parent=parent)
    with archive.transaction():
        run = open_run(segment_config(record, archive), archive, bars, prompts, parent=record.run_id)
        archive.append_run_event(record.run_id, "forked", {"into": run.run_id, "changed": list(changed)})
    return run
