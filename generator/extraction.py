"""Extraction: the one JSON object in a model's reply, or the reason why there is none.

One rule, in this order, and no repair of anything that is broken:

1. a leading `<think>...</think>` is left out (reasoning models on local servers write their notes there);
2. if what is left begins with `[`, it is read whole, and is not an object;
3. else, if it does not begin with `{` and holds a fenced block, the content of the only block is the object;
4. else the only balanced top-level `{...}` is the object; words around it are left out.

Several blocks or objects are one where all of them are the same JSON value: a model that says its answer twice has said
one thing. Where they differ that is a refusal to choose: taking the first or the last would let chance decide what is
tested.
Parsing is strict: no duplicate keys, no NaN, no infinity, no number that overflows, no NUL, no lone surrogate.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from backtesting.hashing import canonical_json
from generator.llm.client import Completion

MAX_BYTES = 256_000
MAX_DEPTH = 32
MAX_INTEGER = 2**63

Code = Literal["empty_reply", "not_json", "truncated", "refusal", "content_filter"]

_THINK = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ExtractionError:
    """Why a reply holds no usable object: a class code, and a sentence for the next prompt and the reviewer."""

    code: Code
    reason: str


class _Refused(ValueError):
    """Raised inside the JSON parser's hooks; never leaves this module."""


def judge_completion(completion: Completion) -> ExtractionError | None:
    """What the finish reason already decides; None where the text deserves to be read.

    A cut reply is never parsed, even where the half would be valid JSON: it is not what the model meant to write.
    """
    if completion.finish_reason == "refusal" or completion.refusal:
        return ExtractionError("refusal", f"the model declined: {(completion.refusal or 'no reason given')[:500]}")
    if completion.finish_reason == "content_filter":
        return ExtractionError("content_filter", "the server's content filter stopped the reply")
    if completion.finish_reason == "length":
        return ExtractionError("truncated", "the reply was cut at the output cap; the half was not read")
    if completion.text is None or not completion.text.strip():
        if completion.finish_reason == "tool_calls":
            why = "the model called a tool instead of writing; none was offered, and nothing was executed"
            return ExtractionError("empty_reply", why)
        return ExtractionError("empty_reply", "the model wrote nothing")
    return None


def extract(text: str) -> dict[str, Any] | ExtractionError:
    """The JSON object in `text` by the rule above."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return ExtractionError("not_json", f"the reply is larger than {MAX_BYTES:,} bytes")
    body = _THINK.sub("", text, count=1).strip().removeprefix("\ufeff").strip()
    if not body:
        return ExtractionError("empty_reply", "the model wrote nothing")
    found = [body] if body[0] == "[" else _find_objects(body)
    if isinstance(found, ExtractionError):
        return found
    value, *others = map(parse_strict, found)
    if isinstance(value, ExtractionError) and not others:
        return value
    if any(_differ(value, other) for other in others):
        return ExtractionError(
            "not_json", f"the reply holds {len(found)} objects that are not all the same; write one JSON object only"
        )
    if not isinstance(value, dict):
        return ExtractionError("not_json", f"the reply is a JSON {_kind(value)}, an object is needed")
    return value


def parse_strict(text: str) -> Any | ExtractionError:
    """The JSON value of exactly `text`, strictly; nothing may stand before or after it but white space."""
    if "\0" in text:
        return ExtractionError("not_json", "the reply holds a NUL character")
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded
        )
        _check_strings(value, depth=1)
    except _Refused as refused:
        return ExtractionError("not_json", str(refused))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        return ExtractionError("not_json", f"not JSON at {where}: {error.msg}")
    except RecursionError:
        return ExtractionError("not_json", f"nested deeper than {MAX_DEPTH} levels")
    return value


def _find_objects(body: str) -> list[str] | ExtractionError:
    """The texts that may be the object, in a reply that may have words around it; at least one."""
    # A reply that is the object itself may speak of fences in its strings.
    blocks = [] if body[0] == "{" else _FENCE.findall(body)
    return [str(block).strip() for block in blocks] or _objects(body)


def _differ(one: Any | ExtractionError, other: Any | ExtractionError) -> bool:
    """Whether two JSON values are not the same; what cannot be read is the same as nothing."""
    if isinstance(one, ExtractionError) or isinstance(other, ExtractionError):
        return True
    return canonical_json(one) != canonical_json(other)


def _objects(body: str) -> list[str] | ExtractionError:
    found: list[str] = []
    start, depth, quoted, escaped = 0, 0, False, False
    for at, char in enumerate(body):
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            # Outside an object a quotation mark is prose, and prose need not close it.
            quoted = depth > 0
        elif char == "{":
            start = at if depth == 0 else start
            depth += 1
        elif char == "}" and depth > 0:
            depth -= 1
            if depth == 0:
                found.append(body[start : at + 1])
    if depth > 0:
        return ExtractionError("not_json", "an object begins and never ends")
    if not found:
        return ExtractionError("not_json", "the reply holds no JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the key {json.dumps(twice)} is given twice in one object")
    return value


def _no_constant(name: str) -> float:
    raise _Refused(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"the number {text[:40]} is too large")
    return value


def _bounded(text: str) -> int:
    # Length first: turning a text of many digits into a number takes quadratic time, or is refused by Python.
    if len(text) > 20 or abs(value := int(text)) >= MAX_INTEGER:
        raise _Refused(f"the number {text[:40]} is too large")
    return value


def _check_strings(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH and isinstance(value, dict | list):
        raise _Refused(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if "\0" in value or _SURROGATE.search(value):
            raise _Refused("a string holds a NUL or half of a surrogate pair")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_strings(key, depth)
            _check_strings(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_strings(item, depth + 1)


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names[type(value)]
