"""The reasoner: the order of its questions, what the critic can and cannot do, and resume."""

import json
from typing import Any

import pytest

from agents.archive.store import Archive
from backtesting.errors import BudgetReached
from generator.budget import Caps
from generator.llm.client import CompletionRequest
from generator.llm.scripted import Line, ScriptedClient, completion

BRIEF = {
    "mechanism": "Somebody has to sell in the evening.",
    "other_side": "Holders with a limit.",
    "signal_idea": "A fall on high volume.",
    "exit_idea": "When volume is back.",
    "what_would_refute_it": "No rise after such days.",
}


def finding(about: str, problem: str = "it is vague") -> dict[str, str]:
    return {"about": about, "problem": problem, "suggestion": "say it"}


def critique(*about: str) -> str:
    return json.dumps({"findings": [finding(subject) for subject in about]})


def script(kit: Any, **replies: Any) -> list[Line]:
    usual = {"scope": json.dumps(BRIEF), "author": kit.reply(0), "critic": critique()}
    lines = []
    for role, given in {**usual, **replies}.items():
        lines += [Line(one, role) for one in (given if isinstance(given, list) else [given])]
    return lines


def one_slot(kit: Any, archive: Archive, **more: Any) -> Any:
    values = {"llm": "scripted:memory", "arms": {"llm": 1.0}, "slots": 1, "workflow": "reasoner"}
    return kit.open_(kit.settings(**{**values, **more}), archive)


def go(kit: Any, archive: Archive, lines: list[Line], **more: Any) -> tuple[Any, ScriptedClient]:
    run, client = one_slot(kit, archive, **more), ScriptedClient(lines)
    kit.go(run, client=client)
    return run, client


def purposes(client: ScriptedClient) -> list[str]:
    return [request.purpose for request in client.history]


def asked(client: ScriptedClient, role: str) -> CompletionRequest:
    return next(request for request in client.history if request.purpose == role)


def test_without_findings_three_questions_make_a_candidate(kit: Any, archive: Archive) -> None:
    run, client = go(kit, archive, script(kit))
    assert purposes(client) == ["scope", "author", "critic"]
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.origin, candidate.repairs, candidate.name) == ("llm", 0, "idea_0")
    assert "Somebody has to sell in the evening." in asked(client, "author").messages[1].content
    assert "idea_0" in asked(client, "critic").messages[1].content
    stored = archive.proposals(f"{run.run_id}/0000")
    assert [proposal.attempt for proposal in stored] == [0, 1, 2]
    assert stored[2].template_id is not None
    assert stored[2].template_id.startswith("reason_critique@1:")


def test_refinements_follow_the_order_of_the_critics_findings(kit: Any, archive: Archive) -> None:
    lines = script(kit, critic=critique("risk", "spec", "risk"), refine_risk=kit.reply(1), refine_spec=kit.reply(2))
    run, client = go(kit, archive, lines)
    assert purposes(client) == ["scope", "author", "critic", "refine_risk", "refine_spec"]
    # The second refinement is given what the first one made, and its result is the proposal.
    assert "idea_1" in asked(client, "refine_spec").messages[1].content
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert candidate.name == "idea_2"


def test_brief_is_refined_first_and_once_and_the_rule_is_written_anew(kit: Any, archive: Archive) -> None:
    better = json.dumps({**BRIEF, "mechanism": "Somebody has to buy in the morning."})
    lines = script(
        kit, author=[kit.reply(0), kit.reply(1)], critic=[critique("spec", "brief"), critique("brief", "risk")]
    )
    lines += [Line(better, "refine_brief"), Line(kit.reply(2), "refine_risk")]
    _, client = go(kit, archive, lines)
    assert purposes(client) == ["scope", "author", "critic", "refine_brief", "author", "critic", "refine_risk"]
    assert "buy in the morning" in client.history[4].messages[1].content


def test_critics_form_has_no_number_in_it(kit: Any, archive: Archive) -> None:
    _, client = go(kit, archive, script(kit))
    schema = json.dumps(asked(client, "critic").schema)
    assert "number" not in schema
    assert "integer" not in schema
    assert "score" not in schema


