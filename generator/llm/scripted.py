"""ScriptedClient: answers from a list or a file, offline; how we test the loop, and how users test their prompts.

It never waits, never costs anything and keeps every request in `history`. A reply is used once; a process that is
started again begins the script again. A file has one JSON object a line (empty lines and lines that begin with `#` are
skipped):

    {"text": "{\\"name\\": ...}"}                     what the model writes, as text
    {"reply": {"name": "..."}}                      the same for a JSON object, without the escapes
    {"refusal": "I cannot help with that"}          the model declines
    {"text": "{", "finish_reason": "length"}        the reply is cut
    {"failure": "timeout"}                          the call fails with this class

and, on any line: `purpose` (only a request with this purpose takes the line), `usage` (`input_tokens`,
`output_tokens`), `model`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from backtesting.errors import InvalidConfig
from generator.llm.client import (
    CallFailed,
    Completion,
    CompletionRequest,
    Failure,
    FinishReason,
    Usage,
    payload_id_of,
    storable,
)

MODEL = "scripted"
FIELDS = ("text", "reply", "refusal", "finish_reason", "failure", "purpose", "usage", "model")

Answer = Completion | CallFailed
Reply = str | Answer | Callable[[CompletionRequest], "str | Answer"]


@dataclass(frozen=True)
class Line:
    """One scripted reply and the purpose that it waits for; None takes any."""

    reply: Reply
    purpose: str | None = None


class ScriptedClient:
    """Answers with `replies` in order; a callable is asked with the request, a plain string is a finished text.

    A request takes the first unused line whose purpose is its own or none. When nothing is left the call fails and
    stops the run: a script that is too short is a mistake, not a model's answer.
    """

    def __init__(self, replies: Iterable[Reply | Line], *, address: str = "scripted:memory") -> None:
        self._lines = [line if isinstance(line, Line) else Line(line) for line in replies]
        self._address = address
        self.history: list[CompletionRequest] = []

    @property
    def address(self) -> str:
        """`scripted:` and where the replies came from."""
        return self._address

    def payload_id(self, request: CompletionRequest) -> str:
        """The id that the completion will carry."""
        return payload_id_of(request.payload(MODEL), address=self._address, repeat_index=request.repeat_index)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The next scripted answer."""
        self.history.append(request)
        for at, line in enumerate(self._lines):
            if line.purpose in (None, request.purpose):
                del self._lines[at]
                break
        else:
            raise CallFailed(
                f"{self._address} has no reply left for call {len(self.history)} ({request.purpose})",
                failure="not_found",
                next_step="add replies to the script, or plan fewer slots",
            )
        answer = line.reply(request) if callable(line.reply) else line.reply
        if isinstance(answer, CallFailed):
            raise answer
        if isinstance(answer, str):
            answer = completion(answer)
        return replace(answer, payload_id=self.payload_id(request))

    async def aclose(self) -> None:
        """Nothing is open."""


def completion(
    text: str | None,
    *,
    refusal: str | None = None,
    finish_reason: FinishReason = "stop",
    usage: Usage | None = None,
    model: str = MODEL,
) -> Completion:
    """A Completion as a server would have given it; the client fills the payload id in."""
    shown: Any = {"text": text, "refusal": refusal, "finish_reason": finish_reason}
    return Completion(
        text=None if text is None else storable(text),
        refusal=None if refusal is None else storable(refusal),
        finish_reason="refusal" if refusal else finish_reason,
        usage=usage,
        model=model,
        latency_seconds=0.0,
        attempts=1,
        payload_id="",
        raw_body=json.dumps(shown, sort_keys=True),
    )


def load_script(path: Path) -> ScriptedClient:
    """The client for `scripted:PATH`. Raises InvalidConfig with file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(
            f"the script {path} cannot be read: {error}", next_step="write scripted:PATH with a JSONL file"
        ) from None
    script = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                script.append(_parse(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise InvalidConfig(
                    f"{path}:{number}: {error}", next_step="correct the line; each is one JSON object"
                ) from None
    return ScriptedClient(script, address=f"scripted:{path}")


def _parse(entry: Any) -> Line:
    if not isinstance(entry, dict):
        raise ValueError("the line is not a JSON object")
    unknown = sorted(set(entry) - set(FIELDS))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; known: {', '.join(FIELDS)}")
    given = [name for name in ("text", "reply", "refusal", "failure") if name in entry]
    if len(given) != 1:
        raise ValueError("the line needs exactly one of text, reply, refusal, failure")
    purpose = _text(entry, "purpose")
    if "failure" in entry:
        failure = _one_of(entry["failure"], "failure", get_args(Failure))
        sentence = f"the script answers with the failure {failure}"
        return Line(CallFailed(sentence, failure=failure, next_step="nothing: the script says so"), purpose)
    text = json.dumps(entry["reply"], ensure_ascii=False) if "reply" in entry else _text(entry, "text")
    answer = completion(
        text,
        refusal=_text(entry, "refusal"),
        finish_reason=_one_of(entry.get("finish_reason", "stop"), "finish_reason", get_args(FinishReason)),
        usage=_usage(entry.get("usage")),
        model=_text(entry, "model") or MODEL,
    )
    return Line(answer, purpose)


def _text(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; known: {', '.join(allowed)}")
    return value


def _usage(value: Any) -> Usage | None:
    if value is None:
        return None
    names = tuple(Usage.__dataclass_fields__)
    if not isinstance(value, dict) or not set(value) <= set(names):
        raise ValueError(f"usage is an object with: {', '.join(names)}")
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in value.values()):
        raise ValueError("usage counts are whole numbers, 0 or more")
    return Usage(**{"input_tokens": 0, "output_tokens": 0, **value})
