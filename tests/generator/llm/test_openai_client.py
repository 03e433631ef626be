"""The OpenAI client against a real HTTP server: what every kind of trouble becomes, and how often it is asked."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from generator.llm.address import parse_address
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message
from generator.llm.openai_client import OpenAIClient
from generator.llm.pace import Pace
from generator.llm.patience import Patience
from generator.llm.secret import Secret

KEY = Secret("sk-test-0123456789abcdefKEY")
# Where the server answers, a busy machine must not look like a silent server.
FAST = Patience(max_attempts=4, attempt_seconds=20.0, deadline_seconds=20.0)
SHORT = Patience(max_attempts=4, attempt_seconds=0.25, deadline_seconds=60.0)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def request(**changes: Any) -> CompletionRequest:
    settings: dict[str, Any] = {
        "messages": (Message("system", "You propose."), Message("user", "Propose one rule.")),
        "max_output_tokens": 300,
        "temperature": 0.5,
        "schema": SCHEMA,
    }
    return CompletionRequest(**{**settings, **changes})


class Waits:
    """Sleeping that takes no time and remembers how long it was meant to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def now(self) -> float:
        return sum(self.seconds)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def ask(
    server: Any,
    *,
    patience: Patience = FAST,
    mode: Any = "schema",
    waits: Waits | None = None,
    asked: CompletionRequest | None = None,
) -> Completion:
    slept = waits or Waits()

    async def call() -> Completion:
        client = OpenAIClient(
            parse_address(f"openai:tiny@{server.base_url}"),
            KEY,
            rng=np.random.default_rng(1),
            mode=mode,
            patience=patience,
            pace=Pace(clock=slept.now),
            sleep=slept,
            wall_clock=lambda: NOW,
        )
        try:
            return await client.complete(asked or request())
        finally:
            await client.aclose()

    return asyncio.run(call())


def fail(server: Any, **more: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        ask(server, **more)
    error = caught.value
    for text in (str(error), repr(error), error.raw_body or ""):
        assert KEY.reveal() not in text
    assert error.__cause__ is None
    assert error.kept
    assert error.next_step
    return error


def test_good_reply_comes_back_whole(chat_server: Any) -> None:
    details = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    chat_server.add(chat_server.says('{"a": 1}', usage=details))
    answer = ask(chat_server)
    assert answer.text == '{"a": 1}'
    assert answer.finish_reason == "stop"
    assert answer.refusal is None
    assert answer.usage is not None
    assert answer.usage.as_dict() == {
        "input_tokens": 100,
        "output_tokens": 20,
        "reasoning_tokens": 5,
        "cached_tokens": 60,
    }
    assert answer.model == "tiny-1"
    assert answer.attempts == 1
    assert '"chatcmpl-1"' in answer.raw_body
    assert answer.payload_id.startswith("b2:")


def test_what_is_sent_is_the_payload_that_is_hashed(chat_server: Any) -> None:
    chat_server.add(chat_server.says("{}"))
    ask(chat_server)
    sent = chat_server.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY.reveal()}"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.body == request().payload("tiny", mode="schema", cap_field="max_tokens")
    assert sent.body["response_format"]["json_schema"]["strict"] is True
    assert sent.body["max_tokens"] == 300


@pytest.mark.parametrize(("mode", "expected"), [("json", {"type": "json_object"}), ("text", None)])
def test_mode_is_an_explicit_downgrade(chat_server: Any, mode: str, expected: Any) -> None:
    chat_server.add(chat_server.says("{}"))
    ask(chat_server, mode=mode)
    assert chat_server.requests[0].body.get("response_format") == expected


def test_temperature_and_seed_are_sent_only_when_set(chat_server: Any) -> None:
    chat_server.add(chat_server.says("{}"), chat_server.says("{}"))
    ask(chat_server, asked=request(temperature=None))
    ask(chat_server, asked=request(temperature=0.0, seed=7))
    assert "temperature" not in chat_server.requests[0].body
    assert "seed" not in chat_server.requests[0].body
    assert chat_server.requests[1].body["temperature"] == 0.0
    assert chat_server.requests[1].body["seed"] == 7


