"""One shot: what is asked, with which settings, and what is stored before the next step begins."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from agents.archive.records import Rejection
from agents.archive.store import Archive
from generator.context import inputs_by_role
from generator.llm.client import CallFailed
from generator.llm.scripted import Line, ScriptedClient, completion
from generator.selection import Snapshot
from generator.workflows.dialogue import MAX_OUTPUT_TOKENS
from generator.workflows.workflow import Task, Workflow


def ask(kit: Any, archive: Archive, replies: list[Any], **more: Any) -> tuple[Any, ScriptedClient, str]:
    """The workflow's answer for slot 0 of a new run."""
    config = kit.settings(slots=1, llm="scripted:none", arms={"llm": 1.0}, **more)
    run = kit.open_(config, archive)
    client = ScriptedClient(replies)
    slot_id = archive.slots(run.run_id)[0].slot_id
    return propose(run, kit.workflow(run, client), slot_id), client, slot_id


def propose(run: Any, workflow: Workflow, slot_id: str) -> Any:
    nothing = Snapshot((), ())
    slot = next(slot for slot in run.archive.slots(run.run_id) if slot.slot_id == slot_id)
    inputs = inputs_by_role(
        run.prompts, run.open.bars, run.open.window, run.open.costs, nothing, (), max_warmup=300, n_tried=0
    )
    return asyncio.run(workflow.propose(Task(slot, inputs, (), nothing)))


def test_legal_reply_is_a_spec_after_no_repair(kit: Any, archive: Archive) -> None:
    (spec, n_repairs), client, slot_id = ask(kit, archive, [kit.reply(0)])
    assert (spec.name, n_repairs) == ("idea_0", 0)
    assert [request.purpose for request in client.history] == ["propose"]
    (proposal,) = archive.proposals(slot_id)
    assert (proposal.attempt, proposal.origin, proposal.reply) == (0, "llm", kit.reply(0))
    assert proposal.template_id is not None
    assert proposal.template_id.startswith("propose@")
    assert proposal.prompt == [{"role": m.role, "content": m.content} for m in client.history[0].messages]


def test_repair_is_asked_with_its_own_prompt_and_replaces_the_question(kit: Any, archive: Archive) -> None:
    script = [Line(kit.illegal(0), "propose"), Line(kit.reply(0), "repair")]
    (spec, n_repairs), client, slot_id = ask(kit, archive, script)
    assert (spec.name, n_repairs) == ("idea_0", 1)
    assert [request.purpose for request in client.history] == ["propose", "repair"]
    assert [len(request.messages) for request in client.history] == [2, 2]
    assert "smaa" in client.history[1].messages[1].content
    first, second = archive.proposals(slot_id)
    assert [first.origin, second.origin] == ["llm", "repaired"]
    assert first.template_id != second.template_id


def test_sampling_is_the_runs_own_or_what_the_prompt_recommends(kit: Any, archive: Archive) -> None:
    _, client, _ = ask(kit, archive, [kit.reply(0)])
    assert (client.history[0].temperature, client.history[0].max_output_tokens) == (1.0, MAX_OUTPUT_TOKENS)
    with Archive.in_memory() as other:
        _, client, _ = ask(kit, other, [kit.reply(0)], temperature=0.0, max_output_tokens=777)
        # Zero is a temperature, not a missing one.
        assert (client.history[0].temperature, client.history[0].max_output_tokens) == (0.0, 777)


def test_each_slot_asks_its_own_question_of_the_same_words(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(slots=2, llm="scripted:none", arms={"llm": 1.0}), archive)
    client = ScriptedClient([kit.reply(0), kit.reply(1)])
    workflow = kit.workflow(run, client)
    for slot in archive.slots(run.run_id):
        propose(run, workflow, slot.slot_id)
    one, two = client.history
    assert one.messages == two.messages
    assert client.payload_id(one) != client.payload_id(two)
    assert [call.payload_id for call in archive.calls(run.run_id)] == [client.payload_id(one), client.payload_id(two)]


def test_second_process_reads_the_stored_replies_and_asks_nothing(kit: Any, archive: Archive) -> None:
    first, _, slot_id = ask(kit, archive, [kit.illegal(0), kit.reply(0)])
    config = kit.settings(slots=1, llm="scripted:none", arms={"llm": 1.0})
    run = kit.open_(config, archive)
    client = ScriptedClient([])
    again = propose(run, kit.workflow(run, client), slot_id)
    assert again == first
    assert client.history == []
    assert [proposal.attempt for proposal in archive.proposals(slot_id)] == [0, 1]


def test_failed_repair_keeps_the_first_reply_and_says_why_it_ended(kit: Any, archive: Archive) -> None:
    down = CallFailed("the server is down", failure="server", next_step="wait")
    answer, _, slot_id = ask(kit, archive, [kit.illegal(0), down])
    assert isinstance(answer, Rejection)
    assert (answer.stage, answer.code) == ("call", "transport")
    assert [proposal.reply for proposal in archive.proposals(slot_id)] == [kit.illegal(0)]


def test_refused_repair_is_final(kit: Any, archive: Archive) -> None:
    answer, client, slot_id = ask(kit, archive, [kit.illegal(0), completion(None, refusal="no more")])
    assert isinstance(answer, Rejection)
    assert answer.code == "refusal"
    assert len(client.history) == 2
    assert [proposal.reply for proposal in archive.proposals(slot_id)] == [kit.illegal(0), None]


HOSTILE = {
    "code": "__import__('os').system('true')",
    "attribute": "close.__class__",
    "path": "../../etc/passwd",
    "template": "{{ config }}",
    "deep": "(" * 5000 + "close" + ")" * 5000,
    "long": "close > 1 and " * 20_000 + "close > 1",
    "null": "close > 1\x00",
    "future": "lag(close, -1) > close",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_model_writes_is_data_and_ends_as_a_class(case: str, kit: Any, archive: Archive) -> None:
    text = json.dumps(kit.wire(HOSTILE[case], None))
    answer, _, slot_id = ask(kit, archive, [text, text, text])
    assert isinstance(answer, Rejection)
    assert answer.code in ("semantics", "schema", "not_json")
    assert archive.proposals(slot_id)[0].reply == text


def test_half_a_surrogate_pair_in_a_reply_is_kept_and_refused(kit: Any, archive: Archive) -> None:
    text = kit.reply(0).replace("Somebody", "Some\ud800body")
    answer, _, slot_id = ask(kit, archive, [text, text])
    assert isinstance(answer, Rejection)
    assert "\\ud800" in (archive.proposals(slot_id)[0].reply or "")


def test_name_that_is_a_path_never_gets_into_a_candidate(kit: Any, archive: Archive) -> None:
    text = json.dumps({**json.loads(kit.reply(0)), "name": "../../evil"})
    answer, _, _ = ask(kit, archive, [text, text])
    assert isinstance(answer, Rejection)
    assert answer.code == "schema"
    assert "name" in answer.reason


def test_longer_prompt_reserves_more(kit: Any, archive: Archive) -> None:
    _, client, slot_id = ask(kit, archive, [kit.reply(0)])
    (call,) = archive.calls(slot_id.rpartition("/")[0])
    # Three bytes a token, 32 for the frame, and all of the output.
    assert call.reserved_tokens == -(-client.history[0].prompt_bytes // 3) + 32 + MAX_OUTPUT_TOKENS
    shorter = replace(client.history[0], schema=None)
    assert shorter.prompt_bytes < client.history[0].prompt_bytes
