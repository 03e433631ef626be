"""The canonical form: one tree, and so one text, for all the ways to write the same rule.

Sums, products, `and`, `or`, min and max are flattened and ordered, like terms joined; a < b is b > a, a - b > 0 is
a > b, 2 * a > 2 * b is a > b, and a number stands on the right; `not` is pushed down to comparisons and functions;
constants are folded and rounded to six significant digits; `True and x` is x.

Nothing here checks types: parse.py has done so. The surprising choice: sums and products are reordered although
floating addition is not associative. The canonical order *is* the meaning, so two spellings give the same bytes.
"""

import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

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


@lru_cache(maxsize=4096)
def number(value: float) -> Node:
    """A literal number."""
    value = rounded(value)
    return Node(NUMBER, (), value, "", Dimension.RATIO, f"{value:.6g}", 0, 1, 0, 1, 0, abs(value))


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
    text = f"{name}({', '.join([arg.text for arg in args])})"
    return _node(name, args, dimension, text, own_warmup=warmup, work=work)


def add(terms: Iterable[Node]) -> Node:
    """The sum of the terms, like terms joined; terms in order of their text, a number last."""
    flat = [part for term in terms for part in (term.args if term.op == SUM else (term,))]
    constant = 0.0
    others = []
    for term in flat:
        if term.is_number:
            constant += term.value
        else:
            others.append(term)
    if len(others) > 1 and len({_base_text(term) for term in others}) < len(others):
        weights: dict[str, tuple[Fraction, Node]] = {}
        for term in others:
            weight, base = _split(term)
            weights[base.text] = (weights.get(base.text, _NOTHING)[0] + weight, base)
        others = [_scaled(weight, base) for weight, base in weights.values() if weight]
        if any(term.op == SUM for term in others):
            return add([*others, number(constant)])
    others.sort(key=_sum_key)
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
    """-node; the sign moves into numbers, sums and products, where it is exact, and stays outside of a quotient."""
    if node.is_number:
        return number(-node.value)
    if node.op == NEGATE:
        return node.args[0]
    if node.op == SUM:
        return add([negate(term) for term in node.args])
    if node.op == PRODUCT and (node.args[0].is_number or len(node.args) == 1):
        return multiply((number(-1.0), *node.args))
    return _node(NEGATE, (node,), node.dimension, f"-{node.text}")


def multiply(factors: Iterable[Node]) -> Node:
    """The product of the factors: one number in front, and multiplied into a sum that it alone stands before."""
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
    if len(others) > 1 and any(factor.op == SUM for factor in others):
        for place, factor in enumerate(others):
            if factor.op == SUM:
                weight, others[place] = _primitive(factor)
                coefficient *= weight
    head = number(coefficient)
    if not others or head.value == 0.0:
        return head
    if len(others) == 1:
        if head.value == 1.0:
            return others[0]
        if head.value == -1.0:
            return negate(others[0])
        if others[0].op == SUM:
            return add([multiply((head, term)) for term in others[0].args])
    others.sort(key=_key)
    if head.value == -1.0:
        return _node(NEGATE, (inner := multiply(others),), inner.dimension, f"-{inner.text}")
    args = (*((head,) if head.value != 1.0 else ()), *others)
    text = " * ".join([_bracketed(arg, above=QUOTIENT_LEVEL) for arg in args])
    dimension = Dimension.RATIO
    for arg in args:
        dimension = product(dimension, arg.dimension) or dimension
    return _node(PRODUCT, args, dimension, text)


def divide(over: Node, under: Node) -> Node:
    """over / under, numbers and signs taken out in front; the caller has refused a literal zero under the line."""
    if over.is_number and (under.is_number or over.value == 0.0):
        return number(over.value / under.value) if under.is_number else over
    if under.is_number:
        weight, base = _split(over)
        return _scaled(weight / _fraction(under.value), base)
    if _weighted(over) or _weighted(under):
        up, over = _primitive(over)
        down, under = _primitive(under)
        if up != 1.0 or down != 1.0:
            return _scaled(_fraction(up) / _fraction(down), divide(over, under))
    return _fraction_of(over, under)


