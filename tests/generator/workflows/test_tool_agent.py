"""The tool agent: what its tools say, what they may see, how its looks are counted, and where it ends."""

import json
from typing import Any

import numpy as np
import pytest

from agents.archive.store import Archive
from backtesting.errors import BudgetReached
from generator.budget import Caps
from generator.llm.client import Usage
from generator.llm.scripted import Line, ScriptedClient, completion
from generator.outputs import TOOLS


def act(tool: str, *, query: str | None = None, spec: Any = None, **more: Any) -> str:
    return json.dumps({"thought": "Because.", "tool": tool, "query": query, "spec": spec, **more})


def spec(kit: Any, number: int) -> dict[str, Any]:
    return dict(json.loads(kit.reply(number)))


def one_slot(kit: Any, archive: Archive, bars: Any = None, **more: Any) -> Any:
    values = {"llm": "scripted:memory", "arms": {"llm": 1.0}, "slots": 1, "workflow": "tool-agent"}
    return kit.open_(kit.settings(**{**values, **more}), archive, bars)


def go(kit: Any, archive: Archive, *replies: Any, **more: Any) -> tuple[Any, ScriptedClient]:
    run, client = one_slot(kit, archive, **more), ScriptedClient([Line(reply, "agent") for reply in replies])
    kit.go(run, client=client)
    return run, client


def told(client: ScriptedClient, step: int) -> str:
    """What the model had been told last when it took this step; the tool's answer without its quotation."""
    content = client.history[step].messages[-1].content
    line = content.split("\n")[1]
    return str(json.loads(line))


def test_submitted_spec_is_the_candidate(kit: Any, archive: Archive) -> None:
    run, client = go(kit, archive, act("submit_spec", spec=spec(kit, 0)))
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.name, candidate.origin, candidate.repairs) == ("idea_0", "llm", 0)
    assert len(client.history) == 1
    assert all(name in client.history[0].messages[0].content for name in TOOLS)


def test_each_tool_answers_and_the_conversation_grows(kit: Any, archive: Archive) -> None:
    run, client = go(
        kit,
        archive,
        act("describe_data"),
        act("list_functions", query="rsi"),
        act("search_archive", query="sma"),
        act("validate_spec", spec=spec(kit, 1)),
        act("backtest_open", spec=spec(kit, 1)),
        act("submit_spec", spec=spec(kit, 1)),
    )
    assert "volatility about" in told(client, 1)
    assert "buy_and_hold" in told(client, 1)
    assert all("rsi" in line for line in told(client, 2).split("\n"))
    assert "golden_cross: " in told(client, 3)
    assert json.loads(told(client, 4)) == {"legal": True, "same_rule_as": None}
    assert told(client, 5).startswith("Sharpe ")
    assert told(client, 5).endswith("; 2 tests left")
    # system and task, then an action and an answer a step.
    assert [len(request.messages) for request in client.history] == [2, 4, 6, 8, 10, 12]
    assert archive.slot_states(run.run_id) == {f"{run.run_id}/0000": "in_review"}


def test_every_different_rule_that_is_tested_is_a_trial_and_there_are_few(kit: Any, archive: Archive) -> None:
    run, client = go(
        kit,
        archive,
        act("backtest_open", spec=spec(kit, 0)),
        act("backtest_open", spec=spec(kit, 0)),
        act("backtest_open", spec=spec(kit, 1)),
        act("backtest_open", spec=spec(kit, 2)),
        act("submit_spec", spec=spec(kit, 1)),
        max_backtests=2,
    )
    assert told(client, 2).startswith("tested before, the result is the same: Sharpe")
    assert "all 2 tests of this slot are used up" in told(client, 4)
    looked = [trial for trial in archive.trials(run.run_id) if trial.purpose == "open"]
    # Two looks of the tool; the evaluation of the submitted rule is the second of them again and is counted once.
    assert len(looked) == 2
    assert {trial.by for trial in looked} == {"llm"}
    evaluation = archive.evaluation(f"{run.run_id}/0000")
    assert evaluation is not None
    # At its evaluation both looks stood in the books, and it is one more.
    assert evaluation["n_trials"] == 3


