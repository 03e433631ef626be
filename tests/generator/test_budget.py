"""The ledger: what is held, what is spent, and when it says no."""

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtesting.errors import BudgetReached, InvalidConfig
from generator.budget import Budget, Caps, Reservation, Spend, estimated_tokens
from generator.llm.client import Usage
from generator.llm.pricing import Price

PRICE = Price(input=10.0, cached=1.0, output=20.0, date="2026-01-01", source="a test")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def budget(clock: Clock | None = None, spent: Spend | None = None, **caps: Any) -> Budget:
    return Budget(Caps(**caps), clock=clock or Clock(), spent=spent)


def held(answer: Reservation | BudgetReached) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


def refused(answer: Reservation | BudgetReached) -> BudgetReached:
    assert isinstance(answer, BudgetReached)
    return answer


def test_reservation_is_the_most_that_the_call_can_cost() -> None:
    # 2904 bytes / 3 + 32 = 1000 prompt tokens; 1000 * 10 + 500 * 20 = 20,000 millionths of a dollar.
    reservation = held(budget().reserve(2904, 500, PRICE))
    assert reservation.tokens == 1500
    assert reservation.usd == pytest.approx(0.02)


def test_tokens_are_estimated_upwards() -> None:
    assert [estimated_tokens(count) for count in (0, 1, 3, 4)] == [32, 33, 33, 34]


def test_settling_replaces_what_was_held_by_what_it_did_cost() -> None:
    ledger = budget()
    reservation = held(ledger.reserve(2904, 500, PRICE))
    assert (ledger.reserved_tokens, ledger.reserved_usd) == (1500, pytest.approx(0.02))
    # 900 fresh * 10 + 100 cached * 1 + 50 * 20 = 10,100 millionths
    assert ledger.settle(reservation, Usage(1000, 50, cached_tokens=100)) == pytest.approx(0.0101)
    assert (ledger.reserved_tokens, ledger.reserved_usd) == (0, 0.0)
    assert ledger.spent == Spend(usd=pytest.approx(0.0101), tokens=1050, calls=1)


def test_missing_usage_commits_the_reservation() -> None:
    ledger = budget()
    assert ledger.settle(held(ledger.reserve(2904, 500, PRICE)), None) == pytest.approx(0.02)
    assert ledger.spent.tokens == 1500


def test_released_reservation_costs_nothing() -> None:
    ledger = budget(max_calls=1)
    ledger.release(held(ledger.reserve(0, 10, PRICE)))
    assert ledger.spent == Spend()
    held(ledger.reserve(0, 10, PRICE))


def test_reservation_is_closed_once() -> None:
    ledger = budget()
    reservation = held(ledger.reserve(0, 10, PRICE))
    ledger.settle(reservation, None)
    with pytest.raises(ValueError, match="reservation 1 is not open"):
        ledger.settle(reservation, None)
    with pytest.raises(ValueError, match="not open"):
        ledger.release(reservation)


def test_each_cap_says_no_before_the_call() -> None:
    # 32 tokens of overhead + 68 = 100 tokens a call
    by_calls = budget(max_calls=2)
    held(by_calls.reserve(0, 68, PRICE))
    held(by_calls.reserve(0, 68, PRICE))
    assert "max_calls is reached: 2 of 2 calls" in str(refused(by_calls.reserve(0, 68, PRICE)))

    by_tokens = budget(max_tokens=250)
    held(by_tokens.reserve(0, 68, PRICE))
    held(by_tokens.reserve(0, 68, PRICE))
    answer = refused(by_tokens.reserve(0, 68, PRICE))
    assert "max_tokens is reached: 200 of 250 tokens (est.) are used or held, a call needs 100" in str(answer)
    assert answer.exit_code == 6
    assert "--resume" in answer.next_step

    by_usd = budget(max_usd=0.002)  # a call holds 32 * 10 + 68 * 20 = 1680 millionths
    held(by_usd.reserve(0, 68, PRICE))
    assert "max_usd is reached" in str(refused(by_usd.reserve(0, 68, PRICE)))


