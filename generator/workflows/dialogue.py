"""Dialogue: everything that is asked for one slot, in order, each question and answer stored before the next.

All workflows ask through it, so that spend, resume and the record of what was said are the same for all of them. A
question has a running number in its slot; a resumed run asks the same questions with the same numbers and is answered
out of the ledger, as far as it was paid for.

A reply that was cut or is empty is asked for once more: the cut one with twice the room, the empty one with another
seed. The half is never read, and what refuses the second asking (a cap that the server does not take, a broken
connection) leaves the first reply as the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agents.archive.records import Proposal, Rejection
from agents.archive.store import Archive
from agents.strategy.spec import Spec
from backtesting.bars import Bars
from generator.calls import PaidCalls
from generator.config import RunConfig
from generator.context import REPAIR, repair_inputs
from generator.extraction import judge_completion
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message
from generator.outputs import OutputForm, form_of
from generator.repair import Illegal, read_reply, worth_another_try
from generator.templates import Prompt, render
from generator.workflows.workflow import Task

MAX_OUTPUT_TOKENS = 2_000
OTHER_SEED = 2**30
"""Added to the seed where the same words are asked again: a server that honours it would be as silent again."""


@dataclass(frozen=True, eq=False)
class Desk:
    """What the questions of a run are asked with.

    Attributes:
        calls: by role; roles with the same model share one.
        prompts: by role.
        bars: the open bars; a spec is checked against them.
        max_warmup: leading bars that a spec may need.
    """

    archive: Archive
    calls: Mapping[str, PaidCalls]
    prompts: Mapping[str, Prompt]
    config: RunConfig
    bars: Bars
    max_warmup: int

    def seed_of(self, task: Task) -> int:
        """Sent to the server, which may or may not honour it; servers take 31 bits.

        Another one for each slot: a server that honours it would answer two slots that ask the same in the same words.
        """
        return (self.config.seed + task.repeat_index) % 2**31


class Dialogue:
    """The questions of one slot.

    Attributes:
        n_asked: questions so far.
        n_repairs: how many of them mended a rule: gave its errors back, or asked again for a cut or empty one.
        n_tokens: what the answers took, as far as it was counted.
    """

    def __init__(self, desk: Desk, task: Task) -> None:
        self._desk = desk
        self._task = task
        self.n_asked = 0
        self.n_repairs = 0
        self.n_tokens = 0

    def inputs(self, role: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """What the prompt of `role` declares, out of what the task gives to that role and out of `more`."""
        values = {**self._task.inputs.get(role, {}), **more}
        return {name: value for name, value in values.items() if name in self._desk.prompts[role].inputs}

    async def ask(self, role: str, more: Mapping[str, Any] = MappingProxyType({})) -> Completion | Rejection:
        """The answer to the prompt of `role`, in the form that this prompt names."""
        return await self.send(role, render(self._desk.prompts[role], self.inputs(role, more)))

    async def send(self, role: str, messages: tuple[Message, ...]) -> Completion | Rejection:
        """The answer to `messages`, asked with the settings of `role`; a call that failed is a Rejection."""
        answer = await self._put(role, messages)
        lost = None if isinstance(answer, Rejection) else judge_completion(answer)
        if lost is None or lost.code not in ("truncated", "empty_reply"):
            return answer
        # A critic who is asked again mends no rule.
        self.n_repairs += form_of(self._desk.prompts[role].output).rule is not None
        try:
            second = await self._put(role, messages, again=lost.code)
        except CallFailed as failure:
            if failure.failure != "bad_request":
                raise
            return answer
        return answer if isinstance(second, Rejection) else second

    async def _put(self, role: str, messages: tuple[Message, ...], *, again: str = "") -> Completion | Rejection:
        """One question; `again` is what became of the same one before."""
        attempt, self.n_asked = self.n_asked, self.n_asked + 1
        prompt = self._desk.prompts[role]

        def asking() -> None:
            self.note("prompted", {"attempt": attempt, "template_id": prompt.template_id, "role": role})

        def answered(completion: Completion) -> None:
            self._keep(attempt, role, prompt, messages, completion)

        answer = await self._desk.calls[role].ask(
            self._task.slot.slot_id,
            attempt,
            self._request(role, prompt, messages, again),
            asking=asking,
            answered=answered,
        )
        if not isinstance(answer, Rejection):
            self.n_tokens += answer.usage.total_tokens if answer.usage else 0
        return answer

    async def legal_spec(self, role: str, more: Mapping[str, Any] = MappingProxyType({})) -> Spec | Rejection:
        """The spec in the answer to the prompt of `role`, after at most two repairs."""
        before: Illegal | None = None
        repairs = 0
        while True:
            inputs = self.inputs(role, more)
            answer = await self.ask(role, more)
            if isinstance(answer, Rejection):
                return answer
            form = form_of(self._desk.prompts[role].output, panel=self._desk.bars.n_assets > 1)
            read = read_reply(answer, self._desk.bars, max_warmup=self._desk.max_warmup, form=form, inputs=inputs)
            if not isinstance(read, Illegal):
                return read
            if not worth_another_try(read, before, repairs):
                return read.rejection(repairs)
            before = read
            repairs += 1
            self.n_repairs += 1
            role, more = REPAIR, repair_inputs(self._desk.bars, read.text, read.errors)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """A step of the slot."""
        self._desk.archive.append_event(self._task.slot.slot_id, kind, data=data)

    def _request(self, role: str, prompt: Prompt, messages: tuple[Message, ...], again: str) -> CompletionRequest:
        form: OutputForm = form_of(prompt.output, panel=self._desk.bars.n_assets > 1)
        own, recommended = self._desk.config.role(role), prompt.sampling
        room = own.max_output_tokens or recommended.max_output_tokens or MAX_OUTPUT_TOKENS
        seed = self._desk.seed_of(self._task)
        return CompletionRequest(
            messages=messages,
            max_output_tokens=2 * room if again == "truncated" else room,
            temperature=recommended.temperature if own.temperature is None else own.temperature,
            seed=(seed + OTHER_SEED) % 2**31 if again == "empty_reply" else seed,
            schema=form.schema,
            schema_name=form.schema_name,
            purpose=role,
            # Two slots may ask the very same question; the index keeps their answers apart.
            repeat_index=self._task.repeat_index,
        )

    def _keep(self, attempt: int, role: str, prompt: Prompt, messages: tuple[Message, ...], answer: Completion) -> None:
        archive, slot_id = self._desk.archive, self._task.slot.slot_id
        if any(proposal.attempt == attempt for proposal in archive.proposals(slot_id)):
            return  # stored before the process was killed
        archive.add_proposal(
            Proposal(
                slot_id=slot_id,
                attempt=attempt,
                origin="repaired" if role == REPAIR else "llm",
                template_id=prompt.template_id,
                model=answer.model,
                prompt=[{"role": message.role, "content": message.content} for message in messages],
                reply=answer.text,
                parents=[chosen.entry.ref for chosen in self._task.parents],
                usage=answer.usage.as_dict() if answer.usage else None,
                cost_usd=None,
                latency_seconds=answer.latency_seconds,
            )
        )
        self.note("responded", {"attempt": attempt, "finish_reason": answer.finish_reason, "role": role})
