"""LangChainClient: any provider that LangChain speaks to, through `init_chat_model` and nothing above it.

No LangChain parser, retry, cache, rate limiter or tracer is used. Its parsers raise where a reply is cut and mend half
an object in silence; its caches forget that a question may be asked twice on purpose. We hand over messages, read the
raw text, the usage and the finish reason off the message that comes back, and let our own code judge them. LangSmith
tracing is off for these calls even where the environment turns it on: a prompt goes to the model and to nobody else.

Differences between providers are data (`PROVIDERS`): what the output cap is called, how a schema is handed over, which
package is needed. A provider that takes no schema is refused in the modes schema and json when it is opened, so that
nobody believes a schema to be enforced that was never sent.

What it does not do: the hardened transport (capped replies, no redirects) is in place for `openai` only, because the
other packages take no HTTP client of ours; there, a deadline over the whole call and a cap on the text that arrived
are all. `payload_id` is of what is handed to LangChain, whose packages may still rewrite it. Tool calls are not read.
"""

import asyncio
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

import httpx2
import numpy as np

from backtesting.errors import EndpointError, UsageError
from generator.llm.address import KEY_VARIABLE, OPENAI_URL, ModelAddress
from generator.llm.client import (
    CallFailed,
    Completion,
    CompletionRequest,
    Failure,
    FinishReason,
    Mode,
    Usage,
    payload_id_of,
    storable,
)
from generator.llm.pace import Pace
from generator.llm.patience import DEFAULT_PATIENCE, AttemptFailed, Patience, Sleep, ask_patiently
from generator.llm.secret import Secret, one_line, redact
from generator.llm.status import read_status
from generator.llm.transport import MAX_REPLY_BYTES, ReplyRefused

KEPT_BODY_CHARS = 4_000
MAX_CHATS = 64
"""Chat models that are kept for the next question with the same settings; the oldest goes first."""


@dataclass(frozen=True)
class Provider:
    """How LangChain's package for one provider wants to be told things.

    Attributes:
        package: what to install; distributions are named like the module with hyphens.
        cap: name of the output cap.
        schema: where the schema goes: "response_format" (in the body, as at OpenAI), "format" (as at Ollama), or
            "" where none can be handed over.
        takes_seed: it knows the setting `seed`.
        takes_limits: it knows the settings `timeout` and `max_retries`.
        key_variable: where its key comes from, for sentences; the package reads it itself.
    """

    package: str
    cap: str = "max_tokens"
    schema: str = ""
    takes_seed: bool = False
    takes_limits: bool = True
    key_variable: str = ""


PROVIDERS: dict[str, Provider] = {
    "anthropic": Provider("langchain-anthropic", key_variable="ANTHROPIC_API_KEY"),
    "google_genai": Provider("langchain-google-genai", key_variable="GOOGLE_API_KEY"),
    "groq": Provider("langchain-groq", key_variable="GROQ_API_KEY"),
    "mistralai": Provider("langchain-mistralai", key_variable="MISTRAL_API_KEY"),
    "ollama": Provider("langchain-ollama", cap="num_predict", schema="format", takes_seed=True, takes_limits=False),
    "openai": Provider("langchain-openai", schema="response_format", takes_seed=True, key_variable=KEY_VARIABLE),
}
"""The providers that are known by name here. Any other that LangChain knows is tried with the plain settings."""

# Every provider has its own word for the same few things.
FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "refusal",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
}
_FINISH_NAMES = ("finish_reason", "stop_reason", "done_reason", "stopReason")

OpenChat = Callable[[Mapping[str, Any]], Any]
"""Makes a LangChain chat model out of its settings (`max_tokens`, `temperature`, ...)."""


