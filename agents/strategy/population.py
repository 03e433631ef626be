"""Population: many rules judged together; what two of them share is computed once.

A plan says, without any prices, what all rules need: each distinct condition and each distinct number once, known by
its canonical text, and one row of small numbers a candidate. On bars, comparisons become rows of bits, `and` and `or`
work on 64 bars at a time, and the kernels of `backtesting.sweep` go from event to event. What a rule says beyond
that (scores, kinds and parts added later) goes through the engine itself: the plan refuses whatever it does not know
rather than guessing. No curve is kept: `report` and `streams` simulate the ones that are asked for.

Never: a number that depends on threads, on blocks, or on what a cache remembers.
"""

import gc
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import chain
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from agents.strategy.expression import canonical
from agents.strategy.expression.evaluate import EvaluationCache, LoneCache, numbers, truth
from agents.strategy.expression.nodes import AND, AT_LEAST, BOOLEAN, GREATER, NOT, OR, Node
from agents.strategy.expression.parse import parse, parse_condition
from agents.strategy.portfolio import portfolio_rows
from agents.strategy.spec import (
    AtrRiskSizing,
    FractionSizing,
    PortfolioSpec,
    Protect,
    RulesSpec,
    Spec,
    VolatilitySizing,
    derived_nodes,
    load_spec,
)
from agents.strategy.strategy import TradingStrategy
from agents.strategy.truth import FALSE, TRUE
from backtesting import engine_shared, inputs, sweep
from backtesting.backtest import CAPITAL, simulate
from backtesting.bars import Bars, BoolArray, FloatArray, IntArray
from backtesting.costs import CostModel
from backtesting.decisions import Signals, TargetDecisions
from backtesting.errors import InvalidConfig, UsageError
from backtesting.executor import Executor
from backtesting.inputs import TargetOrders
from backtesting.metrics import FLAT
from backtesting.reports import HeldReport, Reports, held_reports
from backtesting.result import BacktestResult
from backtesting.splits import Window
from backtesting.terms import CASH, Terms

DEFAULT_CACHE_BYTES = 512 * 1024 * 1024
NEVER = "False"
_NEVER_NODE = canonical.FALSE

# What the kernels of `sweep` know. A spec or a cost model that says more than this is left to the engine.
_PROSE = {"kind", "name", "hypothesis", "source"}
_KNOWN_PARTS = _PROSE | {"long", "short", "protect", "sizing"}
_KNOWN_SIDES = {("enter",), ("enter", "exit"), ("exit", "enter")}
_DISTANCES = ("stop", "trail", "target")
_KNOWN_PROTECT = {f"{kind}_{unit}" for kind in _DISTANCES for unit in ("atr", "share")} | {"max_bars", "atr_window"}
_KNOWN_COSTS = {"commission_bps", "half_spread_bps", "slippage_bps", "borrow_annual", "financing_annual"}
_ATR_WINDOW: int = Protect.model_fields["atr_window"].default
_MEMO_SIZE = 200_000


# What a rule does, as canonical texts: the conditions to enter and to leave long, then short, "False" where there is
# none, and its `Handling`. Equal keys are equal `spec_id`s, and the other way round. Texts know their hash, and a plain
# tuple of them is nothing that the garbage collector has to come back to.
RuleKey = tuple[str, str, str, str, str]

# `and` or `or`, and the canonical texts of the conditions that it joins.
Junction = tuple[str, ...]

_NO_SIDE = (NEVER, NEVER)
_NO_DISTANCE = (sweep.NONE, 0.0)


class Handling(NamedTuple):
    """How large a position is and what ends it but a signal, in the codes of `sweep`.

    size: kind, number, multiple, cap, window. distances: kind and number of stop, trail and target.
    """

    size: tuple[int, float, float, float, int]
    distances: tuple[tuple[int, float], ...]
    atr_window: int
    max_bars: int


class Reader:
    """Configurations to rule keys, remembering every text and every part of a text that it has read.

    It trusts: bounds are not checked again, so it is for configurations that a `load_spec` has accepted. For those
    it gives the same key as for the spec itself. `conditions` and `handlings` hold what the texts of a key stand for.
    """

    def __init__(self) -> None:
        self.conditions: dict[str, Node | Junction] = {}
        self.handlings: dict[str, Handling] = {}
        self._texts: dict[Any, str] = {}
        self._simple: dict[str, str] = {}
        self._handled: dict[tuple[Any, ...], str] = {}

    def trim(self) -> None:
        """Forget what is too much; the keys that were given lose their meaning then."""
        if len(self._texts) + len(self._handled) > _MEMO_SIZE:
            for known in (self.conditions, self.handlings, self._texts, self._simple, self._handled):
                known.clear()

    def key(self, config: Mapping[str, Any]) -> RuleKey | None:
        """The key of a rule, or None if it says something that only the engine knows.

        Raises:
            InvalidConfig: an expression that is not legal.
        """
        if config.get("kind") != "rules" or not config.keys() <= _KNOWN_PARTS:
            return None
        long, short = self._side(config.get("long")), self._side(config.get("short"))
        if long is None or short is None:
            return None
        sizing, protect = config.get("sizing") or _ALL_IN, config.get("protect") or _UNPROTECTED
        # The number of names tells them from the values.
        said = (len(sizing), *sizing, *sizing.values(), *protect, *protect.values())
        handling = self._handled.get(said)
        if handling is None:
            found = _handling(sizing, protect)
            if found is None:
                return None
            handling = self._handled[said] = repr(found)
            self.handlings[handling] = found
        return *long, *short, handling

    def _side(self, config: Mapping[str, Any] | None) -> tuple[str, str] | None:
        if config is None:
            return _NO_SIDE
        if tuple(config) not in _KNOWN_SIDES:
            return None
        enter, leave, known = config["enter"], config.get("exit"), self._texts.get
        return known(enter) or self.condition(enter), known(leave) or self.condition(leave)

    def condition(self, text: Any) -> str:
        """The canonical text of a condition; "False" for None."""
        known = self._texts.get(text)
        if known is None:
            known = self._texts[text] = NEVER if text is None else self._read(str(text))
        return known

    def _read(self, text: str) -> str:
        # Most conditions are a few simple ones joined by one word. A text that mixes both words, or that a split tears
        # inside brackets, is read whole.
        word = _AND if _AND in text else _OR
        pieces = text.split(word)
        if len(pieces) > 1 and (word is _OR or _OR not in text):
            parts: set[Any] = set(map(self._simple.get, pieces))
            if None in parts:
                parts = {self._simple.get(piece) or self._read_simple(piece) for piece in pieces}
            # Two crossings may be one condition.
            if "" not in parts and (word is _AND or sum(part.startswith("crosses_") for part in parts) < 2):
                distinct: list[str] = sorted(parts)
                if len(distinct) == 1:
                    return distinct[0]
                joined = word.join(distinct)
                if joined not in self.conditions:
                    self.conditions[joined] = (word.strip(), *distinct)
                return joined
        node = self._comparison(text) or parse_condition(text)
        if not isinstance(node, Node):
            raise InvalidConfig(
                f"the condition {text[:80]!r} is not legal: {'; '.join(map(str, node))}",
                next_step="check the configuration with load_spec before it joins a population",
            )
        return self._add(node)

    def _read_simple(self, piece: str) -> str:
        """The canonical text of a piece that is a whole condition and neither joined nor constant, else ""."""
        if piece.count("(") != piece.count(")"):
            return ""
        text = self.condition(piece)
        if text in _CONSTANT or isinstance(self.conditions[text], tuple):
            return ""
        self._simple[piece] = text
        return text

    def _comparison(self, text: str) -> Node | None:
        """A plain comparison of two operands, each read once however many comparisons it stands in."""
        found = _COMPARISON.fullmatch(text)
        if found is None or _WORD.search(text):
            return None
        left, sign, right = found.groups()
        if left.count("(") != left.count(")") or right.count("(") != right.count(")"):
            return None
        over, under = parse(left), parse(right)
        if not isinstance(over, Node) or not isinstance(under, Node):
            return None
        return canonical.compare(over, sign, under)

    def _add(self, node: Node) -> str:
        if node.text not in self.conditions:
            if node.op in (AND, OR):
                self.conditions[node.text] = (node.op, *map(self._add, node.args))
            else:
                self.conditions[node.text] = node
        return node.text


