"""OpenAIClient: chat completions through the `openai` SDK, at the vendor or at any server that speaks the protocol.

The SDK brings the request over and nothing else. Its parsers are not used: they turn a cut reply into an exception and
an HTML page into a `str`; we read the raw bytes strictly instead. Its retries are off: `patience` owns them, so that
one budget line is one known number of requests. The mode (schema, json, text) is fixed for the life of the client: a
server that refuses the schema stops the run and names the flag to use, and is not asked differently in secret.

What is tried again: no connection, a deadline (once), 408, 409, 429 unless the account is out of credit, and 5xx; at
most `max_attempts` requests, all within `deadline_seconds`. What a model says is never tried again here.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np

from generator.llm.address import KEY_VARIABLE, ModelAddress
from generator.llm.client import (
    CallFailed,
    CapField,
    Completion,
    CompletionRequest,
    FinishReason,
    Mode,
    Usage,
    payload_id_of,
    storable,
)
from generator.llm.keys import NO_KEY
from generator.llm.pace import Pace
from generator.llm.patience import DEFAULT_PATIENCE, AttemptFailed, Patience, Sleep, ask_patiently
from generator.llm.secret import Secret, one_line, redact
from generator.llm.status import read_status
from generator.llm.transport import ReplyRefused, open_http

KEPT_BODY_CHARS = 4_000

FINISH: dict[Any, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


class OpenAIClient:
    """The client for an `openai:` address.

    Args:
        address: model and base URL.
        key: sent to the host of the base URL and nowhere else.
        rng: jitter of the waits.
        mode: how the schema of a request is asked for: enforced by the server, as some JSON, or in words only.
        patience: attempts and deadlines.
        pace: the limiter that the clients of a run share; None is one of its own.
        proxy: URL of a proxy, see `proxy_for`.
        sleep, wall_clock: waiting, and the time of day for a `Retry-After` that is a date; replaced in tests.
    """

    def __init__(
        self,
        address: ModelAddress,
        key: Secret,
        *,
        rng: np.random.Generator,
        mode: Mode = "schema",
        patience: Patience = DEFAULT_PATIENCE,
        pace: Pace | None = None,
        proxy: str | None = None,
        sleep: Sleep = asyncio.sleep,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        from openai import AsyncOpenAI

        self._address = address
        self._key = key
        self._rng = rng
        self._mode: Mode = mode
        self._patience = patience
        self._pace = pace or Pace()
        self._sleep = sleep
        self._wall_clock = wall_clock
        http = open_http(read_seconds=self._patience.attempt_seconds, proxy=proxy)
        self._sdk = AsyncOpenAI(
            api_key=key.reveal(), base_url=address.base_url, max_retries=0, timeout=http.timeout, http_client=http
        )
        # Taken once: it is loaded when it is first asked for, and made anew each time.
        self._create = self._sdk.chat.completions.with_raw_response.create

    @property
    def address(self) -> str:
        """The model address in its one spelling."""
        return self._address.text

    def payload_id(self, request: CompletionRequest) -> str:
        """The id that the completion of `request` will carry."""
        return openai_payload_id(self._address, self._mode, request)

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
        """Close the connections."""
        await self._sdk.close()

    async def _ask(self, request: CompletionRequest, attempts: int, began: float) -> Completion:
        """One request. Raises AttemptFailed."""
        import openai

        try:
            async with asyncio.timeout(self._patience.attempt_seconds):
                # The SDK walks through every typed argument, which are long walks; a body of ours it hands on.
                payload = _payload(self._address, self._mode, request)
                response = await self._create(model=payload.pop("model"), messages=(), extra_body=payload)
                body = response.http_response.content
        except (openai.APITimeoutError, TimeoutError):
            why = f"no answer within {self._patience.attempt_seconds:g} s"
            raise AttemptFailed(self._failure(why, "timeout"), again=True) from None
        except openai.APIStatusError as error:
            raise self._refused(error.response.status_code, error.response.headers, error.response.content) from None
        except (openai.APIConnectionError, httpx2.HTTPError, OSError) as error:
            raise self._broken_off(error) from None
        except (openai.OpenAIError, httpx2.InvalidURL, UnicodeError) as error:
            why = f"the request could not be made: {self._shown(str(error))}"
            raise AttemptFailed(self._failure(why, "bad_request")) from None
        return self._completion(request, body, attempts, time.monotonic() - began)

    def _completion(self, request: CompletionRequest, body: bytes, attempts: int, latency: float) -> Completion:
        """The answer that the bytes of a reply spell. Raises AttemptFailed with `protocol`; never tried again."""
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise self._not_a_completion("its body is not UTF-8", body.decode("latin-1")) from None
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            looks = "an HTML page; is /v1 missing from the base URL?" if text.lstrip().startswith("<") else "no JSON"
            raise self._not_a_completion(f"its body is {looks}", text) from None
        if not isinstance(answer, dict):
            raise self._not_a_completion("its body is no JSON object", text)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            said = _error_message(answer)
            raise self._not_a_completion(
                f"it holds no choices{f' and says: {self._shown(said)}' if said else ''}", text
            )
        message = choices[0].get("message")
        if not isinstance(message, dict):
            raise self._not_a_completion("its first choice holds no message", text)
        content, refusal = message.get("content"), message.get("refusal")
        if not isinstance(content, str | None) or not isinstance(refusal, str | None):
            raise self._not_a_completion("the content of its message is no text", text)
        model = answer.get("model")
        return Completion(
            text=storable(content) if content is not None else None,
            refusal=storable(refusal) if refusal else None,
            finish_reason="refusal" if refusal else FINISH.get(_hashable(choices[0].get("finish_reason")), "other"),
            usage=_usage(answer.get("usage")),
            model=storable(model) if isinstance(model, str) and model else self._address.model,
            latency_seconds=latency,
            attempts=attempts,
            payload_id=self.payload_id(request),
            raw_body=text,
        )

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> AttemptFailed:
        """The failure that an HTTP status other than 2xx means."""
        text = body.decode("utf-8", "replace")
        refused = read_status(
            status, headers, text, key_variable=KEY_VARIABLE, now=self._wall_clock(), downgrade=self._downgrade
        )
        said = f": {self._shown(refused.message)}" if refused.message else ""
        error = self._failure(
            f"{refused.what}{said}",
            refused.failure,
            refused.next_step,
            status=status,
            raw_body=text,
            stops_run=refused.stops_run,
            charged=refused.charged,
        )
        return AttemptFailed(error, again=refused.again, retry_after=refused.retry_after)

    def _downgrade(self, message: str) -> str:
        """What to change after a 400."""
        if self._mode == "schema" and any(word in message for word in ("response_format", "schema", "grammar")):
            return "this server does not enforce the schema: use --llm-mode json, or --llm-mode text"
        if self._mode == "json" and "response_format" in message:
            return "this server does not know JSON mode: use --llm-mode text"
        if "temperature" in message:
            return "this model takes no temperature of ours: leave it out of the configuration"
        return "check the model, the prompt and the sampling settings against what the server says"

    def _broken_off(self, error: BaseException) -> AttemptFailed:
        """The failure behind the SDK's connection error: ours, or the network's."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ReplyRefused):
            cause = cause.__cause__
        if cause is not None:
            failure: Any = "too_large" if cause.too_large else "protocol"
            step = "check that the base URL is a chat-completions server"
            return AttemptFailed(self._failure(str(cause), failure, step))
        reason = error.__cause__ or error
        why = self._shown(str(reason)) or type(reason).__name__
        step = "check the network and the base URL; for a TLS complaint, the certificates of the system"
        # A connection that never stood cannot have cost anything; one that broke may have.
        charged = not isinstance(reason, httpx2.ConnectError)
        return AttemptFailed(self._failure(f"no connection: {why}", "transport", step, charged=charged), again=True)

    def _not_a_completion(self, why: str, text: str) -> AttemptFailed:
        error = self._failure(
            f"the answer is not a chat completion: {why}",
            "protocol",
            "check that the base URL is a chat-completions server",
            status=200,
            raw_body=text,
        )
        return AttemptFailed(error)

    def _failure(
        self, what: str, failure: Any, next_step: str = "try again later with --resume", **more: Any
    ) -> CallFailed:
        host = urlsplit(self._address.base_url).netloc
        raw = more.pop("raw_body", None)
        if raw is not None:
            more["raw_body"] = redact(raw, self._secrets)[:KEPT_BODY_CHARS]
        return CallFailed(f"{self._address.model} at {host}: {what}", failure=failure, next_step=next_step, **more)

    def _shown(self, text: str) -> str:
        return one_line(text, self._secrets)

    @property
    def _secrets(self) -> tuple[Secret, ...]:
        return () if self._key == NO_KEY else (self._key,)


