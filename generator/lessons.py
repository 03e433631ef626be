"""Lessons: after a block, one cheap call asks the model what its outcomes teach. Off by default.

A lesson is text and nothing more: it is shown to later prompts of the same arm as data, beside what was tried, and no
score ever reads it. It is kept with the slots that it names as evidence; one that names none that it was shown is
dropped. It costs a call, which is in the books under the purpose `reflect`.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from agents.archive.records import Rejection
from agents.archive.store import Archive
from generator.calls import PaidCalls
from generator.config import CARD
from generator.context import real_inputs
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.client import Completion, CompletionRequest
from generator.outputs import form_of
from generator.run import Run
from generator.search import LAG
from generator.templates import Prompt, render

PURPOSE = "reflect"
ARM = "llm"
MAX_LESSONS = 5
MAX_CHARS = 200
MAX_OUTCOMES = 40
MAX_OUTPUT_TOKENS = 1_000


@dataclass(frozen=True)
class Lesson:
    """One sentence, its reason, and the slots that it was drawn from."""

    lesson: str
    because: str
    slots: tuple[str, ...]

    @property
    def line(self) -> str:
        """As a later prompt sees it."""
        return f"lesson from {len(self.slots)} earlier outcomes: {self.lesson}"


@dataclass(frozen=True, eq=False)
class Reflector:
    """Asks for lessons, and keeps them as events of the run.

    Attributes:
        prompt: one whose output is `lessons`; it is given what a market decides, and `outcomes`.
        seed: sent to the server.
    """

    run: Run
    calls: PaidCalls
    prompt: Prompt
    seed: int

    async def reflect(self, block: int) -> tuple[str, ...]:
        """The lessons after a block, as lines; none where no later block can see them, or the model had no turn.

        Raises:
            BudgetReached, EndpointError: as for any call.
        """
        run, archive = self.run, self.run.archive
        slots = archive.slots(run.run_id)
        turns = [slot for slot in slots if slot.block == block and slot.arm == ARM]
        if not turns or block + LAG >= slots[-1].block:
            return ()
        written = self.written()
        if block in written:
            return written[block]
        shown = self._outcomes(block)
        records = [{"label": label, **outcome} for label, (_, outcome) in shown.items()]
        inputs = real_inputs(self.prompt, run.prompts[CARD], run.open.bars, run.open.window)
        form = form_of(self.prompt.output)
        request = CompletionRequest(
            messages=render(self.prompt, {**inputs, "outcomes": records}),
            max_output_tokens=self.prompt.sampling.max_output_tokens or MAX_OUTPUT_TOKENS,
            temperature=self.prompt.sampling.temperature,
            seed=self.seed,
            schema=form.schema,
            schema_name=form.schema_name,
            purpose=PURPOSE,
            repeat_index=block,
        )
        answer = await self.calls.ask(
            turns[0].slot_id, 0, request, asking=lambda: None, answered=lambda completion: None
        )
        lessons, why = _read(answer, {label: slot_id for label, (slot_id, _) in shown.items()})
        data = {
            "block": block,
            "lessons": [{"lesson": x.lesson, "because": x.because, "slots": list(x.slots)} for x in lessons],
            "why": why,
        }
        archive.append_run_event(run.run_id, "reflected", data)
        return tuple(lesson.line for lesson in lessons)

    def written(self) -> dict[int, tuple[str, ...]]:
        """The lines written so far, by block."""
        return {
            block: tuple(lesson.line for lesson in lessons)
            for block, lessons in lessons_of(self.run.archive, self.run.run_id)
        }

    def _outcomes(self, block: int) -> dict[str, tuple[str, dict[str, str]]]:
        """What became of the arm's legal rules up to and with this block: slot and outcome by label, latest last."""
        archive, run_id = self.run.archive, self.run.run_id
        evaluations, candidates = archive.evaluations(run_id), {c.slot_id: c for c in archive.candidates(run_id)}
        rejected = {e.slot_id: e.data for e in archive.events(run_id) if e.kind == "rejected"}
        found = []
        for slot in archive.slots(run_id):
            if slot.arm != ARM or slot.block > block or slot.slot_id not in candidates:
                continue
            spec = candidates[slot.slot_id].spec
            if slot.slot_id in evaluations:
                outcome = {"became": "evaluated", "summary": _summary(evaluations[slot.slot_id])}
            elif slot.slot_id in rejected:
                data = rejected[slot.slot_id]
                outcome = {"became": str(data["code"]), "summary": str(data["reason"])}
            else:
                continue
            found.append((slot.slot_id, {"rule": _main_rule(spec), **outcome}))
        return {f"R{number}": item for number, item in enumerate(found[-MAX_OUTCOMES:], start=1)}


def lessons_of(archive: Archive, run_id: str) -> tuple[tuple[int, tuple[Lesson, ...]], ...]:
    """The stored lessons of a run, block by block."""
    return tuple(
        (
            int(event.data["block"]),
            tuple(Lesson(x["lesson"], x["because"], tuple(x["slots"])) for x in event.data["lessons"]),
        )
        for event in archive.events(run_id)
        if event.kind == "reflected"
    )


def read_lessons(reply: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[Lesson, ...]:
    """The lessons of a reply that name evidence which was shown; at most five, each cut to 200 characters.

    Args:
        labels: slot id by the label that the prompt showed.
    """
    given = reply.get("lessons")
    found = []
    for item in given if isinstance(given, list) else []:
        if not isinstance(item, Mapping) or not isinstance(item.get("evidence"), list):
            continue
        slots = dict.fromkeys(labels[str(label)] for label in item["evidence"] if str(label) in labels)
        text = _plain(item.get("lesson"))
        if text and slots:
            found.append(Lesson(text, _plain(item.get("because")), tuple(slots)))
    return tuple(found[:MAX_LESSONS])


def _read(answer: Completion | Rejection, labels: Mapping[str, str]) -> tuple[tuple[Lesson, ...], str]:
    """The lessons, or why there are none."""
    if isinstance(answer, Rejection):
        return (), answer.reason
    refused = judge_completion(answer)
    if refused is not None:
        return (), refused.reason
    reply = extract(answer.text or "")
    if isinstance(reply, ExtractionError):
        return (), reply.reason
    lessons = read_lessons(reply, labels)
    return lessons, "" if lessons else "no lesson with evidence that was shown"


def _plain(value: Any) -> str:
    """A model's sentence without line breaks and invisible characters, cut to length."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return "".join(mark for mark in text if unicodedata.category(mark)[0] != "C")[:MAX_CHARS]


def _main_rule(spec: Mapping[str, Any]) -> str:
    sides: Sequence[Any] = [spec.get("score"), *(side.get("enter") for side in _sides(spec))]
    return next((str(text) for text in sides if text), "")


def _sides(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [side for side in (spec.get("long"), spec.get("short")) if isinstance(side, Mapping)]


def _summary(evaluation: Mapping[str, Any]) -> str:
    metrics = evaluation["metrics"]
    return (
        f"Sharpe {_two(metrics.get('sharpe_ratio'))} after costs,"
        f" turnover {_two(metrics.get('turnover_annual'))} times equity a year,"
        f" t-statistic of what it adds to the ordinary rules {_two(evaluation.get('alpha_t'))}"
    )


def _two(value: float | None) -> str:
    return f"{value:.2g}" if value is not None and isfinite(value) else "undefined"