def _handling(sizing: Mapping[str, Any], protect: Mapping[str, Any]) -> Handling | None:
    read = _SIZINGS.get(sizing["kind"])
    if read is None or not sizing.keys() <= read[0].model_fields.keys() or not protect.keys() <= _KNOWN_PROTECT:
        return None
    given = {name: value for name, value in protect.items() if value is not None}
    distances = tuple(
        (sweep.MULTIPLE, canonical.rounded(given[f"{kind}_atr"])) if f"{kind}_atr" in given
        else (sweep.SHARE, canonical.rounded(given[f"{kind}_share"])) if f"{kind}_share" in given
        else _NO_DISTANCE
        for kind in _DISTANCES
    )  # fmt: skip
    uses_atr = any(kind == sweep.MULTIPLE for kind, _ in distances)
    window = int(given.get("atr_window", _ATR_WINDOW)) if uses_atr else 0
    return Handling(read[1](read[0].model_validate(sizing)), distances, window, int(given.get("max_bars", 0)))


# Neither a second comparison nor a word: whatever stands left and right is a number.
_COMPARISON = re.compile(r"([^<>=!]+) (<=?|>=?) ([^<>=!]+)")
_WORD = re.compile(rf"\b(?:{AND}|{OR}|{NOT})\b")
_AND, _OR = f" {AND} ", f" {OR} "
_ALL_IN = {"kind": "fraction"}
_UNPROTECTED: dict[str, Any] = {}
_CONSTANT = ("True", "False")
_SIZINGS: dict[str, tuple[Any, Any]] = {
    "fraction": (FractionSizing, lambda s: (sweep.FRACTION, s.fraction, 0.0, 0.0, 0)),
    "volatility": (VolatilitySizing, lambda s: (sweep.OVER_ROW, s.annual, 0.0, s.cap, s.window)),
    "atr_risk": (AtrRiskSizing, lambda s: (sweep.RISK_OVER_ROW, s.risk, s.multiple, s.cap, s.window)),
}
_MEASURES = {sweep.OVER_ROW: "volatility", sweep.RISK_OVER_ROW: "atr"}


@dataclass(frozen=True, eq=False)
class Plan:
    """What the rules of a population need, in plain values and without any prices.

    Attributes:
        numbers: each distinct number that is compared or read by a size or a distance; the first is never read.
        pairs: distinct comparisons x > y, as the canonical texts of x and y; `pair_numbers` are their places in
            `numbers`. What is left where both are known is y >= x: one comparison serves both.
        conditions: canonical text of each distinct condition, parts before wholes; the first is "False".
        planes: (n_conditions, 2) the comparison that a condition is, and 0 for x > y, 1 for y >= x; -1 if it is none.
        steps: (n_steps, 4) operation of `sweep`, condition that results, and two conditions, or one and a count.
        others: conditions that are evaluated one by one, by their place.
        whole, real: the candidates, see `sweep`; rows are places in `conditions` and `numbers`.
    """

    numbers: tuple[Node, ...]
    pairs: tuple[tuple[str, str], ...]
    pair_numbers: sweep.Table
    conditions: tuple[str, ...]
    planes: sweep.Table
    steps: sweep.Table
    others: dict[int, Node]
    whole: sweep.Table
    real: FloatArray

    @cached_property
    def all_in(self) -> BoolArray:
        """(n_candidates,) which of them are long and all of the account, see `sweep.simulator_of`."""
        return np.asarray(sweep.simulator_of(self.whole, self.real, never=0) == sweep.T0)

    @cached_property
    def side_by_side(self) -> tuple[IntArray, sweep.Table, sweep.Table]:
        """Word rows, steps and candidates if all conditions stand in a table of their own; see `words_of_few`."""
        pair, plane = self.planes[:, 0], self.planes[:, 1]
        others = pair < 0
        others[0] = False
        at = np.where(pair < 0, 0, 1 + 2 * pair + plane)
        at[others] = 1 + 2 * len(self.pairs) + np.arange(others.sum())
        whole = self.whole.copy()
        whole[:, _CONDITIONS] = at[whole[:, _CONDITIONS]]
        return at, _steps_on(self.steps, at), whole

    def needed(self, chosen: IntArray) -> BoolArray:
        """(n_conditions,) what some candidates need."""
        if len(chosen) == len(self.whole):
            return np.ones(len(self.conditions), dtype=np.bool_)
        need = np.zeros(len(self.conditions), dtype=np.bool_)
        need[self.whole[chosen, _CONDITIONS]] = True
        for operation, out, a, b in self.steps[::-1].tolist():
            if need[out]:
                need[a] = True
                if operation in (sweep.AND, sweep.OR):
                    need[b] = True
        return need


