"""The canonical form: one tree, and so one text, for all the ways to write the same rule.

Sums, products, `and` and `or` are flattened and ordered; a < b is b > a, and a number stands on the right; `not` is
pushed down to comparisons and functions; constants are folded and rounded to six significant digits; `True and x` is x.

Nothing here checks types: parse.py has done so. The surprising choice: sums and products are reordered although
floating addition is not associative. The canonical order *is* the meaning, so two spellings give the same bytes.
"""

import math
from collections.abc import Iterable

from agents.strategy.expression.nodes import (
    AND,
    AT_LEAST,
    BOOLEAN,
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
from agents.strategy.expression.types import Dimension, common, product, quotient

_OPPOSITE = {EQUAL: UNEQUAL, UNEQUAL: EQUAL}
_MIRRORED = {GREATER: "<", AT_LEAST: "<="}


def rounded(value: float) -> float:
    """`value` to six significant digits, without a negative zero."""
    return float(f"{value:.6g}") + 0.0


def number(value: float) -> Node:
    """A literal number."""
    value = rounded(value)
    return Node(NUMBER, (), value, "", Dimension.RATIO, f"{value:.6g}", 0, 1, 0)


def boolean(value: bool) -> Node:
    """A literal condition."""
    return Node(BOOLEAN, (), float(value), "", Dimension.BOOLEAN, str(value), 0, 1, 0)


TRUE, FALSE = boolean(True), boolean(False)


def field(name: str, dimension: Dimension) -> Node:
    """A series of the bars."""
    return Node(FIELD, (), 0.0, name, dimension, name, 0, 1, 0)


def feature(name: str) -> Node:
    """A point-in-time feature of the bars; every feature is a ratio."""
    return Node(FEATURE, (), 0.0, name, Dimension.RATIO, f"feature({name})", 0, 1, 0)


def call(name: str, args: tuple[Node, ...], dimension: Dimension, *, warmup: int, work: int) -> Node:
    """A function of the registry; `warmup` is its own, on top of that of its arguments."""
    text = f"{name}({', '.join(arg.text for arg in args)})"
    return _node(name, args, dimension, text, own_warmup=warmup, work=work)


def add(terms: Iterable[Node]) -> Node:
    """The sum of the terms."""
    flat = [part for term in terms for part in (term.args if term.op == SUM else (term,))]
    constant = math.fsum(term.value for term in flat if term.is_number)
    others = sorted((term for term in flat if not term.is_number), key=_sum_key)
    tail = number(constant)
    if not others:
        return tail
    if tail.value != 0.0:
        others.append(tail)
    if len(others) == 1:
        return others[0]
    text = others[0].text
    for term in others[1:]:
        text += f" - {_without_sign(term.text)}" if term.text.startswith("-") else f" + {term.text}"
    dimension = common(term.dimension for term in others if not term.is_number)
    return _node(SUM, tuple(others), dimension or Dimension.RATIO, text)


def negate(node: Node) -> Node:
    """-node; the sign moves into numbers, sums, products and numerators, where it is exact."""
    if node.is_number:
        return number(-node.value)
    if node.op == NEGATE:
        return node.args[0]
    if node.op == SUM:
        return add(negate(term) for term in node.args)
    if node.op == PRODUCT:
        return multiply((number(-1.0), *node.args))
    if node.op == QUOTIENT:
        return divide(negate(node.args[0]), node.args[1])
    return _node(NEGATE, (node,), node.dimension, f"-{node.text}")


def multiply(factors: Iterable[Node]) -> Node:
    """The product of the factors."""
    coefficient = 1.0
    others: list[Node] = []
    pending = list(factors)
    while pending:
        factor = pending.pop()
        if factor.op == PRODUCT:
            pending.extend(factor.args)
        elif factor.op == NEGATE:
            coefficient = -coefficient
            pending.append(factor.args[0])
        elif factor.is_number:
            coefficient *= factor.value
        else:
            others.append(factor)
    head = number(coefficient)
    if not others or head.value == 0.0:
        return head
    others.sort(key=_key)
    if len(others) == 1 and abs(head.value) == 1.0:
        return others[0] if head.value > 0 else negate(others[0])
    args = (*((head,) if head.value != 1.0 else ()), *others)
    text = " * ".join(_bracketed(arg, above=QUOTIENT_LEVEL) for arg in args)
    dimension = Dimension.RATIO
    for arg in args:
        dimension = product(dimension, arg.dimension) or dimension
    return _node(PRODUCT, args, dimension, text)


def divide(over: Node, under: Node) -> Node:
    """over / under; the caller has refused a literal zero under the line."""
    if under.op == NEGATE:
        return divide(negate(over), under.args[0])
    if under.is_number:
        if over.is_number:
            return number(over.value / under.value)
        if under.value == 1.0:
            return over
        if under.value < 0:
            return divide(negate(over), number(-under.value))
    dimension = quotient(over.dimension, under.dimension) or Dimension.RATIO
    text = f"{_bracketed(over, above=QUOTIENT_LEVEL - 1)} / {_bracketed(under, above=QUOTIENT_LEVEL)}"
    return _node(QUOTIENT, (over, under), dimension, text)


def compare(left: Node, sign: str, right: Node) -> Node:
    """left `sign` right, for < <= > >= == !=."""
    if sign in ("<", "<="):
        return compare(right, GREATER if sign == "<" else AT_LEAST, left)
    if left.is_number and right.is_number:
        return boolean(_holds(left.value, sign, right.value))
    if sign in _OPPOSITE and (left.is_number, left.text) > (right.is_number, right.text):
        left, right = right, left
    if left.is_number and sign in _MIRRORED:
        # People write "rsi < 30", never "30 > rsi"; it is the same node.
        text = f"{right.text} {_MIRRORED[sign]} {left.text}"
    else:
        text = f"{left.text} {sign} {right.text}"
    return _node(sign, (left, right), Dimension.BOOLEAN, text)


def all_of(conditions: Iterable[Node]) -> Node:
    """The conjunction of the conditions."""
    return _junction(AND, conditions, neutral=TRUE, decided=FALSE)


def any_of(conditions: Iterable[Node]) -> Node:
    """The disjunction of the conditions."""
    return _junction(OR, conditions, neutral=FALSE, decided=TRUE)


def invert(node: Node) -> Node:
    """`not node`, with the negation pushed down: unknown stays unknown on both sides, so De Morgan holds."""
    if node.op == BOOLEAN:
        return boolean(not node.value)
    if node.op == NOT:
        return node.args[0]
    if node.op == AND:
        return any_of(invert(arg) for arg in node.args)
    if node.op == OR:
        return all_of(invert(arg) for arg in node.args)
    if node.op in (GREATER, AT_LEAST):
        left, right = node.args
        return compare(right, AT_LEAST if node.op == GREATER else GREATER, left)
    if node.op in _OPPOSITE:
        return compare(node.args[0], _OPPOSITE[node.op], node.args[1])
    return _node(NOT, (node,), Dimension.BOOLEAN, f"not {node.text}")


QUOTIENT_LEVEL = 6


def _junction(op: str, conditions: Iterable[Node], *, neutral: Node, decided: Node) -> Node:
    parts = {part.text: part for node in conditions for part in (node.args if node.op == op else (node,))}
    parts.pop(neutral.text, None)
    if decided.text in parts:
        return decided
    if not parts:
        return neutral
    ordered = tuple(parts[text] for text in sorted(parts))
    if len(ordered) == 1:
        return ordered[0]
    # `and` binds tighter than `or`, so only an `or` under an `and` needs brackets.
    texts = (f"({part.text})" if op == AND and part.op == OR else part.text for part in ordered)
    return _node(op, ordered, Dimension.BOOLEAN, f" {op} ".join(texts))


def _node(
    op: str, args: tuple[Node, ...], dimension: Dimension, text: str, *, own_warmup: int = 0, work: int = 1
) -> Node:
    warmup = max((arg.warmup for arg in args), default=0) + own_warmup
    depth = max((arg.depth for arg in args), default=0) + 1
    return Node(op, args, 0.0, "", dimension, text, warmup, depth, work)


def _key(node: Node) -> str:
    return node.text


def _sum_key(node: Node) -> tuple[bool, str]:
    return node.text.startswith("-"), node.text


def _without_sign(text: str) -> str:
    # "x - 1 * a * b" is written "x - a * b".
    return text[1:].removeprefix("1 * ")


def _bracketed(node: Node, *, above: int) -> str:
    # A negative number or a sign binds tighter than * and /, so it needs no brackets of its own.
    return node.text if node.level > above else f"({node.text})"


def _holds(left: float, sign: str, right: float) -> bool:
    if sign == GREATER:
        return left > right
    if sign == AT_LEAST:
        return left >= right
    return (left == right) if sign == EQUAL else (left != right)
