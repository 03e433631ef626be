"""Code length: how many bits it takes to say a rule, under one published prefix code over the strategy language.

Whatever somebody remembers of a history, what they hand in is one sentence of this language. If a sentence of L bits is
tested at alpha * 2^-L, the chance that any sentence of the whole language passes by luck is at most alpha, because the
2^-L of all sentences add up to at most 1 (Kraft). That holds for the sentence that a perfect memory would pick.

The code is a random walk down the rule: at each vertex every choice has a probability, and they add up to at most 1;
the length of a rule is minus the base-2 logarithm of the product. Lengths are therefore no whole numbers. Typical
windows (the registry's grids) and round numbers are cheap, fine-tuned ones dear. The shares below were written down
before any data was looked at; `CODE` names them, and a change of any of them is a new code. The registry may grow
inside its reserved places without changing what anything costs.

What it does not cover: what the people who wrote the language and chose the market already knew.
"""

from collections.abc import Mapping
from math import log2
from typing import Any

from agents.strategy.expression.canonical import compare, invert
from agents.strategy.expression.nodes import (
    AND,
    AT_LEAST,
    BOOLEAN,
    COMPARISONS,
    EQUAL,
    FEATURE,
    FIELD,
    GREATER,
    NEGATE,
    NOT,
    NUMBER,
    OR,
    PRODUCT,
    QUOTIENT,
    SUM,
    UNEQUAL,
    Node,
)
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FUNCTIONS, Parameter
from agents.strategy.spec import PortfolioSpec, RulesSpec, ScoreSpec, Spec
from backtesting.hashing import canonical_json

CODE = "2"

# What stands where a number is asked for, and where a condition is.
NUMERIC_SHARES = {
    FIELD: 1 / 4,
    "function": 3 / 8,
    NUMBER: 3 / 16,
    SUM: 1 / 16,
    QUOTIENT: 1 / 16,
    PRODUCT: 1 / 32,
    NEGATE: 1 / 64,
    FEATURE: 1 / 64,
}
CONDITION_SHARES = {"comparison": 1 / 2, "function": 1 / 4, AND: 1 / 8, OR: 1 / 16, NOT: 1 / 32, BOOLEAN: 1 / 32}
COMPARISON_SHARES = {GREATER: 1 / 2, AT_LEAST: 1 / 4, EQUAL: 1 / 8, UNEQUAL: 1 / 8}
# Three quarters of the weight of the functions on those that most rules are made of, the rest over reserved places.
COMMON = (
    "sma", "ema", "lag", "change", "roc", "zscore", "highest", "lowest",
    "stdev", "rank", "atr", "volatility", "rsi", "macd", "adx", "relative_volume",
)  # fmt: skip
COMMON_CONDITIONS = ("crosses_above",)
ON_COMMON = 3 / 4
NUMERIC_PLACES, CONDITION_PLACES, FIELD_PLACES = 256, 64, 32
# What a function is applied to: mostly the close itself.
ON_CLOSE = 1 / 2
ON_GRID = 7 / 8
# The last eighth is for what has no grammar of its own here and is spelt letter by letter.
KIND_SHARES = {"rules": 1 / 2, "score": 1 / 4, "portfolio": 1 / 8}
OTHER_KINDS = 1 / 8
LETTERS = 96  # the printable ones of ASCII, and the end
SIDE_SHARES = {("long",): 1 / 2, ("short",): 1 / 4, ("long", "short"): 1 / 4}
# mirror: the entry no longer holds. reverse: the entry with its outermost comparison or crossing turned round.
EXIT_SHARES = {"none": 1 / 4, "mirror": 1 / 4, "reverse": 1 / 4, "rule": 1 / 4}
UNCHANGED = 1 / 2
FIELD_GRIDS: dict[str, tuple[float, ...]] = {
    "stop_atr": (1.5, 2.0, 3.0, 4.0),
    "trail_atr": (1.5, 2.0, 3.0, 4.0),
    "target_atr": (1.5, 2.0, 3.0, 4.0),
    "stop_share": (0.02, 0.05, 0.1, 0.2),
    "trail_share": (0.02, 0.05, 0.1, 0.2),
    "target_share": (0.05, 0.1, 0.2, 0.5),
    "max_bars": (1, 2, 3, 5, 10, 20, 60, 120),
    "fraction": (0.25, 0.5),
    "annual": (0.05, 0.15, 0.2),
    "every_bars": (5, 10, 21, 63),
    "share": (0.05, 0.2, 0.3, 0.5),
    "count": (5, 10, 20, 50),
    "gross": (0.5, 2.0),
    "cap": (0.05, 0.1),
}
PROTECT_FIELDS = (
    "stop_atr", "stop_share", "trail_atr", "trail_share", "target_atr", "target_share", "max_bars", "atr_window",
)  # fmt: skip


