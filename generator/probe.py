"""Probe: what a model endpoint really does, found out with a few small questions before a run depends on it.

Servers accept a schema and ignore it, ignore the output cap, leave the usage out, or call a cut reply finished; none of
that shows in one good reply. The answers decide one thing, the mode in which replies are asked for (`schema`, `json` or
`text`), and it is decided by a person for a whole run. A run never changes its mode by itself.

A probe is a handful of calls on one day: "yes" means that it held for these, not that it always will.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backtesting.errors import UsageError
from generator.extraction import ExtractionError, extract
from generator.llm.client import CallFailed, Completion, CompletionRequest, LLMClient, Message, Mode, Usage

Answer = Literal["yes", "no", "unknown"]

CAP = 16
COLOURS = ["red", "green"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": COLOURS}, "count": {"type": "integer"}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}
# Each question tempts the model to do what the server should make impossible.
BREAK_SCHEMA = (
    "Write one short sentence about the sea, in plain words and not in JSON, and name the colour purple in it."
)
BE_JSON = 'Reply with a JSON object that has the one key "colour", and put a sentence of advice before it.'
TALK_ON = "Count from one to two hundred in words, separated by commas."
DECLINE = "Decline this request: do not answer it, and refuse in the way in which you refuse requests."
HELLO = "Say hello."


@dataclass(frozen=True)
class Finding:
    """One property of an endpoint: whether it has it, and what was seen."""

    name: str
    answer: Answer
    found: str


@dataclass(frozen=True)
class Probed:
    """What a probe found.

    Attributes:
        mode: the strictest mode that the endpoint keeps.
        model: the model as the server names it; "" where none answered.
        usage: tokens of all calls that were counted.
        calls: how many questions were asked.
    """

    findings: tuple[Finding, ...]
    mode: Mode
    model: str
    usage: Usage
    calls: int


@dataclass
class _Asked:
    """The clients of a probe by mode, and what they brought."""

    open_in: Callable[[Mode], LLMClient]
    clients: dict[Mode, LLMClient] = field(default_factory=dict)
    completions: list[Completion] = field(default_factory=list)
    calls: int = 0

    async def ask(self, mode: Mode, text: str, **more: Any) -> Completion | str:
        """The completion, or the words with which the endpoint does not take such a question."""
        values: dict[str, Any] = {"max_output_tokens": 400, "purpose": "probe", **more}
        self.calls += 1
        try:
            if mode not in self.clients:
                self.clients[mode] = self.open_in(mode)
            answer = await self.clients[mode].complete(CompletionRequest((Message("user", text),), **values))
        except UsageError as refused:
            return refused.what
        except CallFailed as failed:
            # Everything else (no key, no server) is no property of the endpoint but the end of the probe.
            if failed.failure != "bad_request":
                raise
            return failed.what
        self.completions.append(answer)
        return answer


async def probe(open_in: Callable[[Mode], LLMClient]) -> Probed:
    """Ask an endpoint what it does.

    Args:
        open_in: opens a client for the endpoint in a mode; each is closed here.

    Raises:
        CallFailed: the endpoint cannot be asked at all.
    """
    asked = _Asked(open_in)
    try:
        schema = await _schema(asked)
        json_mode = None if schema.answer == "yes" else await _json(asked)
        mode: Mode = "schema" if json_mode is None else "json" if json_mode.answer == "yes" else "text"
        findings = [schema, *([json_mode] if json_mode else [])]
        findings += await _cap_and_finish(asked)
        findings.append(await _takes(asked, "temperature_accepted", temperature=0.3))
        findings.append(await _takes(asked, "seed_accepted", seed=7))
        findings.append(await _refusal(asked, mode))
        findings.append(_usage_present(asked.completions))
    finally:
        for client in asked.clients.values():
            await client.aclose()
    counted = [answer.usage for answer in asked.completions if answer.usage is not None]
    total = Usage(sum(usage.input_tokens for usage in counted), sum(usage.output_tokens for usage in counted))
    model = asked.completions[0].model if asked.completions else ""
    return Probed(tuple(findings), mode, model, total, asked.calls)


def conforms(text: str | None) -> bool:
    """Whether a reply is exactly one object of SCHEMA, with nothing around it."""
    if text is None or not text.strip().startswith("{"):
        return False
    found = extract(text)
    if isinstance(found, ExtractionError) or set(found) != {"colour", "count"}:
        return False
    count = found["count"]
    return found["colour"] in COLOURS and isinstance(count, int) and not isinstance(count, bool)


async def _schema(asked: _Asked) -> Finding:
    answer = await asked.ask("schema", BREAK_SCHEMA, schema=SCHEMA)
    if isinstance(answer, str):
        return Finding("schema_enforced", "no", f"not taken: {answer}")
    if conforms(answer.text):
        return Finding("schema_enforced", "yes", "the reply has the form although the question asked for prose")
    return Finding("schema_enforced", "no", f"taken and ignored: {_cut(answer.text)}")


async def _json(asked: _Asked) -> Finding:
    answer = await asked.ask("json", BE_JSON, schema=SCHEMA)
    if isinstance(answer, str):
        return Finding("json_enforced", "no", f"not taken: {answer}")
    if (answer.text or "").strip().startswith("{") and not isinstance(extract(answer.text or ""), ExtractionError):
        return Finding("json_enforced", "yes", "the reply is JSON although the question asked for words before it")
    return Finding("json_enforced", "no", f"taken and ignored: {_cut(answer.text)}")


async def _cap_and_finish(asked: _Asked) -> list[Finding]:
    answer = await asked.ask("text", TALK_ON, max_output_tokens=CAP)
    if isinstance(answer, str):
        return [Finding(name, "unknown", answer) for name in ("cap_honoured", "finish_reason_truthful")]
    written = len(answer.text or "")
    if answer.usage is not None:
        honoured, seen = answer.usage.output_tokens <= CAP, f"{answer.usage.output_tokens} tokens"
    else:
        # No tokenizer writes more than a few characters a token; twelve is generous.
        honoured, seen = written <= 12 * CAP, f"{written} characters, uncounted"
    cap = Finding("cap_honoured", "yes" if honoured else "no", f"asked for {CAP} tokens at most, got {seen}")
    if not honoured:
        return [cap, Finding("finish_reason_truthful", "unknown", "nothing was cut")]
    truthful = answer.finish_reason == "length"
    found = f"a cut reply is called {answer.finish_reason!r}"
    return [cap, Finding("finish_reason_truthful", "yes" if truthful else "no", found)]


async def _takes(asked: _Asked, name: str, **setting: Any) -> Finding:
    answer = await asked.ask("text", HELLO, **setting)
    if isinstance(answer, str):
        return Finding(name, "no", f"not taken: {answer}")
    return Finding(name, "yes", "taken; whether it is used cannot be seen from here")


async def _refusal(asked: _Asked, mode: Mode) -> Finding:
    answer = await asked.ask(mode, DECLINE, schema=SCHEMA)
    if isinstance(answer, str):
        return Finding("refusal_field", "unknown", answer)
    if answer.finish_reason == "refusal":
        return Finding("refusal_field", "yes", f"a refusal is marked as one: {_cut(answer.refusal)}")
    if answer.finish_reason == "content_filter":
        return Finding("refusal_field", "yes", "a refusal arrives as a filtered reply")
    return Finding("refusal_field", "no", f"a refusal looks like any reply: {_cut(answer.text)}")


def _usage_present(completions: Sequence[Completion]) -> Finding:
    without = sum(answer.usage is None for answer in completions)
    if not completions:
        return Finding("usage_present", "unknown", "no reply came")
    found = f"{len(completions) - without} of {len(completions)} replies say how many tokens they took"
    return Finding("usage_present", "no" if without else "yes", found)


def _cut(text: str | None) -> str:
    shown = " ".join((text or "nothing").split())
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