Build = Callable[[Any], list[Any]]

# name, answers of the server, class of the failure, requests that the server sees, the next call would fail too
FAILURES: list[tuple[str, Build, str, int, bool]] = [
    ("quota", lambda s: [s.status(429, "You exceeded", error_code="insufficient_quota")], "quota", 1, True),
    ("500 always", lambda s: [s.status(500)] * 9, "server", 4, False),
    ("529 always", lambda s: [s.status(529)] * 9, "server", 4, False),
    ("408 always", lambda s: [s.status(408)] * 9, "server", 4, False),
    ("429 always", lambda s: [s.status(429)] * 9, "rate_limited", 4, False),
    ("429 for too long", lambda s: [s.status(429, retry_after="3600")] * 9, "rate_limited", 1, False),
    ("401", lambda s: [s.status(401, f"Incorrect API key provided: {KEY.reveal()}")], "auth", 1, True),
    ("403", lambda s: [s.status(403)], "auth", 1, True),
    ("404", lambda s: [s.status(404)], "not_found", 1, True),
    ("422", lambda s: [s.status(422)], "bad_request", 1, True),
    ("context", lambda s: [s.status(400, error_code="context_length_exceeded")], "too_large", 1, False),
    ("413", lambda s: [s.status(413)], "too_large", 1, False),
    ("html", lambda s: [s.raw(b"<html>hi</html>", content_type="text/html")], "protocol", 1, False),
    ("not json", lambda s: [s.raw(b"hello")], "protocol", 1, False),
    ("empty body", lambda s: [s.raw(b"")], "protocol", 1, False),
    ("nested body", lambda s: [s.raw(b"[" * 100_000)], "protocol", 1, False),
    ("list body", lambda s: [s.raw(b"[]")], "protocol", 1, False),
    ("choices null", lambda s: [s.says("{}", choices=None)], "protocol", 1, False),
    ("choices empty", lambda s: [s.says("{}", choices=[])], "protocol", 1, False),
    ("choices odd", lambda s: [s.says("{}", choices=[3])], "protocol", 1, False),
    ("no message", lambda s: [s.says("{}", choices=[{"finish_reason": "stop"}])], "protocol", 1, False),
    ("content odd", lambda s: [s.says("{}", choices=[{"message": {"content": [1]}}])], "protocol", 1, False),
    ("error in a 200", lambda s: [s.raw(b'{"error": {"message": "overloaded"}}')], "protocol", 1, False),
    ("not utf-8", lambda s: [s.raw(b'{"choices": "\xff\xfe"}')], "protocol", 1, False),
    ("gzip bomb", lambda s: [s.gzip_bomb()], "protocol", 1, False),
    ("5 MB announced", lambda s: [s.huge()], "too_large", 1, False),
    ("5 MB in chunks", lambda s: [s.huge(announced=False)], "too_large", 1, False),
    ("reset", lambda s: [s.reset()] * 9, "transport", 4, False),
    ("half a body", lambda s: [s.half()] * 9, "transport", 4, False),
]


