"""Paid calls: reserve, call, store; and what each end of a call leaves in the books."""

import asyncio
from typing import Any

import pytest

from agents.archive.records import Rejection
from agents.archive.store import Archive
from backtesting.errors import BudgetReached, EndpointError
from generator.budget import Budget, Caps, Spend
from generator.calls import BREAKER, PaidCalls, completion_from, completion_text
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message, Usage
from generator.llm.scripted import ScriptedClient, completion

REQUEST = CompletionRequest(messages=(Message("user", "Propose."),), max_output_tokens=100)


def calls_of(kit: Any, archive: Archive, replies: list[Any], **caps: Any) -> tuple[PaidCalls, ScriptedClient, Budget]:
    run = kit.open_(kit.settings(slots=4), archive)
    client = ScriptedClient(replies)
    budget = Budget(Caps(**caps), clock=lambda: 0.0)
    return PaidCalls(run.run_id, archive, client, budget, kit.PRICE), client, budget


def ask(calls: PaidCalls, slot: str, attempt: int = 0) -> Completion | Rejection:
    return asyncio.run(calls.ask(slot, attempt, REQUEST, asking=lambda: None, answered=lambda _: None))


def slots(archive: Archive) -> list[str]:
    return [slot.slot_id for slot in archive.slots(archive.runs()[0].run_id)]


def failed(failure: Any, **more: Any) -> CallFailed:
    return CallFailed("it failed", failure=failure, next_step="try again", **more)


def test_completion_survives_the_ledger_with_every_field() -> None:
    whole = Completion(
        text='{"a": "Zug \u00fcber \u4e2d"}',
        refusal=None,
        finish_reason="stop",
        usage=Usage(10, 20, reasoning_tokens=3, cached_tokens=4),
        model="tiny-1",
        latency_seconds=0.25,
        attempts=2,
        payload_id="b2:x",
        raw_body="{}",
    )
    assert completion_from(completion_text(whole)) == whole
    bare = completion(None, refusal="no")
    assert completion_from(completion_text(bare)) == bare


def test_stored_reply_is_given_without_a_call_or_a_reservation(kit: Any, archive: Archive) -> None:
    calls, client, budget = calls_of(kit, archive, [completion("one", usage=Usage(10, 5))])
    slot = slots(archive)[0]
    first = ask(calls, slot)
    second = ask(calls, slot)
    assert first == second
    assert len(client.history) == 1
    # 10 * $1 + 5 * $4 a million
    assert budget.spent == Spend(usd=pytest.approx(30e-6), tokens=15, calls=1)  # type: ignore[arg-type]


def test_another_attempt_is_another_question(kit: Any, archive: Archive) -> None:
    calls, client, _ = calls_of(kit, archive, ["one", "two"])
    slot = slots(archive)[0]
    answers = [ask(calls, slot, attempt) for attempt in (0, 1)]
    assert [answer.text for answer in answers if isinstance(answer, Completion)] == ["one", "two"]
    assert len(client.history) == 2


def test_limit_is_asked_before_anything_is_sent_or_written(kit: Any, archive: Archive) -> None:
    calls, client, _ = calls_of(kit, archive, ["one"], max_tokens=50)
    with pytest.raises(BudgetReached, match="max_tokens"):
        ask(calls, slots(archive)[0])
    assert client.history == []
    assert archive.calls(archive.runs()[0].run_id) == ()


@pytest.mark.parametrize(
    ("failure", "code", "tokens"),
    [
        # Nobody knows what a broken or late call cost: the reservation counts, 100 out and (8 + 2) / 3 + 32 in.
        ("transport", "transport", 135),
        ("timeout", "timeout", 135),
        ("protocol", "protocol", 135),
        ("too_large", "protocol", 135),
        ("server", "transport", 135),
        ("rate_limited", "rate_limited", 0),
    ],
)
def test_failed_call_is_a_value_and_costs_what_it_may_have_cost(
    failure: Any, code: str, tokens: int, kit: Any, archive: Archive
) -> None:
    calls, _, budget = calls_of(kit, archive, [failed(failure, raw_body="<html>")])
    answer = ask(calls, slots(archive)[0])
    assert isinstance(answer, Rejection)
    assert (answer.stage, answer.code) == ("call", code)
    (call,) = archive.calls(archive.runs()[0].run_id)
    assert (call.status, call.failure, call.reply) == ("failed", failure, "<html>")
    assert archive.spend().tokens == tokens
    assert budget.spent.tokens == tokens
    assert budget.reserved_tokens == 0


@pytest.mark.parametrize("failure", ["auth", "not_found", "quota", "bad_request"])
def test_failure_that_every_call_would_meet_is_raised_and_costs_nothing(
    failure: Any, kit: Any, archive: Archive
) -> None:
    calls, _, budget = calls_of(kit, archive, [failed(failure)])
    with pytest.raises(CallFailed):
        ask(calls, slots(archive)[0])
    assert archive.spend().usd == 0.0
    assert budget.spent.usd == 0.0
    assert budget.reserved_usd == 0.0


def test_fifth_failure_in_a_row_stops_and_a_success_starts_the_count_again(kit: Any, archive: Archive) -> None:
    script = [failed("server")] * (BREAKER - 1) + ["fine"] + [failed("server")] * BREAKER
    calls, _, _ = calls_of(kit, archive, script)
    slot = slots(archive)[0]
    ends = [type(ask(calls, slot, attempt)).__name__ for attempt in range(2 * BREAKER - 1)]
    assert ends == ["Rejection"] * 4 + ["Completion"] + ["Rejection"] * 4
    with pytest.raises(EndpointError, match="5 calls to scripted:memory failed in a row, the last one so: it failed"):
        ask(calls, slot, 2 * BREAKER - 1)


def test_failed_call_may_be_made_again(kit: Any, archive: Archive) -> None:
    calls, client, _ = calls_of(kit, archive, [failed("timeout"), "fine"])
    slot = slots(archive)[0]
    assert isinstance(ask(calls, slot), Rejection)
    assert isinstance(ask(calls, slot), Completion)
    assert [call.status for call in archive.calls(archive.runs()[0].run_id)] == ["failed", "settled"]
    assert len(client.history) == 2


def test_unpriced_model_counts_tokens_and_says_that_dollars_are_not_known(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(slots=1), archive)
    client = ScriptedClient([completion("one", usage=Usage(10, 5))])
    calls = PaidCalls(run.run_id, archive, client, Budget(Caps(), clock=lambda: 0.0), None)
    ask(calls, slots(archive)[0])
    spend = archive.spend()
    assert (spend.usd, spend.tokens, spend.calls, spend.unpriced) == (0.0, 15, 1, 1)
