"""Traffic: which of the many slots that are under way may go on, when a model answers several at once.

Three things of a slot take turns. Its question is written ahead, while others are in flight; its call holds one of few
places, from just before the question goes out until the answer is there and no longer; what follows (storing, reading,
checking) waits at the turnstile, which lets one slot through for each look at the network. So a place that comes free
is taken by a question that is ready, before anybody reads the answer that freed it.

Nothing here decides what is asked or what becomes of it, so it changes when things happen and never what.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from generator.llm.address import parse_address

LOOKS = 4
"""Looks at the network before a slot is let through the turnstile: as many as a reply takes to come in and be followed
by the next question."""


class Traffic:
    """The places in flight of one run, shared by all its models. Use it inside one event loop.

    Args:
        in_flight: calls that may be under way at the same time.
    """

    def __init__(self, in_flight: int) -> None:
        if in_flight < 1:
            raise ValueError(f"{in_flight} calls in flight would never ask anything")
        self.in_flight = in_flight
        self._free = asyncio.Semaphore(in_flight)
        self._turnstile = asyncio.Lock()
        self._stopped: BaseException | None = None

    @property
    def under_way(self) -> int:
        """Slots that should be worked on at the same time: a question ready for each place that may come free.

        One place has none: there the slots are asked strictly one after the other.
        """
        return 2 * self.in_flight - 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place in flight, and hold it. Raises what `stop` was told."""
        self.check()
        async with self._free:
            self.check()
            yield

    def stop(self, why: BaseException) -> None:
        """No further call begins: whoever waits for a place gets this error. The first one stays."""
        self._stopped = self._stopped or why

    def check(self) -> None:
        """Raise what `stop` was told, if it was."""
        if self._stopped is not None:
            raise self._stopped

    async def turnstile(self) -> None:
        """Wait until it is this slot's turn to be worked on; what is ready to be sent or received goes first."""
        async with self._turnstile:
            for _ in range(LOOKS):
                await asyncio.sleep(0)


def traffic_of(llms: Iterable[str], in_flight: int) -> Traffic:
    """The traffic of calls to these addresses; a script is a list in order, so it is read one reply after the other."""
    return Traffic(1 if any(parse_address(llm).kind == "scripted" for llm in llms) else in_flight)
