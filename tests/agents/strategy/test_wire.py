"""The wire form: what strict servers accept, and a round trip for every shipped spec."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agents.strategy.incumbents import shipped_incumbent, shipped_incumbents
from agents.strategy.spec import KINDS, Spec, load_spec
from agents.strategy.wire import WIRE_SCHEMA, from_wire, to_wire, wire_schema

ALLOWED = {"type", "properties", "required", "additionalProperties", "anyOf", "enum", "description", "items"}
EVERY_KIND = wire_schema("rules", "score", "portfolio", "ensemble")
OTHERS: tuple[dict[str, Any], ...] = (
    {
        "kind": "portfolio", "name": "chosen", "hypothesis": "x", "score": "roc(close, 20)",
        "select": {"kind": "count", "count": 3}, "weight": {"kind": "inverse_volatility", "window": 20},
    },
    {
        "kind": "ensemble", "name": "several", "hypothesis": "x", "weights": "given", "members": [
            {"agent": "golden_cross", "weight": 1.0},
            {"spec": shipped_incumbent("donchian_breakout").config(), "weight": 2.0},
            {"spec": shipped_incumbent("volatility_targeted_trend").config(), "weight": 2.0},
        ], "fusion": {"kind": "vote", "threshold": 0.5},
    },
)  # fmt: skip


def loaded(config: dict[str, Any]) -> Spec:
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list), [str(error) for error in spec]
    return spec


SPECS = [*shipped_incumbents(), *map(loaded, OTHERS)]


def schemas(schema: dict[str, Any], depth: int = 1) -> Iterator[tuple[dict[str, Any], int]]:
    yield schema, depth
    for child in schema.get("properties", {}).values():
        yield from schemas(child, depth + 1)
    if "items" in schema:
        yield from schemas(schema["items"], depth + 1)
    for child in schema.get("anyOf", []):
        yield from schemas(child, depth)


# Ten levels are what strict servers allow; older ones allow five, which is enough for a market of one asset.
@pytest.mark.parametrize(("root", "limit"), [(WIRE_SCHEMA, 5), (EVERY_KIND, 10)])
def test_schema_uses_only_what_every_strict_server_accepts(root: dict[str, Any], limit: int) -> None:
    assert root["type"] == "object"
    for schema, depth in schemas(root):
        assert set(schema) <= ALLOWED
        assert depth <= limit
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
        if "anyOf" in schema:
            kinds = [next(iter(option["properties"])) for option in schema["anyOf"] if "properties" in option]
            assert len(kinds) < 2 or set(kinds) == {"kind"}


def test_the_reason_comes_before_the_rule() -> None:
    assert list(WIRE_SCHEMA["properties"]) == ["hypothesis", "name", "source", "rule"]


def test_schema_offers_every_field_that_a_spec_has() -> None:
    assert WIRE_SCHEMA["properties"]["rule"]["anyOf"] == EVERY_KIND["properties"]["rule"]["anyOf"][:2]
    for offered, model in zip(EVERY_KIND["properties"]["rule"]["anyOf"], KINDS.values(), strict=True):
        # A model is not asked for `orders`, `halt` and `limits`: they are for people, and understood if they come.
        assert set(offered["properties"]) == set(model.model_fields) - {
            "name",
            "hypothesis",
            "source",
            "orders",
            "halt",
            "limits",
        }


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.name))
def test_round_trip(spec: Spec) -> None:
    again = from_wire(json.loads(json.dumps(to_wire(spec))))
    assert not isinstance(again, list)
    assert again.spec_id == spec.spec_id
    assert again.config() == spec.config()


def matches(schema: dict[str, Any], value: Any) -> bool:
    """A reading of JSON Schema that is enough for the keywords above."""
    if "anyOf" in schema:
        return any(matches(option, value) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if schema["type"] == "object":
        fields = schema["properties"]
        return (
            isinstance(value, dict)
            and set(value) == set(fields)
            and all(matches(fields[key], value[key]) for key in value)
        )
    if schema["type"] == "array":
        return isinstance(value, list) and all(matches(schema["items"], item) for item in value)
    types = {"string": str, "number": (int, float), "integer": int, "null": type(None)}
    return isinstance(value, types[schema["type"]])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.name))
def test_wire_form_of_a_spec_satisfies_the_schema(spec: Spec) -> None:
    assert matches(EVERY_KIND, to_wire(spec))
    assert not matches(EVERY_KIND, to_wire(spec) | {"extra": 1})
    assert matches(WIRE_SCHEMA, to_wire(spec)) is (spec.kind in ("rules", "score"))


def test_a_flat_reply_is_understood_too() -> None:
    spec = shipped_incumbent("rsi2_reversion")
    again = from_wire(spec.config())
    assert not isinstance(again, list)
    assert again.spec_id == spec.spec_id


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (None, "the reply is no JSON object"),
        ([], "the reply is no JSON object"),
        ({"rule": 3}, "rule: rule should be an object"),
        (
            {"name": "abc", "rule": {"kind": "rules", "long": {"enter": "emaa(close, 3) > close"}}},
            "hypothesis: is missing",
        ),
    ],
)
def test_a_wrong_reply_is_a_list_of_errors(reply: Any, sentence: str) -> None:
    errors = from_wire(reply)
    assert isinstance(errors, list)
    assert str(errors[0]) == sentence
