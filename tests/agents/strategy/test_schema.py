"""The schemas accept what the language accepts, as far as a schema can; the pages of the language are up to date."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.schema import editor_schema, spec_schema
from agents.strategy.spec import load_spec, with_members
from agents.strategy.strategy import TradingStrategy
from agents.strategy.vocabulary import vocabulary_page

DOCS = Path(__file__).parents[3] / "docs"
JSON_SCHEMA, EDITOR_SCHEMA = spec_schema(), editor_schema()
PAGE = (DOCS / "language.md").read_text()
IN_DOCS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]
CONFIGS = [spec.config() for spec in shipped_incumbents()] + IN_DOCS


def accepts(root: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    """A reading of JSON Schema that is enough for the keywords in use; an unknown one fails."""
    known = {
        "$schema", "$defs", "definitions", "title", "description", "default", "discriminator", "markdownDescription",
        "$ref", "oneOf", "anyOf", "const", "enum", "type", "properties", "required", "additionalProperties", "items",
        "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "pattern", "maxLength", "allOf", "not",
    }  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        part: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            part = part[step]
        return accepts(root, part, value)
    if "oneOf" in schema:
        return sum(accepts(root, option, value) for option in schema["oneOf"]) == 1
    if "anyOf" in schema and not any(accepts(root, option, value) for option in schema["anyOf"]):
        return False
    if "not" in schema and accepts(root, schema["not"], value):
        return False
    if not all(accepts(root, option, value) for option in schema.get("allOf", ())):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    types: dict[str, Any] = {
        "string": str, "number": (int, float), "integer": int, "boolean": bool, "null": type(None), "object": dict,
        "array": list,
    }  # fmt: skip
    kind = schema.get("type")
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    fits_type = kind is None or whole or isinstance(value, types[kind])
    if not fits_type or (isinstance(value, bool) and kind not in (None, "boolean")):
        return False
    if isinstance(value, dict):
        parts = schema.get("properties", {})
        return (
            set(schema.get("required", ())) <= set(value)
            and (schema.get("additionalProperties", True) or set(value) <= set(parts))
            and all(accepts(root, parts[key], value[key]) for key in value if key in parts)
        )
    if kind == "array":
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
        return fits and all(accepts(root, schema["items"], item) for item in value)
    if kind in ("number", "integer"):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value) and value > schema.get(
            "exclusiveMinimum", value - 1
        )
    if not isinstance(value, str):
        return True
    return re.search(schema.get("pattern", ""), value) is not None and len(value) <= schema.get("maxLength", 10**9)


@pytest.mark.parametrize("schema", [JSON_SCHEMA, EDITOR_SCHEMA], ids=["json", "editor"])
def test_every_shipped_spec_and_every_spec_of_the_docs_satisfies_the_schema(schema: dict[str, Any]) -> None:
    for config in CONFIGS:
        assert accepts(schema, schema, json.loads(json.dumps(config))), config["name"]


@pytest.mark.parametrize("schema", [JSON_SCHEMA, EDITOR_SCHEMA], ids=["json", "editor"])
@pytest.mark.parametrize(
    "change",
    [
        {"kind": "ruls"}, {"name": "X"}, {"extra": 1}, {"protect": {"stop_atr": "3"}}, {"protect": {"stop_atr": 99}},
        {"sizing": {"kind": "fraction", "cap": 1}}, {"long": {"exit": "close > open"}}, {"long": None},
        {"hypothesis": "x" * 601}, {"source": "x" * 601}, {"protect": {"stop_atr": 3, "stop_share": 0.1}},
        {"protect": {"target_atr": 3, "target_share": 0.1}}, {"orders": {"limit_atr": 1, "limit_share": 0.1}},
        {"protect": {"max_bars": 2.5}}, {"protect": {"max_bars": "2"}},
    ],
)  # fmt: skip
def test_what_is_illegal_is_refused_by_the_schema_too(schema: dict[str, Any], change: dict[str, Any]) -> None:
    config = {"kind": "rules", "name": "tried", "hypothesis": "x", "long": {"enter": "close > open"}}
    assert accepts(schema, schema, config)
    assert not accepts(schema, schema, config | change)
    assert isinstance(load_spec(config | change, origin=""), list)


@pytest.mark.parametrize("schema", [JSON_SCHEMA, EDITOR_SCHEMA], ids=["json", "editor"])
@pytest.mark.parametrize(
    "change",
    [
        {"protect": {"max_bars": 2.0}}, {"protect": {"stop_atr": 3, "stop_share": None}},
        {"long": None, "short": {"enter": "close > open", "exit": None}}, {"hypothesis": "x" * 600},
    ],
)  # fmt: skip
def test_what_is_legal_is_accepted_by_the_schema_too(schema: dict[str, Any], change: dict[str, Any]) -> None:
    config = {"kind": "rules", "name": "tried", "hypothesis": "x", "long": {"enter": "close > open"}}
    assert accepts(schema, schema, config | change)
    assert not isinstance(load_spec(config | change, origin=""), list)


def test_an_expression_that_yaml_types_satisfies_the_editors_schema_only() -> None:
    config = {"kind": "score", "name": "tried", "hypothesis": "x", "score": 1}
    assert not isinstance(load_spec(config, origin=""), list)
    assert accepts(EDITOR_SCHEMA, EDITOR_SCHEMA, config)
    assert not accepts(JSON_SCHEMA, JSON_SCHEMA, config)


def test_the_editor_shows_the_vocabulary() -> None:
    enter = EDITOR_SCHEMA["definitions"]["Side"]["properties"]["enter"]
    assert "`crosses_above(x: same, y: same) -> boolean`" in enter["markdownDescription"]


@pytest.mark.parametrize("config", IN_DOCS, ids=lambda config: str(config["name"]))
def test_specs_of_the_docs_are_legal(config: dict[str, Any]) -> None:
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list), [str(error) for error in spec]
    spec = with_members(spec, {shipped.name: shipped for shipped in shipped_incumbents()})
    assert not isinstance(spec, list), [str(error) for error in spec]
    assert TradingStrategy(spec).warmup_bars < 300


def test_page_of_functions_is_the_registry() -> None:
    # touchstone functions --markdown > docs/functions.md
    assert (DOCS / "functions.md").read_text() == vocabulary_page()