def test_errors_of_a_spec_come_back_as_machine_errors_and_an_illegal_submission_does_not_end(
    kit: Any, archive: Archive
) -> None:
    bad = json.loads(kit.illegal(0))
    run, client = go(
        kit,
        archive,
        act("submit_spec", spec=bad),
        act("validate_spec"),
        act("submit_spec", spec=spec(kit, 0)),
    )
    errors = json.loads(told(client, 1))
    assert errors["legal"] is False
    assert "smaa" in errors["errors"][0]["message"]
    assert json.loads(told(client, 2))["errors"][0]["message"] == "this tool needs a spec"
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.origin, candidate.repairs) == ("repaired", 1)


def test_known_rule_is_named(kit: Any, archive: Archive) -> None:
    golden = kit.wire(
        "crosses_above(sma(close, 50), sma(close, 200))", "crosses_below(sma(close, 50), sma(close, 200))"
    )
    _, client = go(kit, archive, act("validate_spec", spec=golden), act("submit_spec", spec=spec(kit, 0)))
    assert json.loads(told(client, 1))["same_rule_as"] == "golden_cross"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Let me think.", "nothing was done: the reply holds no JSON object"),
        (act("buy_now"), "nothing was done: there is no tool 'buy_now'"),
        (
            act("describe_data") + "\n" + act("list_functions"),
            "nothing was done: the reply holds 2 objects that are not",
        ),
        (json.dumps({"tool": "search_archive", "query": 3}), "nothing was done: query is a text or null"),
        (json.dumps({"tool": "validate_spec", "spec": [1]}), "nothing was done: spec is an object or null"),
    ],
)
def test_reply_that_is_no_action_does_nothing_and_costs_a_step(
    said: str, answer: str, kit: Any, archive: Archive
) -> None:
    run, client = go(kit, archive, said, act("submit_spec", spec=spec(kit, 0)))
    assert told(client, 1).startswith(answer)
    assert archive.candidate(f"{run.run_id}/0000") is not None


@pytest.mark.parametrize(
    ("said", "code", "n_asked"),
    [
        (completion(None, refusal="No."), "refusal", 1),
        (completion(act("describe_data")[:-5], finish_reason="length"), "truncated", 2),
        (completion("", finish_reason="content_filter"), "content_filter", 1),
        (completion(None), "empty_reply", 2),
    ],
)
def test_refused_reply_ends_the_slot_and_a_cut_or_empty_one_does_the_second_time(
    said: Any, code: str, n_asked: int, kit: Any, archive: Archive
) -> None:
    run, client = go(kit, archive, *[said] * n_asked)
    assert kit.codes(archive, run.run_id) == [code]
    assert len(client.history) == n_asked


def test_cut_action_is_asked_for_again_and_the_work_goes_on(kit: Any, archive: Archive) -> None:
    cut = completion(act("describe_data")[:-5], finish_reason="length")
    run, client = go(kit, archive, cut, act("describe_data"), act("submit_spec", spec=spec(kit, 0)))
    first, second, _ = client.history
    assert second.messages == first.messages  # the half is no part of the conversation
    assert second.max_output_tokens == 2 * first.max_output_tokens
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.origin, candidate.repairs) == ("llm", 0)


