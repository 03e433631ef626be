"""The wire form: how a language model hands in one spec, under the schema that strict structured outputs accept.

It is not the spec's own schema. Strict servers want every property present (an optional one is null), no patterns, no
lengths, no free keys; so the bounds stand in the descriptions and are checked here afterwards. The hypothesis comes
first: a model writes in the order of the schema, and the reason should come before the rule. What differs by kind is
under `rule`, because the root of a strict schema may not be a union.
"""

from collections.abc import Mapping
from typing import Any

from agents.strategy.spec import EnsembleSpec, Spec, load_spec
from agents.strategy.spec_error import SpecError

WIRE_SCHEMA_NAME = "strategy_spec"


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _kind(word: str) -> dict[str, Any]:
    # A one-word enum instead of `const`: more servers understand it.
    return {"type": "string", "enum": [word]}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _number(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


def _whole(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_SIDE = _object(
    enter=_text("condition that opens the position"),
    exit=_or_null(_text("condition that closes it; null if only the protective exits do")),
)

_PROTECT = _object(
    stop_atr=_or_null(_number("stop, in multiples of atr(atr_window) from the fill, 0.1 to 20")),
    stop_share=_or_null(_number("stop, as a fraction of the price, 0.001 to 0.9; null if stop_atr is given")),
    trail_atr=_or_null(_number("trailing stop, in multiples of atr(atr_window) from the best close, 0.1 to 20")),
    trail_share=_or_null(
        _number("trailing stop, as a fraction of the price, 0.001 to 0.9; null if trail_atr is given")
    ),
    target_atr=_or_null(_number("profit target, in multiples of atr(atr_window), 0.1 to 50")),
    target_share=_or_null(
        _number("profit target, as a fraction of the price, 0.001 to 10; null if target_atr is given")
    ),
    max_bars=_or_null(_whole("leave after this many bars, 1 to 1000")),
    atr_window=_or_null(_whole("window of the atr above, 1 to 250; null for 20")),
)

_SIZING = {
    "anyOf": [
        _object(kind=_kind("fraction"), fraction=_number("fraction of equity, 0.01 to 2")),
        _object(
            kind=_kind("volatility"),
            annual=_number("volatility a year to aim at, 0.01 to 1; 0.1 is 10 %"),
            window=_whole("bars of the estimate, 2 to 250"),
            cap=_number("largest fraction of equity, 0.01 to 2"),
        ),
        _object(
            kind=_kind("atr_risk"),
            risk=_number("fraction of equity lost if the price moves by multiple * atr(window), 0.0001 to 0.1"),
            multiple=_number("0.1 to 20; usually that of stop_atr"),
            window=_whole("window of the atr, 1 to 250"),
            cap=_number("largest fraction of equity, 0.01 to 2"),
        ),
        _object(
            kind=_kind("kelly"),
            share=_number(
                "fraction of Kelly's mean / variance of what the rule earned on paper, 0.01 to 1; 0.5 is usual"
            ),
            window=_whole("bars it is estimated over, 20 to 1000"),
            cap=_number("largest fraction of equity, 0.01 to 2"),
        ),
    ]
}

_POSITION = {
    "anyOf": [
        _object(kind=_kind("sign"), deadband=_number("flat while the score is within this of 0; 0 or more")),
        _object(kind=_kind("linear"), scale=_number("position = score * scale, clipped to -1..1; above 0")),
    ]
}

_RULES = _object(
    kind=_kind("rules"),
    long=_or_null(_SIDE),
    short=_or_null(_SIDE),
    protect=_or_null(_PROTECT),
    sizing=_SIZING,
)

_SCORE = _object(
    kind=_kind("score"),
    score=_text("expression for a plain number; its sign is the direction"),
    position=_POSITION,
    direction={"type": "string", "enum": ["long", "short", "both"]},
    sizing=_SIZING,
    rebalance=_object(
        every_bars=_whole("look every so many bars, 1 to 250"),
        band=_number("trade only if further than this from the target, as a fraction of equity, 0 to 0.5"),
    ),
)

_PORTFOLIO = _object(
    kind=_kind("portfolio"),
    universe=_or_null(_text("condition for an asset to be held at all; null for all assets")),
    score=_text("expression for a plain number; the highest are held long, the lowest short"),
    neutralise=_or_null(_text("feature with the groups whose mean score is taken off first; null for none")),
    select={
        "anyOf": [
            _object(kind=_kind("count"), count=_whole("names a side, 1 to 500")),
            _object(kind=_kind("share"), share=_number("share of the names a side, 0.001 to 1")),
        ]
    },
    weight={
        "anyOf": [
            _object(kind=_kind("equal")),
            _object(kind=_kind("score")),
            _object(kind=_kind("inverse_volatility"), window=_whole("bars of the estimate, 2 to 250")),
        ]
    },
    direction={"type": "string", "enum": ["long", "short", "both"]},
    gross=_number("fraction of equity held in all, long and short together, 0.01 to 4"),
    cap=_number("largest fraction of equity a name, 0.001 to 4"),
    rebalance=_object(
        every_bars=_whole("choose anew every so many bars, 1 to 250"),
        band=_number("trade a name only if further than this from its target, as a fraction of equity, 0 to 0.5"),
    ),
)

_ENSEMBLE = _object(
    kind=_kind("ensemble"),
    members={
        "type": "array",
        "description": "2 to 12 members, no two the same rule",
        "items": _object(
            agent=_or_null(_text("name of an agent; null if the spec is written out")),
            spec=_or_null(
                _object(
                    name=_text("3 to 48 of a-z, 0-9 and _, starting with a letter"),
                    hypothesis=_text("why this member should earn money"),
                    source=_or_null(_text("literature it follows, or null")),
                    rule={"anyOf": [_RULES, _SCORE, _PORTFOLIO]},
                )
            ),
            weight=_or_null(_number("0.001 to 1000; null unless weights are given")),
        ),
    },
    fusion={
        "anyOf": [
            _object(kind=_kind("mean")),
            _object(kind=_kind("vote"), threshold=_number("share of the votes that is needed, 0.01 to 1")),
        ]
    },
    weights={"type": "string", "enum": ["equal", "given", "inverse_volatility"]},
    window=_whole("bars of the volatility behind inverse_volatility, 20 to 1000; else 250"),
    gross=_number("fraction of equity, 0.01 to 4; 1 holds what the members hold on average"),
    rebalance=_SCORE["properties"]["rebalance"],
)

_RULES_OF_KINDS = {"rules": _RULES, "score": _SCORE, "portfolio": _PORTFOLIO, "ensemble": _ENSEMBLE}


def wire_schema(*kinds: str) -> dict[str, Any]:
    """The schema of a reply that may be of these kinds; a market of one asset has no use for a portfolio."""
    return _object(
        hypothesis=_text(
            "why this should earn money after costs, and who is on the other side; at most 600 characters"
        ),
        name=_text("3 to 48 of a-z, 0-9 and _, starting with a letter"),
        source=_or_null(_text("literature it follows, or null")),
        rule={"anyOf": [_RULES_OF_KINDS[kind] for kind in kinds]},
    )


# What is asked for on a market of one asset. All kinds are understood in a reply, whatever was asked for.
WIRE_SCHEMA: dict[str, Any] = wire_schema("rules", "score")


def to_wire(spec: Spec) -> dict[str, Any]:
    """The spec in wire form, every property present."""
    rule = spec.model_dump(exclude={"name", "hypothesis", "source"})
    # Parts that a model is not asked for are there only where a rule has them.
    rule = {key: value for key, value in rule.items() if value is not None or key not in ("orders", "halt", "limits")}
    ordered = {"kind": rule.pop("kind"), **rule}
    if isinstance(spec, EnsembleSpec):
        ordered["members"] = [
            {"agent": member.agent, "spec": member.spec and to_wire(member.spec), "weight": member.weight}
            for member in spec.members
        ]
    return {"hypothesis": spec.hypothesis, "name": spec.name, "source": spec.source, "rule": ordered}


def from_wire(obj: Any) -> Spec | list[SpecError]:
    """The spec that a reply in wire form holds, or the full list of what is wrong with it.

    Nulls are dropped; a spec whose parts stand beside the name instead of under `rule` is understood too, because
    servers without schema support send it. Never raises.
    """
    if not isinstance(obj, Mapping):
        return [SpecError("", "unreadable", type(obj).__name__, "one JSON object", "", "the reply is no JSON object")]
    try:
        config = _without_nulls(obj)
    except RecursionError:
        return [SpecError("", "unreadable", "", "a flat object", "", "the reply is nested too deeply")]
    rule = config.get("rule", {})
    if not isinstance(rule, dict):
        return [SpecError("rule", "type", type(rule).__name__, "an object", "", "rule should be an object")]
    config = _unfolded(config)
    if isinstance(members := config.get("members"), list):
        config["members"] = [
            member | {"spec": _unfolded(member["spec"])}
            if isinstance(member, dict) and isinstance(member.get("spec"), dict)
            else member
            for member in members
        ]
    return load_spec(config, origin="")


def _unfolded(config: dict[str, Any]) -> dict[str, Any]:
    """The parts under `rule` beside the name, where they are an object."""
    rule = config.get("rule")
    return {key: value for key, value in config.items() if key != "rule"} | rule if isinstance(rule, dict) else config


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
