"""Patience: how long and how often one call is tried. The only owner of retries, whatever client asks.

Every library underneath has its own retries turned off, so that one line in the books is one known number of requests.
What is tried again is said by the client, by class of failure; what a model says is never tried again here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt

from generator.llm.client import CallFailed, Completion
from generator.llm.pace import Pace

MAX_ATTEMPTS = 4
DEADLINE_SECONDS = 120.0
ATTEMPT_SECONDS = 90.0
BACKOFF_BASE = 0.5
BACKOFF_CAP = 20.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Patience:
    """Limits of one call: requests, seconds for each, seconds for all of them with the waits between."""

    max_attempts: int = MAX_ATTEMPTS
    attempt_seconds: float = ATTEMPT_SECONDS
    deadline_seconds: float = DEADLINE_SECONDS


DEFAULT_PATIENCE = Patience()


class AttemptFailed(Exception):
    """One attempt failed; `again`: another could succeed; `retry_after`: seconds the server wants to rest."""

    def __init__(self, error: CallFailed, *, again: bool = False, retry_after: float | None = None) -> None:
        super().__init__(error.what)
        self.error = error
        self.again = again
        self.retry_after = retry_after


async def ask_patiently(
    attempt: Callable[[int, float], Awaitable[Completion]],
    *,
    patience: Patience,
    pace: Pace,
    rng: np.random.Generator,
    sleep: Sleep,
    out_of_time: Callable[[str], CallFailed],
) -> Completion:
    """The completion of the first attempt that brings one.

    Waiting for a turn does not count against the deadline: a call that was not sent yet is not late.

    Args:
        attempt: one request; called with its number from 1 and the monotonic time at which the call began; raises
            AttemptFailed.
        pace: the run's shared limiter; told about every 429 and every success.
        rng: jitter of the waits.
        out_of_time: makes the error for the deadline over all attempts, out of a sentence.

    Raises:
        CallFailed: the last failure, with attempts, latency and whether anything may have been charged.
    """
    attempts = timeouts = 0
    charged = False

    def wait(state: RetryCallState) -> float:
        # What the server asked for and a little, else full jitter under 2**n; never before the shared pause is over.
        failed = _failed(state)
        if failed is not None and failed.retry_after is not None:
            own = failed.retry_after + float(rng.uniform(0.0, 1.0))
        else:
            own = float(rng.uniform(0.0, min(BACKOFF_CAP, BACKOFF_BASE * 2.0**state.attempt_number)))
        return max(own, pace.rest)

    def stop(state: RetryCallState) -> bool:
        # No further attempt: too many, or the wait alone would pass the deadline.
        late = (state.seconds_since_start or 0.0) + state.upcoming_sleep >= patience.deadline_seconds
        return late or stop_after_attempt(patience.max_attempts)(state)

    async with pace.turn() as turn:
        began = time.monotonic()

        async def one() -> Completion:
            nonlocal attempts, timeouts, charged
            attempts += 1
            try:
                answer = await attempt(attempts, began)
            except AttemptFailed as failed:
                charged = charged or failed.error.charged
                timeouts += failed.error.failure == "timeout"
                # Silence is waited out once: a second hour of it teaches nothing.
                failed.again = failed.again and not (failed.error.failure == "timeout" and timeouts > 1)
                if failed.error.failure == "rate_limited":
                    turn.slow_down(failed.retry_after)
                raise
            turn.succeeded()
            return answer

        retrying = AsyncRetrying(sleep=sleep, wait=wait, stop=stop, retry=_try_again, reraise=True)
        try:
            async with asyncio.timeout(patience.deadline_seconds):
                return await retrying(one)
        except AttemptFailed as failed:
            error = failed.error
            error.charged = charged
        except TimeoutError:
            error = out_of_time(f"no answer within {patience.deadline_seconds:g} s over {attempts} attempts")
        error.attempts = attempts
        error.latency_seconds = time.monotonic() - began
        # Without the chain: the exceptions below hold requests, and requests hold the key.
        raise error from None


def _failed(state: RetryCallState) -> AttemptFailed | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, AttemptFailed) else None


def _try_again(state: RetryCallState) -> bool:
    failed = _failed(state)
    return failed is not None and failed.again