def test_cap_can_be_used_to_the_last_token() -> None:
    ledger = budget(max_tokens=200)
    held(ledger.reserve(0, 68, PRICE))
    held(ledger.reserve(0, 68, PRICE))
    assert ledger.reserved_tokens == 200


def test_time_runs_on_over_a_resumed_run() -> None:
    clock = Clock()
    ledger = budget(clock, spent=Spend(seconds=50.0), max_seconds=60.0)
    clock.now += 9.0
    held(ledger.reserve(0, 1, PRICE))
    assert ledger.spent.seconds == pytest.approx(59.0)
    clock.now += 1.0
    assert "60 of 60 seconds are over" in str(refused(ledger.reserve(0, 1, PRICE)))


def test_resumed_run_begins_with_what_was_spent() -> None:
    ledger = budget(spent=Spend(usd=0.0015, tokens=900, calls=7), max_usd=0.002)
    refused(ledger.reserve(0, 68, PRICE))
    assert Spend(**ledger.spent.as_dict()) == ledger.spent  # type: ignore[arg-type]


def test_unpriced_model_counts_tokens_and_says_so() -> None:
    ledger = budget(max_tokens=1_000, max_usd=1.0)
    assert ledger.settle(held(ledger.reserve(0, 68, None)), Usage(50, 10)) is None
    assert ledger.spent == Spend(usd=0.0, tokens=60, calls=1, unpriced_calls=1)


def test_usd_cap_alone_cannot_be_kept_for_an_unpriced_model() -> None:
    with pytest.raises(InvalidConfig, match=r"unpriced.*--max-tokens"):
        budget(max_usd=1.0).reserve(0, 1, None)
    budget(max_usd=1.0).check_enforceable(PRICE)
    budget().check_enforceable(None)


@pytest.mark.parametrize("name", ["max_usd", "max_tokens", "max_calls", "max_seconds"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True])
def test_cap_that_is_no_limit_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidConfig, match=rf"{name} is .*, allowed is a positive number") as caught:
        Caps(**{name: value})  # type: ignore[arg-type]
    assert caught.value.exit_code == 3


def test_server_that_counts_more_than_was_held_is_entered_and_stops_the_next() -> None:
    ledger = budget(max_tokens=250)
    ledger.settle(held(ledger.reserve(0, 68, PRICE)), Usage(240, 60))
    assert ledger.spent.tokens == 300
    refused(ledger.reserve(0, 68, PRICE))


CALLS = st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 500), st.floats(0, 1), st.booleans()), max_size=30)


@settings(max_examples=60, deadline=None)
@given(CALLS, st.integers(1, 10_000), st.floats(1e-4, 0.05), st.integers(1, 20))
def test_caps_hold_at_every_moment_with_many_calls_in_flight(
    calls: list[tuple[int, int, float, bool]], max_tokens: int, max_usd: float, max_calls: int
) -> None:
    ledger = budget(max_tokens=max_tokens, max_usd=max_usd, max_calls=max_calls)

    def check() -> None:
        assert ledger.spent.tokens + ledger.reserved_tokens <= max_tokens
        assert ledger.spent.usd + ledger.reserved_usd <= max_usd * (1 + 1e-12)
        assert ledger.spent.calls <= max_calls

    async def one(prompt_bytes: int, cap: int, share: float, lost: bool) -> None:
        reservation = ledger.reserve(prompt_bytes, cap, PRICE)
        check()
        if isinstance(reservation, BudgetReached):
            return
        await asyncio.sleep(0)
        used = Usage(int(estimated_tokens(prompt_bytes) * share), int(cap * share))
        ledger.settle(reservation, None if lost else used)
        check()

    async def all_at_once() -> None:
        await asyncio.gather(*(one(*call) for call in calls))

    asyncio.run(all_at_once())
    assert ledger.reserved_tokens == 0
    assert ledger.reserved_usd == 0.0


def test_free_call_counts_as_a_call_and_gives_everything_else_back() -> None:
    ledger = budget(max_tokens=10_000)
    ledger.settle_free(held(ledger.reserve(300, 1_000, None)))
    assert ledger.spent == Spend(calls=1)
    assert ledger.reserved_tokens == 0
