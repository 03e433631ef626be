"""The canonical form: one tree, and so one text, for all the ways to write the same rule.

Sums, products, `and`, `or`, min and max are flattened and ordered, like terms joined; a < b is b > a, a - b > 0 is
a > b, 2 * a > 2 * b is a > b, and a number stands on the right; `not` is pushed down to comparisons and functions;
a or (a and b) is a; `True and x` is x. Numbers are exact while they are folded; then whole ones are said as they are,
others in six significant digits, or as a quotient of two short whole numbers. What is printed reads back as the same
tree: whatever a sum, a product or a comparison is scaled to is left as it is when it is read again.

Nothing here checks types: parse.py has done so. The surprising choice: sums and products are reordered although
floating addition is not associative. The canonical order *is* the meaning, so two spellings give the same bytes.
"""

import math
from collections.abc import Iterable, Sequence
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
    """`value` as a text says it: a whole number as it is, any other to six significant digits; no negative zero."""
    if value.is_integer() and abs(value) <= MOST:
        return value + 0.0
    return float(f"{value:.6g}") + 0.0


@lru_cache(maxsize=4096)
def number(value: float) -> Node:
    """A literal number; one beyond `MOST`, or nearer to 0 than `LEAST`, is infinitely `largest`, for the parser."""
    value = rounded(value)
    size = abs(value)
    text = f"{value:.6g}" if float(f"{value:.6g}") == value else f"{value:.0f}"
    return Node(NUMBER, (), value, "", Dimension.RATIO, text, 0, 1, 0, 1, 0, math.inf if 0.0 < size < LEAST else size)


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
    return _summed(*_joined((_ONE, term) for term in terms))


def negate(node: Node) -> Node:
    """-node; the sign moves into numbers, sums, and the number in front."""
    return _times(-_ONE, node)


def multiply(factors: Iterable[Node]) -> Node:
    """The product of the factors: one number in front, and multiplied into a sum that it alone stands before."""
    coefficient = _ONE
    others: list[Node] = []
    for factor in factors:
        if factor.is_number:
            coefficient *= _fraction(factor.value)
        elif _weighted(factor):
            others.append(factor)
        else:
            others.extend(factor.args if factor.op == PRODUCT else (factor,))
    if not others:
        return _numeral(coefficient)
    if len(others) == 1:
        return _times(coefficient, others[0])
    parts: list[Node] = []
    for factor in others:
        weight, base = _primitive(factor)
        coefficient *= weight
        parts.extend(base.args if base.op == PRODUCT else (base,))
    return _term(coefficient, _product(sorted(parts, key=_key)))


def divide(over: Node, under: Node) -> Node:
    """over / under, numbers and signs taken out in front; the caller has refused a literal zero under the line."""
    if under.is_number:
        return _times(1 / _fraction(under.value), over)
    up, over = _primitive(over)
    down, part = _primitive(under)
    # What is 0 or unknown at every bar stays under the line, where it makes all of it unknown.
    return _term(up / down, _over(over, part)) if down else _term(up, _over(over, under))


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
    if name in _ITSELF and args[1].value == 1.0:
        return args[0]
    if name in ("crosses_above", "crosses_below", "crosses"):
        # "Below" is "above" with the sides changed. A level stands second, so that it reads as people write it.
        sides = args[::-1] if name == "crosses_below" else args
        first, second = _balanced(sides[0], sides[1], either_way=name == "crosses")
        if first.is_number and second.is_number:
            return FALSE
        if name == "crosses":
            args = sorted((first, second), key=_commuting)
        elif first.is_number:
            name, args = "crosses_below", [second, first]
        else:
            name, args = "crosses_above", [first, second]
    elif name in ("correlation", "covariance"):
        args[:2] = sorted(args[:2], key=_commuting)
    elif name == "abs":
        other = negate(args[0])
        args = [min(args[0], other, key=_sum_key)]
        if args[0].op == NEGATE:
            args = [other]
    elif name == "lag" and args[0].op == "lag" and args[0].args[1].value + args[1].value <= MAX_LAG:
        bars_ago = int(args[0].args[1].value + args[1].value)
        name, args, warmup = "lag", [args[0].args[0], number(float(bars_ago))], bars_ago
    return call(name, tuple(args), dimension, warmup=warmup, work=work)


# Over a window of one bar these are what they are of.
_ITSELF = frozenset(
    ("sma", "wma", "highest", "lowest", "sum", "product", "median", "midpoint", "holds_for", "any_last")
)
_CROSSINGS = ("crosses_above", "crosses_below")


def all_of(conditions: Iterable[Node]) -> Node:
    """The conjunction of the conditions."""
    return _junction(AND, conditions, neutral=TRUE, decided=FALSE)