class _Planner:
    """Gives each distinct part of the rules its place."""

    def __init__(self, conditions: Mapping[str, Node | Junction]) -> None:
        self.known = conditions
        self.numbers: dict[str, int] = {"": 0}
        self.number_nodes: list[Node] = [_NEVER_NODE]
        self.measures: dict[tuple[str, int], int] = {}
        self.pairs: dict[tuple[str, str], int] = {}
        # Tables, row after row.
        self.pair_numbers: list[int] = []
        self.compared: list[int] = []
        self.steps: list[int] = []
        self.conditions: dict[str, int] = {NEVER: 0}
        self.others: dict[int, Node] = {}

    def number(self, node: Node) -> int:
        at = self.numbers.get(node.text)
        if at is None:
            at = self.numbers[node.text] = len(self.number_nodes)
            self.number_nodes.append(node)
        return at

    def measure(self, name: str, window: int) -> int:
        at = self.measures.get((name, window))
        if at is None:
            node = parse(f"{name}({window})")
            if not isinstance(node, Node):
                raise ValueError(f"{name}({window}) is no expression")
            at = self.measures[name, window] = self.number(node)
        return at

    def condition(self, text: str) -> int:
        at = self.conditions.get(text)
        if at is not None:
            return at
        part = self.known[text]
        if isinstance(part, Node):
            return self._leaf(part)
        places: list[Any] = list(map(self.conditions.get, part[1:]))
        if None in places:
            places = [self.condition(inner) for inner in part[1:]]
        return self._joined(text, part[0], places)

    def _node(self, node: Node) -> int:
        at = self.conditions.get(node.text)
        if at is not None:
            return at
        if node.op in (AND, OR):
            return self._joined(node.text, node.op, [self._node(arg) for arg in node.args])
        return self._leaf(node)

    def _leaf(self, node: Node) -> int:
        if node.op == GREATER:
            return self._compared(node.text, node.args[0], node.args[1], 0)
        if node.op == AT_LEAST:
            return self._compared(node.text, node.args[1], node.args[0], 1)
        if node.op in ("crosses_above", "crosses_below"):
            x, y = node.args if node.op == "crosses_above" else node.args[::-1]
            now = self._compared(f"{x.text} > {y.text}", x, y, 0)
            not_above = self._compared(f"{y.text} >= {x.text}", x, y, 1)
            before = self._new(f"lag({y.text} >= {x.text}, 1)")
            self.steps += (sweep.BEFORE, before, not_above, 0)
            return self._joined(node.text, AND, [now, before])
        if node.op == "holds_for":
            inner = self._node(node.args[0])
            at = self._new(node.text)
            self.steps += (sweep.RUN, at, inner, int(node.args[1].value))
            return at
        at = self._new(node.text)
        self.others[at] = node
        return at

    def _compared(self, text: str, x: Node, y: Node, plane: int) -> int:
        """The condition x > y (plane 0) or y >= x (plane 1), under a text."""
        at = self.conditions.get(text)
        if at is None:
            at = self._new(text)
            identity = (x.text, y.text)
            pair = self.pairs.get(identity)
            if pair is None:
                pair = self.pairs[identity] = len(self.pairs)
                self.pair_numbers += (self.number(x), self.number(y))
            self.compared += (at, pair, plane)
        return at

    def _joined(self, text: str, op: str, parts: list[int]) -> int:
        # In place from the third part on: out = a & b, then out = out & c.
        at = self._new(text)
        first = parts[0]
        for other in parts[1:]:
            self.steps += (sweep.AND if op == AND else sweep.OR, at, first, other)
            first = at
        return at

    def _new(self, text: str) -> int:
        return self.conditions.setdefault(text, len(self.conditions))

    def handled(self, handling: Handling) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """The columns of a candidate that say how its positions are handled."""
        kind, size, multiple, cap, window = handling.size
        (stop_kind, stop), (trail_kind, trail), (target_kind, target) = handling.distances
        size_row = self.measure(_MEASURES[kind], window) if window else 0
        atr_row = self.measure("atr", handling.atr_window) if handling.atr_window else 0
        return (
            (kind, size_row, stop_kind, atr_row, trail_kind, atr_row, target_kind, atr_row, handling.max_bars),
            (size, multiple, cap, stop, trail, target),
        )


def plan_of(keys: Sequence[RuleKey], reader: Reader) -> Plan:
    """The plan of some rules, by the reader that gave their keys."""
    planner = _Planner(reader.conditions)
    texts = list(chain.from_iterable(keys))
    handlings = texts[4::5]
    del texts[4::5]
    for text in dict.fromkeys(texts):
        planner.condition(text)
    handled = {text: planner.handled(reader.handlings[text]) for text in dict.fromkeys(handlings)}
    at = dict(zip(handled, range(len(handled)), strict=True))
    rows = np.array([at[text] for text in handlings], dtype=np.int64)
    ints = _table([whole for whole, _ in handled.values()], sweep.N_WHOLE - 4)
    reals = np.array([real for _, real in handled.values()], dtype=np.float64).reshape(-1, sweep.N_REAL)
    planes = np.full((len(planner.conditions), 2), (-1, 0))
    compared = _table(planner.compared, 3)
    planes[compared[:, 0]] = compared[:, 1:]
    return Plan(
        numbers=tuple(planner.number_nodes),
        pairs=tuple(planner.pairs),
        pair_numbers=_table(planner.pair_numbers, 2),
        conditions=tuple(planner.conditions),
        planes=planes,
        steps=_table(planner.steps, 4),
        others=planner.others,
        whole=np.hstack((_table([planner.conditions[text] for text in texts], 4), ints[rows])),
        real=reals[rows],
    )


def _table(values: Sequence[Any], columns: int) -> sweep.Table:
    return np.array(values, dtype=np.int64).reshape(-1, columns)


@dataclass(frozen=True, eq=False)
class GateMetrics:
    """What the gates read of every candidate in every window; each array is (n_candidates, n_windows).

    Attributes:
        final_equity: account at the last close, in account currency.
        n_trades: positions entered, the open one included.
        mean, variance: of the returns a bar (variance with n - 1); NaN for a window of one bar.
        sharpe_ratio: a year, as in metrics.py; NaN for a stream that does not move.
        max_drawdown: lowest equity over its earlier peak, minus 1.

    All NaN where the account overflowed.
    """

    final_equity: FloatArray
    n_trades: FloatArray
    mean: FloatArray
    variance: FloatArray
    sharpe_ratio: FloatArray
    max_drawdown: FloatArray


