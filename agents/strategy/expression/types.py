"""Dimensions: what kind of quantity an expression is, so that a price is never added to a volume.

Six are enough: a price, a plain ratio, a volume, a value (price times volume), a count of bars or days, a condition.
A bare number is a ratio or a count as the place asks for, and 0 fits everywhere; there is no unit arithmetic beyond.
"""

from collections.abc import Iterable
from enum import StrEnum


class Dimension(StrEnum):
    """The kind of quantity of an expression."""

    PRICE = "price"
    RATIO = "ratio"
    VOLUME = "volume"
    VALUE = "value"
    COUNT = "count"
    BOOLEAN = "boolean"


NUMERIC = (Dimension.PRICE, Dimension.RATIO, Dimension.VOLUME, Dimension.VALUE, Dimension.COUNT)

IN_WORDS = {
    Dimension.PRICE: "a price",
    Dimension.RATIO: "a ratio",
    Dimension.VOLUME: "a volume",
    Dimension.VALUE: "a traded value",
    Dimension.COUNT: "a count",
    Dimension.BOOLEAN: "a condition",
}

_PLAIN = (Dimension.RATIO, Dimension.COUNT)

_PRODUCTS = {
    frozenset({Dimension.PRICE, Dimension.VOLUME}): Dimension.VALUE,
}

_QUOTIENTS = {
    (Dimension.VALUE, Dimension.VOLUME): Dimension.PRICE,
    (Dimension.VALUE, Dimension.PRICE): Dimension.VOLUME,
}


def common(dimensions: Iterable[Dimension]) -> Dimension | None:
    """The dimension that all of them can be read as, or None; a count may be read as a ratio."""
    kinds = set(dimensions)
    if kinds == set(_PLAIN):
        return Dimension.RATIO
    return kinds.pop() if len(kinds) == 1 else None


def product(left: Dimension, right: Dimension) -> Dimension | None:
    """The dimension of left * right, or None if the product has no meaning here."""
    if Dimension.BOOLEAN in (left, right):
        return None
    if left in _PLAIN and right in _PLAIN:
        return Dimension.RATIO
    if left in _PLAIN:
        return right
    if right in _PLAIN:
        return left
    return _PRODUCTS.get(frozenset({left, right})) if left is not right else None


def quotient(left: Dimension, right: Dimension) -> Dimension | None:
    """The dimension of left / right, or None if the quotient has no meaning here."""
    if Dimension.BOOLEAN in (left, right):
        return None
    if left is right or (left in _PLAIN and right in _PLAIN):
        return Dimension.RATIO
    if right in _PLAIN:
        return left
    return _QUOTIENTS.get((left, right))
