"""Traffic: places in flight, questions ahead of them, and whose turn it is to be worked on."""

import asyncio

import pytest

from backtesting.errors import BudgetReached
from generator.traffic import Traffic, traffic_of

REACHED = BudgetReached("the limit max_calls is reached", kept="all is saved", next_step="raise it")


def test_a_place_is_free_for_the_next_call_before_anybody_reads_the_answer_that_freed_it() -> None:
    seen: list[str] = []

    async def slot(name: str, traffic: Traffic) -> None:
        async with traffic.place():
            seen.append(f"{name} asks")
            await asyncio.sleep(0)
        await traffic.turnstile()
        seen.append(f"{name} is read")

    async def all_of_them() -> None:
        traffic = Traffic(1)
        await asyncio.gather(*(slot(name, traffic) for name in "abc"))

    asyncio.run(all_of_them())
    # Three calls one after the other, as one place says; the answers are read behind the back of the next call.
    assert [event for event in seen if event.endswith("asks")] == ["a asks", "b asks", "c asks"]
    assert seen.index("b asks") < seen.index("a is read")
    assert [event for event in seen if event.endswith("read")] == ["a is read", "b is read", "c is read"]


def test_never_more_calls_than_places_are_under_way() -> None:
    under_way: list[int] = [0, 0]

    async def slot(traffic: Traffic) -> None:
        async with traffic.place():
            under_way[0] += 1
            under_way[1] = max(under_way)
            await asyncio.sleep(0)
            under_way[0] -= 1
        await traffic.turnstile()

    async def all_of_them() -> None:
        traffic = Traffic(3)
        await asyncio.gather(*(slot(traffic) for _ in range(20)))

    asyncio.run(all_of_them())
    assert under_way == [0, 3]


def test_the_turnstile_lets_one_slot_through_for_each_look_at_the_network() -> None:
    # A chain of three callbacks, as a reply that comes in, is through before the second slot gets its turn.
    seen: list[str] = []

    async def slot(name: str, traffic: Traffic) -> None:
        await traffic.turnstile()
        seen.append(name)

    async def reply() -> None:
        for step in ("head", "body", "next question"):
            await asyncio.sleep(0)
            seen.append(step)

    async def all_of_them() -> None:
        traffic = Traffic(2)
        await asyncio.gather(slot("first", traffic), slot("second", traffic), reply())

    asyncio.run(all_of_them())
    assert seen.index("next question") < seen.index("second")


def test_after_a_stop_nobody_who_waits_for_a_place_sends_anything() -> None:
    sent: list[str] = []

    async def all_of_them() -> list[BaseException | None]:
        traffic = Traffic(1)

        async def slot(name: str) -> None:
            async with traffic.place():
                sent.append(name)
                await asyncio.sleep(0)
                traffic.stop(REACHED)
                traffic.stop(ValueError("a later one"))

        return list(await asyncio.gather(slot("a"), slot("b"), return_exceptions=True))

    assert asyncio.run(all_of_them()) == [None, REACHED]
    assert sent == ["a"]


@pytest.mark.parametrize(("in_flight", "under_way"), [(1, 1), (4, 7), (32, 63)])
def test_a_question_is_ready_for_each_place_that_may_come_free_and_with_one_place_none(
    in_flight: int, under_way: int
) -> None:
    assert Traffic(in_flight).under_way == under_way


def test_no_place_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="0 calls in flight would never ask anything"):
        Traffic(0)


@pytest.mark.parametrize(
    ("llms", "in_flight"),
    [
        (["openai:a@http://127.0.0.1:1/v1"], 8),
        (["openai:a@http://127.0.0.1:1/v1", "scripted:replies.jsonl"], 1),
        (["replay:folder"], 8),
    ],
)
def test_a_script_is_read_one_reply_after_the_other(llms: list[str], in_flight: int) -> None:
    assert traffic_of(llms, 8).in_flight == in_flight
