"""Strict reading of specs as text: JSON and YAML, and nothing in them that surprises.

JSON: no duplicate keys, no NaN or infinity. YAML: no anchors, aliases, tags or duplicate keys, and no implicit types
beyond JSON's own, so `NO` is a word and `12:30:45` is not a number. Whatever the bytes: a mapping or a sentence.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

MAX_BYTES = 256 * 1024
# YAML is read in Python, a thousand times slower than JSON; no honest spec comes near this.
MAX_YAML_BYTES = 16 * 1024
# A spec is three deep and has a handful of flow brackets; a scanner is slow on thousands of open ones.
MAX_DEPTH = 16
MAX_BRACKETS = 200

_TOO_DEEP = "the text is nested too deeply"


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
    is_json = text.lstrip().startswith("{")
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


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with JSON's types only, and without anchors, aliases, tags and duplicate keys."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Refused(f"YAML anchors and aliases are not allowed (line {event.start_mark.line + 1})")
        if getattr(event, "tag", None) is not None:
            raise _Refused(f"YAML tags are not allowed (line {event.start_mark.line + 1})")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(_TOO_DEEP)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _Refused(f"a key is not a word (line {key_node.start_mark.line + 1})")
            if key in mapping:
                raise _Refused(f'"{key[:40]}" is given twice (line {key_node.start_mark.line + 1})')
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return _finite(str(loader.construct_scalar(node)))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = str(loader.construct_scalar(node))
    if len(digits) > 30:
        raise _Refused(f"{digits[:20]}... has too many digits")
    return int(digits)


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?$"),
    list("-0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)


def _read_yaml(text: str) -> dict[str, Any] | str:
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        return _TOO_DEEP
    loader: _Loader | None = None
    try:
        loader = _Loader(text)  # the constructor already reads
        value = loader.get_single_data()
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
    except (ValueError, OverflowError):
        return "the YAML holds a value that cannot be read"
    finally:
        if loader is not None:
            loader.dispose()
    return value if isinstance(value, dict) else "the text holds no mapping of names to values"
