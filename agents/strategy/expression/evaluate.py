"""evaluate: the values of an expression on bars, each distinct part computed once a data set.

The cache is an argument: whoever evaluates many rules on the same bars shares one, and parts that two rules have in
common are computed once. It is bounded by bytes and forgets what was used longest ago; that never changes a result.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

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
    Node,
)
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FUNCTIONS, Function, field_values
from agents.strategy.truth import FALSE, TRUE, TruthArray, truth_of
from backtesting.bars import Bars, BoolArray, FloatArray, IntArray
from backtesting.errors import DataError

DEFAULT_CACHE_BYTES = 256 * 1024 * 1024

# float64 numbers or uint8 truth.
Values = np.ndarray[Any, Any]


class EvaluationCache:
    """Values by (bars, part of a rule), at most `max_bytes` of them; threads may share one."""

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._values: OrderedDict[tuple[str, str], Values] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def key(self, bars: Bars, text: str) -> tuple[str, str]:
        """What the values of a part of a rule on some bars are known by."""
        return bars.bars_id, text

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: tuple[str, str]) -> Values | None:
        """The stored values, read-only, or None."""
        with self._lock:
            values = self._values.get(key)
            if values is not None:
                self._values.move_to_end(key)
        return values

    def put(self, key: tuple[str, str], values: Values) -> None:
        """Store values; those of another thread that was faster stay."""
        values.flags.writeable = False
        with self._lock:
            if key in self._values:
                return
            self._values[key] = values
            self.n_bytes += values.nbytes
            while self.n_bytes > self.max_bytes and len(self._values) > 1:
                _, forgotten = self._values.popitem(last=False)
                self.n_bytes -= forgotten.nbytes


class LoneCache(EvaluationCache):
    """A cache for one set of bars and no other: their content id, which takes longer than an average, is not made."""

    def key(self, bars: Bars, text: str) -> tuple[str, str]:
        """The part of the rule alone."""
        return "", text


def evaluate(node: Node, bars: Bars, cache: EvaluationCache) -> FloatArray | BoolArray:
    """(n_bars, n_assets) values of an expression: bool for a condition, else float64.

    A condition is False where it is unknown; a number is NaN where it is undefined, never infinite.

    Raises:
        DataError: the bars lack a feature that the expression names.
    """
    values = _values(node, bars, cache)
    if node.dimension is Dimension.BOOLEAN:
        holds: BoolArray = values == TRUE
        return holds
    return values


def condition(node: Node, bars: Bars, cache: EvaluationCache) -> BoolArray:
    """As `evaluate`, for a node that is a condition."""
    return np.asarray(evaluate(node, bars, cache), dtype=np.bool_)


def truth(node: Node, bars: Bars, cache: EvaluationCache) -> TruthArray:
    """(n_bars, n_assets) FALSE, UNKNOWN or TRUE of a node that is a condition; read-only."""
    return np.asarray(_values(node, bars, cache), dtype=np.uint8)


def numbers(node: Node, bars: Bars, cache: EvaluationCache) -> FloatArray:
    """As `evaluate`, for a node that is a number."""
    return np.asarray(evaluate(node, bars, cache), dtype=np.float64)


def condition_at(node: Node, bars: Bars, cache: EvaluationCache, every: int) -> BoolArray:
    """`condition` at bars 0, every, 2 * every, ...: (ceil(n_bars / every), n_assets), the same bits."""
    return np.asarray(_sampled(node, bars, cache, every) == TRUE)


def numbers_at(node: Node, bars: Bars, cache: EvaluationCache, every: int) -> FloatArray:
    """`numbers` at bars 0, every, 2 * every, ...: (ceil(n_bars / every), n_assets), the same bits."""
    return np.asarray(_sampled(node, bars, cache, every), dtype=np.float64)


def _sampled(node: Node, bars: Bars, cache: EvaluationCache, every: int) -> Values:
    if every == 1:
        return _values(node, bars, cache)
    key = cache.key(bars, f"{node.text} every {every}")
    known = cache.get(key)
    if known is None:
        known = np.ascontiguousarray(_at(node, bars, cache, np.arange(0, bars.n_bars, every)))
        cache.put(key, known)
    return known


# Families whose functions read the same bar of their arguments and nothing else.
_SAME_BAR = ("arithmetic", "cross_section")


def _at(node: Node, bars: Bars, cache: EvaluationCache, rows: IntArray) -> Values:
    """The values at some bars, each computed from these bars alone where that is possible.

    Bars before the first one have any value: whoever looks back to them makes it unknown.
    """
    function = FUNCTIONS.get(node.op)
    between = None if function is None else function.between
    if cache.key(bars, node.text) in cache or (between is None and not _is_local(node, function)):
        values: Values = _values(node, bars, cache)[np.maximum(rows, 0)]
        return values
    if between is None:
        return _computed(node, bars, (len(rows), bars.n_assets), lambda arg: _at(arg, bars, cache, rows))
    earlier = rows - int(node.args[1].value)
    before = _at(node.args[0], bars, cache, earlier)
    before[earlier < 0] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        return _finite(between(_at(node.args[0], bars, cache, rows), before))


def _is_local(node: Node, function: Function | None) -> bool:
    if function is not None:
        return function.family in _SAME_BAR
    return node.op not in (FIELD, FEATURE)


def _values(node: Node, bars: Bars, cache: EvaluationCache) -> Values:
    if node.op == FIELD and node.name != "hlc3":
        return field_values(bars, node.name)
    key = cache.key(bars, node.text)
    known = cache.get(key)
    if known is not None:
        return known
    values = np.ascontiguousarray(_computed(node, bars, bars.close.shape, lambda arg: _values(arg, bars, cache)))
    cache.put(key, values)
    return values


def _computed(node: Node, bars: Bars, shape: tuple[int, ...], values_of: Callable[[Node], Values]) -> Values:
    """A node from the values of its arguments, which have this shape."""
    if node.op == NUMBER:
        return np.full(shape, node.value)
    if node.op == BOOLEAN:
        return np.full(shape, TRUE if node.value else FALSE, dtype=np.uint8)
    if node.op == FIELD:
        return field_values(bars, node.name)
    if node.op == FEATURE:
        return _feature(node.name, bars)
    function = FUNCTIONS.get(node.op)
    if function is not None:
        return _called(function, node, bars, values_of)
    args = [values_of(arg) for arg in node.args]
    if node.op == AND:
        return np.asarray(np.minimum.reduce(args))
    if node.op == OR:
        return np.asarray(np.maximum.reduce(args))
    if node.op == NOT:
        return (TRUE - args[0]).astype(np.uint8)
    if node.op in COMPARISONS:
        return _compared(node.op, args[0], args[1])
    return _finite(_arithmetic(node.op, args))


def _called(function: Function, node: Node, bars: Bars, values_of: Callable[[Node], Values]) -> Values:
    args: list[Values | float | int] = []
    for parameter, arg in zip(function.parameters, node.args, strict=True):
        if parameter.kind == "window":
            args.append(int(arg.value))
        elif parameter.kind == "number":
            args.append(arg.value)
        else:
            args.append(values_of(arg))
    if function.finite:
        return np.asarray(function.compute(bars, *args))
    with np.errstate(over="ignore", invalid="ignore"):
        values: Values = function.compute(bars, *args)
    return values if node.dimension is Dimension.BOOLEAN else _finite(values)


def _arithmetic(op: str, args: list[Values]) -> FloatArray:
    # Left to right: the canonical order of the arguments is the order of the sum.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if op == NEGATE:
            return -args[0]
        total: FloatArray = args[0]
        for arg in args[1:]:
            if op == SUM:
                total = total + arg
            elif op == PRODUCT:
                total = total * arg
            elif op == QUOTIENT:
                total = total / arg
            else:
                raise ValueError(f"no operator {op!r}")
        return total


def _compared(op: str, left: Values, right: Values) -> TruthArray:
    known = ~(np.isnan(left) | np.isnan(right))
    if op == GREATER:
        return truth_of(left > right, known)
    if op == AT_LEAST:
        return truth_of(left >= right, known)
    return truth_of((left == right) if op == EQUAL else (left != right), known)


def _finite(values: Values) -> FloatArray:
    # Nearly always there is nothing to replace, and looking costs half of replacing.
    return np.where(np.isinf(values), np.nan, values) if np.isinf(values).any() else values


def _feature(name: str, bars: Bars) -> FloatArray:
    if name not in bars.features:
        known = ", ".join(bars.features) or "none"
        raise DataError(
            f"{bars.source} has no feature {name!r}; it has {known}",
            next_step="add the feature to the market or drop the rule",
        )
    return bars.features[name]
