"""The LangChain client: with a chat model of the test, and with langchain-openai against a real HTTP server."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import langsmith
import numpy as np
import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from backtesting.errors import EndpointError, UsageError
from generator.llm.address import parse_address
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message
from generator.llm.clients import Settings, open_client
from generator.llm.langchain_client import FINISH, PROVIDERS, LangChainClient, environment_secrets, open_chat_model
from generator.llm.patience import Patience
from generator.llm.secret import Secret

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ASKED = CompletionRequest(
    (Message("system", "You propose."), Message("user", "One rule.")),
    max_output_tokens=300,
    temperature=0.5,
    seed=7,
    schema=SCHEMA,
)
# A provider's package is imported inside the first attempt, which takes seconds on a busy machine.
FAST = Patience(max_attempts=3, attempt_seconds=60.0, deadline_seconds=240.0)
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class Chat(BaseChatModel):
    """Answers with the messages of a list; an exception is raised."""

    answers: list[Any]
    seen: list[list[BaseMessage]] = []  # noqa: RUF012 - pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "test"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.seen.append(messages)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return ChatResult(generations=[ChatGeneration(message=answer)])


async def no_wait(seconds: float) -> None:
    """Sleeping that takes no time."""


def message(content: Any = "{}", *, usage: Any = None, **metadata: Any) -> AIMessage:
    counted = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120} if usage is None else usage
    return AIMessage(content=content, response_metadata=metadata, usage_metadata=counted or None)


def client_of(*answers: Any, provider: str = "anthropic", opened: list[Mapping[str, Any]] | None = None) -> Any:
    chat = Chat(answers=list(answers))

    def open_chat(settings: Mapping[str, Any]) -> Chat:
        if opened is not None:
            opened.append(settings)
        return chat

    return LangChainClient(
        parse_address(f"langchain:{provider}:m"),
        open_chat,
        rng=np.random.default_rng(1),
        patience=FAST,
        secrets=(Secret("a-secret-value"),),
        sleep=no_wait,
        wall_clock=lambda: NOW,
    )


def ask(*answers: Any, **more: Any) -> Completion:
    return asyncio.run(client_of(*answers, **more).complete(ASKED))


def fail(*answers: Any, **more: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        ask(*answers, **more)
    assert "a-secret-value" not in f"{caught.value} {caught.value.raw_body}"
    return caught.value


# --- what a message says ---------------------------------------------------------------------------------------------


def test_text_usage_and_finish_reason_are_read_off_the_message() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_token_details": {"cache_read": 60},
        "output_token_details": {"reasoning": 15},
    }
    answer = ask(message('{"a": 1}', usage=usage, stop_reason="end_turn", model_name="m-2026"))
    assert (answer.text, answer.finish_reason, answer.model) == ('{"a": 1}', "stop", "m-2026")
    assert answer.usage is not None
    assert answer.usage.as_dict() == {
        "input_tokens": 100,
        "output_tokens": 20,
        "reasoning_tokens": 15,
        "cached_tokens": 60,
    }
    assert json.loads(answer.raw_body)["response_metadata"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("metadata", "finish"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"done_reason": "length"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"stop_reason": "refusal"}, "refusal"),
        ({"stopReason": "guardrail_intervened"}, "content_filter"),
        ({"finish_reason": "tool_calls"}, "tool_calls"),
        ({"stop_reason": "tool_use"}, "tool_calls"),
        ({"finish_reason": "odd"}, "other"),
        ({}, "other"),
    ],
)
def test_every_providers_word_for_the_end_is_understood(metadata: dict[str, str], finish: str) -> None:
    assert ask(message(**metadata)).finish_reason == finish


def test_cut_reply_comes_back_as_it_was_written_and_is_not_mended() -> None:
    answer = ask(message('{"name":"a","x', stop_reason="max_tokens"))
    assert (answer.text, answer.finish_reason) == ('{"name":"a","x', "length")


def test_text_blocks_are_joined_and_reasoning_is_left_out() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": '{"a":'},
        {"type": "text", "text": " 1}"},
    ]
    answer = ask(message(blocks))
    assert answer.text == '{"a": 1}'
    assert "hm" in answer.raw_body


def test_refusal_field_is_a_refusal_whatever_the_finish_reason_says() -> None:
    refused = AIMessage(content="", additional_kwargs={"refusal": "No."}, response_metadata={"finish_reason": "stop"})
    answer = ask(refused)
    assert (answer.text, answer.refusal, answer.finish_reason) == (None, "No.", "refusal")


def test_usage_of_zeros_is_no_usage() -> None:
    assert ask(message(usage={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})).usage is None
    assert ask(message(usage={})).usage is None


def test_text_over_the_cap_is_refused() -> None:
    error = fail(message("x" * 1_000_001))
    assert (error.failure, error.attempts) == ("too_large", 1)


# --- what is handed over ---------------------------------------------------------------------------------------------


def test_settings_of_a_request_reach_the_chat_model_and_its_retries_are_off() -> None:
    opened: list[Mapping[str, Any]] = []
    ask(message(), opened=opened)
    assert opened == [{"max_tokens": 300, "max_retries": 0, "timeout": FAST.attempt_seconds, "temperature": 0.5}]


def test_each_set_of_settings_has_one_chat_model() -> None:
    opened: list[Mapping[str, Any]] = []
    client = client_of(message(), message(), message(), opened=opened)

    async def calls() -> None:
        for cap in (300, 300, 400):
            await client.complete(CompletionRequest(ASKED.messages, max_output_tokens=cap))

    asyncio.run(calls())
    assert [settings["max_tokens"] for settings in opened] == [300, 400]


@pytest.mark.parametrize("mode", ["schema", "json"])
def test_provider_that_is_handed_no_schema_is_refused_in_the_modes_that_promise_one(mode: Any) -> None:
    with pytest.raises(UsageError, match=f"the mode '{mode}' would promise what nobody keeps"):
        LangChainClient(
            parse_address("langchain:anthropic:m"), lambda settings: None, rng=np.random.default_rng(1), mode=mode
        )


def test_schema_goes_to_ollama_as_its_format() -> None:
    opened: list[Mapping[str, Any]] = []

    def open_chat(settings: Mapping[str, Any]) -> Chat:
        opened.append(settings)
        return Chat(answers=[message(done_reason="stop")])

    for mode in ("schema", "json", "text"):
        client = LangChainClient(
            parse_address("langchain:ollama:m"), open_chat, rng=np.random.default_rng(1), mode=mode
        )
        asyncio.run(client.complete(ASKED))
    assert [settings.get("format") for settings in opened] == [SCHEMA, "json", None]
    assert opened[0]["num_predict"] == 300
    assert opened[0]["seed"] == 7
    assert "max_retries" not in opened[0]


def test_payload_id_is_known_before_the_call_and_depends_on_provider_and_repeat() -> None:
    client = client_of(message())
    assert asyncio.run(client.complete(ASKED)).payload_id == client.payload_id(ASKED)
    again = CompletionRequest(ASKED.messages, 300, temperature=0.5, seed=7, schema=SCHEMA, repeat_index=1)
    assert client.payload_id(again) != client.payload_id(ASKED)
    assert client_of(provider="groq").payload_id(ASKED) != client.payload_id(ASKED)


@pytest.mark.parametrize("ours", [True, False])
def test_nothing_is_traced_even_where_the_environment_asks_for_it(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "a-key-of-langsmith")
    monkeypatch.setattr(langsmith.Client, "create_run", lambda *args, **more: traced.append(more))
    monkeypatch.setattr(langsmith.Client, "update_run", lambda *args, **more: None)
    langsmith.utils.get_env_var.cache_clear()
    if ours:
        ask(message())
    else:
        # What LangChain does when nobody stops it; without this the test would prove nothing.
        Chat(answers=[message()]).invoke("the prompt")
    langsmith.utils.get_env_var.cache_clear()
    assert bool(traced) is not ours


# --- what goes wrong -------------------------------------------------------------------------------------------------


class StatusError(Exception):
    """As the SDKs of the providers raise it."""

    def __init__(self, status: int, text: str = "no", **headers: str) -> None:
        super().__init__(text)
        self.status_code = status
        self.response = httpx2.Response(status, text=text, headers=headers)


@pytest.mark.parametrize(
    ("status", "failure", "attempts", "stops"),
    [
        (400, "bad_request", 1, True),
        (401, "auth", 1, True),
        (403, "auth", 1, True),
        (404, "not_found", 1, True),
        (408, "server", 3, False),
        (413, "too_large", 1, False),
        (429, "rate_limited", 3, False),
        (500, "server", 3, False),
        (529, "server", 3, False),
    ],
)
def test_status_has_the_class_that_it_has_at_any_server(status: int, failure: str, attempts: int, stops: bool) -> None:
    error = fail(*[StatusError(status, "key a-secret-value") for _ in range(4)])
    assert (error.failure, error.attempts, error.stops_run, error.status) == (failure, attempts, stops, status)


def test_out_of_credit_is_not_tried_again() -> None:
    body = json.dumps({"error": {"message": "pay", "code": "insufficient_quota"}})
    error = fail(StatusError(429, body))
    assert (error.failure, error.attempts, error.stops_run) == ("quota", 1, True)


def test_key_is_named_after_its_provider() -> None:
    assert "check ANTHROPIC_API_KEY" in fail(StatusError(401)).next_step


def test_status_that_an_sdk_calls_code_is_read_too() -> None:
    error = ValueError("quota")
    error.code = 503  # type: ignore[attr-defined]
    assert fail(*[error] * 3).failure == "server"


def test_broken_connection_and_silence_are_told_apart() -> None:
    assert fail(*[httpx2.ConnectError("refused")] * 3).failure == "transport"
    assert fail(*[ConnectionResetError("gone")] * 3).failure == "transport"
    late = fail(*[httpx2.ReadTimeout("slow")] * 3)
    assert (late.failure, late.attempts) == ("timeout", 2)


def test_exception_that_means_nothing_to_us_stops_the_run_with_its_words() -> None:
    error = fail(TypeError("unexpected argument a-secret-value"))
    assert (error.failure, error.stops_run) == ("bad_request", True)
    assert "TypeError: unexpected argument [redacted]" in error.what


def test_success_after_a_server_error_counts_its_attempts() -> None:
    assert ask(StatusError(500), message()).attempts == 2


def test_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(EndpointError, match="pip install langchain-groq"):
        open_chat_model(parse_address("langchain:groq:m"))


def test_unknown_provider_is_no_reason_to_install_something_by_that_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'anthropic'") as caught:
        open_chat_model(parse_address("langchain:antropic:m"))
    assert "pip install" not in str(caught.value)


def test_every_known_provider_has_its_package_named() -> None:
    assert all(provider.package == f"langchain-{name.replace('_', '-')}" for name, provider in PROVIDERS.items())
    assert all(word == word.lower() for word in FINISH)


def test_keys_of_the_environment_are_secrets_by_their_names() -> None:
    found = environment_secrets({"ANTHROPIC_API_KEY": " 0123456789 ", "HOME": "/home/somebody", "X_TOKEN": "short"})
    assert [secret.reveal() for secret in found] == ["0123456789"]


# --- langchain-openai against a real server ---------------------------------------------------------------------------


def over_http(server: Any, *, mode: Any = "schema", patience: Patience = FAST, **environ: str) -> Completion:
    pytest.importorskip("langchain_openai")

    async def call() -> Completion:
        address = parse_address(f"langchain:openai:tiny@{server.base_url}")
        settings = Settings(environ=environ, rng=np.random.default_rng(1), mode=mode, patience=patience)
        client = open_client(address, settings)
        try:
            return await client.complete(ASKED)
        finally:
            await client.aclose()

    return asyncio.run(call())


def test_langchain_openai_sends_what_our_own_client_sends(chat_server: Any) -> None:
    chat_server.add(chat_server.says('{"a": 1}'))
    answer = over_http(chat_server)
    body = chat_server.requests[0].body
    assert chat_server.requests[0].path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "system", "content": "You propose."}, {"role": "user", "content": "One rule."}]
    assert body["response_format"]["json_schema"] == {"name": "reply", "strict": True, "schema": SCHEMA}
    assert (body["max_completion_tokens"], body["temperature"], body["seed"]) == (300, 0.5, 7)
    assert chat_server.requests[0].headers["accept-encoding"] == "identity"
    assert (answer.text, answer.finish_reason, answer.model) == ('{"a": 1}', "stop", "tiny-1")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (100, 20)


def test_langchain_openai_truncation_filter_and_refusal_are_values(chat_server: Any) -> None:
    chat_server.add(
        chat_server.says('{"a', finish_reason="length"),
        chat_server.says("", finish_reason="content_filter"),
        chat_server.says(None, refusal="No advice."),
    )
    cut, filtered, refused = (over_http(chat_server) for _ in range(3))
    assert (cut.text, cut.finish_reason) == ('{"a', "length")
    assert cut.usage is not None
    assert filtered.finish_reason == "content_filter"
    assert (refused.refusal, refused.finish_reason) == ("No advice.", "refusal")


def test_langchain_openai_asks_as_often_as_we_say_and_no_more(chat_server: Any) -> None:
    chat_server.always(chat_server.status(503, retry_after_ms="1"))
    with pytest.raises(CallFailed) as caught:
        over_http(chat_server)
    assert caught.value.failure == "server"
    assert len(chat_server.requests) == 3 == caught.value.attempts


def test_langchain_openai_goes_through_the_hardened_transport(chat_server: Any, second_server: Any) -> None:
    chat_server.add(
        chat_server.huge(2, announced=False),
        chat_server.gzip_bomb(),
        chat_server.redirect(f"{second_server.base_url}/chat/completions"),
    )
    failures = []
    for _ in range(3):
        with pytest.raises(CallFailed) as caught:
            over_http(chat_server)
        failures.append(caught.value.failure)
    assert failures == ["too_large", "protocol", "protocol"]
    assert second_server.requests == []


def test_langchain_openai_body_that_is_no_completion_is_no_answer(chat_server: Any) -> None:
    chat_server.add(
        chat_server.raw(b"<html>welcome</html>", content_type="text/html"), chat_server.raw(b'{"choices": null}')
    )
    for _ in range(2):
        with pytest.raises(CallFailed) as caught:
            over_http(chat_server)
        assert caught.value.failure in ("protocol", "bad_request")


def test_langchain_openai_silence_ends_at_the_deadline(chat_server: Any) -> None:
    chat_server.always(chat_server.hang())
    with pytest.raises(CallFailed) as caught:
        over_http(chat_server, patience=Patience(max_attempts=3, attempt_seconds=0.3, deadline_seconds=60.0))
    # On a busy machine the time may be up before the server has seen a request; our own count is exact.
    assert (caught.value.failure, caught.value.attempts) == ("timeout", 2)
    assert len(chat_server.requests) <= 2


def test_langchain_openai_without_a_key_at_the_vendor_is_refused() -> None:
    pytest.importorskip("langchain_openai")
    with pytest.raises(EndpointError, match="OPENAI_API_KEY is not set"):
        open_client(parse_address("langchain:openai:gpt-5"), Settings(environ={}, rng=np.random.default_rng(1)))