def code_bits(spec: Spec) -> float:
    """Length of a spec's canonical rule in bits; name, hypothesis and source are free."""
    rule = spec.rule()
    if any(part in rule for part in ("orders", "halt", "limits")):
        return _spelt_bits(rule)
    if isinstance(spec, RulesSpec):
        return _cost(KIND_SHARES["rules"]) + _rules_bits(spec, rule)
    if isinstance(spec, ScoreSpec):
        return _cost(KIND_SHARES["score"]) + _score_bits(spec, rule)
    if isinstance(spec, PortfolioSpec):
        return _cost(KIND_SHARES["portfolio"]) + _portfolio_bits(spec, rule)
    return _spelt_bits(rule)


def _spelt_bits(rule: Mapping[str, Any]) -> float:
    """Letter by letter: kinds, and parts of rules, that have no grammar of their own here."""
    return _cost(OTHER_KINDS) + _cost(1.0 / LETTERS) * (len(canonical_json(rule)) + 1)


def condition_bits(node: Node) -> float:
    """Length of an expression where a condition is asked for."""
    if node.op in COMPARISONS:
        return (
            _cost(CONDITION_SHARES["comparison"])
            + _cost(COMPARISON_SHARES[node.op])
            + sum(numeric_bits(arg) for arg in node.args)
        )
    if node.op in (AND, OR):
        return (
            _cost(CONDITION_SHARES[node.op])
            + _several_bits(len(node.args))
            + sum(condition_bits(arg) for arg in node.args)
        )
    if node.op == NOT:
        return _cost(CONDITION_SHARES[NOT]) + condition_bits(node.args[0])
    if node.op == BOOLEAN:
        return _cost(CONDITION_SHARES[BOOLEAN]) + 1.0
    return _cost(CONDITION_SHARES["function"]) + _call_bits(node, COMMON_CONDITIONS, CONDITION_PLACES)


def numeric_bits(node: Node) -> float:
    """Length of an expression where a number is asked for."""
    if node.op == NUMBER:
        return _cost(NUMERIC_SHARES[NUMBER]) + number_bits(node.value)
    if node.op == FIELD:
        # Half for the close, the other half for all places.
        share = (1 / 2 if node.name == "close" else 0.0) + 1 / (2 * FIELD_PLACES)
        return _cost(NUMERIC_SHARES[FIELD]) + _cost(share)
    if node.op == FEATURE:
        # A letter is one of 63 or the end.
        return _cost(NUMERIC_SHARES[FEATURE]) + 6.0 * (len(node.name) + 1)
    if node.op in (SUM, PRODUCT):
        return (
            _cost(NUMERIC_SHARES[node.op]) + _several_bits(len(node.args)) + sum(numeric_bits(arg) for arg in node.args)
        )
    if node.op in (QUOTIENT, NEGATE):
        return _cost(NUMERIC_SHARES[node.op]) + sum(numeric_bits(arg) for arg in node.args)
    return _cost(NUMERIC_SHARES["function"]) + _call_bits(node, COMMON, NUMERIC_PLACES)


def number_bits(value: float, grid: tuple[float, ...] = ()) -> float:
    """Length of a number: a place on the grid, or else sign, digits and exponent; round numbers are short.

    Zero costs 2 bits. d significant digits cost d + log2(9 * 10^(d - 1)), the exponent e costs 1 + 2 log2(|e| + 1)
    and a bit more, by the universal code 1 / (n (n + 1)).
    """
    if grid and value in grid:
        return _cost(ON_GRID) + log2(len(grid))
    escape = _cost(1.0 - ON_GRID) if grid else 0.0
    if value == 0.0:
        return escape + 2.0
    digits, _, exponent = f"{abs(value):.5e}".partition("e")
    mantissa = digits.replace(".", "").rstrip("0")
    size = len(mantissa)
    # Non-zero: 3/4 of the weight, halved by the sign; then size, digits, exponent.
    return (
        escape
        + _cost(3 / 8)
        + _cost(2.0**-size)
        + log2(9.0 * 10.0 ** (size - 1))
        + 1.0
        + _universal_bits(abs(int(exponent)) + 1)
    )