class LangChainClient:
    """The client for a `langchain:` address.

    Args:
        address: provider, model and perhaps a base URL.
        open_chat: makes the chat model; see `open_chat_model`.
        rng: jitter of the waits.
        mode: how the schema of a request is asked for.
        patience, pace, sleep, wall_clock: as for every client.
        secrets: taken out of everything that is shown or kept of a failure.
        http: the HTTP client behind the chat models, where it is ours to close.
    """

    def __init__(
        self,
        address: ModelAddress,
        open_chat: OpenChat,
        *,
        rng: np.random.Generator,
        mode: Mode = "text",
        patience: Patience = DEFAULT_PATIENCE,
        pace: Pace | None = None,
        secrets: tuple[Secret, ...] = (),
        http: httpx2.AsyncClient | None = None,
        sleep: Sleep = asyncio.sleep,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._provider = PROVIDERS.get(address.provider, Provider(_package_of(address.provider)))
        if mode != "text" and not self._provider.schema:
            raise UsageError(
                f"{address.text}: LangChain's package for {address.provider} is handed no schema here, so the mode"
                f" {mode!r} would promise what nobody keeps",
                next_step="use --llm-mode text; the prompt describes the form and the reply is validated all the same",
            )
        self._address = address
        self._open_chat = open_chat
        self._rng = rng
        self._mode: Mode = mode
        self._patience = patience
        self._pace = pace or Pace()
        self._secrets = secrets
        self._http = http
        self._sleep = sleep
        self._wall_clock = wall_clock
        self._chats: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """The model address in its one spelling."""
        return self._address.text

    def payload_id(self, request: CompletionRequest) -> str:
        """The id that the completion of `request` will carry."""
        return langchain_payload_id(self._address, self._mode, request)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The model's answer, after at most `max_attempts` requests. Raises CallFailed."""
        return await ask_patiently(
            lambda attempt, began: self._ask(request, attempt, began),
            patience=self._patience,
            pace=self._pace,
            rng=self._rng,
            sleep=self._sleep,
            out_of_time=lambda why: self._failure(why, "timeout"),
        )

    async def aclose(self) -> None:
        """Close the connections that are ours; a provider's package closes its own."""
        self._chats.clear()
        if self._http is not None:
            await self._http.aclose()

    async def _ask(self, request: CompletionRequest, attempts: int, began: float) -> Completion:
        from langsmith import tracing_context

        try:
            chat = self._chat(request)  # the first one imports the provider's package, which is not the model's time
            async with asyncio.timeout(self._patience.attempt_seconds):
                with tracing_context(enabled=False):
                    reply = await chat.ainvoke(_messages(request))
        except TimeoutError:
            why = f"no answer within {self._patience.attempt_seconds:g} s"
            raise AttemptFailed(self._failure(why, "timeout"), again=True) from None
        except EndpointError:
            raise
        # The one border where anything may come: each provider's package raises what its own SDK does.
        except Exception as error:
            raise self._failed(error) from None
        return self._completion(request, reply, attempts, time.monotonic() - began)

    def _chat(self, request: CompletionRequest) -> Any:
        """The chat model with this request's settings; one for each different set of them."""
        provider = self._provider
        settings: dict[str, Any] = {provider.cap: request.max_output_tokens}
        if provider.takes_limits:
            settings |= {"max_retries": 0, "timeout": self._patience.attempt_seconds}
        if request.temperature is not None:
            settings["temperature"] = request.temperature
        if request.seed is not None and provider.takes_seed:
            settings["seed"] = request.seed
        body = request.payload(self._address.model, mode=self._mode, cap_field="max_tokens")
        if "response_format" in body and provider.schema == "response_format":
            settings["extra_body"] = {"response_format": body["response_format"]}
        elif "response_format" in body and provider.schema == "format":
            settings["format"] = "json" if self._mode == "json" else dict(request.schema or {})
        key = json.dumps(settings, sort_keys=True)
        if key not in self._chats:
            if len(self._chats) >= MAX_CHATS:  # the seed is another one for each slot, and a run has thousands
                del self._chats[next(iter(self._chats))]
            self._chats[key] = self._open_chat(settings)
        return self._chats[key]

    def _completion(self, request: CompletionRequest, reply: Any, attempts: int, latency: float) -> Completion:
        """What the message says. Raises AttemptFailed with `protocol` or `too_large`."""
        text = _text_of(getattr(reply, "content", None))
        metadata = getattr(reply, "response_metadata", None)
        if not isinstance(metadata, dict) or text is None:
            raise AttemptFailed(self._failure("the answer is no chat message with text", "protocol"))
        if len(text.encode("utf-8", "replace")) > MAX_REPLY_BYTES:
            raise AttemptFailed(self._failure(f"the reply is larger than {MAX_REPLY_BYTES:,} bytes", "too_large"))
        extra = getattr(reply, "additional_kwargs", None) or {}
        refusal = extra.get("refusal") if isinstance(extra.get("refusal"), str) else None
        finish = _finish_of(metadata)
        model = metadata.get("model_name") or metadata.get("model")
        raw = {
            "content": _plain(reply.content),
            "response_metadata": _plain(metadata),
            "additional_kwargs": _plain(extra),
        }
        return Completion(
            text=storable(text) or None,
            refusal=storable(refusal) if refusal else None,
            finish_reason="refusal" if refusal else finish,
            usage=_usage(getattr(reply, "usage_metadata", None)),
            model=storable(model) if isinstance(model, str) and model else self._address.model,
            latency_seconds=latency,
            attempts=attempts,
            payload_id=self.payload_id(request),
            raw_body=storable(json.dumps(raw, sort_keys=True, ensure_ascii=False)),
        )

    def _failed(self, error: Exception) -> AttemptFailed:
        """The failure behind an exception of a provider's package."""
        for cause in _chain(error):
            if isinstance(cause, ReplyRefused):
                failure: Failure = "too_large" if cause.too_large else "protocol"
                return AttemptFailed(self._failure(str(cause), failure))
        response = getattr(error, "response", None)
        status = _status_of(error, response)
        if status is not None:
            return self._refused(status, getattr(response, "headers", None) or {}, _body_of(error, response))
        names = {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}
        why = self._shown(str(error)) or type(error).__name__
        if any("Timeout" in name for name in names):
            return AttemptFailed(self._failure(f"no answer in time: {why}", "timeout"), again=True)
        if any(word in name for name in names for word in ("Connect", "Network", "Transport")) or "OSError" in names:
            step = "check the network and the address of the server"
            return AttemptFailed(self._failure(f"no connection: {why}", "transport", step), again=True)
        step = "check the model, its settings and the provider's package against what it says"
        return AttemptFailed(self._failure(f"{type(error).__name__}: {why}", "bad_request", step))

    def _refused(self, status: int, headers: Mapping[str, str], body: str) -> AttemptFailed:
        refused = read_status(
            status,
            headers,
            body,
            key_variable=self._provider.key_variable or "the provider's key",
            now=self._wall_clock(),
            downgrade=lambda message: "try --llm-mode text, and check the model and the sampling settings",
        )
        said = f": {self._shown(refused.message)}" if refused.message else ""
        error = self._failure(
            f"{refused.what}{said}",
            refused.failure,
            refused.next_step,
            status=status,
            raw_body=redact(body, self._secrets)[:KEPT_BODY_CHARS],
            stops_run=refused.stops_run,
            charged=refused.charged,
        )
        return AttemptFailed(error, again=refused.again, retry_after=refused.retry_after)

    def _failure(
        self, what: str, failure: Failure, next_step: str = "try again later with --resume", **more: Any
    ) -> CallFailed:
        return CallFailed(
            f"{self._address.model} at {self._address.provider}: {what}", failure=failure, next_step=next_step, **more
        )

    def _shown(self, text: str) -> str:
        return one_line(text, self._secrets)


def langchain_payload_id(address: ModelAddress, mode: Mode, request: CompletionRequest) -> str:
    """Content id of what is handed to LangChain."""
    payload = request.payload(address.model, mode=mode, cap_field="max_tokens")
    return payload_id_of(payload, address=address.text, repeat_index=request.repeat_index)


def open_chat_model(
    address: ModelAddress, *, http: httpx2.AsyncClient | None = None, key: Secret | None = None
) -> OpenChat:
    """How the chat model of `address` is made.

    Args:
        http: the hardened HTTP client, for `openai`; the other packages take none of ours.
        key: for `openai` always; for the others where their package cannot find it in the environment by itself.

    Raises:
        EndpointError: the provider's package is not installed.
        UsageError: the provider is unknown and no package for it is here; no name is guessed for you to install.
    """
    provider = PROVIDERS.get(address.provider, Provider(_package_of(address.provider)))
    if importlib.util.find_spec(provider.package.replace("-", "_")) is None:
        if address.provider not in PROVIDERS:
            near = get_close_matches(address.provider, PROVIDERS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"unknown provider {address.provider!r} in {address.text}{hint}",
                next_step=f"known: {', '.join(PROVIDERS)}; for another, install LangChain's package for it first",
            )
        raise EndpointError(
            f"langchain:{address.provider} needs the package {provider.package}, which is not installed",
            next_step=f"pip install {provider.package}",
        )
    fixed: dict[str, Any] = {}
    if address.provider == "openai":
        # Named models would switch to another protocol by themselves, where a cut reply looks like a whole one. The
        # second HTTP client is never used, and must not be one that could go anywhere.
        fixed |= {"base_url": address.base_url or OPENAI_URL, "use_responses_api": False}
        fixed |= {"http_async_client": http, "api_key": key.reveal() if key else None}
    else:
        fixed |= {"base_url": address.base_url} if address.base_url else {}
        fixed |= {"api_key": key.reveal()} if key else {}

    def open_chat(settings: Mapping[str, Any]) -> Any:
        from langchain.chat_models import init_chat_model

        return init_chat_model(address.model, model_provider=address.provider, **fixed, **settings)

    return open_chat


def environment_secrets(environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """Every value of the environment that looks like a key by its name: whatever a package read must not be shown."""
    names = ("_API_KEY", "_KEY", "_TOKEN", "_SECRET")
    return tuple(
        Secret(value.strip()) for name, value in environ.items() if name.endswith(names) and len(value.strip()) >= 8
    )


def _package_of(provider: str) -> str:
    return f"langchain-{provider.replace('_', '-')}"


def _messages(request: CompletionRequest) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in request.messages]


def _text_of(content: Any) -> str | None:
    """The text of a message: a string, or the text blocks of a list; None where it is neither."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    blocks = [block if isinstance(block, str) else _block_text(block) for block in content]
    return "".join(blocks)


def _block_text(block: Any) -> str:
    # Reasoning and tool blocks stay in the raw body; the answer is the text.
    text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
    return text if isinstance(text, str) else ""


def _finish_of(metadata: Mapping[str, Any]) -> FinishReason:
    for name in _FINISH_NAMES:
        word = metadata.get(name)
        if isinstance(word, str):
            return FINISH.get(word.lower(), "other")
    return "other"


def _usage(counted: Any) -> Usage | None:
    if not isinstance(counted, Mapping):
        return None
    given, written = _count(counted.get("input_tokens")), _count(counted.get("output_tokens"))
    # Packages fill zeros in where the server counted nothing; a question has at least one token.
    if not given or written is None:
        return None
    cached = _count((counted.get("input_token_details") or {}).get("cache_read")) or 0
    reasoning = _count((counted.get("output_token_details") or {}).get("reasoning")) or 0
    return Usage(given, written, reasoning_tokens=min(reasoning, written), cached_tokens=min(cached, given))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status_of(error: BaseException, response: Any) -> int | None:
    for value in (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "code", 0),
    ):
        if isinstance(value, int) and not isinstance(value, bool) and 300 <= value < 600:
            return value
    return None


def _body_of(error: BaseException, response: Any) -> str:
    text = getattr(response, "text", None)
    return text if isinstance(text, str) and text else str(error)


def _plain(value: Any) -> Any:
    """`value` as JSON data; what is none becomes its text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
