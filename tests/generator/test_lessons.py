"""Lessons: asked once a block, kept with their evidence, shown as data, and never a reason to stop."""

import asyncio
import json
import time
from typing import Any

import pytest

from agents.archive.store import Archive
from generator.budget import Budget, Caps
from generator.calls import PaidCalls
from generator.interfaces.cli.evolve import drive
from generator.lessons import MAX_CHARS, MAX_LESSONS, lessons_of, read_lessons
from generator.llm.client import CallFailed, CompletionRequest
from generator.llm.scripted import Line, ScriptedClient
from generator.run import Run, open_run
from generator.templates import load_prompt, prompt_folders

LABELS = {"R1": "r-x/0003", "R2": "r-x/0007"}


def given(*lessons: Any) -> str:
    return json.dumps({"lessons": list(lessons)})


def lesson(text: str, *evidence: str) -> dict[str, Any]:
    return {"lesson": text, "because": "costs", "evidence": list(evidence)}


def reflecting(kit: Any, archive: Archive, replies: list[Any], **more: Any) -> tuple[Run, list[CompletionRequest]]:
    """A finished run of four blocks of two, whose reflections are answered with `replies`."""
    values = {"slots": 8, "block": 2, "arms": {"llm": 1.0}, "reflect": True} | more
    config = kit.settings(llm="scripted:memory", **values)
    prompts = {role: load_prompt(name, prompt_folders()) for role, name in config.prompts.items()}
    run = open_run(config, archive, kit.market(config.market), prompts)
    proposals = [Line(kit.reply(number), "propose") for number in range(8)]
    client = ScriptedClient([*proposals, *(Line(reply, "reflect") for reply in replies)])
    budget = Budget(Caps(), clock=time.monotonic)
    asyncio.run(drive(run, PaidCalls(run.run_id, archive, client, budget, None), lambda state: None))
    return run, client.history


def test_lessons_are_asked_as_long_as_a_later_prompt_can_see_them(kit: Any, archive: Archive) -> None:
    replies = [given(lesson("Trade less.", "R1", "R2")), given(lesson("Hold longer.", "R3"))]
    run, history = reflecting(kit, archive, replies)
    assert [request.purpose for request in history].count("reflect") == 2
    asked = [request.messages[-1].content for request in history if request.purpose == "propose"]
    # Block 1 is asked while block 0 is evaluated, so what block 0 taught is first seen by block 2.
    taught = ["lesson from 2 earlier outcomes: Trade less." in text for text in asked]
    assert taught == [False] * 4 + [True] * 2 + [False] * 2
    assert ["Hold longer." in text for text in asked] == [False] * 6 + [True] * 2
    assert [(block, found[0].lesson, found[0].slots) for block, found in lessons_of(archive, run.run_id)] == [
        (0, "Trade less.", (f"{run.run_id}/0000", f"{run.run_id}/0001")),
        (1, "Hold longer.", (f"{run.run_id}/0002",)),
    ]


def test_reflection_is_in_the_books_under_its_purpose(kit: Any, archive: Archive) -> None:
    run, _ = reflecting(kit, archive, [given()] * 2)
    assert [call.purpose for call in archive.calls(run.run_id)].count("reflect") == 2


def test_it_sees_what_became_of_the_arms_own_rules_and_nothing_sealed(kit: Any, archive: Archive) -> None:
    run, history = reflecting(kit, archive, [given()] * 2)
    first, second = (request.messages[-1].content for request in history if request.purpose == "reflect")
    assert first.count("t-statistic of what it adds") == 2
    assert '"R4"' in second
    assert "rsi(close, 3) < 30" in first
    assert not {str(session) for session in run.bars.sessions} & set(first.replace('"', " ").split())


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("no JSON", "no "),
        (given(lesson("Trade less.", "R99")), "no lesson with evidence that was shown"),
        (CallFailed("the server hung up", failure="transport", next_step="wait"), "the server hung up"),
    ],
)
def test_useless_reply_is_noted_and_the_run_goes_on(kit: Any, archive: Archive, reply: Any, why: str) -> None:
    run, _ = reflecting(kit, archive, [reply, given()])
    assert run.finished
    events = [event.data for event in archive.events(run.run_id) if event.kind == "reflected"]
    assert events[0]["lessons"] == []
    assert why in events[0]["why"]


def test_run_without_it_asks_nothing(kit: Any, archive: Archive) -> None:
    _, history = reflecting(kit, archive, [], reflect=False)
    assert {request.purpose for request in history} == {"propose"}


def test_lesson_names_slots_that_were_shown_and_is_dropped_otherwise() -> None:
    reply = json.loads(given(lesson("Keep.", "R2", "R9", "R2"), lesson("Drop.", "R9"), lesson("", "R1"), "nonsense"))
    (kept,) = read_lessons(reply, LABELS)
    assert (kept.lesson, kept.slots) == ("Keep.", ("r-x/0007",))
    assert read_lessons({"lessons": "all of them"}, LABELS) == ()


def test_at_most_five_short_lines_without_invisible_characters() -> None:
    reply = json.loads(given(*[lesson(f"{n}\nline \u202e\x1b[31m" + "x" * 500, "R1") for n in range(9)]))
    found = read_lessons(reply, LABELS)
    assert len(found) == MAX_LESSONS
    assert all(len(item.lesson) == MAX_CHARS and item.lesson.isprintable() for item in found)
    assert found[0].lesson.startswith("0 line [31mxxx")
