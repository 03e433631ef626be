"""Pace: how many calls a run has in flight, learned from the server's 429s and shared by all its clients.

Additive increase, multiplicative decrease: a 429 halves the limit and, with a `Retry-After`, holds every new call back
for as long; a full round of successes raises it by one again. Calls that were under way when the limit was halved do
not halve it a second time: a burst of 429s is one message. The pace changes when calls are made and nothing else.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

MAX_IN_FLIGHT = 256


class Turn:
    """One call in flight, and what it has to tell the others."""

    def __init__(self, pace: "Pace", generation: int) -> None:
        self._pace = pace
        self._generation = generation

    def slow_down(self, retry_after: float | None) -> None:
        """The server said 429; `retry_after` is the seconds it wants to rest, if it said so."""
        self._generation = self._pace.slowed(self._generation, retry_after)

    def succeeded(self) -> None:
        """The server answered."""
        self._pace.succeeded()


class Pace:
    """The limiter. Use it inside one event loop.

    Args:
        limit: calls in flight at the start and at most.
        clock: seconds, monotonic; sleep: waiting. Replaced in tests.
    """

    def __init__(
        self,
        limit: int = MAX_IN_FLIGHT,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if limit < 1:
            raise ValueError(f"a pace of {limit} calls would never ask anything")
        self._most = self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._in_flight = 0
        self._generation = 0
        self._in_a_row = 0
        self._resume_at = float("-inf")
        self._free = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return self._limit

    @property
    def rest(self) -> float:
        """Seconds until a new call may be made; 0 where nothing holds it back."""
        return max(0.0, self._resume_at - self._clock())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait until a call may be made, and hold its place while it is."""
        async with self._free:
            await self._free.wait_for(lambda: self._in_flight < self._limit)
            self._in_flight += 1
        try:
            while self.rest > 0.0:
                await self._sleep(self.rest)
            yield Turn(self, self._generation)
        finally:
            self._in_flight -= 1
            async with self._free:
                self._free.notify_all()

    def slowed(self, generation: int, retry_after: float | None) -> int:
        """A call of this generation met a 429; gives the generation that now holds."""
        self._in_a_row = 0
        if retry_after is not None:
            self._resume_at = max(self._resume_at, self._clock() + retry_after)
        if generation == self._generation:
            self._limit = max(1, self._limit // 2)
            self._generation += 1
        return self._generation

    def succeeded(self) -> None:
        """A call was answered; as many in a row as may be in flight raise the limit by one."""
        self._in_a_row += 1
        if self._in_a_row >= self._limit and self._limit < self._most:
            self._limit += 1
            self._in_a_row = 0
