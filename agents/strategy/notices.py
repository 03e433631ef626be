"""Notices: what is legal in a spec and probably not meant, for whoever wrote it.

A comparison that can never be false, or never true, is the usual sign of a scale that was mistaken: a percentile is 0
to 1 here and 0 to 100 elsewhere. It stays legal, because a rule found by search may hold one, and because what follows
from bounds is about what functions are, not about the rule. Only bounds are looked at; two comparisons that contradict
each other in other words pass.
"""

from collections.abc import Mapping
from math import inf

from agents.strategy.expression.canonical import invert
from agents.strategy.expression.nodes import (
    AND,
    AT_LEAST,
    COMPARISONS,
    EQUAL,
    GREATER,
    NEGATE,
    NUMBER,
    OR,
    PRODUCT,
    QUOTIENT,
    SUM,
    Node,
    distinct_nodes,
)
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.spec import EnsembleSpec, KellySizing, PortfolioSpec, Spec
from agents.strategy.spec_error import SpecError

_CROSSINGS = ("crosses_above", "crosses_below", "crosses")
# A Kelly window below this many times its least bars asks for a position on half of all bars.
_ROOM = 2
# What is never above this is a fraction, and somebody may have meant per cent.
_FRACTION = 10.0

Span = tuple[float, float]


def notices(spec: Spec) -> list[SpecError]:
    """Everything about a spec that its author should see, by path."""
    return [*notices_of(spec.nodes), *_sizing_notices(spec, "")]


def notices_of(nodes: Mapping[str, Node]) -> list[SpecError]:
    """The same for expressions by their paths."""
    return [notice.at(path) for path, root in nodes.items() for node in distinct_nodes(root) for notice in _about(node)]


def span(node: Node) -> Span:
    """Least and largest value that an expression can have, as far as the bounds of its functions tell."""
    if node.op == NUMBER:
        return node.value, node.value
    if node.op in FUNCTIONS:
        return _span_of_call(node)
    spans = [span(arg) for arg in node.args]
    if node.op == NEGATE:
        return -spans[0][1], -spans[0][0]
    if node.op == SUM:
        return sum(low for low, _ in spans), sum(high for _, high in spans)
    if node.op == PRODUCT and len(spans) > 1 and node.args[0].is_number:
        rest = spans[1] if len(spans) == 2 else (-inf, inf)
        return _times(rest, node.args[0].value)
    if node.op == QUOTIENT and node.args[1].is_number:
        return _times(spans[0], 1.0 / node.args[1].value)
    return -inf, inf


def _span_of_call(node: Node) -> Span:
    bounds = FUNCTIONS[node.op].lies_in
    if bounds is not None:
        return bounds
    if node.op == "clip":
        return node.args[1].value, node.args[2].value
    if node.op in ("where", "min", "max"):
        (a, b), (c, d) = (span(arg) for arg in node.args[-2:])
        if node.op == "where":
            return min(a, c), max(b, d)
        return (min(a, c), min(b, d)) if node.op == "min" else (max(a, c), max(b, d))
    if node.op == "abs":
        low, high = span(node.args[0])
        return 0.0 if low <= 0.0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high))
    return -inf, inf


def _times(bounds: Span, factor: float) -> Span:
    if factor == 0.0:
        return 0.0, 0.0
    low, high = bounds[0] * factor, bounds[1] * factor
    return min(low, high), max(low, high)


def _about(node: Node) -> list[SpecError]:
    if node.op in (AND, OR):
        texts = {arg.text for arg in node.args}
        if any(invert(arg).text in texts for arg in node.args):
            how = "never" if node.op == AND else "always"
            return [_notice(node, f"is {how} true, for it holds a condition and its opposite", "")]
        return []
    if node.op not in (*COMPARISONS, *_CROSSINGS):
        return []
    left, right = node.args
    answer = _decided(node.op, span(left), span(right))
    if answer is None:
        return []
    if any(_cancels(part) for side in (left, right) for part in (side, *side.args)):
        what = "has the same on both sides; whether x is known is asked with known(x)"
        return [_notice(node, what, "known(close)")]
    level, moving = (right, left) if right.is_number else (left, right)
    low, high = span(moving)
    near = ""
    if level.is_number and high <= _FRACTION and low < 0.01 * level.value < high < level.value:
        near = f"{0.01 * level.value:g}"
    asked = f"; did you mean {near}?" if near else ""
    return [_notice(node, f"is {answer} true: {moving.text} is {low:g} to {high:g}{asked}", near)]


def _cancels(node: Node) -> bool:
    return node.op == PRODUCT and node.args[0].is_number and node.args[0].value == 0.0


def _decided(op: str, left: Span, right: Span) -> str | None:
    if op == GREATER:
        return "always" if left[0] > right[1] else "never" if left[1] <= right[0] else None
    if op == AT_LEAST:
        return "always" if left[0] >= right[1] else "never" if left[1] < right[0] else None
    apart = left[0] > right[1] or left[1] < right[0]
    same = left == right and left[0] == left[1]
    if op in _CROSSINGS:
        return "never" if apart or same else None
    return ("never" if op == EQUAL else "always") if apart else ("always" if op == EQUAL else "never") if same else None


def _notice(node: Node, what: str, near: str) -> SpecError:
    return SpecError("", "constant", node.text, "a comparison that can be true and false", near, f"{node.text} {what}")


def _sizing_notices(spec: Spec, path: str) -> list[SpecError]:
    if isinstance(spec, EnsembleSpec):
        return [
            notice
            for place, member in enumerate(spec.members)
            if member.spec is not None
            for notice in _sizing_notices(member.spec, f"members.{place}.spec.")
        ]
    if isinstance(spec, PortfolioSpec) or not isinstance(spec.sizing, KellySizing):
        return []
    window, least = spec.sizing.window, spec.sizing.LEAST_BARS
    if window >= _ROOM * least:
        return []
    sentence = (
        f"kelly sizing over {window} bars enters nothing before the rule has wanted a position on {least} of them;"
        " a selective rule needs a longer window"
    )
    where = f"{path}sizing.window"
    return [SpecError(where, "window", str(window), f"{_ROOM * least} or more", str(250), sentence)]