def compare(left: Node, sign: str, right: Node) -> Node:
    """left `sign` right, for < <= > >= == !=."""
    if sign in ("<", "<="):
        return compare(right, GREATER if sign == "<" else AT_LEAST, left)
    left, right = _balanced(left, right, either_way=sign in _OPPOSITE)
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


def function(name: str, args: list[Node], dimension: Dimension, *, warmup: int, work: int) -> Node:
    """A call of the registry, in the one spelling that its known identities leave."""
    if name in ("min", "max"):
        return _extreme(name, args, dimension, work)
    if name in ("crosses_above", "crosses_below", "crosses"):
        first, second = _balanced(args[0], args[1], either_way=name == "crosses")
        if first.is_number and second.is_number:
            return FALSE
        if name == "crosses":
            args = sorted((first, second), key=_commuting)
        elif first.is_number or (name == "crosses_below" and not second.is_number):
            # Two series crossing: always "above". A level stands second. Balanced again in the order that is printed,
            # so that the text reads back as this node.
            name = "crosses_below" if name == "crosses_above" else "crosses_above"
            args = list(_balanced(args[1], args[0], either_way=False))
        else:
            args = [first, second]
    elif name in ("correlation", "covariance"):
        args[:2] = sorted(args[:2], key=_commuting)
    elif name == "abs":
        other = negate(args[0])
        args = [min(args[0], other, key=_sum_key)]
        if args[0].op == NEGATE:
            args = [other]
    elif name == "lag" and args[0].op == "lag" and args[0].args[1].value + args[1].value <= MAX_LAG:
        bars_ago = int(args[0].args[1].value + args[1].value)
        name, args, warmup = "lag", [args[0].args[0], number(bars_ago)], bars_ago
    return call(name, tuple(args), dimension, warmup=warmup, work=work)


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
    warmup = depth = size = effort = 0
    largest = 0.0
    for arg in args:
        size += arg.size
        effort += arg.effort
        warmup = arg.warmup if arg.warmup > warmup else warmup
        depth = arg.depth if arg.depth > depth else depth
        largest = arg.largest if arg.largest > largest else largest
    return Node(
        op, args, 0.0, "", dimension, text, warmup + own_warmup, depth + 1, work, size + 1, effort + work, largest
    )


def _extreme(name: str, args: list[Node], dimension: Dimension, work: int) -> Node:
    """min and max of any number of parts: each once, in order, nested to the right; numbers folded and last."""
    parts: dict[str, Node] = {}
    numbers: list[float] = []
    pending = list(args)
    while pending:
        part = pending.pop()
        if part.op == name:
            pending.extend(part.args)
        elif part.is_number:
            numbers.append(part.value)
        else:
            parts[part.text] = part
    ordered = [parts[text] for text in sorted(parts)]
    if numbers:
        ordered.append(number(min(numbers) if name == "min" else max(numbers)))
    whole = ordered.pop()
    while ordered:
        whole = call(name, (ordered.pop(), whole), dimension, warmup=0, work=work)
    return whole


def _balanced(left: Node, right: Node, *, either_way: bool) -> tuple[Node, Node]:
    """The two sides of a comparison: like terms joined, added terms on the left, taken ones on the right.

    A number stands on the right. Both are scaled so that the first term on the left has weight one, or, where six
    digits cannot hold the other weights then, so that all are whole numbers without a common factor. With `either_way`
    the sides may change places, and the first term by text stands on the left.
    """
    if not _weighted(left) and not _weighted(right) and left.text != right.text:
        return left, right
    weights: dict[str, tuple[Fraction, Node]] = {}
    constant = Fraction(0)
    for side, way in ((left, 1), (right, -1)):
        for term in side.args if side.op == SUM else (side,):
            if term.is_number:
                constant += way * _fraction(term.value)
            else:
                weight, base = _split(term)
                weights[base.text] = (weights.get(base.text, _NOTHING)[0] + way * weight, base)
    terms = [(weight, base) for _, (weight, base) in sorted(weights.items()) if weight]
    if not terms:
        return number(float(constant)), number(0.0)
    lead = terms[0][0]
    if not either_way:
        lead = abs(next((weight for weight, _ in terms if weight > 0), lead))
    factor = 1 / lead
    if not all(_exact(weight * factor) for weight in (*(weight for weight, _ in terms), constant)):
        every = [weight for weight, _ in terms] + ([constant] if constant else [])
        whole = Fraction(math.lcm(*(w.denominator for w in every)), math.gcd(*(abs(w.numerator) for w in every)))
        if all(abs(weight * whole) < _WHOLE for weight in every):
            factor = -whole if factor < 0 else whole
    constant *= factor
    added = [_scaled(weight * factor, base) for weight, base in terms if weight * factor > 0]
    taken = [_scaled(-weight * factor, base) for weight, base in terms if weight * factor < 0]
    if not added:
        return number(float(constant)), add(taken)
    return add(added), add([*taken, number(float(-constant))])


