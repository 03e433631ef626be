"""Accounts: many rules on every symbol of a panel, an account of its own for each rule and symbol.

What the population is for one market, for hundreds of them at once: the plan is laid out once, numbers are computed
for some symbols together, which then take a handful of compiled calls. Beside the gate metrics of every
account it gives what a desk sees that puts the same capital on every symbol with one rule: the mean of the accounts,
bar by bar. No capital moves between symbols; a portfolio that shares one account is a spec of its own kind.

What the kernels do not know (other kinds of rules, symbols with missing bars, costs that are not proportional) goes
through the engine account by account, which takes about a millisecond each. Nothing depends on threads: the symbols
are cut into the same blocks for any number of them, and added up in their order.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import local
from typing import NamedTuple

import numpy as np

from agents.strategy.expression.evaluate import LoneCache, numbers, truth
from agents.strategy.expression.nodes import BOOLEAN, NOT, Node
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.population import (
    N_METRICS,
    GateMetrics,
    Plan,
    Population,
    as_metrics,
    check_asked,
    gate_row,
    gate_rows,
    gates_of_curves,
    pack_holds,
    rates_of,
    says_more,
)
from agents.strategy.strategy import TradingStrategy
from agents.strategy.truth import FALSE, TRUE
from backtesting import accounts as kernels
from backtesting import sweep
from backtesting.backtest import CAPITAL, simulate
from backtesting.bars import PRICE_FIELDS, Bars, BoolArray, FloatArray, IntArray
from backtesting.costs import CostModel
from backtesting.reports import trade_room
from backtesting.splits import Window
from backtesting.terms import CASH, Terms

# Symbols whose numbers are computed together: enough for the kernels that take many side by side (see
# `kernels.rolling_mean`), few enough for the nearer caches.
_SYMBOLS = 32
# How many of their numbers are remembered, for others of which they are a part: each is asked for once, and what is
# forgotten soon leaves room to the next one that is still in the cache.
_KEPT_NUMBERS = 4
# Into how many jobs the symbols of a panel are cut, and so how many threads find work: each has curves of its own, and
# to add those up takes time as well.
_JOBS = 8
# Bytes of the numbers of one block above which it holds fewer symbols.
_BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class Accounts:
    """What the accounts of a population on the symbols of a panel came to.

    Attributes:
        symbols, window, capital: what was asked for; every account starts with `capital`.
        each: gate metrics, every array (n_candidates, n_symbols).
        curves: (n_candidates, n_bars of the window) mean over the symbols of the equity at every close.
        together: gate metrics of the curves, every array (n_candidates, 1); trades are those of all symbols.
    """

    symbols: tuple[str, ...]
    window: Window
    capital: float
    each: GateMetrics
    curves: FloatArray
    together: GateMetrics


def evaluate_accounts(
    population: Population, bars: Bars, window: Window, costs: CostModel, *,
    capital: float = CAPITAL, threads: int = 1, terms: Terms = CASH,
) -> Accounts:  # fmt: skip
    """Every rule of a population on every symbol of a panel.

    Each account is what `Population.evaluate` says of its rule on that symbol alone, with the same bytes.

    Args:
        bars: of any number of symbols; a rule sees one of them at a time, so functions of the cross-section see one.
        capital: of each account.
        threads: at most this many; the result does not depend on it.
        terms: the conventions of the market; with any that are not those of a cash account in shares every account
            goes through the engine.

    Raises:
        UsageError: a window outside the bars, or capital that is not positive; or what `simulate` refuses.
    """
    check_asked(bars, [window], capital)
    run = _Run(population, bars, window, costs, float(capital), terms)
    # Each job adds its symbols up; how many there are depends on the panel alone.
    size = max(_SYMBOLS, -(-bars.n_assets // _JOBS))
    jobs = [(first, min(first + size, bars.n_assets)) for first in range(0, bars.n_assets, size)]
    rows = np.empty((bars.n_assets, len(population), N_METRICS))
    known = np.zeros((2, len(run.layout.whole), window.n_bars))
    curves = np.zeros((len(population), window.n_bars))
    for (first, last), found in zip(jobs, _in_order(run, jobs, threads), strict=True):
        rows[first:last] = found.rows
        known += found.known
        curves += found.others
    held, cash_steps = known
    at = population.places
    curves[at >= 0] += (held + np.cumsum(cash_steps, axis=1))[at[at >= 0]]
    curves /= bars.n_assets
    return Accounts(
        bars.symbols, window, float(capital),
        each=as_metrics(rows.transpose(1, 0, 2)),
        curves=curves,
        together=as_metrics(gates_of_curves(curves, rows[:, :, 1].sum(axis=0), float(capital), bars.periods_per_year)),
    )  # fmt: skip


class Found(NamedTuple):
    """What the accounts on some symbols came to.

    rows: (n_symbols, n_candidates, N_METRICS). known: (2, n_distinct, n_bars) sums over the symbols, of what the
    distinct rules that the kernels know hold, and of the steps of their cash. others: (n_candidates, n_bars) sums of
    the curves of all others, 0 if there are none.
    """

    rows: FloatArray
    known: FloatArray
    others: FloatArray | float


def _in_order(run: "_Run", jobs: Sequence[tuple[int, int]], threads: int) -> Iterator[Found]:
    if threads == 1 or len(jobs) < 2:
        yield from map(run, jobs)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(run, jobs)


class _Layout(NamedTuple):
    """Where every number and condition of a plan stands, the same for all symbols.

    numbers: the rows by place, the first of them never read; the prices have those behind. pairs, steps, whole: as the
    kernels of `sweep` read them; are_rows: 1 where a number of `steps` is a row, else 0. others: conditions that are
    evaluated one by one, with their row. fast: the candidates of T0; slow: the other simulators with theirs.
    """

    numbers: tuple[Node, ...]
    prices: tuple[str, ...]
    n_words: int
    pairs: sweep.Table
    steps: sweep.Table
    are_rows: IntArray
    others: tuple[tuple[int, Node], ...]
    whole: sweep.Table
    real: FloatArray
    fast: IntArray
    slow: tuple[tuple[int, IntArray], ...]

    def symbols_at_once(self, n_bars: int) -> int:
        return max(1, min(_SYMBOLS, _BLOCK_BYTES // (8 * (len(self.numbers) + len(self.prices)) * n_bars)))


def _layout(plan: Plan, n_bars: int) -> _Layout:
    n_conditions, pair, plane = len(plan.conditions), plan.planes[:, 0], plan.planes[:, 1]
    # Both planes of a comparison stand behind all conditions.
    at = np.where(pair >= 0, n_conditions + 2 * pair + plane, np.arange(n_conditions))
    first = n_conditions + 2 * np.arange(len(plan.pairs))
    pairs = np.column_stack((plan.pair_numbers, first, first + 1))
    are_rows = np.ones_like(plan.steps)
    are_rows[:, 0] = 0
    are_rows[plan.steps[:, 0] == sweep.RUN, 3] = 0
    steps = np.where(are_rows, at[plan.steps * are_rows], plan.steps)
    whole = plan.whole.copy()
    whole[:, sweep.ENTER_LONG : sweep.EXIT_SHORT + 1] = at[whole[:, sweep.ENTER_LONG : sweep.EXIT_SHORT + 1]]
    simulator = sweep.simulator_of(plan.whole, plan.real, never=0)
    if n_bars > sweep.MAX_TABLE_BARS:
        simulator = np.maximum(simulator, sweep.T1_LONG)
    fast, *slow = (np.flatnonzero(simulator == kind) for kind in (sweep.T0, sweep.T1_LONG, sweep.T1))
    slow[0] = slow[0][sweep.alike(whole[slow[0]], plan.real[slow[0]])]
    return _Layout(
        # T0 reads no range.
        plan.numbers, ("open", "close") if len(fast) == len(whole) else ("open", "close", "high", "low"),
        n_conditions + 2 * len(plan.pairs),
        # Neighbours share their first row, which then stays in the nearest cache.
        pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], steps, are_rows,
        tuple((int(at[place]), node) for place, node in plan.others.items()),
        whole, plan.real, fast,
        tuple((kind, some) for kind, some in zip((sweep.T1_LONG, sweep.T1), slow, strict=True) if len(some)),
    )  # fmt: skip


def _sees_others(node: Node) -> bool:
    function = FUNCTIONS.get(node.op)
    across = function is not None and function.family == "cross_section"
    return across or any(_sees_others(arg) for arg in node.args)


class _Run:
    """One call of `evaluate_accounts`: the accounts of a block of symbols, and the sum of their curves."""

    def __init__(
        self, population: Population, bars: Bars, window: Window, costs: CostModel, capital: float, terms: Terms
    ) -> None:
        self.terms = terms
        self.population, self.bars, self.window, self.costs, self.capital = population, bars, window, costs, capital
        self.rates = rates_of(bars, costs, capital)
        self.span = np.array([[window.start, window.stop]], dtype=np.int64)
        self.layout = _layout(population.plan, bars.n_bars)
        self.alone = any(map(_sees_others, (*self.layout.numbers[1:], *(node for _, node in self.layout.others))))
        # Which symbols the kernels know.
        self.simple = np.full(bars.n_assets, terms.plain and not says_more(costs)) & np.isfinite(bars.close).all(axis=0)
        # Rows and words of one thread, written over by each block: memory that is warm already.
        self._room = local()

    def __call__(self, job: tuple[int, int]) -> Found:
        n_candidates, n_distinct, n_bars = len(self.population), len(self.layout.whole), self.window.n_bars
        at = self.population.places
        rows = np.empty((job[1] - job[0], n_candidates, N_METRICS))
        known = np.zeros((2, n_distinct, n_bars))
        rest: FloatArray | float = 0.0
        if n_distinct and self.simple[slice(*job)].any():
            swept = np.full((len(rows), n_distinct, sweep.N_OUT), np.nan)
            size = 1 if self.alone else self.layout.symbols_at_once(self.bars.n_bars)
            for first in range(*job, size):
                last = min(first + size, job[1])
                self._sweep(first, last, swept[first - job[0] : last - job[0]], *known)
            found = gate_rows(swept, np.array(float(n_bars)), self.bars.periods_per_year)
            rows[:, at >= 0] = found[:, at[at >= 0]]
        for k in range(*job):
            unknown = at < 0 if self.simple[k] else np.ones(n_candidates, dtype=np.bool_)
            if unknown.any():
                rest = np.zeros((n_candidates, n_bars)) if isinstance(rest, float) else rest
                alone = self.bars.between(k, k + 1)
                self._engine(alone, _of_asset(self.terms, k), np.flatnonzero(unknown), rows[k - job[0]], rest)
        return Found(rows, known, rest)

    def _sweep(self, first: int, last: int, swept: FloatArray, held: FloatArray, cash_steps: FloatArray) -> None:
        """The known candidates on some symbols: (n_symbols, n_distinct, N_OUT), and their curves added up."""
        layout, window, rates = self.layout, self.window, self.rates
        part, simple = self.bars.between(first, last), np.flatnonzero(self.simple[first:last])
        n_words = -(-part.n_bars // 64)
        rows, known, words, out, trades = self._buffers(part.n_assets, n_words)
        cache = LoneCache(_KEPT_NUMBERS * part.close.nbytes)
        for place in range(1, len(layout.numbers)):
            kernels.put_columns(numbers(layout.numbers[place], part, cache), rows, known, place)
        at = dict(zip(layout.prices, range(len(layout.numbers), rows.shape[1]), strict=True))
        for name, place in at.items():
            kernels.put_columns(getattr(part, name), rows, known, place)
        for row, node in layout.others:
            holds = _holds(node, part, cache)
            for k in simple.tolist():
                words[k, row] = pack_holds(holds[:, k], n_words)
        # Symbol by symbol as one table of rows.
        each = simple[:, None, None]
        flat = words.reshape(-1, n_words)
        pairs = layout.pairs + each * np.array([rows.shape[1], rows.shape[1], words.shape[1], words.shape[1]])
        sweep.compare_rows(rows.reshape(-1, rows.shape[2]), known.reshape(-1, n_words), pairs.reshape(-1, 4), flat)
        if len(layout.steps):
            steps = layout.steps + each * words.shape[1] * layout.are_rows
            sweep.combine_words(flat, steps.reshape(-1, 4))
        if len(layout.fast):
            prices = rows.view()
            prices.setflags(write=False)
            sweep.simulate_t0_each(
                prices, at["open"], at["close"], part.n_bars, words, layout.whole, layout.fast, simple, self.span,
                rates.capital, rates.adverse, rates.commission, swept[:, :, None],
            )  # fmt: skip
        for k in simple.tolist() if len(layout.slow) else ():
            open_, high, low, close = (rows[k, at[name], : part.n_bars] for name in PRICE_FIELDS)
            asset = sweep.prices_of(open_, high, low, close)
            for simulator, chosen in layout.slow:
                sweep.simulate_block(
                    asset, rows[k], words[k], layout.whole, layout.real, chosen, self.span, rates, simulator, out,
                    *_NO_TRADES,
                )  # fmt: skip
                swept[k, chosen] = out[chosen, 0]
                for candidate in chosen.tolist():
                    sweep.simulate_block(
                        asset, rows[k], words[k], layout.whole, layout.real, np.array([candidate]), self.span, rates,
                        simulator, out, *trades,
                    )  # fmt: skip
                    kernels.add_traded(
                        asset.close, *trades, int(out[candidate, 0, sweep.N_TRADES]), window.start, window.stop,
                        rates.capital, rates.commission, rates.borrow, rates.financing, held[candidate],
                    )  # fmt: skip
        if len(layout.fast):
            kernels.add_held(
                rows, at["open"], at["close"], words, layout.whole, layout.fast, simple, window.start, window.stop,
                rates.capital, rates.adverse, rates.commission, held, cash_steps,
            )  # fmt: skip

    def _buffers(
        self, n_symbols: int, n_words: int
    ) -> tuple[FloatArray, sweep.Words, sweep.Words, FloatArray, tuple[IntArray, FloatArray]]:
        made = getattr(self._room, "made", None)
        if made is None or len(made[0]) < n_symbols:
            n_rows = len(self.layout.numbers) + len(self.layout.prices)
            made = (
                sweep.number_rows(n_symbols, n_rows, n_words * 64),
                np.empty((n_symbols, n_rows, n_words), np.uint64),
                np.zeros((n_symbols, self.layout.n_words, n_words), np.uint64),
                np.empty((len(self.layout.whole), 1, sweep.N_OUT)),
                trade_room(self.window),
            )
            self._room.made = made
        rows, known, words, out, trades = made
        return rows[:n_symbols], known[:n_symbols], words[:n_symbols], out, trades

    def _engine(self, bars: Bars, terms: Terms, candidates: IntArray, rows: FloatArray, curves: FloatArray) -> None:
        cache = LoneCache()
        for candidate in candidates.tolist():
            strategy = TradingStrategy(self.population.spec(candidate))
            signals = strategy.generate_signals(bars, cache=cache)
            result = simulate(signals, self.costs, window=self.window, capital=self.capital, terms=terms)
            rows[candidate] = gate_row(result)
            curves[candidate] += result.equity


_NO_TRADES = (np.empty((0, 4), np.int64), np.empty((0, 5)))


def _of_asset(terms: Terms, asset: int) -> Terms:
    """The terms of one asset of a panel."""

    def own(value: float | tuple[float, ...]) -> float:
        return value[asset] if isinstance(value, tuple) else value

    return replace(terms, multiplier=own(terms.multiplier), lot=own(terms.lot))


def _holds(node: Node, bars: Bars, cache: LoneCache) -> BoolArray:
    if node.op == BOOLEAN:
        return np.full(bars.close.shape, bool(node.value))
    if node.op == NOT:
        return np.asarray(truth(node.args[0], bars, cache) == FALSE)
    return np.asarray(truth(node, bars, cache) == TRUE)