def _rules_bits(spec: RulesSpec, rule: Mapping[str, Any]) -> float:
    sides = tuple(word for word in ("long", "short") if word in rule)
    bits = _cost(SIDE_SHARES[sides])
    for word in sides:
        enter = spec.nodes[f"{word}.enter"]
        bits += condition_bits(enter)
        leave = spec.nodes.get(f"{word}.exit")
        if leave is None:
            bits += _cost(EXIT_SHARES["none"])
        elif leave.text == invert(enter).text:
            bits += _cost(EXIT_SHARES["mirror"])
        elif leave.text == _reversed_text(enter):
            bits += _cost(EXIT_SHARES["reverse"])
        else:
            bits += _cost(EXIT_SHARES["rule"]) + condition_bits(leave)
    protect = rule.get("protect")
    bits += _cost(UNCHANGED)
    if protect is not None:
        for name in PROTECT_FIELDS:
            bits += _cost(UNCHANGED) + (number_bits(float(protect[name]), _grid(name)) if name in protect else 0.0)
    return bits + _sizing_bits(rule["sizing"])


def _score_bits(spec: ScoreSpec, rule: Mapping[str, Any]) -> float:
    bits = numeric_bits(spec.nodes["score"]) + _part_bits(rule["position"], {"kind": "sign", "deadband": 0.0}, 2)
    bits += _cost(1 / 3)  # direction
    bits += _part_bits(rule["rebalance"], {"every_bars": 1, "band": 0.05}, 1)
    return bits + _sizing_bits(rule["sizing"])


def _portfolio_bits(spec: PortfolioSpec, rule: Mapping[str, Any]) -> float:
    bits = numeric_bits(spec.nodes["score"]) + 2.0 * _cost(UNCHANGED)  # whether there are a universe and groups
    if "universe" in spec.nodes:
        bits += condition_bits(spec.nodes["universe"])
    if spec.neutralise is not None:
        bits += 6.0 * (len(spec.neutralise) + 1)  # as the name of a feature
    bits += _part_bits(rule["select"], {"kind": "share", "share": 0.1}, 2)
    bits += _part_bits(rule["weight"], {"kind": "equal"}, 3)
    bits += _cost(1 / 3)  # direction
    for name in ("gross", "cap"):
        bits += _cost(UNCHANGED) + (number_bits(float(rule[name]), _grid(name)) if rule[name] != 1.0 else 0.0)
    return bits + _part_bits(rule["rebalance"], {"every_bars": 21, "band": 0.0}, 1)


def _sizing_bits(sizing: Mapping[str, Any]) -> float:
    return _part_bits(sizing, {"kind": "fraction", "fraction": 1.0}, 4)


def _part_bits(part: Mapping[str, Any], usual: Mapping[str, Any], kinds: int) -> float:
    """Half for the usual setting; else which of `kinds`, and for each number a bit and its digits."""
    bits = _cost(UNCHANGED)
    if dict(part) == dict(usual):
        return bits
    return bits + log2(kinds) + sum(1.0 + number_bits(float(part[k]), _grid(k)) for k in sorted(part) if k != "kind")


def _call_bits(node: Node, common: tuple[str, ...], places: int) -> float:
    function = FUNCTIONS[node.op]
    # A common function has a place among all as well; both ways to say it are its own, so their weights add up.
    share = (1.0 - ON_COMMON) / places + (ON_COMMON / len(common) if node.op in common else 0.0)
    return _cost(share) + sum(_argument_bits(p, arg) for p, arg in zip(function.parameters, node.args, strict=True))


def _argument_bits(parameter: Parameter, node: Node) -> float:
    if parameter.kind in ("window", "number"):
        return number_bits(node.value, parameter.grid)
    if parameter.rule is Dimension.BOOLEAN:
        return condition_bits(node)
    if node.op == FIELD and node.name == "close":
        return _cost(ON_CLOSE)
    return _cost(1.0 - ON_CLOSE) + numeric_bits(node)


def _reversed_text(node: Node) -> str | None:
    """The same comparison or crossing the other way round, or None."""
    if node.op in COMMON_CONDITIONS:
        return f"{node.op}({node.args[1].text}, {node.args[0].text})"
    if node.op in (GREATER, AT_LEAST):
        return compare(node.args[1], node.op, node.args[0]).text
    return None


def _grid(name: str) -> tuple[float, ...]:
    return FIELD_GRIDS.get(name, ())


def _several_bits(count: int) -> float:
    """2, 3, 4, ... operands: 1/2, 1/4, 1/8, ..."""
    return float(count - 1)


def _universal_bits(n: int) -> float:
    """1 / (n (n + 1)) for n = 1, 2, ...; they add up to 1."""
    return log2(n * (n + 1.0))


def _cost(share: float) -> float:
    return -log2(share)