def openai_payload_id(address: ModelAddress, mode: Mode, request: CompletionRequest) -> str:
    """Content id of what goes over the wire to `address`."""
    payload = _payload(address, mode, request)
    return payload_id_of(payload, address=address.text, repeat_index=request.repeat_index)


def _payload(address: ModelAddress, mode: Mode, request: CompletionRequest) -> dict[str, Any]:
    cap: CapField = "max_completion_tokens" if address.is_vendor else "max_tokens"
    return request.payload(address.model, mode=mode, cap_field=cap)


def _error_message(answer: Mapping[str, Any]) -> str:
    error = answer.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def _usage(value: Any) -> Usage | None:
    """Token counts of a reply; None where the server sent none, or none that can be right."""
    if not isinstance(value, dict):
        return None
    prompt, answer = _count(value.get("prompt_tokens")), _count(value.get("completion_tokens"))
    if prompt is None or answer is None:
        return None
    cached = _count(_part(value, "prompt_tokens_details", "cached_tokens")) or 0
    reasoning = _count(_part(value, "completion_tokens_details", "reasoning_tokens")) or 0
    return Usage(prompt, answer, reasoning_tokens=min(reasoning, answer), cached_tokens=min(cached, prompt))


def _part(value: Mapping[str, Any], name: str, part: str) -> Any:
    details = value.get(name)
    return details.get(part) if isinstance(details, dict) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str) else None
