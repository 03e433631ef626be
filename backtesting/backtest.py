"""Backtest: decisions and costs in, a full and honest report out.

`simulate` is the one path from `Signals` to a `BacktestResult`; the evaluation, the gates, the monitor and the
command line all come through here. It checks what it is given and then lets a compiled engine run: a fast one for one
asset on plain terms, a fast one for targets of several assets on plain terms, the general one for everything else;
where two could run they give the same bytes.
It never chooses costs for a caller, never fetches, never fills a gap in the data.
"""

import math
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backtesting import engine_shared, inputs
from backtesting.bars import Bars, FloatArray
from backtesting.costs import LIQUID_INDEX, CostModel
from backtesting.decisions import Signals
from backtesting.engine import excursions, simulate_signals, simulate_targets
from backtesting.errors import UsageError
from backtesting.inputs import Books, Conditions, Market, SignalOrders, TargetOrders
from backtesting.kernel import start_numba
from backtesting.result import BacktestResult, Trades
from backtesting.splits import Window
from backtesting.summary import summary
from backtesting.terms import CASH, Terms

CAPITAL = 1_000_000.0


class Strategy(Protocol):
    """Whatever can be judged: it has a name, says how many bars it needs first, and decides from bars alone.

    `generate_signals` is pure and causal: on `bars.upto(t)` it gives the first t decisions it gives on `bars`.
    """

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def warmup_bars(self) -> int:
        """How many bars have to pass before its decisions mean anything."""
        ...

    def generate_signals(self, bars: Bars, /) -> Signals:
        """One decision a bar, each from that bar and the ones before it."""
        ...


class Backtest:
    """A backtest with its settings fixed, to be run on the signals of any number of strategies.

    Args:
        costs: what trading costs. The short call `Backtest()` names none, so this is where it says which it uses:
            LIQUID_INDEX; the result carries the model in any case.
        capital: account at the start, in account currency.
        terms: the conventions of the market.
        window: the bars to trade in; None for all of them. `Signals` carry no warm-up, so leave out the warm-up
            of the strategy here if it should not count as flat days.
    """

    def __init__(
        self,
        costs: CostModel = LIQUID_INDEX,
        capital: float = CAPITAL,
        window: Window | None = None,
        terms: Terms = CASH,
    ) -> None:
        self.costs = costs
        self.capital = capital
        self.window = window
        self.terms = terms

    def run(self, signals: Signals) -> BacktestResult:
        """The full report; see `simulate` of this module."""
        return simulate(signals, self.costs, window=self.window, capital=self.capital, terms=self.terms)

    def simulate(self, signals: Signals) -> dict[str, float]:
        """The metrics alone, by name (`sharpe_ratio`, ...); NaN where undefined."""
        return dict(self.run(signals).metrics)


