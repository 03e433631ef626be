"""Recording and replay: which replies are kept, under what name, and what happens where there is none."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtesting.errors import InvalidConfig
from generator.llm.address import parse_address
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message, Usage
from generator.llm.clients import Settings, open_client, price_at
from generator.llm.pricing import Price
from generator.llm.recorded import NotRecorded, Recording, worth_keeping
from generator.llm.scripted import completion

PRICE = Price(input=1.0, cached=0.5, output=4.0, date="2030-01-01", source="made up")


def question(text: str = "One rule.", repeat: int = 0) -> CompletionRequest:
    return CompletionRequest((Message("user", text),), max_output_tokens=50, repeat_index=repeat)


def ask(address: str, *questions: CompletionRequest, mode: Any = "schema") -> list[Completion]:
    async def calls() -> list[Completion]:
        client = open_client(parse_address(address), Settings(environ={}, rng=np.random.default_rng(1), mode=mode))
        try:
            return [await client.complete(asked) for asked in questions]
        finally:
            await client.aclose()

    return asyncio.run(calls())


@pytest.fixture
def recorded(chat_server: Any, tmp_path: Path) -> Callable[..., list[Completion]]:
    """Record the answers of the server to these questions into the folder `r`."""

    def record(*questions: CompletionRequest, **more: Any) -> list[Completion]:
        return ask(f"record:{tmp_path / 'r'}->openai:tiny@{chat_server.base_url}", *questions, **more)

    return record


def test_recorded_reply_comes_back_without_a_server_and_free_of_charge(
    chat_server: Any, recorded: Any, tmp_path: Path
) -> None:
    chat_server.add(chat_server.says('{"a": 1}'))
    (live,) = recorded(question())
    (again,) = ask(f"replay:{tmp_path / 'r'}", question())
    assert len(chat_server.requests) == 1
    assert (again.text, again.finish_reason, again.model, again.usage) == ('{"a": 1}', "stop", "tiny-1", live.usage)
    assert again.payload_id == live.payload_id
    assert again.raw_body == live.raw_body
    assert (live.free, again.free) == (False, True)


def test_same_question_asked_twice_on_purpose_has_two_replies(chat_server: Any, recorded: Any, tmp_path: Path) -> None:
    chat_server.add(chat_server.says("first"), chat_server.says("second"))
    recorded(question(repeat=0), question(repeat=1))
    answers = ask(f"replay:{tmp_path / 'r'}", question(repeat=1), question(repeat=0), question(repeat=1))
    assert [answer.text for answer in answers] == ["second", "first", "second"]


def test_replay_gives_the_question_the_id_that_the_live_client_gave_it(chat_server: Any, tmp_path: Path) -> None:
    live = f"openai:tiny@{chat_server.base_url}"
    settings = Settings(environ={}, rng=np.random.default_rng(1), mode="json")
    chat_server.always(chat_server.says("x"))
    ask(f"record:{tmp_path}->{live}", question(), mode="json")
    ids = {
        open_client(parse_address(address), settings).payload_id(question())
        for address in (live, f"record:{tmp_path}->{live}", f"replay:{tmp_path}", f"replay-or-live:{tmp_path}->{live}")
    }
    assert len(ids) == 1
    assert (tmp_path / f"{ids.pop().removeprefix('b2:')}.json").is_file()


def test_missing_reply_stops_the_run_with_its_hash(chat_server: Any, recorded: Any, tmp_path: Path) -> None:
    chat_server.add(chat_server.says("x"))
    recorded(question())
    with pytest.raises(NotRecorded, match=r"no recorded reply for prompt b2:[0-9a-f]+ ") as caught:
        ask(f"replay:{tmp_path / 'r'}", question("Another one."))
    assert (caught.value.exit_code, caught.value.stops_run, caught.value.charged) == (3, True, False)
    assert len(chat_server.requests) == 1


def test_replay_or_live_asks_only_for_what_is_missing_and_keeps_it(
    chat_server: Any, recorded: Any, tmp_path: Path
) -> None:
    chat_server.add(chat_server.says("one"), chat_server.says("two"))
    recorded(question("1"))
    address = f"replay-or-live:{tmp_path / 'r'}->openai:tiny@{chat_server.base_url}"
    first = ask(address, question("1"), question("2"))
    second = ask(address, question("1"), question("2"))
    assert [(answer.text, answer.free) for answer in first] == [("one", True), ("two", False)]
    assert [(answer.text, answer.free) for answer in second] == [("one", True), ("two", True)]
    assert len(chat_server.requests) == 2


def test_recording_anew_asks_again_and_replaces(chat_server: Any, recorded: Any, tmp_path: Path) -> None:
    chat_server.add(chat_server.says("old"), chat_server.says("new"))
    recorded(question())
    recorded(question())
    assert ask(f"replay:{tmp_path / 'r'}", question())[0].text == "new"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (completion("{}"), True),
        (completion("words", finish_reason="other"), True),
        (completion(None, refusal="No."), True),
        (completion("{", finish_reason="length"), False),
        (completion("", finish_reason="content_filter"), False),
        (completion("  "), False),
        (completion(None), False),
    ],
)
def test_only_whole_answers_are_kept(answer: Completion, kept: bool) -> None:
    assert worth_keeping(answer) is kept


def test_failed_and_cut_calls_leave_no_file(chat_server: Any, recorded: Any, tmp_path: Path) -> None:
    chat_server.add(chat_server.says("{", finish_reason="length"), chat_server.status(400))
    recorded(question())
    with pytest.raises(CallFailed):
        recorded(question())
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["recording.json"]


def test_folder_belongs_to_one_address_in_one_mode(chat_server: Any, recorded: Any, tmp_path: Path) -> None:
    chat_server.always(chat_server.says("x"))
    recorded(question())
    with pytest.raises(InvalidConfig, match=r"in mode schema, not of .* in mode text"):
        recorded(question(), mode="text")
    with pytest.raises(InvalidConfig, match="not of openai:other@"):
        ask(f"record:{tmp_path / 'r'}->openai:other@{chat_server.base_url}", question())


def test_folder_without_a_recording_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="there is no recording in"):
        ask(f"replay:{tmp_path}", question())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text[:-20], "is no recorded reply"),
        (lambda text: text.replace('"text"', '"txet"'), "is no recorded reply"),
        (lambda text: json.dumps({**json.loads(text), "completion": None}), "is no recorded reply"),
        (lambda text: text.replace('"payload_id": "b2:', '"payload_id": "b2:0'), "the reply to another question"),
    ],
)
def test_damaged_reply_is_named_and_not_given(
    damage: Callable[[str], str], sentence: str, chat_server: Any, recorded: Any, tmp_path: Path
) -> None:
    chat_server.add(chat_server.says("x"))
    recorded(question())
    (file,) = [path for path in (tmp_path / "r").iterdir() if path.name != "recording.json"]
    file.write_text(damage(file.read_text()))
    with pytest.raises(InvalidConfig, match=sentence) as caught:
        ask(f"replay:{tmp_path / 'r'}", question())
    assert file.name in str(caught.value)


@pytest.mark.parametrize("head", ["", "[]", '{"v": 1, "address": "openai:m", "mode": "loud"}', '{"v": 2}'])
def test_damaged_head_is_named(head: str, tmp_path: Path) -> None:
    (tmp_path / "recording.json").write_text(head)
    with pytest.raises(InvalidConfig, match=r"recording\.json"):
        Recording.read(tmp_path)


def test_surrogates_and_every_field_survive_the_file(tmp_path: Path) -> None:
    recording = Recording.open(tmp_path, "openai:m", "text")
    whole = Completion("a\ud83d\u2028", None, "stop", Usage(3, 2, 1, 1), "m", 1.5, 2, "b2:00ff", "{}")
    recording.keep(question(), whole)
    found = recording.find("b2:00ff")
    assert found is not None
    assert (found.text, found.usage, found.raw_body) == (whole.text, whole.usage, "{}")
    assert (found.attempts, found.latency_seconds) == (0, 0.0)


def test_price_of_a_recording_is_that_of_what_is_behind_it_and_replay_is_free(tmp_path: Path) -> None:
    prices = {"openai:m": PRICE}
    assert price_at(parse_address("record:x->openai:m"), prices) == PRICE
    assert price_at(parse_address("replay-or-live:x->openai:m"), prices) == PRICE
    assert price_at(parse_address("record:x->openai:unknown"), prices) is None
    for address in ("replay:x", "manual:x"):
        free = price_at(parse_address(address), prices)
        assert free is not None
        assert (free.input, free.output) == (0.0, 0.0)