class PopulationCache:
    """What was computed before, over generations: numbers and conditions by (bars, text), metrics by (bars, rule,
    windows, costs, capital). Bounded by bytes; forgetting changes nothing but time.

    It is for one thread at a time.
    """

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.reader = Reader()
        self._values = EvaluationCache(max_bytes // 4)
        self._stores: dict[str, Store] = {}
        self._metrics: dict[tuple[Any, ...], dict[RuleKey, FloatArray]] = {}

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays held."""
        rows = sum(len(known) * _METRIC_BYTES * len(occasion[1]) for occasion, known in self._metrics.items())
        return rows + self._values.n_bytes + sum(store.n_bytes for store in self._stores.values())

    def store(self, bars: Bars) -> "Store":
        """The rows of these bars, begun again when they have grown beyond half of the bound."""
        store = self._stores.pop(bars.bars_id, None)
        if store is None or store.n_bytes > self.max_bytes // 2:
            store = Store(bars, self._values)
        self._stores[bars.bars_id] = store
        return store

    @property
    def values(self) -> EvaluationCache:
        """Values of expressions, for the engine's own way."""
        return self._values

    def metrics(self, occasion: tuple[Any, ...]) -> dict[RuleKey, FloatArray]:
        """Known metrics of one occasion, to be read and added to."""
        known = self._metrics.pop(occasion, {})
        self._metrics[occasion] = known
        return known

    def forget_metrics(self) -> None:
        """Forget all metrics and keep the numbers and conditions, as when another window comes."""
        self._metrics.clear()

    def trim(self) -> None:
        """Forget what was used longest ago until the bound holds."""
        while self.n_bytes > self.max_bytes and len(self._stores) > 1:
            del self._stores[next(iter(self._stores))]
        while self.n_bytes > self.max_bytes and len(self._metrics) > 1:
            del self._metrics[next(iter(self._metrics))]
        if self.n_bytes > self.max_bytes:
            self._stores.clear()
            self._values = EvaluationCache(self.max_bytes // 4)
        if self.n_bytes > self.max_bytes:
            self._metrics.clear()


# A row of a dictionary of metrics, the array's own header and the key included.
_METRIC_BYTES = 6 * 8 + 400


def prices_of(bars: Bars) -> sweep.Prices:
    """Of one asset."""
    return sweep.prices_of(bars.open[:, 0], bars.high[:, 0], bars.low[:, 0], bars.close[:, 0])


class Store:
    """Numbers and conditions of one asset's bars, as rows of two growing matrices, by canonical text.

    A store that is `kept` remembers where its conditions stand, for later plans; one that is not serves block after
    block of one plan, and its conditions make room for those of the next block.
    """

    def __init__(self, bars: Bars, values: EvaluationCache, *, kept: bool = True) -> None:
        self.bars = bars
        self.values = values
        self.kept = kept
        self.prices = prices_of(bars)
        self.n_words = -(-bars.n_bars // 64)
        self.rows = sweep.number_rows(1, self.n_words * 64)
        self.known = np.zeros((1, self.n_words), np.uint64)
        self.words = np.zeros((1, self.n_words), np.uint64)
        self.row_of: dict[str, int] = {"": 0}
        self.n_words_used = 1
        self.word_of: dict[str, int] = {NEVER: 0}
        self.pair_of: dict[tuple[str, str], int] = {}

    @property
    def n_bytes(self) -> int:
        arrays = (self.rows, self.known, self.words)
        return self.prices.n_bytes + sum(array.nbytes for array in arrays)

    def row(self, node: Node) -> int:
        """The row of a number."""
        at = self.row_of.get(node.text)
        if at is None:
            at = self.row_of[node.text] = len(self.row_of)
            self._make_room(at + 1)
            sweep.put_row(_column(numbers(node, self.bars, self.values)), self.rows[at], self.known[at])
        return at

    def add_numbers(self, plan: Plan) -> None:
        """All numbers of a plan."""
        self._make_room(len(self.row_of) + len(plan.numbers))
        for number in plan.numbers[1:]:
            self.row(number)

    def twin(self) -> "Store":
        """A store of the same bars and numbers with conditions of its own, for another thread; it adds no number."""
        other = copy(self)
        other.values = EvaluationCache()
        other.words, other.n_words_used = np.zeros((1, self.n_words), np.uint64), 1
        other.word_of, other.pair_of = {NEVER: 0}, {}
        return other

    def _make_room(self, n_rows: int) -> None:
        if n_rows > len(self.rows):
            n_rows = max(2 * len(self.rows), n_rows)
            self.rows = _moved(self.rows, sweep.number_rows(n_rows, self.n_words * 64))
            self.known = _moved(self.known, np.empty((n_rows, self.n_words), np.uint64))

    def fill(self, plan: Plan, need: BoolArray, *, threads: int) -> IntArray:
        """(n_conditions,) the word row of each condition that is needed; those not there yet are computed."""
        if not self.kept:
            self.n_words_used = 1
        if len(self.word_of) == 1:
            at = np.full(len(plan.conditions), -1, dtype=np.int64)
            at[0] = 0
        else:
            at = np.array([self.word_of.get(text, -1) for text in plan.conditions], dtype=np.int64)
        new = need & (at < 0)
        if not new.any():
            return at
        pair, plane = plan.planes[:, 0], plan.planes[:, 1]
        compared, rest = (new & (pair >= 0)).nonzero()[0], (new & (pair < 0)).nonzero()[0]
        # Room for all of them at once: a matrix that grows is copied.
        self._reserve(2 * len(compared) + len(rest))
        pairs = pair[compared]
        at[compared] = self._compare(plan, _distinct(pairs), threads)[pairs] + plane[compared]
        at[rest] = self._new_words(len(rest)) + np.arange(len(rest))
        for place, node in plan.others.items():
            if new[place]:
                self.words[at[place]] = pack_holds(_holds(node, self.bars, self.values), self.n_words)
        steps: sweep.Table = plan.steps[new[plan.steps[:, 1]]]
        if len(steps):
            sweep.combine_words(self.words, _steps_on(steps, at))
        if self.kept:
            places = np.flatnonzero(new)
            self.word_of.update(zip(_chosen(plan.conditions, places), at[places].tolist(), strict=True))
        return at

    def _compare(self, plan: Plan, wanted: IntArray, threads: int) -> IntArray:
        """(n_pairs,) the word row of x > y, with that of y >= x behind it, for the pairs that are wanted."""
        at = np.full(len(plan.pairs), -1, dtype=np.int64)
        if self.pair_of:
            at[wanted] = [self.pair_of.get(plan.pairs[pair], -1) for pair in wanted.tolist()]
        new = wanted[at[wanted] < 0]
        if len(new):
            at[new] = self._new_words(2 * len(new)) + 2 * np.arange(len(new))
            if self.kept:
                self.pair_of.update(zip(_chosen(plan.pairs, new), at[new].tolist(), strict=True))
            operands = plan.pair_numbers[new]
            row_of = np.zeros(len(plan.numbers), dtype=np.int64)
            wanted_numbers = _distinct(operands).tolist()
            # At once, and no more than are missing: a matrix that grows is copied.
            missing = sum(plan.numbers[number].text not in self.row_of for number in wanted_numbers)
            self._make_room(len(self.row_of) + missing)
            for number in wanted_numbers:
                row_of[number] = self.row(plan.numbers[number])
            pairs = np.empty((len(new), 4), dtype=np.int64)
            pairs[:, :2] = row_of[operands]
            pairs[:, 2] = at[new]
            pairs[:, 3] = pairs[:, 2] + 1
            # Neighbours share their first row, which then stays in the nearest cache.
            pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
            sweep.compare(self.rows, self.known, pairs, self.words, threads=threads)
        return at

    def _new_words(self, n: int) -> int:
        """The first of `n` new word rows."""
        self._reserve(n)
        first = self.n_words_used
        self.n_words_used += n
        return first

    def _reserve(self, n: int) -> None:
        if self.n_words_used + n > len(self.words):
            n_rows = max(2 * len(self.words), self.n_words_used + n)
            self.words = _moved(self.words, np.empty((n_rows, self.n_words), np.uint64))
            self.words[0] = 0  # the condition that never holds


def _holds(node: Node, bars: Bars, values: EvaluationCache) -> BoolArray:
    """(n_bars,) where a condition is known to hold."""
    if node.op == BOOLEAN:
        return np.full(bars.n_bars, bool(node.value))
    if node.op == NOT:
        return np.asarray(truth(node.args[0], bars, values)[:, 0] == FALSE)
    return np.asarray(truth(node, bars, values)[:, 0] == TRUE)


def _steps_on(steps: sweep.Table, at: IntArray) -> sweep.Table:
    """Steps of a plan with the rows of its conditions in place of their places; a count stays what it is."""
    counted = steps[:, 0] == sweep.RUN
    found = steps.copy()
    found[:, 1:] = at[np.where(counted[:, None] & (np.arange(1, 4) == 3), 0, steps[:, 1:])]
    found[counted, 3] = steps[counted, 3]
    return found


def _distinct(places: IntArray) -> IntArray:
    """Each place once, ascending; of small numbers, for which counting is far cheaper than sorting."""
    return np.bincount(places.ravel()).nonzero()[0]


def _chosen(items: Sequence[Any], places: IntArray) -> Sequence[Any]:
    return items if len(places) == len(items) else [items[place] for place in places.tolist()]


def _column(values: FloatArray) -> FloatArray:
    """The first asset's, read-only in any case, so that numba sees one type and compiles once."""
    column = values[:, 0]
    column.setflags(write=False)
    return column


def _moved(rows: np.ndarray[Any, Any], room: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows in their new room, the rest of which is not even touched; the first one is not copied."""
    room[1 : len(rows)] = rows[1:]
    return room


def pack_holds(holds: np.ndarray[Any, Any], n_words: int) -> sweep.Words:
    """(n_bars,) truth as bits, 64 bars a word."""
    flags = np.zeros(n_words * 8, np.uint8)
    packed = np.packbits(holds, bitorder="little")
    flags[: len(packed)] = packed
    return flags.view("<u8").astype(np.uint64)


N_METRICS = 6


def simulate_plan(
    plan: Plan, chosen: IntArray, bars: Bars, windows: Sequence[Window], costs: CostModel, capital: float,
    cache: PopulationCache | None, threads: int,
) -> FloatArray:  # fmt: skip
    """(n_chosen, n_windows, N_METRICS) of some candidates of a plan, in the order of the fields of `GateMetrics`."""
    spans = np.array([(window.start, window.stop) for window in windows], dtype=np.int64).reshape(-1, 2)
    n_bars = (spans[:, 1] - spans[:, 0]).astype(float)
    rates = rates_of(bars, costs, capital)
    out = np.empty((len(chosen), len(windows), N_METRICS))
    # Alike ones in one block: what they have in common is found there once. T0 looks for nothing of the kind.
    plain = bool(plan.all_in[chosen].all())
    order = np.arange(len(chosen)) if plain else sweep.alike(plan.whole[chosen], plan.real[chosen])

    def simulate_in(store: Store, block: slice, threads: int) -> None:
        some = chosen[order[block]]
        whole, real = placed(plan, some, store, threads=threads), plan.real[some]
        swept = sweep.sweep(
            store.prices, store.rows, store.words, whole, real, spans, rates, never=0, threads=threads
        )  # fmt: skip
        out[order[block]] = gate_rows(swept, n_bars, bars.periods_per_year)

    if cache is not None:
        for block in _slices(len(chosen), _block_size(bars, cache)):
            simulate_in(cache.store(bars), block, threads)
        return out
    store = Store(bars, EvaluationCache(), kept=False)
    store.add_numbers(plan)
    blocks = _slices(len(chosen), _UNKEPT_BLOCK)
    if threads == 1 or len(blocks) < 2 * threads:
        for block in _slices(len(chosen), _UNKEPT_BLOCK * threads):
            simulate_in(store, block, threads)
        return out
    # A thread takes a block through all stages: each of them alone is too short to be shared.
    free: SimpleQueue[Store] = SimpleQueue()
    for _ in range(threads):
        free.put(store.twin())

    def run(block: slice) -> None:
        own = free.get()
        simulate_in(own, block, 1)
        free.put(own)

    with ThreadPoolExecutor(threads) as pool:
        # The list makes an exception of a block one of this call.
        list(pool.map(run, blocks))
    return out


def _slices(n: int, size: int) -> list[slice]:
    return [slice(begin, begin + size) for begin in range(0, n, size)]


def rates_of(bars: Bars, costs: CostModel, capital: float) -> sweep.Rates:
    """The costs as the kernels read them, a bar of this market."""
    return sweep.Rates(
        capital, costs.adverse, costs.commission,
        costs.borrow_annual / bars.periods_per_year, costs.financing_annual / bars.periods_per_year,
    )  # fmt: skip


def placed(plan: Plan, chosen: IntArray, store: Store, *, threads: int = 1) -> sweep.Table:
    """The whole-number part of some candidates with the rows of a store, which then holds all that they need."""
    word_of = store.fill(plan, plan.needed(chosen), threads=threads)
    whole = plan.whole[chosen]
    places = whole[:, _CONDITIONS]
    places[:] = word_of[places]
    places = whole[:, _NUMBERS]
    if places.any():
        row_of = np.zeros(len(plan.numbers), dtype=np.int64)
        for number in _distinct(places).tolist():
            row_of[number] = store.row(plan.numbers[number]) if number else 0
        places[:] = row_of[places]
    return whole


_CONDITIONS = slice(sweep.ENTER_LONG, sweep.EXIT_SHORT + 1)
_NUMBERS = slice(sweep.SIZE_ROW, sweep.TARGET_ROW + 1, sweep.STOP_ROW - sweep.SIZE_ROW)


def gate_rows(swept: FloatArray, n_bars: FloatArray, periods_per_year: float) -> FloatArray:
    """(..., N_METRICS) in the order of the fields of `GateMetrics`, from (..., N_OUT) that `sweep.sweep` gives."""
    total, squares = swept[..., sweep.RETURN_SUM], swept[..., sweep.RETURN_SQUARES]
    out = np.empty((*swept.shape[:-1], N_METRICS))
    out[..., 0] = swept[..., sweep.FINAL_EQUITY]
    out[..., 1] = swept[..., sweep.N_TRADES]
    out[..., 2] = mean = total / n_bars
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        out[..., 3] = np.maximum(squares - total * mean, 0.0) / np.where(n_bars > 1, n_bars - 1.0, np.nan)
        deviation = np.sqrt(out[..., 3])
        out[..., 4] = np.where(deviation > FLAT, mean / deviation, np.nan) * np.sqrt(periods_per_year)
    out[..., 5] = swept[..., sweep.WORST] - 1.0
    out[~np.isfinite(out[..., 0])] = np.nan
    return out


def gate_row(result: BacktestResult) -> tuple[float, ...]:
    """The fields of `GateMetrics` of one result."""
    variance = float(result.returns.var(ddof=1)) if result.window.n_bars > 1 else np.nan
    return (
        float(result.equity[-1]), float(len(result.trades)), float(result.returns.mean()), variance,
        result.metrics["sharpe_ratio"], result.metrics["max_drawdown"],
    )  # fmt: skip


def gates_of_curves(curves: FloatArray, n_trades: FloatArray, capital: float, periods_per_year: float) -> FloatArray:
    """(n_curves, 1, N_METRICS) of some equity curves (n_curves, n_bars) that begin with `capital`."""
    n_bars = curves.shape[1]
    before = np.column_stack((np.full(len(curves), capital), curves[:, :-1]))
    # A ruined account stays at 0 and returns 0, not 0/0.
    returns = np.divide(curves - before, before, out=np.zeros(curves.shape), where=before > 0.0)
    rows = np.empty((len(curves), 1, N_METRICS))
    rows[:, 0, 0] = curves[:, -1]
    rows[:, 0, 1] = n_trades
    rows[:, 0, 2] = returns.mean(axis=1)
    rows[:, 0, 3] = returns.var(axis=1, ddof=1) if n_bars > 1 else np.nan
    deviation = np.sqrt(rows[:, 0, 3])
    with np.errstate(divide="ignore", invalid="ignore"):
        rows[:, 0, 4] = np.where(deviation > FLAT, rows[:, 0, 2] / deviation, np.nan) * np.sqrt(periods_per_year)
    peaks = np.maximum.accumulate(curves, axis=1)
    rows[:, 0, 5] = np.minimum((curves / np.maximum(peaks, capital)).min(axis=1) - 1.0, 0.0)
    rows[~np.isfinite(rows[:, 0, 0])] = np.nan
    return rows


def as_metrics(rows: FloatArray) -> GateMetrics:
    """The last axis of (..., N_METRICS) as names."""
    return GateMetrics(*(np.ascontiguousarray(rows[..., column]) for column in range(N_METRICS)))


def words_of_few(plan: Plan, bars: Bars) -> tuple[sweep.Words, sweep.Table]:
    """All conditions of a plan on bars of which nothing is known yet nor kept, and its candidates, which point to them.

    Numbers are compared as they were computed. A row of its own, as in a `Store`, pays where a number is compared again
    and again; here it would cost more than the comparison.
    """
    at, steps, whole = plan.side_by_side
    words = np.empty((1 + 2 * len(plan.pairs) + len(plan.conditions), -(-bars.n_bars // 64)), np.uint64)
    words[0] = 0
    values = LoneCache()
    # The first of the numbers is never read.
    columns = [_column(numbers(node, bars, values)) for node in plan.numbers[1:]]
    for pair, (x, y) in enumerate(plan.pair_numbers.tolist()):
        sweep.compare_columns(columns[x - 1], columns[y - 1], words[1 + 2 * pair], words[2 + 2 * pair])
    for place, node in plan.others.items():
        words[at[place]] = pack_holds(_holds(node, bars, values), words.shape[1])
    if len(steps):
        sweep.combine_words(words, steps)
    return words, whole


def _shared_account(
    spec: PortfolioSpec, bars: Bars, windows: Sequence[Window], costs: CostModel, capital: float,
    values: EvaluationCache, terms: Terms,
) -> FloatArray | None:  # fmt: skip
    """(n_windows, N_METRICS) of a portfolio whose account `engine_shared` knows, without a curve or a trade to keep.

    Its targets stay rows of the bars that rebalance, and nobody asks what a trade went through while it was held.
    """
    kept = TargetDecisions(np.broadcast_to(np.nan, bars.close.shape), band=spec.rebalance.band)
    market = inputs.market(Signals(spec.name, bars, kept), costs, terms)
    orders = TargetOrders(kept.target, kept.band, np.inf, np.inf, np.inf, 0.0, 0)
    spans = [inputs.conditions(bars, costs, terms, window, capital, False) for window in windows]
    if not all(engine_shared.knows(market, span, orders, complete=bars.complete) for span in spans):
        return None
    every = spec.rebalance.every_bars
    orders = orders._replace(target=inputs.ready(portfolio_rows(spec, derived_nodes(spec), bars, values)))
    out = np.empty((len(windows), N_METRICS))
    for i, span in enumerate(spans):
        books = engine_shared.run_targets(market, span, orders, every=every)
        trades = np.array([float(len(books.whole))])
        out[i] = gates_of_curves(books.equity[None, :], trades, capital, bars.periods_per_year)[0, 0]
    return out


# Candidates at a time and thread where nothing is kept: their conditions stay near.
_UNKEPT_BLOCK = 1024


def _block_size(bars: Bars, cache: PopulationCache) -> int:
    """How many candidates at a time, so that their conditions (about four words rows each) fit into the cache."""
    return max(64, cache.max_bytes // 4 // (4 * 8 * -(-bars.n_bars // 64)))


def _is_simple(bars: Bars, costs: CostModel, terms: Terms) -> bool:
    """Whether the kernels know these bars, costs and terms: one asset, no missing bar, nothing they never heard of."""
    return bars.n_assets == 1 and terms.plain and not says_more(costs) and bars.complete


@lru_cache(maxsize=64)
def says_more(costs: CostModel) -> bool:
    """Whether there are costs that the kernels never heard of."""
    return any(getattr(costs, field.name) != 0 for field in fields(costs) if field.name not in _KNOWN_COSTS)


def check_asked(bars: Bars, windows: Sequence[Window], capital: float) -> None:
    """Refuse windows outside the bars, and capital that is not positive (UsageError)."""
    for window in windows:
        if not 0 <= window.start < window.stop <= bars.n_bars:
            raise UsageError(
                f"the window {window.start}..{window.stop} does not lie inside the bars 0..{bars.n_bars}",
                next_step="choose a start below the stop, both within the bars",
            )
    if not 0.0 < capital < np.inf:
        raise UsageError(f"capital is {capital!r}, it has to be positive", next_step="give the size of the account")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps the garbage collector from walking hundreds of thousands of new objects, all of which are in use."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Population:
    """Some rules, ready to be judged together on any bars.

    Made by `from_specs`, or by `from_configs` from configurations that a `load_spec` has accepted before.
    """

    def __init__(self, keys: Sequence[RuleKey | None], sources: Sequence[Any], reader: Reader) -> None:
        self._keys = tuple(keys)
        self._sources = tuple(sources)
        simple: dict[RuleKey, int] = {}
        # Where each candidate's rule stands among the distinct ones; -1 for those that only the engine knows.
        self._at = np.array(
            [-1 if key is None else simple.setdefault(key, len(simple)) for key in self._keys], dtype=np.int64
        )
        self._distinct = tuple(simple)
        self.plan = plan_of(self._distinct, reader)

    @classmethod
    def from_specs(cls, specs: Iterable[Spec], *, reader: Reader | None = None) -> "Population":
        """A population of specs."""
        reader = Reader() if reader is None else reader
        reader.trim()
        specs = tuple(specs)
        keys = [reader.key(spec.rule()) if isinstance(spec, RulesSpec) else None for spec in specs]
        return cls(keys, specs, reader)

    @classmethod
    def from_configs(
        cls, configs: Iterable[Mapping[str, Any] | str | bytes], *, reader: Reader | None = None
    ) -> "Population":
        """A population of configurations, as mappings or JSON, that a `load_spec` has accepted before.

        Bounds are not checked again; a `reader` that is kept remembers the texts it has read.

        Raises:
            InvalidConfig: a configuration that is not legal after all.
        """
        reader = Reader() if reader is None else reader
        reader.trim()
        with _no_collection():
            read = [json.loads(config) if isinstance(config, str | bytes) else config for config in configs]
            return cls([reader.key(config) for config in read], read, reader)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def places(self) -> IntArray:
        """(n_candidates,) where each stands in `plan`; -1 for those that only the engine itself can simulate."""
        return self._at

    @property
    def n_general(self) -> int:
        """How many candidates only the engine itself can simulate."""
        return int((self._at < 0).sum())

    def spec(self, candidate: int) -> Spec:
        """The spec of a candidate."""
        source = self._sources[candidate]
        if not isinstance(source, Mapping):
            spec: Spec = source
            return spec
        read = load_spec(source, origin=f"candidate {candidate}")
        if isinstance(read, list):
            raise InvalidConfig(
                "; ".join(map(str, read)), next_step="check the configuration before it joins a population"
            )
        return read

    def evaluate(
        self,
        bars: Bars,
        windows: Sequence[Window],
        costs: CostModel,
        *,
        capital: float = CAPITAL,
        cache: PopulationCache | None = None,
        threads: int = 1,
        terms: Terms = CASH,
    ) -> GateMetrics:
        """Gate metrics of every candidate in every window, flat at its first bar.

        Args:
            bars: of one asset; on a panel every candidate has one account for all symbols, and they go one by one.
            windows: each inside the bars; they may overlap.
            cache: kept over generations by the caller; the result does not depend on it.
            threads: at most this many; small work uses one. The result does not depend on it.
            terms: the conventions of the market; with any that are not those of a cash account in shares every
                candidate goes through the engine.

        Raises:
            UsageError: a window outside the bars, or capital that is not positive; or what `simulate` refuses.
        """
        check_asked(bars, windows, capital)
        simple = _is_simple(bars, costs, terms)
        out = np.empty((len(self), len(windows), N_METRICS))
        if simple and self._distinct:
            rows = self._rows(bars, windows, costs, float(capital), cache, threads)
            out[self._at >= 0] = rows[self._at[self._at >= 0]]
        for candidate in np.flatnonzero(self._at < 0) if simple else range(len(self)):
            out[candidate] = self._general(int(candidate), bars, windows, costs, capital, cache, terms)
        if cache is not None:
            cache.trim()
        return as_metrics(out)

    def evaluate_each(
        self, markets: Sequence[Bars], windows: Sequence[Window], costs: CostModel, *,
        capital: float = CAPITAL, threads: int = 1, terms: Terms = CASH,
    ) -> list[GateMetrics]:  # fmt: skip
        """As `evaluate`, on each of several markets, an account for every candidate and market.

        Args:
            markets: one asset each; every window lies inside all of them.
            threads: at most this many, a market at a time each. The result does not depend on it.
        """

        def on(bars: Bars) -> GateMetrics:
            return self.evaluate(bars, windows, costs, capital=capital, terms=terms)

        if threads == 1 or len(markets) < 2:
            return [on(bars) for bars in markets]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(on, markets))

    def report(
        self, candidate: int, bars: Bars, window: Window, costs: CostModel, *, capital: float = CAPITAL,
        cache: PopulationCache | None = None, terms: Terms = CASH,
    ) -> BacktestResult:  # fmt: skip
        """The full report of one candidate, by the engine itself."""
        values = EvaluationCache() if cache is None else cache.values
        signals = TradingStrategy(self.spec(candidate)).generate_signals(bars, cache=values)
        return simulate(signals, costs, window=window, capital=capital, terms=terms)

    def reports(
        self, candidates: Sequence[int], bars: Bars, window: Window, costs: CostModel, *,
        capital: float = CAPITAL, cache: PopulationCache | None = None, threads: int = 1, terms: Terms = CASH,
    ) -> Reports:  # fmt: skip
        """The full reports of some candidates: curve, trades and every metric, as columns.

        Trades and equity are those of `report` bit for bit; the metrics agree to about 1e-12.

        Raises:
            UsageError: as `evaluate`.
        """
        check_asked(bars, [window], capital)
        sources = [self._sources[candidate] for candidate in candidates]
        names = [source["name"] if isinstance(source, Mapping) else source.name for source in sources]
        at = self._at[list(candidates)]
        held: dict[int, HeldReport] = {}
        if _is_simple(bars, costs, terms):
            chosen = _distinct(at[at >= 0])
            chosen = chosen[self.plan.all_in[chosen]]
            if cache is None and len(chosen) == len(self.plan.whole) and len(self.plan.pairs) < len(self.plan.numbers):
                prices = prices_of(bars)
                words, whole = words_of_few(self.plan, bars)
            else:
                cache = PopulationCache() if cache is None else cache
                store = cache.store(bars)
                whole = placed(self.plan, chosen, store, threads=threads)
                prices, words = store.prices, store.words
            made = held_reports(
                prices, words, whole, self.plan.real[chosen], window, rates_of(bars, costs, float(capital)),
                float(bars.periods_per_year),
            )  # fmt: skip
            held = dict(zip(chosen.tolist(), made, strict=True))
        found = [
            held.get(place) or self.report(candidate, bars, window, costs, capital=capital, cache=cache, terms=terms)
            for candidate, place in zip(candidates, at.tolist(), strict=True)
        ]
        return Reports(names, found, bars, window, costs, float(capital))

    def streams(
        self, candidates: Sequence[int], bars: Bars, window: Window, costs: CostModel, *,
        capital: float = CAPITAL, cache: PopulationCache | None = None, terms: Terms = CASH,
    ) -> FloatArray:  # fmt: skip
        """(n_candidates, n_bars of the window) returns a bar of those that are asked for."""
        cache = PopulationCache() if cache is None else cache
        out = np.empty((len(candidates), window.n_bars))
        for i, candidate in enumerate(candidates):
            found = self.report(candidate, bars, window, costs, capital=capital, cache=cache, terms=terms)
            out[i] = found.returns
        return out

    def _rows(
        self, bars: Bars, windows: Sequence[Window], costs: CostModel, capital: float,
        cache: PopulationCache | None, threads: int,
    ) -> FloatArray:  # fmt: skip
        """(n_distinct, n_windows, N_METRICS) of the rules that the kernels know."""
        everything = np.arange(len(self._distinct))
        if cache is None:
            return simulate_plan(self.plan, everything, bars, windows, costs, capital, None, threads)
        occasion = (bars.bars_id, tuple((window.start, window.stop) for window in windows), costs, capital)
        known = cache.metrics(occasion)
        missing = np.array([at for at, key in enumerate(self._distinct) if key not in known], dtype=np.int64)
        found = simulate_plan(self.plan, missing, bars, windows, costs, capital, cache, threads)
        known.update((self._distinct[at], row) for at, row in zip(missing.tolist(), found, strict=True))
        return found if len(missing) == len(everything) else np.array([known[key] for key in self._distinct])

    def _general(
        self, candidate: int, bars: Bars, windows: Sequence[Window], costs: CostModel, capital: float,
        cache: PopulationCache | None, terms: Terms,
    ) -> FloatArray:  # fmt: skip
        values = EvaluationCache() if cache is None else cache.values
        spec = self.spec(candidate)
        if isinstance(spec, PortfolioSpec) and spec.halt is None and spec.limits is None:
            found = _shared_account(spec, bars, windows, costs, capital, values, terms)
            if found is not None:
                return found
        out = np.empty((len(windows), N_METRICS))
        signals = TradingStrategy(spec).generate_signals(bars, cache=values)
        for i, window in enumerate(windows):
            result = simulate(signals, costs, window=window, capital=capital, terms=terms)
            out[i] = gate_row(result)
        return out


@dataclass(frozen=True, eq=False)
class Job:
    """One evaluation, to be run in blocks of configurations, wherever an executor runs them.

    Attributes:
        bars, windows, costs, capital, terms: as in `Population.evaluate`.
        threads: of each worker; 1 where there is a worker a core.
    """

    bars: Bars
    windows: tuple[Window, ...]
    costs: CostModel
    capital: float = CAPITAL
    threads: int = 1
    terms: Terms = CASH

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> GateMetrics:
        """One block: configurations that a `load_spec` has accepted."""
        population = Population.from_configs(configs)
        return population.evaluate(
            self.bars, self.windows, self.costs, capital=self.capital, threads=self.threads, terms=self.terms
        )


def evaluate_in_blocks(
    job: Job, configs: Sequence[Mapping[str, Any]], executor: Executor, *, block_size: int
) -> GateMetrics:
    """`Population.evaluate` over blocks of configurations; the same bytes for any executor and any block size."""
    blocks = [configs[at : at + block_size] for at in range(0, len(configs), block_size)]
    found = executor.map_blocks(job, blocks)
    names = GateMetrics.__dataclass_fields__
    return GateMetrics(*(np.concatenate([getattr(metrics, name) for metrics in found]) for name in names))