def any_of(conditions: Iterable[Node]) -> Node:
    """The disjunction of the conditions; crossing either way is `crosses`."""
    parts = [part for node in conditions for part in (node.args if node.op == OR else (node,))]
    if sum(part.op in _CROSSINGS for part in parts) > 1:
        parts = _met(parts)
    return _junction(OR, parts, neutral=FALSE, decided=TRUE)


def _met(parts: list[Node]) -> list[Node]:
    """With the two crossings of the same two series as one."""
    ways: dict[str, dict[str, Node]] = {}
    for part in parts:
        if part.op in _CROSSINGS:
            either = function("crosses", list(part.args), part.dimension, warmup=1, work=part.work)
            ways.setdefault(either.text, {"": either})[part.text] = part
    # The way up, the way down, and what they are together.
    met = [way for way in ways.values() if len(way) == 3]
    gone = {text for way in met for text in way}
    return [*(part for part in parts if part.text not in gone), *(way[""] for way in met)]


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


def _junction(op: str, conditions: Iterable[Node], *, neutral: Node, decided: Node) -> Node:
    parts = {part.text: part for node in conditions for part in (node.args if node.op == op else (node,))}
    parts.pop(neutral.text, None)
    if decided.text in parts:
        return decided
    if not parts:
        return neutral
    if len(parts) > 1 and any(part.op == (OR if op == AND else AND) for part in parts.values()):
        parts = _not_absorbed(op, parts)
    ordered = tuple(parts[text] for text in sorted(parts))
    if len(ordered) == 1:
        return ordered[0]
    # `and` binds tighter than `or`, so only an `or` under an `and` needs brackets.
    texts = (f"({part.text})" if op == AND and part.op == OR else part.text for part in ordered)
    return _node(op, ordered, Dimension.BOOLEAN, f" {op} ".join(texts))


def _not_absorbed(op: str, parts: dict[str, Node]) -> dict[str, Node]:
    """Without what another part already says: a or (a and b) is a, unknown where a is."""
    inner = {
        text: frozenset({text} if part.op not in (AND, OR) else {arg.text for arg in part.args})
        for text, part in parts.items()
    }
    return {text: part for text, part in parts.items() if not any(other < inner[text] for other in inner.values())}


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


# --- sums: exact weights of parts

# What a sum holds: each part (no number, no sum, no number in front) by its text with its exact weight, and a number.
_Weights = dict[str, tuple[Fraction, Node]]


def _joined(terms: Iterable[tuple[Fraction, Node]]) -> tuple[_Weights, Fraction]:
    """Parts and number of a weighted sum. A part that cancels keeps the weight 0: it is unknown where it was."""
    weights: _Weights = {}
    constant = _ZERO
    pending = list(terms)
    while pending:
        weight, term = pending.pop()
        op = term.op
        if op == SUM:
            pending.extend((weight, part) for part in term.args)
        elif op == NUMBER:
            constant += weight * _fraction(term.value)
        elif op == NEGATE:
            pending.append((-weight, term.args[0]))
        elif op == PRODUCT and term.args[0].is_number:
            pending.append((weight * _fraction(term.args[0].value), _product(term.args[1:])))
        elif op == QUOTIENT and term.args[1].is_number:
            pending.append((weight / _fraction(term.args[1].value), term.args[0]))
        elif op == QUOTIENT and term.args[0].is_number and term.args[0].value != 1.0:
            pending.append((weight * _fraction(term.args[0].value), _over(number(1.0), term.args[1])))
        elif term.text in weights:
            weights[term.text] = (weights[term.text][0] + weight, term)
        else:
            weights[term.text] = (weight, term)
    return _without_idle(weights), constant


def _without_idle(weights: _Weights) -> _Weights:
    """Prices of a bar are known together, so one that cancels says nothing beside one that does not."""
    if all(weight for weight, _ in weights.values()):
        return weights
    if not any(weight and _is_price(part) for weight, part in weights.values()):
        return weights
    return {text: pair for text, pair in weights.items() if pair[0] or not _is_price(pair[1])}


def _is_price(part: Node) -> bool:
    return part.op == FIELD and part.dimension is Dimension.PRICE


def _summed(weights: _Weights, constant: Fraction) -> Node:
    """The node of a sum. It reads back with the weights that it is written with, so it is written once and for all.

    Weights that are quotients over one number stand over it together, and so does a number that is one with them:
    (a + b) / 3 and (a - 5) / 30, and not a / 3 + b / 3.
    """
    said = [(_said(weight), part) for weight, part in weights.values()]
    some = [weight for weight, _ in said if weight]
    if some and not _exact(constant) and (below := _common([*some, constant])):
        return _over_one(said, constant, below, _ZERO)
    constant = _nearest(constant)
    below = _common(some)
    if len(some) > 1 and below and all(weight.denominator == below and not _exact(weight) for weight in some):
        return _over_one(said, _ZERO, below, constant)
    return _added([_term(weight, part) for weight, part in said], constant)


