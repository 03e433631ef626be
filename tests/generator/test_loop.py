"""The loop with a model behind a real HTTP server: what each answer of the world does to a slot, and to the run."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.archive.store import Archive
from backtesting.errors import BudgetReached, EndpointError, TouchstoneError
from generator.budget import Caps
from generator.llm.patience import Patience
from generator.loop import Progress, evolve, spec_of
from generator.open_window import OpenWindow
from generator.workflows import dialogue


def one_slot(kit: Any, server: Any, archive: Archive, **more: Any) -> Any:
    return kit.open_(kit.settings(server, slots=1, **more), archive)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it, as long as a busy machine may need."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


# --- one slot, one answer --------------------------------------------------------------------------------------------


def test_good_reply_becomes_a_candidate_of_the_model(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.says(kit.reply(0)))
    run = kit.go(one_slot(kit, chat_server, archive))
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.origin, candidate.repairs, candidate.name) == ("llm", 0, "idea_0")
    assert len(chat_server.requests) == 1
    assert archive.slot_states(run.run_id) == {f"{run.run_id}/0000": "in_review"}
    steps = [event.kind for event in archive.events(run.run_id, f"{run.run_id}/0000")]
    assert steps == ["planned", "prompted", "responded", "valid", "evaluated", "gated", "in_review"]


def test_illegal_reply_is_repaired_and_both_replies_are_kept(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.says(kit.illegal(1)), chat_server.says(kit.reply(1)))
    run = kit.go(one_slot(kit, chat_server, archive))
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.origin, candidate.repairs) == ("repaired", 1)
    first, second = archive.proposals(f"{run.run_id}/0000")
    assert (first.origin, first.reply) == ("llm", kit.illegal(1))
    assert (second.origin, second.reply) == ("repaired", kit.reply(1))
    asked, again = kit.questions(chat_server)
    assert "smaa" not in asked
    assert "did you mean" in again
    # Replaced, not appended: the repair has its own two messages and nothing of the first question's.
    assert [message["role"] for message in chat_server.requests[1].body["messages"]] == ["system", "user"]
    assert "Propose one rule" not in again
    assert [dict(message) for message in second.prompt or ()] == chat_server.requests[1].body["messages"]


def test_repair_is_tried_twice_at_most_and_only_while_errors_get_fewer(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    three = json.dumps(kit.wire("smaa(close, 20) > 1", "emaa(close, 20) > 1", "No Name"))
    two = json.dumps(kit.wire("smaa(close, 20) > 1", "emaa(close, 20) > 1", "a_name"))
    # 3 errors, then 2, then 1: the second repair is the last, however well it goes.
    chat_server.add(chat_server.says(three), chat_server.says(two), chat_server.says(kit.illegal(0)))
    # 2 errors, then 2 again: no third question.
    chat_server.add(chat_server.says(two), chat_server.says(two))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2), archive))
    assert len(chat_server.requests) == 3 + 2
    assert kit.codes(archive, run.run_id) == ["semantics", "semantics"]
    ends = [event.data for event in archive.events(run.run_id) if event.kind == "rejected"]
    assert [end["detail"]["repairs"] for end in ends] == [2, 1]
    assert "smaa" in ends[1]["reason"]


def test_reply_with_an_extreme_number_is_one_lost_slot_and_the_run_goes_on(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    extreme = json.dumps(kit.wire("1e-300 * close > 1e11 * open", "rsi(close, 2) > 70", "tiny_number"))
    chat_server.add(chat_server.says(extreme), chat_server.says(extreme), chat_server.says(kit.reply(1)))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2), archive))
    assert kit.codes(archive, run.run_id) == ["semantics", None]


FINAL: dict[str, tuple[Callable[[Any, Any], Any], str, int]] = {
    "refusal": (lambda server, kit: server.says(None, refusal="I give no advice."), "refusal", 1),
    "filter": (lambda server, kit: server.says("", finish_reason="content_filter"), "content_filter", 1),
    "cut": (lambda server, kit: server.says(kit.reply(0)[:-9], finish_reason="length"), "truncated", 2),
    # Complete JSON, and still not read: the server says that it was cut.
    "cut at the end": (lambda server, kit: server.says(kit.reply(0), finish_reason="length"), "truncated", 2),
    "nothing": (lambda server, kit: server.says("  "), "empty_reply", 2),
    "null": (lambda server, kit: server.says(None), "empty_reply", 2),
}


@pytest.mark.parametrize("case", FINAL)
def test_final_reply_ends_the_slot_and_only_a_cut_or_empty_one_is_asked_for_again(
    case: str, kit: Any, chat_server: Any, archive: Archive
) -> None:
    answer, code, n_asked = FINAL[case]
    chat_server.always(answer(chat_server, kit))
    run = kit.go(one_slot(kit, chat_server, archive))
    assert kit.codes(archive, run.run_id) == [code]
    assert len(chat_server.requests) == n_asked
    # What came back was paid for and is kept: (100 * $1 + 20 * $4) / 1e6 a reply.
    assert archive.spend(run.run_id).usd == pytest.approx(0.00018 * n_asked)
    assert len(archive.proposals(f"{run.run_id}/0000")) == n_asked


def test_cut_reply_is_asked_for_with_twice_the_room_and_an_empty_one_with_another_seed(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    cut = chat_server.says(kit.reply(0)[:-9], finish_reason="length")
    chat_server.add(cut, chat_server.says(kit.reply(0)), chat_server.says(""), chat_server.says(kit.reply(1)))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2), archive))
    first, longer, silent, other = (received.body for received in chat_server.requests)
    assert longer == first | {"max_tokens": 2 * first["max_tokens"]}
    assert other == silent | {"seed": silent["seed"] + 2**30}
    # Both rules are the model's own words, and neither was legal at first.
    candidates = [archive.candidate(slot.slot_id) for slot in archive.slots(run.run_id)]
    assert [(found.name, found.origin, found.repairs) for found in candidates] == [
        ("idea_0", "repaired", 1),
        ("idea_1", "repaired", 1),
    ]


@pytest.mark.parametrize("status", [400, 500])
def test_server_that_does_not_take_the_second_asking_leaves_the_first_reply(
    status: int, kit: Any, chat_server: Any, archive: Archive
) -> None:
    cut = chat_server.says(kit.reply(0)[:-9], finish_reason="length")
    n_refused = 1 if status == 400 else 4
    chat_server.add(cut, *[chat_server.status(status, "the cap is too high")] * n_refused)
    chat_server.always(chat_server.says(kit.reply(1)))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2), archive))
    assert kit.codes(archive, run.run_id) == ["truncated", None]
    assert [call.status for call in archive.calls(run.run_id)] == ["settled", "failed", "settled"]


def test_reply_that_is_no_json_is_repaired_at_most_once_and_then_classed(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    chat_server.always(chat_server.says("Buy low, sell high."))
    run = kit.go(one_slot(kit, chat_server, archive))
    # One error, then one error: not fewer, so no third question.
    assert len(chat_server.requests) == 2
    assert kit.codes(archive, run.run_id) == ["not_json"]


def test_rate_limit_is_waited_for_as_long_as_the_server_says(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.status(429, retry_after="7"), chat_server.says(kit.reply(0)))
    run = one_slot(kit, chat_server, archive)
    waits: list[float] = []
    kit.go(run, client=kit.client_of(run, waits=waits))
    assert len(chat_server.requests) == 2
    assert len(waits) == 1
    assert 7.0 <= waits[0] <= 8.0
    assert kit.codes(archive, run.run_id) == [None]
    # Two requests are one call in the books: they were one question.
    assert [call.status for call in archive.calls(run.run_id)] == ["settled"]


def test_silent_server_is_a_timeout_after_one_more_try(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.always(chat_server.hang())
    run = one_slot(kit, chat_server, archive)
    kit.go(run, client=kit.client_of(run, Patience(max_attempts=4, attempt_seconds=0.3, deadline_seconds=60.0)))
    assert kit.codes(archive, run.run_id) == ["timeout"]
    (end,) = [event.data for event in archive.events(run.run_id) if event.kind == "rejected"]
    assert end["detail"]["attempts"] == 2
    # On a busy machine the time may be up before the server has seen anything; more than twice it is never asked.
    assert len(chat_server.requests) <= 2
    (call,) = archive.calls(run.run_id)
    assert (call.status, call.failure) == ("failed", "timeout")
    # It may have been charged, nobody knows: the whole reservation counts.
    assert archive.spend(run.run_id).tokens == call.reserved_tokens


def test_answer_that_is_no_completion_ends_the_slot_as_protocol(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.raw(b"<html>welcome</html>"))
    run = kit.go(one_slot(kit, chat_server, archive))
    assert kit.codes(archive, run.run_id) == ["protocol"]
    assert len(chat_server.requests) == 1
    assert "welcome" in (archive.calls(run.run_id)[0].reply or "")


# --- the endpoint is down --------------------------------------------------------------------------------------------


def test_broken_server_costs_four_slots_and_stops_at_the_fifth_and_the_run_goes_on(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    chat_server.always(chat_server.status(500))
    run = kit.open_(kit.settings(chat_server, slots=7, block=7), archive)
    with pytest.raises(EndpointError, match="failed in a row") as stopped:
        kit.go(run)
    assert stopped.value.exit_code == 5
    assert "everything done so far is saved" in str(stopped.value)
    assert "--resume" in str(stopped.value)
    # One owner of retries: 5 questions of 4 requests each, and not one more.
    assert len(chat_server.requests) == 5 * 4
    assert kit.codes(archive, run.run_id) == ["transport"] * 4 + [None] * 3

    chat_server.always(chat_server.says(kit.reply(0)))
    kit.go(kit.reopened(run))
    # Slots 4, 5 and 6 are asked once each; the same rule three times is one candidate and two repetitions.
    assert len(chat_server.requests) == 5 * 4 + 3
    assert kit.codes(archive, run.run_id) == ["transport"] * 4 + [None] + ["duplicate_exact"] * 2
    assert kit.terminal_events(archive, run.run_id) == [1] * 7


def test_good_answer_between_failures_resets_the_count(kit: Any, chat_server: Any, archive: Archive) -> None:
    down = [chat_server.status(500)] * 4
    chat_server.add(*down * 4, chat_server.says(kit.reply(0)), *down * 4, chat_server.says(kit.reply(1)))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=10, block=10), archive))
    assert kit.codes(archive, run.run_id) == ["transport"] * 4 + [None] + ["transport"] * 4 + [None]


@pytest.mark.parametrize(("status", "code"), [(401, None), (404, None), (429, "insufficient_quota")])
def test_answer_that_every_call_would_get_stops_the_run_at_once_and_loses_no_slot(
    status: int, code: str | None, kit: Any, chat_server: Any, archive: Archive
) -> None:
    chat_server.add(chat_server.status(status, error_code=code))
    run = kit.open_(kit.settings(chat_server, slots=3), archive)
    with pytest.raises(EndpointError):
        kit.go(run)
    assert len(chat_server.requests) == 1
    assert kit.codes(archive, run.run_id) == [None] * 3
    # The server turned it away before a model ran: nothing was spent, and the books say so.
    assert (archive.spend(run.run_id).usd, archive.spend(run.run_id).tokens) == (0.0, 0)

    chat_server.add(*(chat_server.says(kit.reply(number)) for number in range(3)))
    kit.go(kit.reopened(run))
    assert len(chat_server.requests) == 1 + 3
    assert kit.terminal_events(archive, run.run_id) == [1] * 3
    assert len(archive.evaluations(run.run_id)) == 3


def test_calls_in_flight_come_home_before_the_run_stops(kit: Any, chat_server: Any, archive: Archive) -> None:
    def slow(handler: Any) -> None:
        # Until the refusal has come home, so that this reply comes after it on any machine.
        until(lambda: any(call.status == "failed" for call in archive.calls()))
        chat_server.says(kit.reply(0))(handler)

    chat_server.add(slow, chat_server.status(401))
    chat_server.always(slow)
    run = kit.open_(kit.settings(chat_server, slots=4), archive)
    with pytest.raises(EndpointError):
        kit.go(run, concurrency=2)
    # Two were in flight: one was refused, the other's reply came home and was evaluated; two slots were not begun.
    assert len(chat_server.requests) == 2
    assert sorted(call.status for call in archive.calls(run.run_id)) == ["failed", "settled"]
    states = sorted(archive.slot_states(run.run_id).values())
    # Whether the candidate that came home was still evaluated depends on how fast the refusal was.
    assert states[1:] == ["planned", "planned", "prompted"] or states == ["planned", "planned", "prompted", "valid"]


# --- the books -------------------------------------------------------------------------------------------------------


def test_spend_is_in_the_books_before_the_request_and_settled_after_it(
    kit: Any, chat_server: Any, tmp_path: Path
) -> None:
    """The server itself looks into the ledger while it answers."""
    seen: list[tuple[str, float, int, str | None]] = []

    def look(received: Any) -> Any:
        with sqlite3.connect(f"file:{tmp_path}/touchstone.db?mode=ro", uri=True) as ledger:
            rows = ledger.execute("SELECT status, reserved_usd, reserved_tokens, reply FROM calls ORDER BY call_id")
            seen.append(rows.fetchall()[-1])
        ledger.close()
        return chat_server.says(kit.illegal(0) if len(seen) == 1 else kit.reply(0))

    kit.answer_with(chat_server, look)
    with kit.archive_at(tmp_path) as archive:
        run = kit.go(one_slot(kit, chat_server, archive))
        assert [(status, reply) for status, _, _, reply in seen] == [("reserved", None)] * 2
        for _, usd, tokens, _ in seen:
            # The worst case is reserved: all 2000 tokens of output at $4, and the prompt at $1, a million.
            assert usd == pytest.approx((2000 * 4.0 + (tokens - 2000) * 1.0) / 1e6)
        calls = archive.calls(run.run_id)
        assert [(call.purpose, call.attempt, call.status) for call in calls] == [
            ("propose", 0, "settled"),
            ("repair", 1, "settled"),
        ]
        # Two calls of 100 and 20 tokens: 2 * (100 * 1 + 20 * 4) / 1e6.
        assert archive.spend(run.run_id).usd == pytest.approx(0.00036)
        assert archive.spend(run.run_id).tokens == 240


def test_reply_is_stored_before_anything_reads_it(
    kit: Any, chat_server: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_server.add(chat_server.says(kit.reply(2)))
    run = one_slot(kit, chat_server, archive)

    def breaks(*args: Any, **more: Any) -> Any:
        raise ZeroDivisionError("the reader broke")

    with monkeypatch.context() as patched:
        patched.setattr(dialogue, "read_reply", breaks)
        with pytest.raises(ZeroDivisionError):
            kit.go(run)
    stored = archive.settled_call(f"{run.run_id}/0000", "propose", 0)
    assert stored is not None
    assert json.loads(stored.reply or "")["text"] == kit.reply(2)
    kit.go(kit.reopened(run))
    assert len(chat_server.requests) == 1  # the stored reply was read, nothing was asked again
    assert archive.slot_states(run.run_id) == {f"{run.run_id}/0000": "in_review"}


def test_limit_on_calls_stops_the_run_and_a_higher_one_pays_no_stored_reply_again(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    chat_server.add(
        chat_server.says(kit.reply(0)),
        chat_server.says(kit.illegal(1)),
        # here the limit of 2 calls falls, between a proposal and its repair
        chat_server.says(kit.reply(1)),
        chat_server.says(kit.reply(2)),
    )
    run = kit.open_(kit.settings(chat_server, slots=3), archive)
    with pytest.raises(BudgetReached, match="max_calls") as stopped:
        kit.go(run, caps=Caps(max_calls=2))
    assert stopped.value.exit_code == 6
    assert "2 of 2 calls" in str(stopped.value)
    assert len(chat_server.requests) == 2
    with pytest.raises(BudgetReached):
        kit.go(kit.reopened(run), caps=Caps(max_calls=2))  # the same limit again: it counts what was spent before
    assert len(chat_server.requests) == 2

    kit.go(kit.reopened(run), caps=Caps(max_calls=4))
    assert len(chat_server.requests) == 4
    assert [call.status for call in archive.calls(run.run_id)] == ["settled"] * 4
    assert [archive.candidate(slot.slot_id).origin for slot in archive.slots(run.run_id)] == ["llm", "repaired", "llm"]
    assert kit.terminal_events(archive, run.run_id) == [1, 1, 1]


def test_limit_in_dollars_is_not_passed_by_calls_side_by_side(kit: Any, chat_server: Any, archive: Archive) -> None:
    kit.answer_by_content(chat_server)
    run = kit.open_(kit.settings(chat_server, slots=6, block=6), archive)
    with pytest.raises(BudgetReached, match="max_usd"):
        kit.go(run, caps=Caps(max_usd=0.03), concurrency=6)
    calls = archive.calls(run.run_id)
    assert 1 <= len(calls) < 6
    assert sum(call.reserved_usd or 0.0 for call in calls) <= 0.03
    assert len(chat_server.requests) == len(calls)


# --- order, concurrency, what proposers see ----------------------------------------------------------------------


def test_concurrency_changes_no_decision(kit: Any, chat_server: Any) -> None:
    kit.answer_by_content(chat_server)
    found = []
    for concurrency in (1, 8):
        with Archive.in_memory() as archive:
            run = kit.open_(kit.settings(chat_server, slots=12, arms={"llm": 2.0, "random": 1.0}), archive)
            kit.go(run, concurrency=concurrency)
            found.append(kit.decisions(archive, run.run_id))
    assert found[0] == found[1]
    assert {slot["arm"] for slot in found[0]["slots"]} == {"llm", "random"}
    assert sum(slot["evaluation"] is not None for slot in found[0]["slots"]) >= 3


def test_sealed_prices_reach_no_proposal_prompt_or_evaluation(kit: Any, chat_server: Any) -> None:
    """The sealed bars are replaced by others; the open ones are the same."""
    kit.answer_by_content(chat_server)
    bars = kit.market()
    config = kit.settings(chat_server, slots=15, block=5, arms={"llm": 1.0, "random": 1.0, "evolved": 1.0})
    found, sealed = [], []
    for prices in (bars, kit.with_other_future(bars, 657)):
        with Archive.in_memory() as archive:
            run = kit.go(kit.open_(config, archive, prices))
            assert run.split.open.stop == 657
            found.append(kit.without(kit.decisions(archive, run.run_id), "nomination_id", "n_passed"))
            judged = [slot_id for slot_id in archive.evaluations(run.run_id) if archive.gate_report(slot_id)]
            numbers = [archive.unseal_numbers(slot_id, who="a test", reason="") for slot_id in judged]
            sealed.append([number["alpha_annual"] for number in numbers])
    before, after = json.dumps(found[0], sort_keys=True), json.dumps(found[1], sort_keys=True)
    assert before == after
    # The test can fail: the judgement did read the other prices.
    assert len(sealed[0]) == len(sealed[1]) >= 6
    # A rule that never trades there has the same 0 on both.
    assert sum(a != b for a, b in zip(*sealed, strict=True)) >= len(sealed[0]) - 1


def test_slots_of_a_block_see_the_archive_as_it_was_one_block_before(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    replies = iter(range(100))
    kit.answer_with(chat_server, lambda received: chat_server.says(kit.reply(next(replies))))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=8, block=2), archive))
    names = {strategy.name for strategy in run.incumbents}
    slots = [slot.slot_id for slot in archive.slots(run.run_id)]
    parents = [set(archive.proposals(slot_id)[0].parents) for slot_id in slots]
    tried = [json.loads(text)[1]["content"] for text in kit.questions(chat_server)]
    # Blocks 0 and 1 are proposed before anything is evaluated; block 2 sees block 0, block 3 sees blocks 0 and 1.
    for at, (known, count) in enumerate([(0, 0)] * 4 + [(2, 2)] * 2 + [(4, 4)] * 2):
        assert parents[at] <= names | set(slots[:known])
        assert f"\n{count} rules have been tried" in tried[at]


def test_next_block_is_asked_while_the_last_one_is_evaluated(
    kit: Any, chat_server: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = iter(range(100))
    kit.answer_with(chat_server, lambda received: chat_server.says(kit.reply(next(replies))))
    run = kit.open_(kit.settings(chat_server, slots=4, block=2), archive)
    look = type(run.open).look
    asked_by_then = []

    def slow(self: Any, *args: Any, **more: Any) -> Any:
        until(lambda: len(chat_server.requests) >= 4)
        asked_by_then.append(len(chat_server.requests))
        return look(self, *args, **more)

    monkeypatch.setattr(type(run.open), "look", slow)
    kit.go(run, concurrency=4)
    # While the first candidate of block 0 was looked at, all four questions of both blocks had gone out.
    assert asked_by_then[0] == 4


def test_same_rule_twice_is_one_candidate_and_one_trial(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.always(chat_server.says(kit.reply(0)))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2, block=2), archive))
    assert kit.codes(archive, run.run_id) == [None, "duplicate_exact"]
    assert len(archive.trials(run.run_id)) == 1
    (end,) = [event.data for event in archive.events(run.run_id) if event.kind == "rejected"]
    assert end["reason"] == "the same rule as idea_0 (slot 0)"


def test_other_words_for_an_incumbent_are_not_a_candidate(kit: Any, chat_server: Any, archive: Archive) -> None:
    golden = kit.wire(
        "crosses_above(sma(close, 50), sma(close, 200))", "crosses_below(sma(close, 50), sma(close, 200))"
    )
    chat_server.add(chat_server.says(json.dumps(golden)))
    run = kit.go(one_slot(kit, chat_server, archive))
    assert kit.codes(archive, run.run_id) == ["duplicate_exact"]
    (end,) = [event.data for event in archive.events(run.run_id) if event.kind == "rejected"]
    assert end["detail"] == {"twin": "golden_cross"}


def test_same_positions_in_other_clothes_are_refused_before_anybody_looks_at_their_returns(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    same = json.dumps(kit.wire("day_of_week() == 1 and close > 0.0001 * sma(close, 5)", "day_of_week() == 3"))
    chat_server.add(chat_server.says(kit.reply(2)), chat_server.says(same))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2, block=2), archive))
    assert kit.codes(archive, run.run_id) == [None, "duplicate_behaviour"]
    # It was tried on the open window, so it is counted all the same.
    assert [dict(trial.metrics) != {} for trial in archive.trials(run.run_id)] == [True, False]
    (end,) = [event.data for event in archive.events(run.run_id) if event.kind == "rejected"]
    assert end["reason"].startswith("holds the same positions as idea_2 (slot 0)")


def test_a_look_that_broke_is_counted(
    kit: Any, chat_server: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: Any, **more: Any) -> Any:
        raise ValueError("the window is too short for it")

    chat_server.always(chat_server.says(kit.reply(2)))
    run = kit.open_(kit.settings(chat_server, slots=1), archive)
    monkeypatch.setattr(OpenWindow, "look", breaks)
    kit.go(run)
    assert kit.codes(archive, run.run_id) == ["eval_error"]
    (trial,) = archive.trials(run.run_id)
    assert (trial.purpose, trial.metrics, trial.stream_id) == ("open", {}, None)
    assert (trial.window_start, trial.window_stop) == (run.split.open.start, run.split.open.stop)
    assert archive.count_trials(run.series) == 1


def test_what_was_promoted_on_sealed_days_is_not_told_to_a_later_search(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    chat_server.always(chat_server.says(kit.reply(2)))
    first = kit.go(kit.open_(kit.settings(chat_server, slots=1), archive))
    (candidate,) = archive.candidates(first.run_id)
    archive.add_agent(
        "kept", candidate.spec_id, candidate.spec, origin="llm", state="shadow", who="ann", reason="promoted"
    )
    second = kit.go(kit.open_(kit.settings(chat_server, slots=1, seed=2), archive))
    # "It is known already" would tell the search that the sealed window had confirmed it.
    assert kit.codes(archive, second.run_id) == [None]


def test_two_arms_may_find_the_same_rule_and_it_is_judged_once(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.always(chat_server.says(kit.reply(2)))
    config = kit.settings(chat_server, slots=2, block=2, arms={"llm": 1.0, "llm-independent": 1.0})
    run = kit.go(kit.open_(config, archive))
    assert kit.codes(archive, run.run_id) == [None, None]
    assert sorted(trial.by for trial in archive.trials(run.run_id)) == ["llm", "llm-independent"]
    reports = archive.gate_reports(run.run_id)
    assert len({report.spec_id for report in reports}) == 1
    assert len(reports) == 2
    (opening,) = archive.earlier_openings(run.series, *run.sealed_sessions)
    assert opening.n_nominees == 1
    assert len(archive.review_queue()) == 1


def test_independent_arm_gets_the_same_prompt_without_parents_and_without_feedback(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    replies = iter(range(100))
    kit.answer_with(chat_server, lambda received: chat_server.says(kit.reply(next(replies))))
    config = kit.settings(chat_server, slots=8, block=2, arms={"llm": 1.0, "llm-independent": 1.0})
    run = kit.go(kit.open_(config, archive))
    prompts = {
        slot.index: json.dumps(archive.proposals(slot.slot_id)[0].prompt)
        for slot in archive.slots(run.run_id)
        if slot.arm == "llm-independent"
    }
    assert len(prompts) == 4
    assert len(set(prompts.values())) == 1  # the same question four times; the calls are told apart by their index
    assert "There are no earlier rules to start from" in prompts[max(prompts)]
    assert "Tried before, without success" not in prompts[max(prompts)]
    assert all(
        not archive.proposals(slot.slot_id)[0].parents
        for slot in archive.slots(run.run_id)
        if slot.arm == "llm-independent"
    )


def test_an_arms_prompts_hold_nothing_that_another_arm_found(kit: Any, chat_server: Any, archive: Archive) -> None:
    replies = iter(range(100))
    kit.answer_with(chat_server, lambda received: chat_server.says(kit.reply(next(replies))))
    config = kit.settings(chat_server, slots=16, block=4, arms={"llm": 1.0, "random": 1.0, "evolved": 1.0})
    run = kit.go(kit.open_(config, archive))
    arms = {slot.slot_id: slot.arm for slot in archive.slots(run.run_id)}
    others = [c for c in archive.candidates(run.run_id) if arms[c.slot_id] != "llm"]
    asked = "".join(kit.questions(chat_server))
    assert len(others) >= 6
    assert not [candidate.name for candidate in others if candidate.name in asked]
    # What came to nothing is told by its main expression and not by its name. What the first question held already (an
    # example of the vocabulary, an incumbent) nobody found.
    first, *later = kit.questions(chat_server)
    tried = [next(iter(spec_of(candidate).expressions.values())) for candidate in others]
    new = {text for text in tried if text not in first}
    assert len(new) >= 6
    assert not [text for text in new if text in "".join(later)]
    own = [c for c in archive.candidates(run.run_id) if arms[c.slot_id] == "llm"]
    assert [c.name for c in own if next(iter(spec_of(c).expressions.values())) in later[-1]]  # its own it does learn
    for slot_id, arm in arms.items():
        for proposal in archive.proposals(slot_id):
            assert all(arms.get(parent, arm) == arm for parent in proposal.parents)


def test_draw_of_parents_is_logged_with_its_probabilities(kit: Any, chat_server: Any, archive: Archive) -> None:
    replies = iter(range(100))
    kit.answer_with(chat_server, lambda received: chat_server.says(kit.reply(next(replies))))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=8, block=4), archive))
    drawn = [event.data for event in archive.events(run.run_id) if event.kind == "valid"]
    assert [data["none"] for data in drawn] == [0.05] * 8
    # First block: eight incumbents share 0.95.
    first = drawn[0]["parents"]
    assert [parent["probability"] for parent in first] == [pytest.approx(0.95 / 8, abs=1e-6)] * 3
    assert all(0.0 < parent["probability"] < 0.95 for data in drawn for parent in data["parents"])


def test_progress_counts_repetitions_and_cells(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(*[chat_server.says(kit.reply(number)) for number in (0, 2, 0, 0)])
    states: list[Progress] = []
    kit.go(kit.open_(kit.settings(chat_server, slots=4, block=2), archive), watch=states.append)
    searched = states[-1].searched
    assert searched.duplicates == {"duplicate_exact": 2}
    assert searched.occupied == {"llm": 2}
    assert searched.new_cells == {"llm": 2}
    assert searched.words == "cells llm 2 (+2); repetitions duplicate_exact 2"


def test_finished_run_is_not_run_again(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.says(kit.reply(0)))
    run = kit.go(one_slot(kit, chat_server, archive))
    before = kit.decisions(archive, run.run_id)
    again = kit.go(kit.reopened(run))
    assert again.finished
    assert again.resumed
    assert kit.decisions(archive, run.run_id) == before
    assert len(chat_server.requests) == 1


def test_run_in_which_nothing_is_legal_ends_without_an_opening(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.always(chat_server.says(None, refusal="no"))
    run = kit.go(kit.open_(kit.settings(chat_server, slots=2), archive))
    assert run.finished
    assert archive.earlier_openings(run.series, *run.sealed_sessions) == ()


def test_arm_of_a_model_without_a_model_is_a_bug_and_not_a_lost_slot(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    run = one_slot(kit, chat_server, archive)
    with pytest.raises(RuntimeError, match="needs a model"):
        asyncio.run(evolve(run, None, lambda progress: None))
    assert archive.slot_states(run.run_id) == {f"{run.run_id}/0000": "planned"}


def test_watcher_sees_slots_done_grow_and_the_spend(kit: Any, chat_server: Any, archive: Archive) -> None:
    kit.answer_by_content(chat_server)
    states: list[Progress] = []
    run = kit.open_(kit.settings(chat_server, slots=4, arms={"llm": 1.0, "random": 1.0}), archive)
    kit.go(run, watch=states.append)
    done = [state.done for state in states]
    assert done == sorted(done)
    assert done[-1] == states[-1].planned == 4
    assert states[-1].stage == "finished"
    assert states[-1].spend == archive.spend(run.run_id)
    assert states[-1].best is not None
    assert states[-1].luck > 0.0


def test_stopping_error_is_one_sentence_with_a_next_step(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.status(401, message="bad key"))
    with pytest.raises(TouchstoneError) as stopped:
        kit.go(one_slot(kit, chat_server, archive))
    assert stopped.value.what.startswith("tiny at 127.0.0.1:")
    assert "the key was rejected: bad key" in stopped.value.what
    assert stopped.value.next_step
