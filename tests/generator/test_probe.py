"""What a probe finds out about endpoints that behave and that do not, over a real socket."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from generator.llm.address import parse_address
from generator.llm.client import CallFailed, LLMClient, Mode
from generator.llm.clients import Settings, open_client
from generator.probe import BREAK_SCHEMA, CAP, DECLINE, TALK_ON, Probed, conforms, probe

GOOD = '{"colour": "red", "count": 3}'
Rule = Callable[[Any, dict[str, Any]], Any]


def behave(server: Any, body: dict[str, Any]) -> Any:
    """An endpoint that does everything right."""
    asked = body["messages"][0]["content"]
    kind = body.get("response_format", {}).get("type")
    if asked == TALK_ON:
        cut = {"prompt_tokens": 20, "completion_tokens": CAP}
        return server.says("one, two, three", finish_reason="length", usage=cut)
    if asked == DECLINE:
        return server.says(None, refusal="I cannot do that.")
    return server.says(GOOD if kind else "Hello.")


def run(server: Any, rule: Rule = behave) -> Probed:
    def next_answer(received: Any) -> Any:
        with server._lock:
            server.requests.append(received)
        return rule(server, received.body)

    server.next_answer = next_answer

    def open_in(mode: Mode) -> LLMClient:
        address = parse_address(f"openai:tiny@{server.base_url}")
        return open_client(address, Settings(environ={}, rng=np.random.default_rng(1), mode=mode))

    return asyncio.run(probe(open_in))


def answers(found: Probed) -> dict[str, str]:
    return {item.name: item.answer for item in found.findings}


def test_endpoint_that_behaves_is_asked_in_mode_schema(chat_server: Any) -> None:
    found = run(chat_server)
    assert found.mode == "schema"
    assert set(answers(found).values()) == {"yes"}
    assert (found.model, found.calls) == ("tiny-1", len(chat_server.requests))
    # Five questions: schema, cap, temperature, seed, refusal; four of 100 + 20 tokens and one of 20 + 16.
    assert (found.calls, found.usage.input_tokens, found.usage.output_tokens) == (5, 4 * 100 + 20, 4 * 20 + CAP)


@pytest.mark.parametrize(
    ("says", "json_says", "mode"),
    [
        ("The purple sea.", GOOD, "json"),
        ('{"colour": "purple", "count": 1}', GOOD, "json"),
        ("The purple sea.", f"Take care. {GOOD}", "text"),
        ("The purple sea.", "Take care.", "text"),
    ],
)
def test_schema_that_is_taken_and_ignored_is_found_out(says: str, json_says: str, mode: str, chat_server: Any) -> None:
    def ignores(server: Any, body: dict[str, Any]) -> Any:
        kind = body.get("response_format", {}).get("type")
        if body["messages"][0]["content"] == BREAK_SCHEMA:
            return server.says(says)
        return server.says(json_says) if kind == "json_object" else behave(server, body)

    found = run(chat_server, ignores)
    assert found.mode == mode
    assert answers(found)["schema_enforced"] == "no"
    assert "taken and ignored" in found.findings[0].found


def test_server_that_refuses_every_form_is_asked_in_words(chat_server: Any) -> None:
    def refuses(server: Any, body: dict[str, Any]) -> Any:
        if "response_format" in body:
            return server.status(400, "response_format is not supported")
        return behave(server, body)

    found = run(chat_server, refuses)
    assert found.mode == "text"
    assert [item.answer for item in found.findings[:2]] == ["no", "no"]
    assert "response_format is not supported" in found.findings[0].found


def test_ignored_cap_and_untruthful_finish_are_told_apart(chat_server: Any) -> None:
    def talks_on(server: Any, body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == TALK_ON:
            return server.says("one, two, " * 200, usage={"prompt_tokens": 20, "completion_tokens": 900})
        return behave(server, body)

    found = answers(run(chat_server, talks_on))
    assert (found["cap_honoured"], found["finish_reason_truthful"]) == ("no", "unknown")

    def lies(server: Any, body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == TALK_ON:
            return server.says("one, two", usage={"prompt_tokens": 20, "completion_tokens": CAP})
        return behave(server, body)

    found = answers(run(chat_server, lies))
    assert (found["cap_honoured"], found["finish_reason_truthful"]) == ("yes", "no")


def test_missing_usage_is_found_and_the_cap_is_judged_by_length(chat_server: Any) -> None:
    def uncounted(server: Any, body: dict[str, Any]) -> Any:
        long = body["messages"][0]["content"] == TALK_ON
        data = json.loads(server.body("word " * 100 if long else GOOD))
        del data["usage"]
        return server.raw(json.dumps(data).encode())

    found = run(chat_server, uncounted)
    assert answers(found)["usage_present"] == "no"
    # 500 characters against 12 * 16 = 192.
    assert answers(found)["cap_honoured"] == "no"
    assert found.usage.total_tokens == 0


def test_setting_that_is_not_taken_is_named(chat_server: Any) -> None:
    def own_temperature(server: Any, body: dict[str, Any]) -> Any:
        return server.status(400, "temperature must be 1") if "temperature" in body else behave(server, body)

    found = answers(run(chat_server, own_temperature))
    assert (found["temperature_accepted"], found["seed_accepted"]) == ("no", "yes")


def test_refusal_in_plain_words_looks_like_any_reply(chat_server: Any) -> None:
    def polite(server: Any, body: dict[str, Any]) -> Any:
        return server.says("Sorry, no.") if body["messages"][0]["content"] == DECLINE else behave(server, body)

    assert answers(run(chat_server, polite))["refusal_field"] == "no"


def test_endpoint_that_cannot_be_asked_ends_the_probe(chat_server: Any) -> None:
    with pytest.raises(CallFailed, match="the key was rejected"):
        run(chat_server, lambda server, body: server.status(401))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (GOOD, True),
        (f" {GOOD}\n", True),
        (f"```json\n{GOOD}\n```", False),
        (f"Sure: {GOOD}", False),
        ('{"colour": "blue", "count": 3}', False),
        ('{"colour": "red", "count": true}', False),
        ('{"colour": "red", "count": 3, "more": 1}', False),
        ('{"colour": "red"', False),
        (None, False),
    ],
)
def test_only_the_object_itself_conforms(text: str | None, holds: bool) -> None:
    assert conforms(text) is holds