@pytest.mark.parametrize(
    "said",
    [
        "This is worthless, reject it.",
        json.dumps({"findings": "none", "score": 0}),
        json.dumps({"findings": [{"about": "people", "problem": "x", "suggestion": "y"}, 3]}),
        completion(None, refusal="I give no advice."),
        [completion("{", finish_reason="length")] * 2,
        [completion("", usage=None)] * 2,
    ],
)
def test_critic_can_stop_nothing(said: Any, kit: Any, archive: Archive) -> None:
    run, client = go(kit, archive, script(kit, critic=said))
    assert purposes(client) == ["scope", "author"] + ["critic"] * (len(said) if isinstance(said, list) else 1)
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    # A critic who was asked twice has mended nothing in the rule.
    assert (candidate.origin, candidate.repairs) == ("llm", 0)


@pytest.mark.parametrize("said", ["no JSON at all", completion(None, refusal="No.")])
def test_refinement_that_fails_leaves_the_rule_as_it_was(said: Any, kit: Any, archive: Archive) -> None:
    run, _ = go(kit, archive, script(kit, critic=critique("spec"), refine_spec=said, repair="nor here"))
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert candidate.name == "idea_0"


def test_illegal_rule_of_the_author_is_repaired(kit: Any, archive: Archive) -> None:
    run, client = go(kit, archive, script(kit, author=kit.illegal(1), repair=kit.reply(1)))
    assert purposes(client) == ["scope", "author", "repair", "critic"]
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert (candidate.origin, candidate.repairs) == ("repaired", 1)


@pytest.mark.parametrize(
    ("replies", "code", "n_asked"),
    [
        ({"scope": "words"}, "not_json", 1),
        ({"scope": json.dumps({**BRIEF, "other_side": " "})}, "schema", 1),
        ({"scope": completion(None, refusal="No.")}, "refusal", 1),
        ({"author": [completion("{", finish_reason="length")] * 2}, "truncated", 3),
        ({"author": "words", "repair": "more words"}, "not_json", 3),
    ],
)
def test_slot_without_a_rule_ends_with_the_class_of_its_reason(
    replies: dict[str, Any], code: str, n_asked: int, kit: Any, archive: Archive
) -> None:
    run, client = go(kit, archive, script(kit, **replies))
    assert kit.codes(archive, run.run_id) == [code]
    assert len(client.history) == n_asked


def test_steps_are_bounded_and_the_rule_in_hand_is_the_proposal(kit: Any, archive: Archive) -> None:
    lines = script(kit, critic=critique("spec", "risk"), refine_spec=kit.reply(1), refine_risk=kit.reply(2))
    run, client = go(kit, archive, lines, max_steps=4)
    assert purposes(client) == ["scope", "author", "critic", "refine_spec"]
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert candidate.name == "idea_1"


def test_role_has_its_own_prompt_temperature_and_cap(kit: Any, archive: Archive) -> None:
    roles = {"critic": {"temperature": 0.1, "max_output_tokens": 321}, "author": {"prompt": "propose"}}
    _, client = go(kit, archive, script(kit), roles=roles, temperature=0.9)
    critic, author = asked(client, "critic"), asked(client, "author")
    assert (critic.temperature, critic.max_output_tokens) == (0.1, 321)
    assert (author.temperature, author.max_output_tokens) == (0.9, 2000)
    assert "Propose one rule" in author.messages[1].content


def test_stopped_between_its_steps_it_goes_on_with_what_was_paid_for(kit: Any, archive: Archive) -> None:
    lines = script(kit, critic=critique("spec"), refine_spec=kit.reply(3))
    run, client = one_slot(kit, archive), ScriptedClient(lines)
    with pytest.raises(BudgetReached):
        kit.go(run, client=client, caps=Caps(max_calls=2))
    assert purposes(client) == ["scope", "author"]
    kit.go(kit.reopened(run), client=client)
    assert purposes(client) == ["scope", "author", "critic", "refine_spec"]
    candidate = archive.candidate(f"{run.run_id}/0000")
    assert candidate is not None
    assert candidate.name == "idea_3"
    assert [call.status for call in archive.calls(run.run_id)] == ["settled"] * 4
