"""The shared limiter: halved by a 429, held back by Retry-After, raised again by successes."""

import asyncio
from typing import Any

import numpy as np
import pytest

from generator.llm.address import parse_address
from generator.llm.client import CompletionRequest, Message
from generator.llm.openai_client import OpenAIClient
from generator.llm.pace import Pace, Turn
from generator.llm.secret import Secret


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_burst_of_429_halves_the_limit_once() -> None:
    pace = Pace(32)

    async def burst() -> None:
        async with pace.turn() as first, pace.turn() as second, pace.turn() as third:
            for turn in (first, second, third):
                turn.slow_down(None)

    asyncio.run(burst())
    assert pace.limit == 16


def test_call_that_is_refused_again_after_the_pause_halves_it_again() -> None:
    pace = Pace(32)

    async def stubborn() -> None:
        async with pace.turn() as turn:
            turn.slow_down(None)
            turn.slow_down(None)

    asyncio.run(stubborn())
    # 32 / 2 / 2: the second 429 came from an attempt that was made under the new limit.
    assert pace.limit == 8


def test_limit_never_falls_below_one_and_never_rises_above_where_it_began() -> None:
    pace = Pace(2)

    async def calls() -> None:
        async with pace.turn() as turn:
            for _ in range(5):
                turn.slow_down(None)
            assert pace.limit == 1
            for _ in range(50):
                turn.succeeded()

    asyncio.run(calls())
    assert pace.limit == 2


def test_full_round_of_successes_raises_the_limit_by_one() -> None:
    pace = Pace(8)
    limits = []

    async def calls() -> None:
        async with pace.turn() as turn:
            turn.slow_down(None)  # 4
            for _ in range(4 + 5):
                turn.succeeded()
                limits.append(pace.limit)

    asyncio.run(calls())
    # Four in a row: 5. Five in a row: 6.
    assert limits == [4, 4, 4, 5, 5, 5, 5, 5, 6]


def test_retry_after_holds_every_new_call_back() -> None:
    time = Time()
    pace = Pace(4, clock=time, sleep=time.sleep)
    starts = []

    async def one(refused: bool) -> None:
        async with pace.turn() as turn:
            starts.append(time.now)
            if refused:
                turn.slow_down(7.0)

    async def calls() -> None:
        await one(True)
        await asyncio.gather(one(False), one(False))

    asyncio.run(calls())
    assert starts == [0.0, 7.0, 7.0]
    assert pace.rest == 0.0


def test_no_more_calls_than_the_limit_are_in_flight() -> None:
    pace = Pace(3)
    most = now = 0

    async def one() -> None:
        nonlocal most, now
        async with pace.turn():
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

    async def calls() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(calls())
    assert most == 3


def test_cancelled_call_gives_its_place_back() -> None:
    pace = Pace(1)

    async def hang(turns: list[Turn]) -> None:
        async with pace.turn() as turn:
            turns.append(turn)
            await asyncio.sleep(60)

    async def calls() -> int:
        turns: list[Turn] = []
        task = asyncio.create_task(hang(turns))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(30.0), pace.turn():
            return len(turns)

    assert asyncio.run(calls()) == 1


def test_one_clients_429_slows_the_others(chat_server: Any) -> None:
    now = 0.0

    async def rest(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def sleep(seconds: float) -> None:
        """Between two attempts; the pace's own clock stands meanwhile."""

    pace = Pace(8, clock=lambda: now, sleep=rest)
    chat_server.add(chat_server.status(429, retry_after_ms="300"))
    chat_server.always(chat_server.says("{}"))

    def client() -> OpenAIClient:
        address = parse_address(f"openai:tiny@{chat_server.base_url}")
        return OpenAIClient(address, Secret("k"), rng=np.random.default_rng(1), pace=pace, sleep=sleep)

    async def calls() -> float:
        first, second = client(), client()
        asked = CompletionRequest((Message("user", "?"),), max_output_tokens=10)
        await first.complete(asked)
        left = pace.rest
        await second.complete(asked)
        assert pace.rest == pytest.approx(0.0)
        await first.aclose()
        await second.aclose()
        return left

    assert asyncio.run(calls()) == pytest.approx(0.3)
    assert now == pytest.approx(0.3)  # the second client waited for what the first was told
    assert pace.limit == 4


def test_pace_of_no_calls_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="would never ask"):
        Pace(0)
