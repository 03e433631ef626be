"""JSON Schemas of a spec: one for programs that write JSON, one for editors of YAML.

Both come from the models of spec.py, so they cannot differ from what is checked; what a schema cannot say (whether an
expression is legal) stays with `load_spec`. The form for language models is another one, in wire.py.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from agents.strategy.indicators import FIELDS, FUNCTIONS
from agents.strategy.spec import MAX_PROSE, NAME_PATTERN, SPEC_ADAPTER

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What the common YAML language server understands best.
EDITOR_DIALECT = "http://json-schema.org/draft-07/schema#"
TITLE = "Touchstone strategy spec"

_EXPRESSIONS = ("enter", "exit", "score", "universe")
_SAID = {
    "name": "3 to 48 of a-z, 0-9 and _, starting with a letter",
    "hypothesis": "why this should earn money after costs, and who is on the other side; at most 600 characters",
    "source": "literature it follows",
    "enter": "condition that opens the position",
    "exit": "condition that closes it; without one only protection does",
    "score": "expression for a plain number",
    "universe": "condition for an asset to be held at all",
    "neutralise": "feature with the groups whose mean score is taken off first",
    "agent": "name of an agent, looked up before anything runs",
}


def spec_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a spec as JSON."""
    schema = _described(SPEC_ADAPTER)
    return {"$schema": DIALECT, "title": TITLE, **schema}


def editor_schema() -> dict[str, Any]:
    """The same for editors: draft-07, an expression may be typed by YAML, and the vocabulary shows on hovering."""
    schema = _redirected(_described(SPEC_ADAPTER))
    vocabulary = "\n".join(
        [f"Fields: {', '.join(FIELDS)}, feature(name).", *(f"- `{entry.signature}`" for entry in FUNCTIONS.values())]
    )
    for name, part in _properties(schema):
        if name in _EXPRESSIONS:
            part.pop("type", None)
            others = [option for option in part.pop("anyOf", []) if option.get("type") == "null"]
            part["anyOf"] = [{"type": "string"}, {"type": "boolean"}, {"type": "number"}, *others]
            part["markdownDescription"] = f"{part['description']}\n\n{vocabulary}"
    return {"$schema": EDITOR_DIALECT, "title": TITLE, **schema}


def _described(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = _bounds_named(adapter.json_schema())
    for name, part in _properties(schema):
        part.pop("title", None)
        if name in _SAID:
            part["description"] = _SAID[name]
        if name == "name":
            part["pattern"] = f"^{NAME_PATTERN}$"
        if name in ("hypothesis", "source"):
            # Line breaks and runs of spaces count as one, so this refuses nothing that is legal but badly laid out.
            part["maxLength"] = MAX_PROSE
    for name, together in _NOT_TOGETHER.items():
        schema["$defs"][name]["allOf"] = [
            {"not": {"required": list(pair), "properties": dict.fromkeys(pair, _GIVEN)}} for pair in together
        ]
    sides = ({"required": [side], "properties": {side: _GIVEN}} for side in ("long", "short"))
    schema["$defs"]["RulesSpec"]["anyOf"] = list(sides)
    return schema


# An absent part may be written as null.
_GIVEN = {"not": {"type": "null"}}
_NOT_TOGETHER = {
    "Protect": tuple((f"{kind}_atr", f"{kind}_share") for kind in ("stop", "trail", "target")),
    "Orders": (("limit_atr", "limit_share"),),
}


# How pydantic writes the bounds of a number that is rounded first.
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def _bounds_named(value: Any) -> Any:
    if isinstance(value, dict):
        # The properties of an object may have any name; a bound is a number.
        return {
            _BOUNDS.get(key, key) if isinstance(item, int | float) else key: _bounds_named(item)
            for key, item in value.items()
        }
    return [_bounds_named(item) for item in value] if isinstance(value, list) else value


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in schema.get("$defs", schema.get("definitions", {})).values():
        yield from part.get("properties", {}).items()


def _redirected(value: Any) -> Any:
    """With `definitions`, as draft-07 calls them."""
    if isinstance(value, dict):
        return {
            "definitions" if key == "$defs" else key: item.replace("#/$defs/", "#/definitions/")
            if key == "$ref"
            else _redirected(item)
            for key, item in value.items()
            if key != "discriminator"
        }
    return [_redirected(item) for item in value] if isinstance(value, list) else value
