"""Strict reading of specs as text: JSON and YAML, and nothing in them that surprises.

JSON: no duplicate keys, no NaN or infinity. YAML: no anchors, aliases, tags or duplicate keys, and no implicit types
beyond JSON's own, so `NO` is a word and `12:30:45` is not a number. Whatever the bytes: a mapping or a sentence.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

MAX_BYTES = 256 * 1024
# YAML is read in Python, a thousand times slower than JSON; no honest spec comes near this.
MAX_YAML_BYTES = 16 * 1024
# A spec is a few levels deep and has a handful of flow brackets; a scanner is slow on thousands of open ones.
MAX_DEPTH = 16
MAX_BRACKETS = 200
# Words and marks of a YAML text, and keys of one JSON object; the largest ensemble has a few hundred.
MAX_EVENTS = 2000
MAX_KEYS = 100

# YAML has braces too, but an object of JSON begins with a key in quotes, or ends at once.
_JSON = re.compile(r"\s*\{\s*[\"}]")
_TOO_DEEP = "the text is nested too deeply"
_TOO_MUCH = "the text holds far more than a spec"


class _Refused(ValueError):
    """The text holds something that is legal in its format and refused here."""


def read_mapping(text: str | bytes) -> dict[str, Any] | str:
    """The mapping that the text holds, or a sentence that says why it holds none."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as broken:
            return f"the text is not UTF-8 (byte {broken.start})"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "the text holds a lone surrogate, which no encoding can store"
    is_json = _JSON.match(text) is not None
    limit = MAX_BYTES if is_json else MAX_YAML_BYTES
    if size > limit:
        return f"the text has {size} bytes, allowed are {limit}"
    if "\0" in text:
        return "the text holds a NUL character"
    return _read_json(text) if is_json else _read_yaml(text)


def write_yaml(value: Mapping[str, Any]) -> str:
    """YAML that `read_mapping` reads back to the same mapping."""
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


def _read_json(text: str) -> dict[str, Any] | str:
    try:
        value = json.loads(text, object_pairs_hook=_unique_pairs, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as broken:
        return f"the JSON is broken at line {broken.lineno}, column {broken.colno}: {broken.msg}"
    except _Refused as refused:
        return str(refused)
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return "the JSON holds a number with too many digits"
    return value if isinstance(value, dict) else "the JSON holds no object"


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise _Refused(f"an object has {len(pairs)} keys, allowed are {MAX_KEYS}")
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f'"{twice[:40]}" is given twice')
    return mapping


def _no_constant(word: str) -> float:
    raise _Refused(f"{word} is not a number that a spec may hold")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _Refused(f"{digits[:20]} is too large a number")
    return value


def _read_yaml(text: str) -> dict[str, Any] | str:
    # The C parser reads a megabyte in the time in which the Python one reads a page; it is there in all usual wheels.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        return _TOO_DEEP
    try:
        value = _document(yaml.parse(text, Loader=loader))
    except _Refused as refused:
        return str(refused)
    except yaml.MarkedYAMLError as broken:
        mark = broken.problem_mark or broken.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"the YAML is broken{where}: {broken.problem or broken.context or 'not readable'}"
    except yaml.YAMLError:
        return "the YAML holds a character that YAML does not allow"
    except RecursionError:
        return _TOO_DEEP
    return value if isinstance(value, dict) else "the text holds no mapping of names to values"


def _document(events: Iterator[yaml.Event]) -> Any:
    """The value of the one document, built from its events as they come, so that a bound stops the reading."""
    value, documents = None, 0
    for count, event in enumerate(events):
        if count > MAX_EVENTS:
            raise _Refused(_TOO_MUCH)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused(f"the YAML holds a second document (line {_line(event)})")
        elif isinstance(event, yaml.NodeEvent):
            value = _value(event, itertools.islice(events, MAX_EVENTS), 1)
    return value


def _value(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Any:
    line = _line(event)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise _Refused(f"YAML anchors and aliases are not allowed (line {line})")
    if getattr(event, "tag", None) is not None:
        raise _Refused(f"YAML tags are not allowed (line {line})")
    if depth > MAX_DEPTH:
        raise _Refused(_TOO_DEEP)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event.value) if event.implicit[0] else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := _following(events), yaml.SequenceEndEvent):
            items.append(_value(event, events, depth + 1))
        return items
    mapping: dict[str, Any] = {}
    while not isinstance(event := _following(events), yaml.MappingEndEvent):
        key, line = _value(event, events, depth + 1), _line(event)
        if not isinstance(key, str):
            raise _Refused(f"a key is not a word (line {line})")
        if key in mapping:
            raise _Refused(f'"{key[:40]}" is given twice (line {line})')
        mapping[key] = _value(_following(events), events, depth + 1)
    return mapping


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _following(events: Iterator[yaml.Event]) -> yaml.Event:
    event = next(events, None)
    if event is None:
        raise _Refused(_TOO_MUCH)
    return event


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def _scalar(text: str) -> Any:
    """A plain scalar with JSON's types only: everything else is a word."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 30:
            raise _Refused(f"{text[:20]}... has too many digits")
        return int(text)
    return _finite(text) if _FLOAT.fullmatch(text) else text
