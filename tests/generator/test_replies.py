"""Where stored replies lead, and whether the shipped prompts keep what their tests say."""

import json
from pathlib import Path
from typing import Any

import pytest

from backtesting.errors import InvalidConfig
from generator.outputs import OUTPUTS, against, edited, form_of
from generator.replies import bench_window, completion_of, follow, read_stored, stored_replies, stored_text
from generator.templates import Prompt, list_prompts, load_prompt, prompt_folders

SHIPPED = list_prompts(prompt_folders())
STORED = [(prompt, stored) for prompt in SHIPPED if prompt.output != "text" for stored in stored_replies(prompt)]
PARENT: dict[str, Any] = {
    "kind": "rules",
    "long": {"enter": "close > sma(close, 50)", "exit": None},
    "short": None,
    "protect": None,
    "sizing": {"kind": "fraction", "fraction": 1.0},
}


@pytest.fixture(scope="module")
def propose() -> Prompt:
    return load_prompt("propose", prompt_folders())


@pytest.mark.parametrize(("prompt", "stored"), STORED, ids=[f"{p.id}: {s.name}" for p, s in STORED])
def test_shipped_prompt_keeps_its_tests(prompt: Prompt, stored: Any) -> None:
    followed = follow(prompt, stored.completion, bench_window(), prompt.samples)
    assert followed.keeps(stored), (followed.leads_to, followed.sentence)


def test_every_shipped_prompt_that_is_answered_has_a_reply_that_goes_through_and_one_that_does_not() -> None:
    answered = [prompt for prompt in SHIPPED if prompt.output != "text"]
    assert len(answered) == len(SHIPPED) - 2  # the market card and the results of tools are parts of other prompts
    for prompt in answered:
        ways = {test.leads_to in ("backtested", "read") for test in prompt.tests}
        assert ways == {True, False}, prompt.id


def test_a_test_that_says_other_words_is_not_kept(propose: Prompt) -> None:
    stored = next(s for s in stored_replies(propose) if s.says == "volume")
    followed = follow(propose, stored.completion, bench_window(), propose.samples)
    assert followed.keeps(stored)
    assert not followed.keeps(type(stored)(stored.name, stored.completion, stored.leads_to, "cheese"))
    assert not followed.keeps(type(stored)(stored.name, stored.completion, "schema", "volume"))


def test_the_caret_stands_under_the_word(propose: Prompt) -> None:
    reply = json.loads(propose.tests[0].reply or "")
    reply["rule"]["long"]["exit"] = "close > 2 * smaa(close, 5)"
    followed = follow(propose, completion_of(json.dumps(reply)), bench_window(), {})
    assert followed.stage == "semantics"
    line, caret = followed.excerpt
    assert line[caret.index("^") :].startswith("smaa")


def test_the_caret_stands_where_json_breaks(propose: Prompt) -> None:
    followed = follow(propose, completion_of('{"name": "a",\n "rule": oops}'), bench_window(), {})
    assert (followed.leads_to, followed.stage) == ("not_json", "parse")
    # Column 10 of the second line is the o of oops.
    assert followed.excerpt == (' "rule": oops}', "         ^")


def test_a_market_card_is_never_answered() -> None:
    card = load_prompt("market-card", prompt_folders())
    with pytest.raises(InvalidConfig, match="'market-card' is never answered"):
        follow(card, completion_of("{}"), bench_window(), {})


def test_a_kept_reply_comes_back_with_what_it_led_to(propose: Prompt, tmp_path: Path) -> None:
    completion = completion_of("I would rather not.", "refusal")
    followed = follow(propose, completion, bench_window(), {})
    folder = tmp_path / "propose"
    folder.mkdir()
    file = folder / "call-1.reply.json"
    file.write_text(stored_text(completion, followed, {"call": 1}), encoding="utf-8")
    stored = read_stored(file)
    assert (stored.leads_to, stored.completion.text) == ("refusal", "I would rather not.")
    assert follow(propose, stored.completion, bench_window(), {}).keeps(stored)
    assert [s.name for s in stored_replies(propose, tmp_path)][-1] == "call-1.reply.json"


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.reply.json", b"[1]", "holds no object with text and leads_to"),
        ("a.reply.json", b'{"text": 3, "leads_to": "x"}', "text or finish_reason is not one"),
        ("a.reply.json", b"{", "is no stored reply"),
        ("a.txt", b"\xff", "is no stored reply"),
        ("a.txt", b"x" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_reply_is_said(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidConfig, match=sentence):
        read_stored(tmp_path / name)
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read_stored(tmp_path / "nothing.txt")


# -- forms of output -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [form for form in OUTPUTS.values() if form.schema], ids=lambda form: form.id)
def test_example_follows_its_schema_which_is_strict(form: Any) -> None:
    assert list(against(form.schema, form.example)) == []

    def strict(schema: Any) -> None:
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
        inner = (*schema.get("properties", {}).values(), *schema.get("anyOf", ()))
        for part in (*inner, schema["items"]) if "items" in schema else inner:
            strict(part)

    strict(form.schema)


def test_no_form_for_words_has_room_for_a_number() -> None:
    # Words never enter a score, so the critic cannot hand one in.
    for name in ("critique", "lessons"):
        assert "number" not in json.dumps(OUTPUTS[name].schema)
        assert "integer" not in json.dumps(OUTPUTS[name].schema)


def test_no_example_holds_a_year() -> None:
    assert OUTPUTS["strategy-spec"].example["source"] is None


def test_unknown_form_suggests_the_nearest() -> None:
    with pytest.raises(InvalidConfig, match="no output form 'spec-edit'; did you mean 'spec-edits'"):
        form_of("spec-edit")


def edits(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"hypothesis": "h", "name": "n", "edits": [{"path": path, "value": value} for path, value in pairs]}


def test_edits_replace_values_and_leave_the_parent_as_it_was() -> None:
    inputs = {"parents": [{"spec": {"rule": PARENT}}]}
    made = edited(edits(("long.exit", "close < open"), ("protect.stop_atr", 2.0), ("sizing.fraction", 0.5)), inputs)
    assert isinstance(made, dict)
    assert made["rule"]["long"] == {"enter": "close > sma(close, 50)", "exit": "close < open"}
    assert made["rule"]["protect"] == {"stop_atr": 2.0}
    assert made["rule"]["sizing"] == {"kind": "fraction", "fraction": 0.5}
    assert PARENT["protect"] is None
    assert PARENT["sizing"]["fraction"] == 1.0


@pytest.mark.parametrize(
    ("reply", "inputs", "sentence"),
    [
        (edits(("long.entry", "x")), {"parents": [{"spec": {"rule": PARENT}}]}, 'did you mean "long.enter"'),
        (edits(), {"parents": [{"spec": {"rule": PARENT}}]}, "0 edits; wanted are 1 to 4"),
        (edits(*[("kind", "x")] * 5), {"parents": [{"spec": {"rule": PARENT}}]}, "5 edits; wanted are 1 to 4"),
        (edits(("long.enter", "x")), {"parents": []}, "there is no parent to edit"),
        ({"edits": "all"}, {"parents": []}, 'the field "hypothesis" is missing'),
        (edits(("long.enter", [1])), {"parents": [{"spec": {"rule": PARENT}}]}, "wanted is a text"),
    ],
)
def test_an_edit_that_cannot_be_made_is_said(reply: Any, inputs: Any, sentence: str) -> None:
    found = edited(reply, inputs)
    assert isinstance(found, list)
    assert sentence in str(found[0])
