"""One shot: ask once for a whole spec, then let the model repair what the validator found, at most twice.

Every step is stored before the next one begins, so a resumed run reads the replies that were paid for and goes on.
"""

from dataclasses import dataclass
from typing import Any

from agents.archive.records import Proposal, Rejection
from agents.archive.store import Archive
from agents.strategy.spec import Spec
from backtesting.bars import Bars
from generator.calls import PaidCalls
from generator.context import repair_inputs
from generator.llm.client import Completion, CompletionRequest, Message
from generator.outputs import form_of
from generator.repair import Illegal, read_reply, worth_another_try
from generator.selection import Chosen
from generator.templates import Prompt, render

MAX_OUTPUT_TOKENS = 2_000


@dataclass(frozen=True, eq=False)
class OneShot:
    """The workflow with everything it uses.

    Attributes:
        bars: the open bars; a spec is checked against them.
        max_warmup: leading bars that a spec may need.
        max_output_tokens, temperature: the run's own; None takes what the prompt recommends.
        seed: sent to the server, which may or may not honour it.
    """

    archive: Archive
    calls: PaidCalls
    propose_prompt: Prompt
    repair_prompt: Prompt
    bars: Bars
    max_warmup: int
    max_output_tokens: int | None
    temperature: float | None
    seed: int

    async def propose(
        self, slot_id: str, inputs: dict[str, Any], parents: tuple[Chosen, ...], *, repeat_index: int | None = None
    ) -> tuple[Spec, int] | Rejection:
        """A legal spec and the number of repairs it took, or why there is none.

        `repeat_index` tells two askings of one question apart; left out, it is the number of the slot.
        """
        repeat_index = int(slot_id.rpartition("/")[2]) if repeat_index is None else repeat_index
        before: Illegal | None = None
        n_repairs = 0
        while True:
            if before is None:
                purpose, prompt, values = "propose", self.propose_prompt, inputs
            else:
                purpose, prompt = "repair", self.repair_prompt
                values = repair_inputs(self.bars, before.text, before.errors)
            messages = render(prompt, values)
            self._event(slot_id, "prompted", {"attempt": n_repairs, "template_id": prompt.template_id})
            answer = await self.calls.ask(slot_id, n_repairs, self._request(purpose, prompt, messages, repeat_index))
            if isinstance(answer, Rejection):
                return answer
            self._keep(slot_id, n_repairs, prompt, messages, answer, parents)
            read = read_reply(answer, self.bars, max_warmup=self.max_warmup, form=form_of(prompt.output), inputs=values)
            if not isinstance(read, Illegal):
                return read if isinstance(read, Rejection) else (read, n_repairs)
            if not worth_another_try(read, before, n_repairs):
                return read.rejection(n_repairs)
            before = read
            n_repairs += 1

    def _request(
        self, purpose: str, prompt: Prompt, messages: tuple[Message, ...], repeat_index: int
    ) -> CompletionRequest:
        sampling, form = prompt.sampling, form_of(prompt.output)
        return CompletionRequest(
            messages=messages,
            max_output_tokens=self.max_output_tokens or sampling.max_output_tokens or MAX_OUTPUT_TOKENS,
            temperature=sampling.temperature if self.temperature is None else self.temperature,
            seed=self.seed,
            schema=form.schema,
            schema_name=form.schema_name,
            purpose=purpose,
            # Two slots may ask the very same question; the index keeps their answers apart.
            repeat_index=repeat_index,
        )

    def _keep(
        self,
        slot_id: str,
        attempt: int,
        prompt: Prompt,
        messages: tuple[Message, ...],
        answer: Completion,
        parents: tuple[Chosen, ...],
    ) -> None:
        if any(proposal.attempt == attempt for proposal in self.archive.proposals(slot_id)):
            return  # stored before the process was killed
        with self.archive.transaction():
            self.archive.add_proposal(
                Proposal(
                    slot_id=slot_id,
                    attempt=attempt,
                    origin="llm" if attempt == 0 else "repaired",
                    template_id=prompt.template_id,
                    model=answer.model,
                    prompt=[{"role": message.role, "content": message.content} for message in messages],
                    reply=answer.text,
                    parents=[chosen.entry.ref for chosen in parents],
                    usage=answer.usage.as_dict() if answer.usage else None,
                    cost_usd=None,
                    latency_seconds=answer.latency_seconds,
                )
            )
            self._event(slot_id, "responded", {"attempt": attempt, "finish_reason": answer.finish_reason})

    def _event(self, slot_id: str, kind: str, data: dict[str, Any]) -> None:
        self.archive.append_event(slot_id, kind, data=data)