def _common(every: list[Fraction]) -> int:
    """The number over which all are short whole numbers, 0 if there is none but 1."""
    below = math.lcm(*(weight.denominator for weight in every))
    short = 1 < below < _WHOLE and all(abs(w.numerator) * below < _WHOLE * w.denominator for w in every)
    return below if short else 0


def _over_one(said: list[tuple[Fraction, Node]], constant: Fraction, below: int, apart: Fraction) -> Node:
    whole = _added([_term(weight * below, part) for weight, part in said if weight], constant * below)
    return _added([_divided(whole, below), *(_term(weight, part) for weight, part in said if not weight)], apart)


def _added(terms: list[Node], constant: Fraction) -> Node:
    tail = _numeral(constant)
    if not terms:
        return tail
    others = sorted(terms, key=_sum_key)
    if tail.value != 0.0:
        others.append(tail)
    if len(others) == 1:
        return others[0]
    text = others[0].text
    for term in others[1:]:
        text += f" - {term.text[1:]}" if term.text.startswith("-") else f" + {term.text}"
    dimension = common(term.dimension for term in others if not term.is_number)
    return _node(SUM, tuple(others), dimension or Dimension.RATIO, text)


def _times(weight: Fraction, node: Node) -> Node:
    if weight == 1:
        return node
    weights, constant = _joined([(weight, node)])
    return _summed(weights, constant)


def _term(weight: Fraction, part: Node) -> Node:
    """`part` times the weight; one that a number cannot say is a quotient of whole numbers, or rounded."""
    if part.is_number:
        return _numeral(weight)
    if weight == 1:
        return part
    if not _exact(weight):
        said = _said(weight)
        return (
            _divided(_term(Fraction(said.numerator), part), said.denominator) if said == weight else _term(said, part)
        )
    if part.op == QUOTIENT and part.args[0].is_number:
        return _over(_numeral(weight), part.args[1])
    if weight == -1:
        return _node(NEGATE, (part,), part.dimension, f"-{part.text}")
    return _product((_numeral(weight), *(part.args if part.op == PRODUCT else (part,))))


def _product(factors: Sequence[Node]) -> Node:
    if len(factors) == 1:
        return factors[0]
    text = " * ".join([_bracketed(factor, above=_QUOTIENT_LEVEL) for factor in factors])
    dimension = Dimension.RATIO
    for factor in factors:
        dimension = product(dimension, factor.dimension) or dimension
    return _node(PRODUCT, tuple(factors), dimension, text)


def _over(over: Node, under: Node) -> Node:
    dimension = quotient(over.dimension, under.dimension) or Dimension.RATIO
    text = f"{_bracketed(over, above=_QUOTIENT_LEVEL - 1)} / {_bracketed(under, above=_QUOTIENT_LEVEL)}"
    return _node(QUOTIENT, (over, under), dimension, text)


def _divided(node: Node, below: int) -> Node:
    return _over(node, number(float(below)))


def _primitive(node: Node) -> tuple[Fraction, Node]:
    """A number and a node that multiply to this one: one without a number in front, a sum in a scale of its own."""
    if not _weighted(node) and not node.is_number:
        return _ONE, node
    weights, constant = _joined([(_ONE, node)])
    if not weights:
        return constant, number(1.0)
    if len(weights) == 1 and not constant:
        ((weight, part),) = weights.values()
        return weight, part
    every = _in_order(weights)
    if not every:
        # All parts cancel: what is left is the number, or 0 where they are known.
        parts = {text: (_ZERO if constant else _ONE, part) for text, (_, part) in weights.items()}
        return constant, _summed(parts, _ONE if constant else _ZERO)
    # Long whole numbers in the middle of a formula help nobody: then only the sign is moved out.
    factor = _factor([*every, constant], every[0], longest=_SHORT) or (-_ONE if every[0] < 0 else _ONE)
    return 1 / factor, _summed(
        {text: (weight * factor, part) for text, (weight, part) in weights.items()}, constant * factor
    )