def _weighted(node: Node) -> bool:
    """Whether the node is a sum, or something with a number or a sign in front."""
    op = node.op
    if op in (PRODUCT, QUOTIENT):
        return node.args[0 if op == PRODUCT else 1].is_number
    return op in (SUM, NEGATE)


# Whole numbers below this are exact in six digits.
_WHOLE = 1_000_000
# Longest lag that two lags are joined to.
MAX_LAG = 1000


@lru_cache(maxsize=4096)
def _fraction(value: float) -> Fraction:
    """The decimal number that `value` prints as."""
    return Fraction(f"{value:.12g}")


def _exact(value: Fraction) -> bool:
    """Whether six significant digits hold it."""
    return Fraction(f"{float(value):.6g}") == value


def _split(term: Node) -> tuple[Fraction, Node]:
    """A term as a weight and what it weighs."""
    if term.op == NEGATE:
        weight, base = _split(term.args[0])
        return -weight, base
    if term.op == PRODUCT and term.args[0].is_number:
        return _fraction(term.args[0].value), multiply(term.args[1:])
    if term.op == QUOTIENT and term.args[1].is_number:
        weight, base = _split(term.args[0])
        return weight / _fraction(term.args[1].value), base
    return Fraction(1), term


def _base_text(term: Node) -> str:
    return _split(term)[1].text if _weighted(term) else term.text


def _scaled(weight: Fraction, base: Node) -> Node:
    """`base` times the weight; a weight that six digits cannot hold is written as a quotient of whole numbers."""
    if weight == 1:
        return base
    if _exact(weight) or abs(weight.numerator) >= _WHOLE or weight.denominator >= _WHOLE:
        return multiply((number(float(weight)), base))
    if weight < 0:
        return negate(_scaled(-weight, base))
    over = multiply((number(float(weight.numerator)), base))
    return _fraction_of(over, number(float(weight.denominator)))


def _fraction_of(over: Node, under: Node) -> Node:
    dimension = quotient(over.dimension, under.dimension) or Dimension.RATIO
    text = f"{_bracketed(over, above=QUOTIENT_LEVEL - 1)} / {_bracketed(under, above=QUOTIENT_LEVEL)}"
    return _node(QUOTIENT, (over, under), dimension, text)


def _primitive(node: Node) -> tuple[float, Node]:
    """A number and a node that multiply to this one: the node has no number in front, and its first term none."""
    if node.op == NEGATE:
        weight, base = _primitive(node.args[0])
        return -weight, base
    if node.op == PRODUCT and node.args[0].is_number:
        return node.args[0].value, multiply(node.args[1:])
    if node.op != SUM:
        return 1.0, node
    lead = min((_split(term) for term in node.args if not term.is_number), key=lambda pair: pair[1].text)[0]
    every = [_fraction(term.value) if term.is_number else _split(term)[0] for term in node.args]
    if lead != 1 and _exact(lead) and all(_exact(weight / lead) for weight in every):
        return float(lead), add([_divided(term, lead) for term in node.args])
    return (-1.0, negate(node)) if lead < 0 else (1.0, node)


def _divided(term: Node, lead: Fraction) -> Node:
    if term.is_number:
        return number(float(_fraction(term.value) / lead))
    weight, base = _split(term)
    return _scaled(weight / lead, base)


_NOTHING = (Fraction(0), TRUE)


def _commuting(node: Node) -> tuple[bool, str]:
    return node.is_number, node.text


def _key(node: Node) -> str:
    return node.text


def _sum_key(node: Node) -> tuple[bool, str, str]:
    # What is taken away stands last; a number in front does not decide the place.
    return node.text.startswith("-"), node.text.lstrip("-0123456789. *"), node.text


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