@pytest.mark.parametrize(
    ("answers", "failure", "asked", "stops"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_failure_has_its_class(chat_server: Any, answers: Build, failure: str, asked: int, stops: bool) -> None:
    chat_server.add(*answers(chat_server))
    error = fail(chat_server)
    assert error.failure == failure
    assert error.attempts == asked
    assert len(chat_server.requests) == asked
    assert error.stops_run is stops
    assert "tiny at 127.0.0.1:" in error.what


@pytest.mark.parametrize("build", [lambda s: s.hang(), lambda s: s.drip()], ids=["hang", "slow drip"])
def test_deadline_of_an_attempt_holds_and_is_tried_once_more(chat_server: Any, build: Any) -> None:
    chat_server.always(build(chat_server))
    error = fail(chat_server, patience=SHORT)
    assert error.failure == "timeout"
    # On a busy machine the time may be up before the server has seen a request; our own count is exact.
    assert error.attempts == 2 >= len(chat_server.requests)
    # 2 x 0.25 s; a read timeout alone would let the drip run for two minutes.
    assert 0.4 < error.latency_seconds < 60.0


def test_deadline_over_all_attempts_holds(chat_server: Any) -> None:
    chat_server.always(chat_server.hang())
    error = fail(chat_server, patience=Patience(max_attempts=4, attempt_seconds=60.0, deadline_seconds=0.3))
    assert error.failure == "timeout"
    assert "no answer within 0.3 s over 1 attempts" in error.what
    assert len(chat_server.requests) <= 1
    assert error.latency_seconds < 30.0


def test_wait_that_would_pass_the_deadline_is_not_begun(chat_server: Any) -> None:
    chat_server.always(chat_server.status(429, retry_after="60"))
    waits = Waits()
    error = fail(chat_server, waits=waits)  # 60 s asked for, 20 s allowed
    assert error.failure == "rate_limited"
    assert waits.seconds == []
    assert "asked to wait 60 s" in error.what


def test_rate_limit_is_waited_for_as_long_as_the_server_asks(chat_server: Any) -> None:
    chat_server.add(chat_server.status(429, retry_after="2"), chat_server.says("{}"))
    waits = Waits()
    answer = ask(chat_server, waits=waits)
    assert answer.attempts == 2
    assert len(chat_server.requests) == 2
    assert 2.0 <= waits.seconds[0] <= 3.0


def test_retry_after_may_be_a_date_or_milliseconds(chat_server: Any) -> None:
    chat_server.add(
        chat_server.status(429, retry_after="Sun, 01 Mar 2026 12:00:05 GMT"),  # five seconds after NOW
        chat_server.status(503, retry_after_ms="1500"),
        chat_server.status(503, retry_after="soon"),
        chat_server.says("{}"),
    )
    waits = Waits()
    assert ask(chat_server, waits=waits).attempts == 4
    assert 5.0 <= waits.seconds[0] <= 6.0
    assert 1.5 <= waits.seconds[1] <= 2.5
    assert 0.0 <= waits.seconds[2] <= 4.0  # unreadable: jitter under 0.5 * 2**3


def test_server_errors_are_tried_again_until_one_answers(chat_server: Any) -> None:
    chat_server.add(*[chat_server.status(code) for code in (500, 502, 529)], chat_server.says('{"a": 2}'))
    waits = Waits()
    answer = ask(chat_server, waits=waits)
    assert (answer.text, answer.attempts, len(chat_server.requests)) == ('{"a": 2}', 4, 4)
    for wait, ceiling in zip(waits.seconds, (1.0, 2.0, 4.0), strict=True):  # 0.5 * 2**n
        assert 0.0 <= wait <= ceiling


def test_same_seed_waits_the_same(chat_server: Any) -> None:
    waits = [Waits(), Waits()]
    for each in waits:
        chat_server.add(chat_server.status(500), chat_server.says("{}"))
        ask(chat_server, waits=each)
    assert waits[0].seconds == waits[1].seconds


def test_connection_that_was_reset_is_made_again(chat_server: Any) -> None:
    chat_server.add(chat_server.reset(), chat_server.says("{}"))
    assert ask(chat_server).attempts == 2


def test_nobody_listening_is_a_transport_failure_that_cost_nothing(chat_server: Any, second_server: Any) -> None:
    second_server.__exit__()  # its port is free now
    error = fail(second_server)
    assert error.failure == "transport"
    assert error.attempts == 4
    assert error.charged is False


def test_redirect_is_not_followed(chat_server: Any, second_server: Any) -> None:
    chat_server.add(chat_server.redirect(f"{second_server.base_url}/chat/completions"))
    error = fail(chat_server)
    assert error.failure == "protocol"
    assert error.stops_run
    assert "redirects are not followed" in error.next_step
    assert second_server.requests == []


def test_schema_that_is_not_supported_names_the_flag(chat_server: Any) -> None:
    chat_server.always(chat_server.status(400, "response_format json_schema is not supported"))
    error = fail(chat_server)
    assert error.failure == "bad_request"
    assert error.stops_run
    assert len(chat_server.requests) == 1
    assert "--llm-mode json" in error.next_step
    assert "--llm-mode text" in fail(chat_server, mode="json").next_step


def test_temperature_that_is_not_supported_says_so(chat_server: Any) -> None:
    chat_server.add(chat_server.status(400, "Unsupported value: 'temperature' does not support 0.5"))
    assert "temperature" in fail(chat_server).next_step


def test_key_that_the_server_quotes_back_is_hidden(chat_server: Any) -> None:
    chat_server.add(chat_server.status(401, f"Incorrect API key provided: {KEY.reveal()}. Bearer abcdef123456"))
    error = fail(chat_server)
    assert "[redacted]" in error.what
    assert "abcdef123456" not in error.what
    assert "127.0.0.1" in error.what
    assert "OPENAI_API_KEY" in error.next_step


def test_what_the_model_does_is_a_value_and_never_asked_again(chat_server: Any) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"text": '{"a": ', "finish_reason": "length"}, "length"),
        ({"text": None, "refusal": "I cannot help."}, "refusal"),
        ({"text": None, "finish_reason": "content_filter"}, "content_filter"),
        ({"text": "", "finish_reason": "stop"}, "stop"),
        ({"text": None, "finish_reason": "tool_calls"}, "tool_calls"),
        ({"text": "{}", "finish_reason": None}, "other"),
    ]
    for number, (reply, expected) in enumerate(cases, start=1):
        chat_server.add(chat_server.says(reply.pop("text"), **reply))
        answer = ask(chat_server)
        assert answer.finish_reason == expected
        assert answer.attempts == 1
        assert len(chat_server.requests) == number


