"""Two prompts under the same questions: what is the same, what differs, what is kept, and what a stop leaves."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents.archive.records import RunRecord
from agents.archive.store import Archive
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import BudgetReached, EndpointError, InvalidConfig, StorageError
from backtesting.splits import Window
from generator.ab import SIDES, Ab, AbConfig, Result, open_ab, result_of, run_ab
from generator.budget import Budget, Caps, Spend
from generator.calls import PaidCalls
from generator.config import CARD
from generator.context import parents_wanted, propose_inputs
from generator.llm.client import CallFailed, CompletionRequest, Usage
from generator.llm.pricing import Price
from generator.llm.scripted import Line, ScriptedClient, completion
from generator.run import unfinished_run
from generator.selection import Snapshot
from generator.templates import Prompt, load_prompt, prompt_folders
from generator.traffic import Traffic

MARKET = "synthetic:planted?years=6&seed=1"
PRICE = Price(input=1.0, cached=0.5, output=4.0, date="2030-01-01", source="made up")
FOLDERS = prompt_folders()
USAGE = Usage(1000, 250)  # 1000 * 1e-6 + 250 * 4e-6 = 0.002 USD
Speaker = Callable[[CompletionRequest], Any]


def prompts(a: str = "propose", b: str = "regime-aware") -> dict[str, Prompt]:
    return {role: load_prompt(name, FOLDERS) for role, name in (("a", a), ("b", b), ("repair", "repair"), (CARD, CARD))}


def opened(
    kit: Any, archive: Archive, n_pairs: int = 3, a: str = "propose", b: str = "regime-aware", **more: Any
) -> Ab:
    config = AbConfig(market=MARKET, llm="scripted:memory", n_pairs=n_pairs, seed=3, **more)
    return open_ab(config, archive, kit.market(MARKET), prompts(a, b))


def go(ab: Ab, speaker: Speaker, caps: Caps | None = None, concurrency: int = 1) -> tuple[Result, ScriptedClient]:
    client = ScriptedClient([speaker] * 500)
    spent = ab.archive.spend(ab.run_id)
    budget = Budget(caps or Caps(), clock=time.monotonic, spent=Spend(spent.usd, spent.tokens, spent.calls))
    calls = PaidCalls(ab.run_id, ab.archive, client, budget, PRICE, traffic=Traffic(concurrency))
    done: list[int] = []
    result = asyncio.run(run_ab(ab, calls, lambda n, planned: done.append(n)))
    assert done == sorted(done)
    return result, client


def is_b(request: CompletionRequest) -> bool:
    return "when not to trade" in request.messages[0].content


def pair_of(request: CompletionRequest) -> int:
    return request.repeat_index


def says(kit: Any, number: int, **more: Any) -> Any:
    return completion(kit.reply(number), usage=USAGE, **more)


def test_both_prompts_get_the_same_questions(kit: Any, archive: Archive) -> None:
    result, client = go(opened(kit, archive), lambda request: says(kit, pair_of(request)))
    assert result.complete == 3
    asked: dict[int, dict[bool, CompletionRequest]] = {}
    for request in client.history:
        asked.setdefault(request.repeat_index, {})[is_b(request)] = request
    assert sorted(asked) == [0, 1, 2]
    for pair in asked.values():
        a, b = pair[False], pair[True]
        assert (a.temperature, a.max_output_tokens, a.seed) == (b.temperature, b.max_output_tokens, b.seed)
        labels = [json.dumps(label) for label in ("P1", "P2", "P3")]
        # The parents stand in both messages as the same block of text.
        blocks = [
            request.messages[1].content[request.messages[1].content.index(labels[0]) :].split("\n\n")[:3]
            for request in (a, b)
        ]
        assert blocks[0] == blocks[1]


def test_who_is_asked_first_is_drawn(kit: Any, archive: Archive) -> None:
    _, client = go(opened(kit, archive, n_pairs=12), lambda request: says(kit, 0))
    firsts = [is_b(request) for request in client.history[::2]]
    assert 0 < sum(firsts) < 12
    assert [request.repeat_index for request in client.history] == [pair for pair in range(12) for _ in SIDES]


def test_a_prompt_whose_replies_are_legal_wins(kit: Any, archive: Archive) -> None:
    def speak(request: CompletionRequest) -> Any:
        if request.purpose == "repair":
            return completion("no", usage=USAGE)
        return says(kit, pair_of(request)) if is_b(request) else completion("I think so.", usage=USAGE)

    result, _ = go(opened(kit, archive, n_pairs=8), speak)
    comparison = result.comparison
    assert comparison is not None
    assert comparison.verdict == "b"
    valid = comparison.measure("valid")
    # McNemar, 8 of 8 unequal pairs: 2 * (1/2)^8 = 0.0078
    assert (valid.a, valid.b, round(valid.p, 4)) == (0.0, 1.0, 0.0078)
    assert result.ended["a"] == {"not_json": 8}
    # A pays for the question and for one repair, whose error is the same as before; B pays for the question.
    assert comparison.token_ratio == pytest.approx(1 / 2)
    assert comparison.measure("cost").b == pytest.approx(0.002)


def test_a_repaired_reply_is_legal_and_not_valid(kit: Any, archive: Archive) -> None:
    def speak(request: CompletionRequest) -> Any:
        bad = is_b(request) and request.purpose == "propose"
        return completion(kit.illegal(0), usage=USAGE) if bad else says(kit, 0)

    result, _ = go(opened(kit, archive, n_pairs=4), speak)
    assert result.comparison is not None
    assert result.comparison.measure("valid").b == 0.0
    assert result.comparison.measure("legal").b == 1.0


def test_each_prompt_is_new_against_itself_and_not_against_the_other(kit: Any, archive: Archive) -> None:
    result, _ = go(opened(kit, archive, n_pairs=4), lambda request: says(kit, pair_of(request) % 2))
    for side in SIDES:
        assert result.ended[side] == {"evaluated": 2, "duplicate_exact": 2}


def test_an_incumbent_is_not_new(kit: Any, archive: Archive) -> None:
    fast, slow = "sma(close, 50)", "sma(close, 200)"
    golden = json.dumps(kit.wire(f"crosses_above({fast}, {slow})", f"crosses_below({fast}, {slow})"))
    result, _ = go(opened(kit, archive, n_pairs=1), lambda request: completion(golden, usage=USAGE))
    assert result.ended["a"] == {"duplicate_exact": 1}


def test_the_archive_is_read_as_it_was_and_only_that_of_the_loop(kit: Any, archive: Archive) -> None:
    before = opened(kit, archive)
    assert before.snapshot.candidates == ()
    go(before, lambda request: says(kit, pair_of(request)))
    # What the comparison itself found is no parent of the next one.
    assert opened(kit, archive).snapshot.candidates == ()
    assert opened(kit, archive).run_id == before.run_id
    config = kit.settings(slots=4, seed=1)
    kit.go(kit.open_(config, archive))
    after = opened(kit, archive)
    assert len(after.snapshot.candidates) == len(archive.evaluations(kit.open_(config, archive).run_id)) > 0
    assert after.run_id != before.run_id
    # Under other costs the figures are others, so they are not shown.
    assert opened(kit, archive, costs="futures").snapshot.candidates == ()


def test_every_look_is_a_trial_and_nothing_is_nominated(kit: Any, archive: Archive) -> None:
    ab = opened(kit, archive)
    result, _ = go(ab, lambda request: says(kit, pair_of(request)))
    looks = sum(ends.get("evaluated", 0) + ends.get("duplicate_behaviour", 0) for ends in result.ended.values())
    assert len(archive.trials(ab.run_id)) == looks
    assert {trial.by for trial in archive.trials(ab.run_id)} == {"ab:propose", "ab:regime-aware"}
    assert archive.gate_reports(ab.run_id) == ()
    assert all(trial.purpose == "open" for trial in archive.trials())


def test_a_pair_that_the_world_broke_is_left_out_and_counted(kit: Any, archive: Archive) -> None:
    def speak(request: CompletionRequest) -> Any:
        if pair_of(request) == 2 and is_b(request):
            return CallFailed("no answer in time", failure="timeout", next_step="wait")
        return says(kit, pair_of(request))

    result, _ = go(opened(kit, archive), speak)
    assert (result.complete, result.dropped) == (3, {"timeout": 1})
    assert result.comparison is not None
    assert result.comparison.n_pairs == 2


def test_a_refusal_is_the_prompts_doing(kit: Any, archive: Archive) -> None:
    result, _ = go(opened(kit, archive, n_pairs=2), lambda request: completion(None, refusal="no", usage=USAGE))
    assert result.dropped == {}
    assert result.ended["a"] == {"refusal": 2}


def test_a_budget_stops_it_and_the_same_comparison_goes_on(kit: Any, archive: Archive) -> None:
    ab = opened(kit, archive)
    with pytest.raises(BudgetReached):
        go(ab, lambda request: says(kit, pair_of(request)), Caps(max_calls=3))
    stopped = result_of(ab)
    assert stopped.complete == 1
    assert stopped.comparison is not None
    assert archive.run_state(ab.run_id) != "finished"
    again = opened(kit, archive)
    assert (again.run_id, again.resumed) == (ab.run_id, True)
    result, client = go(again, lambda request: says(kit, pair_of(request)))
    assert result.complete == 3
    assert len(client.history) == 6 - 3

    with Archive.in_memory() as fresh:
        whole, _ = go(opened(kit, fresh), lambda request: says(kit, pair_of(request)))
    assert json.dumps(result.as_dict()) == json.dumps(whole.as_dict())


def test_concurrency_changes_nothing(kit: Any, archive: Archive) -> None:
    one, _ = go(opened(kit, archive), lambda request: says(kit, pair_of(request)))
    with Archive.in_memory() as fresh:
        many, _ = go(opened(kit, fresh), lambda request: says(kit, pair_of(request)), concurrency=8)
    assert one == many


def test_an_endpoint_that_says_no_stops_it(kit: Any, archive: Archive) -> None:
    ab = opened(kit, archive)
    with pytest.raises(EndpointError):
        go(ab, lambda request: CallFailed("no key", failure="auth", next_step="set one"))
    assert result_of(ab).comparison is None


def test_a_finished_comparison_is_kept_with_its_figures(kit: Any, archive: Archive) -> None:
    ab = opened(kit, archive)
    result, _ = go(ab, lambda request: says(kit, pair_of(request)))
    ending = archive.events(ab.run_id)[-1]
    assert ending.kind == "finished"
    assert ending.data["comparison"]["verdict"] == "no difference shown"
    assert ending.data["comparison"]["sentence"] == result.comparison.sentence  # type: ignore[union-attr]


def test_evolve_does_not_continue_a_comparison(kit: Any, archive: Archive) -> None:
    ab = opened(kit, archive)
    archive.add_run(ab.record)
    with pytest.raises(StorageError, match="no run in this workspace is unfinished"):
        unfinished_run(archive)


def test_what_can_be_found_is_taken_from_what_the_model_did_before(kit: Any, archive: Archive) -> None:
    assert opened(kit, archive).detectable().base_rate == 0.8

    def speak(request: CompletionRequest) -> Any:
        if request.purpose == "repair":
            return completion("no", usage=USAGE)
        return says(kit, 0) if pair_of(request) % 2 else completion("no", usage=USAGE)

    go(opened(kit, archive, n_pairs=10), speak)
    # 20 slots, those of the five odd pairs legal: 10 of 20.
    assert opened(kit, archive, n_pairs=11).detectable().base_rate == 0.5


def test_the_worst_case_counts_every_repair(kit: Any, archive: Archive) -> None:
    one, two = opened(kit, archive, n_pairs=1), opened(kit, archive, n_pairs=2)
    tokens, usd = one.worst_case(PRICE)
    assert two.worst_case(PRICE) == (2 * tokens, pytest.approx(2 * (usd or 0)))
    # Each side: three questions of the same length, replies of 2000 + 2 * 2000.
    replies = 2 * 6000
    assert usd == pytest.approx(((tokens - replies) * 1.0 + replies * 4.0) / 1e6)
    assert one.worst_case(None) == (tokens, None)


def test_prompts_for_fewer_parents_get_the_first_of_the_same_draw(kit: Any, archive: Archive) -> None:
    ab = opened(kit, archive, a="mutate", b="crossover")
    assert (parents_wanted(ab.prompts["a"]), parents_wanted(ab.prompts["b"])) == (1, 2)
    for pair in range(3):
        one, two = ab.inputs("a", pair)["parents"], ab.inputs("b", pair)["parents"]
        assert [len(one), len(two)] == [1, 2]
        assert one[0]["spec"] in [parent["spec"] for parent in two]


def test_edits_are_compared_like_whole_rules(kit: Any, archive: Archive) -> None:
    def speak(request: CompletionRequest) -> Any:
        if request.schema_name != "spec_edits":
            return says(kit, pair_of(request))
        edits = [{"path": "sizing.fraction", "value": 0.5}]
        return completion(json.dumps({"hypothesis": "Less.", "name": "less", "edits": edits}), usage=USAGE)

    result, _ = go(opened(kit, archive, n_pairs=1, b="tune"), speak)
    assert result.comparison is not None
    assert result.comparison.measure("legal").b == 1.0


@pytest.mark.parametrize(
    ("a", "more", "sentence"),
    [
        ("critique", {}, "the prompt 'critique' asks for no rule"),
        ("repair", {}, "cannot propose a rule: its input 'reply' is not known there"),
        ("propose", {"n_pairs": 0}, "n_pairs is 0, allowed is 1 to 100,000"),
        ("propose", {"primary": "taste"}, "primary is 'taste', allowed is valid, novel, score, cost"),
        ("propose", {"costs": "none"}, "costs is 'none'"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_spent(
    kit: Any, archive: Archive, a: str, more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidConfig, match=sentence):
        opened(kit, archive, a=a, **more)
    assert archive.runs() == ()


def test_a_run_that_is_not_of_the_loop_disturbs_nothing(kit: Any, archive: Archive) -> None:
    archive.add_run(RunRecord("single", {}, MARKET, "b", {}, 1, ""))
    assert opened(kit, archive).snapshot.candidates == ()


# -- prompts of every kind in the loop -------------------------------------------------------------------------------


def test_a_prompt_gets_what_it_declares_and_nothing_else(kit: Any) -> None:
    bars = kit.market(MARKET).upto(657)
    window, card = Window(300, 657), load_prompt(CARD, FOLDERS)
    for name in ("propose", "mutate", "crossover", "regime-aware", "tune"):
        prompt = load_prompt(name, FOLDERS)
        made = propose_inputs(prompt, card, bars, window, LIQUID_INDEX, Snapshot((), ()), (), max_warmup=300, n_tried=0)
        assert list(made) == list(prompt.inputs)


def test_the_loop_takes_edits_as_proposals(kit: Any, archive: Archive) -> None:
    config = kit.settings(slots=3, block=3, llm="scripted:memory", arms={"llm": 1.0}, prompt="tune")
    run = kit.open_(config, archive)

    def speak(request: CompletionRequest) -> Any:
        assert request.schema_name == "spec_edits"
        edits = [{"path": "sizing", "value": None}] if request.repeat_index == 0 else []
        edits = edits or [{"path": "sizing.kind", "value": "fraction"}, {"path": "sizing.fraction", "value": 0.5}]
        return completion(json.dumps({"hypothesis": "Less.", "name": "less", "edits": edits}), usage=USAGE)

    kit.go(run, client=ScriptedClient([*[Line(speak, "propose")] * 9, *[Line("no", "repair")] * 9]))
    candidates = archive.candidates(run.run_id)
    assert candidates
    assert {candidate.origin for candidate in candidates} == {"llm"}
    assert {candidate.spec["sizing"]["fraction"] for candidate in candidates} == {0.5}
    # `sizing` itself is an object and no value, so it is no path.
    assert kit.codes(archive, run.run_id)[0] == "not_json"
