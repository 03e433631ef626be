import asyncio
import json
from pathlib import Path

import pytest

from backtesting.errors import InvalidConfig
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message, Usage
from generator.llm.scripted import Line, ScriptedClient, completion, load_script


def asked(text: str = "?", purpose: str = "propose") -> CompletionRequest:
    return CompletionRequest((Message("user", text),), max_output_tokens=10, purpose=purpose)


def ask(client: ScriptedClient, request: CompletionRequest) -> Completion:
    return asyncio.run(client.complete(request))


def test_replies_come_in_order_and_requests_are_kept() -> None:
    client = ScriptedClient(["one", completion("two", usage=Usage(3, 4))])
    assert ask(client, asked("a")).text == "one"
    second = ask(client, asked("b"))
    assert (second.text, second.usage) == ("two", Usage(3, 4))
    assert [request.messages[0].content for request in client.history] == ["a", "b"]
    assert second.payload_id == client.payload_id(asked("b"))
    assert second.payload_id != client.payload_id(asked("a"))


def test_callable_sees_the_request() -> None:
    client = ScriptedClient([lambda request: request.messages[0].content.upper()])
    assert ask(client, asked("abc")).text == "ABC"


def test_failure_is_raised() -> None:
    failure = CallFailed("late", failure="timeout", next_step="wait")
    with pytest.raises(CallFailed) as caught:
        ask(ScriptedClient([failure]), asked())
    assert caught.value is failure


def test_line_waits_for_its_purpose() -> None:
    client = ScriptedClient([Line("fixed", purpose="repair"), Line("first", purpose="propose"), "any"])
    assert ask(client, asked(purpose="propose")).text == "first"
    assert ask(client, asked(purpose="propose")).text == "any"
    assert ask(client, asked(purpose="repair")).text == "fixed"


def test_script_that_is_too_short_stops_the_run() -> None:
    with pytest.raises(CallFailed, match="no reply left for call 1") as caught:
        ask(ScriptedClient([]), asked())
    assert caught.value.stops_run


def test_script_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    lines = [
        {"reply": {"kind": "rules", "name": "é"}, "usage": {"input_tokens": 9}},
        {"text": "{", "finish_reason": "length"},
        {"refusal": "no"},
        {"failure": "timeout", "purpose": "repair"},
    ]
    file.write_text("# a comment\n\n" + "\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    client = load_script(file)
    assert client.address == f"scripted:{file}"
    first = ask(client, asked())
    assert json.loads(first.text or "") == {"kind": "rules", "name": "é"}
    assert first.usage == Usage(9, 0)
    assert ask(client, asked()).finish_reason == "length"
    assert ask(client, asked()).finish_reason == "refusal"
    with pytest.raises(CallFailed) as caught:
        ask(client, asked(purpose="repair"))
    assert caught.value.failure == "timeout"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "Expecting"),
        ("[1]", "not a JSON object"),
        ('{"txt": "a"}', "unknown field 'txt'; known: text, reply"),
        ('{"purpose": "repair"}', "exactly one of text, reply, refusal, failure"),
        ('{"text": "a", "refusal": "b"}', "exactly one of"),
        ('{"text": 3}', "text is not a string"),
        ('{"failure": "tired"}', "failure is 'tired'; known: transport"),
        ('{"text": "a", "finish_reason": "bored"}', "finish_reason is 'bored'"),
        ('{"text": "a", "usage": {"tokens": 1}}', "usage is an object with: input_tokens"),
        ('{"text": "a", "usage": {"input_tokens": -1}}', "whole numbers, 0 or more"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_text('{"text": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InvalidConfig, match=rf"replies\.jsonl:2: .*{sentence}"):
        load_script(file)


def test_lone_surrogate_in_a_script_can_be_stored(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_text('{"text": "a\\ud800"}\n', encoding="utf-8")
    assert ask(load_script(file), asked()).text == "a\\ud800"


def test_missing_script_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load_script(tmp_path / "none.jsonl")