def _balanced(left: Node, right: Node, *, either_way: bool) -> tuple[Node, Node]:
    """The two sides of a comparison: like terms joined, added terms on the left, taken ones on the right.

    A number stands on the right. Both are in their one scale, and where there is none they are rounded into it. With
    `either_way` the sides may change places, and the first term by text stands on the left.
    """
    if not _weighted(left) and not _weighted(right) and left.text != right.text:
        return left, right
    weights, constant = _joined(((_ONE, left), (-_ONE, right)))
    every = _in_order(weights)
    if every:
        lead = every[0] if either_way else abs(next((weight for weight in every if weight.numerator > 0), every[0]))
        factor = _factor([*every, constant], lead, longest=_WHOLE) or 1 / lead
        weights = {text: (_nearest(weight * factor), part) for text, (weight, part) in weights.items()}
        constant = _nearest(constant * factor)
    added = {text: pair for text, pair in weights.items() if pair[0].numerator > 0}
    taken = {text: (-weight, part) for text, (weight, part) in weights.items() if weight.numerator < 0}
    nothing = {text: pair for text, pair in weights.items() if not pair[0]}
    if taken and not added:
        return _numeral(constant), _summed(taken | nothing, _ZERO)
    return _summed(added | nothing, _ZERO), _summed(taken, -constant)


def _in_order(weights: _Weights) -> list[Fraction]:
    """The weights by the text of their parts, those that are 0 left out."""
    return [weights[text][0] for text in sorted(weights) if weights[text][0]]


def _factor(every: list[Fraction], lead: Fraction, *, longest: int) -> Fraction | None:
    """What a sum is multiplied with to be in its one scale; None where no such weights are numbers of the language.

    The lead weighs one; where the others are no six digits then, all are whole numbers without a common factor and
    below `longest`. Which of the two depends on the proportions alone, so a sum in its scale is left as it is.
    """
    factor = 1 / lead
    if all(_exact(weight * factor) for weight in every):
        return factor
    whole = Fraction(math.lcm(*(w.denominator for w in every)), math.gcd(*(w.numerator for w in every)))
    if all(abs(weight * whole) < longest for weight in every):
        return whole if lead > 0 else -whole
    return None


def _weighted(node: Node) -> bool:
    """Whether the node is a sum, or something with a number or a sign in front."""
    op = node.op
    if op == PRODUCT:
        return node.args[0].is_number
    if op == QUOTIENT:
        over = node.args[0]
        return node.args[1].is_number or (over.is_number and over.value != 1.0)
    return op in (SUM, NEGATE)


# --- numbers: what can be said

# A number of the language is 0, or between these in size; an exact weight beyond them is marked for the parser.
MOST = 1e12
LEAST = 1e-30
# Whole numbers below this are exact in six digits.
_WHOLE = 1_000_000
_SHORT = 1_000
# Longest lag that two lags are joined to.
MAX_LAG = 1000
_ZERO, _ONE = Fraction(0), Fraction(1)


@lru_cache(maxsize=4096)
def _fraction(value: float) -> Fraction:
    """The decimal number that a rounded `value` prints as."""
    return Fraction(int(value)) if value.is_integer() else Fraction(f"{value:.6g}")


def _float(value: Fraction) -> float:
    """As a float; what is far out of bounds just out of bounds."""
    try:
        near = value.numerator / value.denominator
    except OverflowError:
        return 10.0 * MOST if value > 0 else -10.0 * MOST
    return near if abs(near) >= LEAST or not value else LEAST / 10.0


def _nearest(value: Fraction) -> Fraction:
    """The nearest that a number can say; out of bounds it stays what it is."""
    if value.denominator == 1 and abs(value.numerator) < _WHOLE:
        return value
    near = rounded(_float(value))
    return _fraction(near) if LEAST <= abs(near) <= MOST else value


def _exact(value: Fraction) -> bool:
    """Whether a number can say it."""
    return _nearest(value) == value


def _said(value: Fraction) -> Fraction:
    """The nearest that a number, or a quotient of two short whole numbers, can say."""
    return value if abs(value.numerator) < _WHOLE and value.denominator < _WHOLE else _nearest(value)


def _numeral(value: Fraction) -> Node:
    return number(_float(value))


# --- text

_QUOTIENT_LEVEL = 6


def _commuting(node: Node) -> tuple[bool, str]:
    return node.is_number, node.text


def _key(node: Node) -> str:
    return node.text


def _sum_key(node: Node) -> tuple[bool, str, str]:
    # What is taken away stands last; a number in front does not decide the place.
    return node.text.startswith("-"), node.text.lstrip("-0123456789. *"), node.text


def _bracketed(node: Node, *, above: int) -> str:
    # A negative number or a sign binds tighter than * and /, so it needs no brackets of its own.
    return node.text if node.level > above else f"({node.text})"


def _holds(left: float, sign: str, right: float) -> bool:
    if sign == GREATER:
        return left > right
    if sign == AT_LEAST:
        return left >= right
    return (left == right) if sign == EQUAL else (left != right)