def test_steps_repetitions_and_tokens_are_limited_and_nothing_is_proposed_then(kit: Any, archive: Archive) -> None:
    def ended(*replies: Any, **more: Any) -> tuple[str, int]:
        with Archive.in_memory() as own:
            run, client = go(kit, own, *replies, **more)
            assert kit.codes(own, run.run_id) == ["no_submission"]
            assert own.candidates(run.run_id) == ()
            (end,) = [event.data for event in own.events(run.run_id) if event.kind == "rejected"]
            return str(end["reason"]), len(client.history)

    tested = act("backtest_open", spec=spec(kit, 0))
    looks = [act("list_functions", query=word) for word in ("a", "b", "c", "d", "e")]
    assert ended(tested, *looks, max_steps=4) == ("no spec was submitted: all 4 steps were used up", 4)
    again = ended(tested, tested, tested)
    assert again == ("no spec was submitted: the same step was taken 3 times: backtest_open", 3)
    dear = [completion(look, usage=Usage(600, 100)) for look in looks]
    # 700, 1400: the second answer passes the limit of 1000.
    assert ended(*dear, max_slot_tokens=1_000) == (
        "no spec was submitted: 1400 tokens were used, the limit of the slot",
        2,
    )


def test_last_step_is_announced(kit: Any, archive: Archive) -> None:
    _, client = go(kit, archive, act("describe_data"), act("describe_data"), max_steps=2)
    assert "The next one is the last" in client.history[1].messages[-1].content


def test_nothing_that_a_tool_says_depends_on_the_sealed_window(kit: Any) -> None:
    replies = [
        act("describe_data"),
        act("list_functions"),
        act("search_archive"),
        act("backtest_open", spec=spec(kit, 0)),
        act("backtest_open", spec=spec(kit, 1)),
        act("submit_spec", spec=spec(kit, 1)),
    ]
    bars = kit.market()
    with Archive.in_memory() as first, Archive.in_memory() as second:
        run = one_slot(kit, first)
        other = kit.with_other_future(bars, run.split.open.stop)
        assert not np.array_equal(bars.close, other.close)
        heard = []
        for store, prices in ((first, bars), (second, other)):
            client = ScriptedClient([Line(reply, "agent") for reply in replies])
            kit.go(one_slot(kit, store, prices), client=client)
            heard.append([[message.content for message in request.messages] for request in client.history])
        assert heard[0] == heard[1]


def test_stopped_between_its_steps_it_hears_the_same_again_and_pays_nothing_twice(kit: Any, archive: Archive) -> None:
    replies = [
        act("backtest_open", spec=spec(kit, 0)),
        act("describe_data"),
        act("submit_spec", spec=spec(kit, 0)),
    ]
    run, client = one_slot(kit, archive), ScriptedClient([Line(reply, "agent") for reply in replies])
    with pytest.raises(BudgetReached):
        kit.go(run, client=client, caps=Caps(max_calls=2))
    kit.go(kit.reopened(run), client=client)
    assert len(client.history) == 3
    assert [call.status for call in archive.calls(run.run_id)] == ["settled"] * 3
    assert len([trial for trial in archive.trials(run.run_id) if trial.purpose == "open"]) == 1
    with Archive.in_memory() as whole:
        straight, _ = go(kit, whole, *replies)
        assert kit.decisions(whole, straight.run_id) == kit.decisions(archive, run.run_id)


def test_looks_of_later_slots_do_not_change_an_evaluation(kit: Any, archive: Archive) -> None:
    def run_of(store: Archive, concurrency: int) -> Any:
        replies = []
        for number in range(6):
            replies += [act("backtest_open", spec=spec(kit, number)), act("submit_spec", spec=spec(kit, number))]

        # Each conversation is answered by what it is about, so that the order of asking does not matter.
        def answer(request: Any) -> str:
            return replies[2 * (request.repeat_index % 6) + (len(request.messages) > 2)]

        run = one_slot(kit, store, slots=6, block=2)
        kit.go(run, client=ScriptedClient([answer] * 12), concurrency=concurrency)
        return run

    run = run_of(archive, 1)
    with Archive.in_memory() as other:
        again = run_of(other, 6)
        evaluations = [
            {key: found["n_trials"] for key, found in store.evaluations(one.run_id).items()}
            for store, one in ((archive, run), (other, again))
        ]
    assert list(evaluations[0].values()) == list(evaluations[1].values())