def simulate(
    signals: Signals,
    costs: CostModel,
    *,
    window: Window | None = None,
    capital: float = CAPITAL,
    terms: Terms = CASH,
    benchmark: FloatArray | None = None,
    keep_positions: bool = False,
) -> BacktestResult:
    """What the decisions would have done inside the window, flat at its start, marked at every close.

    The rules of time, fills, exits and ruin are those of `engine_reference.py`; docs/engine.md has them in prose.

    Args:
        signals: decisions with the bars they were made on; only decisions inside the window are used. On bars with
            one price a day the open repeats the close, so an order decided today fills at tomorrow's close.
        costs: written on the result.
        window: bars start to stop - 1; None for all bars. Leave out the warm-up of a strategy here.
        capital: account at the start, positive.
        terms: the conventions of the market; written on the result.
        benchmark: (n,) simple returns over the window for alpha, beta, information ratio and capture; None for none.
        keep_positions: whether the result holds the position of every asset at every close.

    Raises:
        UsageError: a window outside the bars, decisions of another shape or out of range, capital that is not
            positive, a feature or a volume that the bars do not have, a benchmark of another length or with NaN, or
            sizes so large that the account overflows.
    """
    bars = signals.bars
    window = Window(0, bars.n_bars) if window is None else window
    if not 0 <= window.start < window.stop <= bars.n_bars:
        raise UsageError(
            f"{signals.name}: the window {window.start}..{window.stop} does not lie inside the bars 0..{bars.n_bars}",
            next_step="choose a start below the stop, both within the bars",
        )
    if not 0.0 < capital < math.inf:
        raise UsageError(f"capital is {capital!r}, it has to be positive", next_step="give the size of the account")
    against = _benchmark(signals, window, benchmark)

    market = inputs.market(signals, costs, terms)
    conditions = inputs.conditions(bars, costs, terms, window, capital, keep_positions)
    orders = inputs.orders(signals)
    plain = bars.n_assets == 1 and costs.plain and terms.plain and signals.decisions.plain and not keep_positions
    if plain and not _long_gap(market.close[window.start : window.stop, 0], terms.delisted_after):
        books = _run_plain(market, conditions, orders)
    elif isinstance(orders, TargetOrders) and engine_shared.knows(market, conditions, orders, complete=bars.complete):
        books = engine_shared.run_targets(market, conditions, orders)
    else:
        books = _run_general(market, conditions, orders)

    if not np.isfinite(books.equity).all():
        at = bars.sessions[window.start + int(np.argmin(np.isfinite(books.equity)))]
        raise UsageError(
            f"{signals.name}: the account overflows at {at}", next_step="limit the position sizes, 1 is all of equity"
        )
    moves = excursions(market.high, market.low, books.whole, books.real, conditions.at_close)
    returns, metrics = summary(
        books.equity,
        books.gross,
        books.turnover,
        books.whole,
        books.real,
        moves,
        market.multiplier,
        against,
        float(bars.periods_per_year),
        books.costs_paid,
        float(capital),
    )
    for values in (books.equity, returns, books.exposure, books.turnover, books.positions):
        values.setflags(write=False)
    return BacktestResult(
        name=signals.name,
        bars_id=bars.bars_id,
        source=bars.source,
        window=window,
        costs=costs,
        capital=capital,
        sessions=bars.sessions[window.start : window.stop],
        equity=books.equity,
        returns=returns,
        exposure=books.exposure,
        turnover=books.turnover,
        trades=Trades(books.whole, books.real, moves, market.multiplier),
        costs_paid=books.costs_paid,
        metrics=MappingProxyType(metrics),
        terms=terms,
        unfilled=books.unfilled,
        positions=books.positions if keep_positions else None,
    )


def _run_plain(market: Market, conditions: Conditions, orders: SignalOrders | TargetOrders) -> Books:
    """The same as the general engine, ten times as fast, for what it cannot be told apart from."""
    account = (
        conditions.start,
        conditions.stop,
        conditions.capital,
        conditions.adverse,
        conditions.commission,
        conditions.borrow_rate,
        conditions.financing_rate,
    )
    opened, high, low, close = (_column(values) for values in (market.open, market.high, market.low, market.close))
    if isinstance(orders, TargetOrders):
        found = simulate_targets(opened, close, _column(orders.target), orders.band, *account)
    else:
        found = simulate_signals(
            opened,
            high,
            low,
            close,
            _column(orders.enter_long),
            _column(orders.exit_long),
            _column(orders.enter_short),
            _column(orders.exit_short),
            _column(orders.size),
            _column(orders.stop_distance),
            _column(orders.trail_distance),
            _column(orders.target_distance),
            orders.max_bars,
            *account,
        )
    equity, exposure, turnover, whole, real, costs_paid = found
    # The first asset, entered at the open.
    trades = np.zeros((len(whole), 6), np.int64)
    trades[:, :4] = whole
    return Books(
        equity, exposure, np.abs(exposure), turnover, trades, real, costs_paid, 0.0, positions=np.zeros((0, 0))
    )


def _run_general(market: Market, conditions: Conditions, orders: SignalOrders | TargetOrders) -> Books:
    # Compiled as a whole, and so brings numba with it, which a plain backtest does without.
    start_numba()
    from backtesting.engine_panel import run_signals, run_targets

    if isinstance(orders, SignalOrders):
        return run_signals(market, conditions, orders)
    return run_targets(market, conditions, orders)


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = values[:, 0]
    return column


def _long_gap(close: FloatArray, length: int) -> bool:
    """Whether the asset counts as delisted somewhere."""
    missing = np.isnan(close)
    if length == 0 or not missing.any():
        return False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False])).astype(np.int8)))
    return bool((edges[1::2] - edges[::2]).max() >= length)


def _benchmark(signals: Signals, window: Window, benchmark: FloatArray | None) -> FloatArray:
    if benchmark is None:
        return np.zeros(0)
    n_bars = window.stop - window.start
    if benchmark.shape != (n_bars,) or not np.isfinite(benchmark).all():
        raise UsageError(
            f"{signals.name}: the benchmark has shape {benchmark.shape} and "
            f"{int(np.isnan(benchmark).sum())} NaN, the window asks for {(n_bars,)} finite returns",
            next_step="give one simple return for every bar of the window",
        )
    return np.ascontiguousarray(benchmark, dtype=np.float64)
