"""Replay: every decision made again offline is the same; what was tampered with or is not the same run is named."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from agents.archive.records import SealedOpening, Transition, Trial
from agents.archive.store import Archive
from backtesting.errors import BudgetReached, CheckFailed, EndpointError
from generator import run as run_module
from generator.budget import Budget, Caps, Spend
from generator.calls import PaidCalls
from generator.interfaces.cli.evolve import drive
from generator.llm.client import CompletionRequest
from generator.llm.scripted import Line, ScriptedClient
from generator.open_window import OpenWindow
from generator.replay import Replayed, decisions, replay
from generator.run import Run, open_run
from generator.templates import load_prompt, prompt_folders

ROLES = {"propose": "propose", "repair": "repair", "reflect": "reflect", "market-card": "market-card"}
LESSONS = json.dumps({"lessons": [{"lesson": "Trade less.", "because": "costs", "evidence": ["R1"]}]})


def prompts() -> dict[str, Any]:
    return {role: load_prompt(name, prompt_folders()) for role, name in ROLES.items()}


def planned(kit: Any, archive: Archive, **more: Any) -> Run:
    arms = {"llm": 2.0, "llm-independent": 1.0, "random": 1.0, "evolved": 1.0}
    config = kit.settings(llm="scripted:memory", arms=arms, slots=15, block=5, reflect=True, **more)
    return open_run(config, archive, kit.market(config.market), prompts())


def client_of(kit: Any) -> ScriptedClient:
    """A model that answers well, wrongly, and not at all."""
    numbers: Iterator[int] = iter(range(1000))

    def propose(request: CompletionRequest) -> str:
        number = next(numbers)
        return kit.illegal(number) if number % 4 == 1 else kit.reply(number)

    return ScriptedClient(
        [
            *[Line(propose, "propose") for _ in range(40)],
            *[Line(lambda request: kit.reply(5), "repair") for _ in range(40)],
            *[Line(LESSONS, "reflect") for _ in range(10)],
        ]
    )


def finish(run: Run, client: Any, *, caps: Caps = Caps(), watch: Callable[[Any], None] = lambda state: None) -> Run:  # noqa: B008
    spend = run.archive.spend(run.run_id)
    spent = Spend(usd=spend.usd, tokens=spend.tokens, calls=spend.calls, unpriced_calls=spend.unpriced)
    budget = Budget(caps, clock=time.monotonic, spent=spent)
    asyncio.run(drive(run, PaidCalls(run.run_id, run.archive, client, budget, None), watch))
    return run


def replayed(run: Run, **more: Any) -> Replayed:
    def again(rerun: Run, calls: PaidCalls) -> None:
        asyncio.run(drive(rerun, calls, lambda state: None))

    return replay(run.archive, run.run_id, more.get("bars", run.bars), more.get("prompts", prompts()), again)


def look_of_somebody(run: Run, number: int) -> Trial:
    window = run.split.open
    return Trial(
        f"b2:{number}",
        run.bars.bars_id,
        run.series,
        window.start,
        window.stop,
        "2000-01-01",
        "2001-01-01",
        "open",
        "ann",
        {},
    )


def test_replay_of_a_run_with_every_arm_is_identical(kit: Any, archive: Archive) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    found = replayed(run)
    assert found.difference is None
    assert found.n_slots == 15
    assert found.n_replies == sum(call.status == "settled" for call in archive.calls(run.run_id))
    purposes = {call.purpose for call in archive.calls(run.run_id)}
    assert purposes == {"propose", "repair", "reflect"}
    # Proposals, candidates, events, trials, evaluations and reports: several for each slot.
    assert found.n_decisions > 4 * 15


def test_replay_writes_nothing_and_opens_nothing(kit: Any, archive: Archive) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    before = (
        len(archive.events(run.run_id)),
        archive.count_trials(),
        archive.audit_rows()[-1].seq,
        len(archive.runs()),
        archive.spend(),
    )
    replayed(run)
    assert before == (
        len(archive.events(run.run_id)),
        archive.count_trials(),
        archive.audit_rows()[-1].seq,
        len(archive.runs()),
        archive.spend(),
    )


def test_calls_that_failed_fail_again(kit: Any, archive: Archive) -> None:
    from generator.llm.client import CallFailed

    down = CallFailed("the server hung up", failure="transport", next_step="wait")
    client = ScriptedClient(
        [kit.reply(0), down, kit.reply(1), kit.illegal(2), down, *(kit.reply(n) for n in range(3, 30))]
    )
    config = kit.settings(llm="scripted:memory", arms={"llm": 1.0}, slots=8)
    run = open_run(config, archive, kit.market(config.market), prompts())
    finish(run, client)
    assert [call.status for call in archive.calls(run.run_id)].count("failed") == 2
    assert replayed(run).difference is None


def test_stopped_and_resumed_run_is_identical_too(kit: Any, archive: Archive) -> None:
    run, client = planned(kit, archive), client_of(kit)
    with pytest.raises(BudgetReached):
        finish(run, client, caps=Caps(max_calls=5))
    again = open_run(run.config, archive, run.bars, prompts())
    assert again.resumed
    assert replayed(finish(again, client)).difference is None


def test_looks_of_others_before_and_during_the_run_are_put_back_where_they_were(
    kit: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = planned(kit, archive)
    archive.add_trial(look_of_somebody(opened, 0))
    behaviour, looks = OpenWindow.behaviour, iter(range(1, 100))

    def interrupted(self: OpenWindow, *args: Any) -> Any:
        # Between two slots' looks somebody else looks, too.
        if (number := next(looks)) % 3 == 0:
            archive.add_trial(look_of_somebody(opened, 100 + number))
        return behaviour(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(OpenWindow, "behaviour", interrupted)
        run = finish(opened, client_of(kit))
    n_trials = [stored["n_trials"] for stored in archive.evaluations(run.run_id).values()]
    assert n_trials[0] == 2
    assert n_trials[-1] > len(n_trials) + 2
    archive.add_trial(look_of_somebody(run, 999))  # and afterwards
    assert replayed(run).difference is None


def test_agents_that_came_after_the_run_are_not_there_in_its_replay(kit: Any, archive: Archive) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    candidate = archive.candidates(run.run_id)[0]
    archive.add_agent(
        "newcomer", candidate.spec_id, candidate.spec, origin="human", state="shadow", who="ann", reason="a test"
    )
    archive.add_transition(Transition("golden_cross", "active", "retired", "enough", "ann"))
    assert replayed(run).difference is None


def test_earlier_opening_without_an_answer_is_charged_again_as_it_was(kit: Any, archive: Archive) -> None:
    run = planned(kit, archive)
    first, last = run.sealed_sessions
    unanswered = SealedOpening(None, run.series, first, last, run.bars.bars_id, "b2:x", 1, 0.01, "somebody")
    kept = archive.record_opening(unanswered)
    finish(run, client_of(kit))
    assert replayed(run).difference is None
    (ended,) = [event.data for event in archive.events(run.run_id) if event.kind == "finished"]
    # 0.05 * 0.1 / 2 * 6 / (2 pi)^2 = 0.00038 is below 1/2000: the window was spent, and is in the replay too.
    assert ended["opened"] is False
    assert archive.opening_of("b2:x") == kept


def test_run_without_a_model_is_replayed_too(kit: Any, archive: Archive) -> None:
    run = kit.go(kit.open_(kit.settings(slots=8), archive))

    def again(rerun: Run, calls: PaidCalls) -> None:
        asyncio.run(drive(rerun, None, lambda state: None))

    found = replay(archive, run.run_id, run.bars, {}, again)
    assert (found.difference, found.n_replies) == (None, 0)


# --- what is not the same ---------------------------------------------------------------------------------------------


def tampered(archive: Archive, table: str, statement: str, *values: str) -> None:
    with archive.transaction() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER {table}_no_update")
        connection.exec_driver_sql(statement, values)


def test_changed_number_is_found_and_named(kit: Any, archive: Archive) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    slot_id = next(iter(archive.evaluations(run.run_id)))
    tampered(
        archive,
        "evaluations",
        "UPDATE evaluations SET evaluation = json_set(evaluation, '$.alpha_annual', 9.75) WHERE slot_id = ?",
        slot_id,
    )
    found = replayed(run).difference
    assert found is not None
    arm = {slot.slot_id: slot.arm for slot in archive.slots(run.run_id)}[slot_id]
    assert found.where == f"slot {int(slot_id.rpartition('/')[2])} ({arm}), evaluation"
    assert "9.75" in found.what


def test_changed_verdict_is_named_and_not_told(kit: Any, archive: Archive) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    tampered(archive, "gate_reports", "UPDATE gate_reports SET report = json_set(report, '$.sentence', 'it passed')")
    found = replayed(run).difference
    assert found is not None
    assert found.where.endswith("gate report")
    assert found.what == "the two are not the same"


def test_removed_reply_is_a_question_that_was_never_asked(kit: Any, archive: Archive) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER calls_keep_their_end")
        connection.exec_driver_sql("UPDATE calls SET reply = NULL WHERE purpose = 'repair'")
    found = replayed(run).difference
    assert found is not None
    assert found.where == "the questions"
    assert "the replay asks a question that the run never asked: repair 1 of slot" in found.what


def test_run_that_is_not_finished_is_not_replayed(kit: Any, archive: Archive) -> None:
    run = planned(kit, archive)
    with pytest.raises(CheckFailed, match=r"is not finished; .*evolve --resume") as refused:
        replayed(run)
    assert refused.value.exit_code == 8


def test_other_data_prompts_or_code_are_named(kit: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finish(planned(kit, archive), client_of(kit))
    with pytest.raises(CheckFailed, match=r"cannot be replayed: data \(was b2:.*\) changed since"):
        replayed(run, bars=kit.with_other_future(run.bars, 1000))
    other = {role: replace(prompt, template_id="other") for role, prompt in prompts().items()}
    with pytest.raises(CheckFailed, match=r"prompts \(.*\) changed since"):
        replayed(run, prompts=other)
    monkeypatch.setattr(run_module, "code_version", lambda: "b2:other")
    with pytest.raises(CheckFailed, match=r"code \(backtesting or agents\) changed since"):
        replayed(run)


def test_decisions_hold_no_time_and_no_row_number(kit: Any) -> None:
    found = []
    for _ in range(2):
        with Archive.in_memory() as archive:
            run = finish(planned(kit, archive), client_of(kit))
            found.append([item for item in decisions(archive, run.run_id) if "proposal" not in item[0]])
    assert found[0] == found[1]


def test_endpoint_that_stopped_the_run_does_not_stop_its_replay(kit: Any, archive: Archive) -> None:
    from generator.llm.client import CallFailed

    config = kit.settings(llm="scripted:memory", arms={"llm": 1.0}, slots=3)
    run = open_run(config, archive, kit.market(config.market), prompts())
    refused = CallFailed("the key was rejected", failure="auth", next_step="set the key")
    with pytest.raises(EndpointError):
        finish(run, ScriptedClient([kit.reply(0), refused]))
    finish(open_run(config, archive, run.bars, prompts()), ScriptedClient([kit.reply(1), kit.reply(2)]))
    assert replayed(run).difference is None
