"""LLMClient: one question to a model and everything worth keeping about the answer.

A client never parses what the model wrote, never judges it and never repairs it. What the model did (stopped early,
refused, wrote nothing) is a value on `Completion`; what the world did (no key, HTTP 500, no answer in time) is raised
as `CallFailed` with a class out of a fixed set.

A token cap travels under two names: `max_completion_tokens` at the vendor that introduced it and `max_tokens` at every
server that followed the older protocol. The payload is therefore made with the name that the client will really send.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from backtesting.errors import EndpointError
from backtesting.hashing import canonical_json, content_id

Role = Literal["system", "user", "assistant"]
Mode = Literal["schema", "json", "text"]
CapField = Literal["max_completion_tokens", "max_tokens"]
FinishReason = Literal["stop", "length", "content_filter", "refusal", "tool_calls", "other"]
Failure = Literal[
    "transport",  # no connection, or it broke
    "rate_limited",  # 429, try later
    "quota",  # 429, the account is out of credit
    "timeout",  # a deadline passed
    "auth",  # 401, 403, no usable key
    "not_found",  # 404, no such model or path
    "bad_request",  # 400, 422, the server does not take this payload
    "server",  # 5xx
    "protocol",  # an answer that is not a chat completion
    "too_large",  # the prompt for the model, or the reply for us
]

MODES: tuple[Mode, ...] = ("schema", "json", "text")
# The next call would fail in the same way, so a run stops instead of spending its slots.
STOPS_RUN: frozenset[str] = frozenset({"auth", "not_found", "quota", "bad_request"})
# Refused before the model saw anything: nothing can have been charged.
NOT_CHARGED: frozenset[str] = frozenset({"auth", "not_found", "quota", "bad_request", "rate_limited"})


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Usage:
    """Tokens as the server counted them.

    `cached_tokens` are part of `input_tokens`, `reasoning_tokens` are part of `output_tokens`.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Everything that was charged for."""
        return self.input_tokens + self.output_tokens

    def as_dict(self) -> dict[str, int]:
        """For the store; `Usage(**stored)` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class CompletionRequest:
    """One question.

    Attributes:
        messages: the conversation, in order.
        max_output_tokens: cap on what the model may write, reasoning included where the server counts it.
        temperature: None leaves it to the server; some models take no other than their own.
        seed: best effort at every server that knows it; reproducibility means replay, not this.
        schema: JSON schema of the reply, sent in mode "schema" only.
        schema_name: the name under which the schema is sent.
        purpose: why we ask (`propose`, `repair`); for the ledger, not sent.
        repeat_index: 0, 1, ... for the same question asked again on purpose; part of `payload_id`, not sent.
    """

    messages: tuple[Message, ...]
    max_output_tokens: int
    temperature: float | None = None
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    schema_name: str = "reply"
    purpose: str = "propose"
    repeat_index: int = 0

    def payload(
        self, model: str, *, mode: Mode = "schema", cap_field: CapField = "max_completion_tokens"
    ) -> dict[str, Any]:
        """The body of a chat-completions request, exactly as it goes over the wire."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            cap_field: self.max_output_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seed is not None:
            body["seed"] = self.seed
        if self.schema is not None and mode == "schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": self.schema_name, "strict": True, "schema": dict(self.schema)},
            }
        elif self.schema is not None and mode == "json":
            body["response_format"] = {"type": "json_object"}
        return body

    @property
    def prompt_bytes(self) -> int:
        """UTF-8 bytes that the model will be charged for reading: the messages and, where there is one, the schema."""
        text = sum(len(message.content.encode("utf-8", "replace")) for message in self.messages)
        schema = 0 if self.schema is None else len(canonical_json(dict(self.schema)).encode("utf-8"))
        return text + schema


@dataclass(frozen=True)
class Completion:
    """One answer.

    Attributes:
        text: what the model wrote, None where it wrote nothing; lone surrogates stand as their `\\udxxx` escapes.
        refusal: the words with which it declined, None where it did not.
        finish_reason: why it stopped; a refusal is "refusal" whatever the server called it.
        usage: None where the server sent none; then the cost is not known.
        model: the model that answered, as the server names it.
        latency_seconds: from the first attempt to the answer, waits included.
        attempts: requests that were sent, this one included.
        payload_id: content id of the effective payload, the address and the repeat index.
        raw_body: the body of the answer as text.
        free: nothing was charged for it, whatever `usage` says: it came out of a recording, or from a person.
    """

    text: str | None
    refusal: str | None
    finish_reason: FinishReason
    usage: Usage | None
    model: str
    latency_seconds: float
    attempts: int
    payload_id: str
    raw_body: str
    free: bool = False


class CallFailed(EndpointError):
    """The call brought no completion.

    Attributes:
        failure: the class, see `Failure`.
        stops_run: the next call would fail in the same way.
        attempts: requests that were sent.
        latency_seconds: from the first attempt to giving up.
        status: HTTP status of the last answer, None without one.
        raw_body: the last answer, redacted; None without one.
        charged: False where the server refused before any model ran, so that a reservation can be given back.
    """

    def __init__(
        self,
        what: str,
        *,
        failure: Failure,
        next_step: str,
        kept: str = "everything done so far is saved",
        stops_run: bool | None = None,
        attempts: int = 1,
        latency_seconds: float = 0.0,
        status: int | None = None,
        raw_body: str | None = None,
        charged: bool | None = None,
    ) -> None:
        super().__init__(what, kept=kept, next_step=next_step)
        self.failure = failure
        self.stops_run = failure in STOPS_RUN if stops_run is None else stops_run
        self.attempts = attempts
        self.latency_seconds = latency_seconds
        self.status = status
        self.raw_body = raw_body
        self.charged = failure not in NOT_CHARGED if charged is None else charged


class LLMClient(Protocol):
    """One way to ask one model. Use it inside one event loop and close it there."""

    @property
    def address(self) -> str:
        """What the user typed to get this client; holds no secret."""
        ...

    def payload_id(self, request: CompletionRequest) -> str:
        """The id that the completion of `request` will carry; known before the call, so that it can be stored first."""
        ...

    async def complete(self, request: CompletionRequest) -> Completion:
        """The model's answer. Raises CallFailed, and nothing else for anything that the world does."""
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...


def storable(text: str) -> str:
    """`text` with lone surrogates as their escapes: those cannot be written as UTF-8, and stay illegal in JSON."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def payload_id_of(payload: Mapping[str, Any], *, address: str, repeat_index: int) -> str:
    """Content id of a question: what is sent, to whom, the how-manieth time; timeouts and headers are no part of it."""
    return content_id({"address": address, "payload": dict(payload), "repeat_index": repeat_index})