def test_content_type_does_not_decide_the_body_does(chat_server: Any) -> None:
    chat_server.add(chat_server.raw(chat_server.body("{}"), content_type="text/plain"))
    assert ask(chat_server).text == "{}"


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "7"}, {"prompt_tokens": True}, {"x": 1}, "many"],
)
def test_usage_that_cannot_be_right_is_no_usage(chat_server: Any, usage: Any) -> None:
    chat_server.add(chat_server.says("{}", usage=usage))
    assert ask(chat_server).usage is None


def test_lone_surrogate_in_a_reply_can_be_stored(chat_server: Any) -> None:
    chat_server.add(chat_server.raw(chat_server.body("X").replace(b'"X"', b'"a\\ud800b"')))
    text = ask(chat_server).text
    assert text == "a\\ud800b"
    text.encode("utf-8")


def test_whether_money_may_be_gone_is_remembered_over_attempts(chat_server: Any) -> None:
    chat_server.add(chat_server.status(401))
    assert fail(chat_server).charged is False
    chat_server.add(chat_server.status(500), chat_server.status(401))
    assert fail(chat_server).charged is True


def test_cancelling_ends_the_call_at_once(chat_server: Any) -> None:
    chat_server.always(chat_server.hang())

    async def cancelled() -> float:
        client = OpenAIClient(
            parse_address(f"openai:tiny@{chat_server.base_url}"), KEY, rng=np.random.default_rng(1), patience=FAST
        )
        task = asyncio.create_task(client.complete(request()))
        while not chat_server.requests:
            await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.aclose()
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(cancelled()) < 15.0  # the server would keep it for 30


def test_many_calls_share_one_client(chat_server: Any) -> None:
    chat_server.always(chat_server.says("{}"))

    async def many() -> list[Completion]:
        client = OpenAIClient(
            parse_address(f"openai:tiny@{chat_server.base_url}"), KEY, rng=np.random.default_rng(1), patience=FAST
        )
        asked = [client.complete(request(repeat_index=index)) for index in range(20)]
        answers = await asyncio.gather(*asked)
        await client.aclose()
        return answers

    answers = asyncio.run(many())
    assert len(chat_server.requests) == 20
    assert len({answer.payload_id for answer in answers}) == 20
