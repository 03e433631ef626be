"""PaidCalls: asking the model, with every call written down before it is made and every reply stored before it is read.

The order is reserve, call, store. A process that dies between reserve and store may pay that one call again after it
resumes; a reply that was stored is never paid twice. The ledger in the archive is the truth, the Budget its fast copy.
A place in flight is held for the call alone (`Traffic`): the next call begins before this one's reply is stored.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from agents.archive.records import Rejection
from agents.archive.store import Archive
from backtesting.errors import BudgetReached, EndpointError
from backtesting.hashing import canonical_json
from generator.budget import Budget, Reservation
from generator.llm.client import CallFailed, Completion, CompletionRequest, Failure, LLMClient, Usage
from generator.llm.pricing import Price
from generator.traffic import Traffic

BREAKER = 5
"""Calls that fail in a row before the run stops: the endpoint is down, and every further slot would only be lost."""

_CODES: dict[Failure, str] = {
    "transport": "transport",
    "rate_limited": "rate_limited",
    "timeout": "timeout",
    "protocol": "protocol",
    "too_large": "protocol",
    "server": "transport",
}


class PaidCalls:
    """The calls of one run to one model.

    Args:
        traffic: the places in flight that all calls of the run share; None is a single one.
    """

    def __init__(
        self,
        run_id: str,
        archive: Archive,
        client: LLMClient,
        budget: Budget,
        price: Price | None,
        *,
        traffic: Traffic | None = None,
    ) -> None:
        self.client = client
        self.traffic = traffic or Traffic(1)
        self._run_id = run_id
        self._archive = archive
        self._budget = budget
        self._price = price
        self._failed_in_a_row = 0

    async def ask(
        self,
        slot_id: str,
        attempt: int,
        request: CompletionRequest,
        *,
        asking: Callable[[], None],
        answered: Callable[[Completion], None],
    ) -> Completion | Rejection:
        """The completion of this slot's `attempt`-th question, from the ledger if it was paid for before.

        Args:
            asking, answered: what else is written down with the question and with the answer, each in the transaction
                of the ledger's own entry: one wait for the disk instead of two. Both run again at a resume.

        Raises:
            BudgetReached: the call would pass a limit; nothing was sent.
            EndpointError: the next call would fail too (no key, no such model, no credit), or five failed in a row.
        """
        earlier = self._archive.settled_call(slot_id, request.purpose, attempt)
        if earlier is not None and earlier.reply is not None:
            found = completion_from(earlier.reply)
            with self._archive.transaction():
                asking()
                answered(found)
            return found
        payload_id, prompt_bytes = self.client.payload_id(request), request.prompt_bytes
        async with self.traffic.place():
            reservation = self._budget.reserve(prompt_bytes, request.max_output_tokens, self._price)
            if isinstance(reservation, BudgetReached):
                raise reservation
            with self._archive.transaction():
                asking()
                call_id = self._archive.reserve_call(
                    self._run_id,
                    slot_id,
                    purpose=request.purpose,
                    attempt=attempt,
                    payload_id=payload_id,
                    reserved_usd=reservation.usd,
                    reserved_tokens=reservation.tokens,
                )
            try:
                completion = await self.client.complete(request)
            except CallFailed as failure:
                return self._enter_failure(call_id, reservation, failure)
            self._failed_in_a_row = 0
            usd, usage = self._enter_answer(reservation, completion)
        try:
            await self.traffic.turnstile()
        finally:  # a reply that is here is stored, also where the run is stopped while it waits
            with self._archive.transaction():
                self._archive.settle_call(call_id, reply=completion_text(completion), usage=usage, cost_usd=usd)
                answered(completion)
        return completion

    def _enter_answer(
        self, reservation: Reservation, completion: Completion
    ) -> tuple[float | None, Mapping[str, int] | None]:
        """Enter an answer into the budget; its USD and its usage, as the ledger keeps them."""
        if completion.free:
            self._budget.settle_free(reservation)
            return 0.0, Usage(0, 0).as_dict()
        usd = self._budget.settle(reservation, completion.usage)
        return usd, completion.usage.as_dict() if completion.usage else None

    def _enter_failure(self, call_id: int, reservation: Reservation, failure: CallFailed) -> Rejection:
        """Enter a call that brought nothing; raises where the next one would bring nothing either."""
        if failure.charged:
            self._budget.settle(reservation, None)
        else:
            self._budget.release(reservation)
        self._archive.fail_call(
            call_id,
            failure.failure,
            reply=failure.raw_body,
            usage=None if failure.charged else Usage(0, 0).as_dict(),
            cost_usd=None if failure.charged else 0.0,
        )
        self._failed_in_a_row += 1
        if failure.stops_run:
            raise failure
        if self._failed_in_a_row >= BREAKER:
            raise EndpointError(
                f"{BREAKER} calls to {self.client.address} failed in a row, the last one so: {failure.what}",
                kept="everything done so far is saved",
                next_step="look at the endpoint, then continue with --resume",
            ) from failure
        return Rejection("call", _CODES.get(failure.failure, "llm_error"), str(failure), {"attempts": failure.attempts})


def completion_text(completion: Completion) -> str:
    """A completion as the text that the ledger keeps."""
    return canonical_json(asdict(completion))


def completion_from(text: str) -> Completion:
    """The completion that `completion_text` made `text` of."""
    values: dict[str, Any] = json.loads(text)
    usage = values.pop("usage")
    return Completion(**values, usage=Usage(**usage) if usage else None)
