"""Reports: full reports of many candidates as columns; a `BacktestResult` is made when somebody asks for one.

For long candidates that are all in or out (T0, see `sweep.py`) the trades say everything: equity is the cash, or
the units times the close. Trades and equity are the engine's bit for bit; the metrics come from other sums than
those of `simulate` and agree to about 1e-12. Whatever else a population holds is reported by `simulate` itself.
"""

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, overload

import numpy as np

from backtesting import sweep
from backtesting.bars import Bars, FloatArray, IntArray
from backtesting.costs import CostModel
from backtesting.metrics import METRICS
from backtesting.result import REASONS, BacktestResult, Trades
from backtesting.splits import Window
from backtesting.summary import measure_held

_ONE_ASSET = np.ones(1)
_NO_ROWS = np.empty((1, 0))
# Candidates that are measured in one go.
_TOGETHER = 16
_OPEN = REASONS.index("open")


class HeldReport(NamedTuple):
    """An all-in candidate: equity (n,), trades as the columns of `Trades`, and the values of `METRICS` in order."""

    equity: FloatArray
    whole: IntArray
    real: FloatArray
    moves: FloatArray
    values: FloatArray


def trade_room(window: Window) -> tuple[IntArray, FloatArray]:
    """Space for the trades of any one candidate: each takes two bars at least, but for one that is open at the end."""
    most = _most_trades(window)
    return np.empty((most, 4), np.int64), np.empty((most, 5))


def _most_trades(window: Window) -> int:
    return (window.n_bars + 1) // 2 + 1


def held_reports(
    prices: sweep.Prices,
    words: sweep.Words,
    whole: sweep.Table,
    real: FloatArray,
    window: Window,
    rates: sweep.Rates,
    periods_per_year: float,
) -> list[HeldReport]:
    """The reports of candidates, rows of `whole` and `real`, that are for `sweep.T0`; see `sweep.sweep`."""
    spans = np.array([[window.start, window.stop]], dtype=np.int64)
    out = np.empty((len(whole), 1, sweep.N_OUT))
    order = np.arange(len(whole))
    most = _most_trades(window)
    # As a rule a candidate has far fewer trades than it could have.
    room = most * min(len(whole), 2)
    trade_whole, trade_real = np.empty((room, 4), np.int64), np.empty((room, 5))
    found: list[HeldReport] = []
    edges = [0]
    for row in range(len(whole)):
        used = edges[-1]
        sweep.simulate_block(
            prices, _NO_ROWS, words, whole, real, order[row : row + 1], spans, rates, sweep.T0, out,
            trade_whole[used:], trade_real[used:],
        )  # fmt: skip
        edges.append(used + int(out[row, 0, sweep.N_TRADES]))
        if row < len(whole) - 1 and len(edges) <= _TOGETHER and edges[-1] + most <= room:
            continue
        columns = np.zeros((edges[-1], 6), np.int64)
        columns[:, :4] = trade_whole[: edges[-1]]
        numbers = trade_real[: edges[-1]].copy()
        equity, moves, values = measure_held(
            prices.open, prices.high, prices.low, prices.close, np.array(edges), columns, numbers,
            window.start, window.stop, rates.capital, rates.commission, periods_per_year,
        )  # fmt: skip
        for at, (first, after) in enumerate(pairwise(edges)):
            its = slice(first, after)
            found.append(HeldReport(equity[at], columns[its], numbers[its], moves[its], values[at]))
        edges = [0]
    return found


class Reports(Sequence[BacktestResult]):
    """Reports of candidates on the same bars, window and costs, in the order in which they were asked for."""

    def __init__(
        self,
        names: Sequence[str],
        found: Sequence[HeldReport | BacktestResult],
        bars: Bars,
        window: Window,
        costs: CostModel,
        capital: float,
    ) -> None:
        self.names = names
        self.found = found
        self._bars = bars
        self._window = window
        self._costs = costs
        self._capital = capital

    def __len__(self) -> int:
        return len(self.found)

    @overload
    def __getitem__(self, at: int) -> BacktestResult: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[BacktestResult, ...]: ...
    def __getitem__(self, at: int | slice) -> BacktestResult | tuple[BacktestResult, ...]:
        if isinstance(at, slice):
            return tuple(self[place] for place in range(*at.indices(len(self))))
        found = self.found[at]
        return found if isinstance(found, BacktestResult) else self._whole(self.names[at], found)

    def final_equity(self) -> FloatArray:
        """(n,) account at the last close."""
        return np.array([float(found.equity[-1]) for found in self.found])

    def n_trades(self) -> IntArray:
        """(n,) positions entered, the open one included."""
        return np.array(
            [len(found.trades if isinstance(found, BacktestResult) else found.whole) for found in self.found],
            dtype=np.int64,
        )

    def _whole(self, name: str, found: HeldReport) -> BacktestResult:
        window, bars, equity = self._window, self._bars, found.equity
        before = np.concatenate(([self._capital], equity[:-1]))
        returns = (equity - before) / before
        exposure, turnover = np.zeros(len(equity)), np.zeros(len(equity))
        entry, leave, units = found.real[:, 0], found.real[:, 1], found.real[:, 2]
        first = found.whole[:, 1] - window.start
        turnover[first] = units * entry / before[first]
        is_open = found.whole[:, 3] == _OPEN
        closed = found.whole[~is_open, 2]
        turnover[closed - window.start] = (units * leave)[~is_open] / (units[~is_open] * bars.open[closed, 0])
        for (_, begin, end, *_), still in zip(found.whole.tolist(), is_open.tolist(), strict=True):
            exposure[begin - window.start : end - window.start + still] = 1.0
        for values in (equity, returns, exposure, turnover):
            values.setflags(write=False)
        return BacktestResult(
            name=name,
            bars_id=bars.bars_id,
            source=bars.source,
            window=window,
            costs=self._costs,
            capital=self._capital,
            sessions=bars.sessions[window.start : window.stop],
            equity=equity,
            returns=returns,
            exposure=exposure,
            turnover=turnover,
            trades=Trades(found.whole, found.real, found.moves, _ONE_ASSET),
            costs_paid=float(found.real[:, 4].sum()),
            metrics=MappingProxyType(dict(zip(METRICS, found.values.tolist(), strict=True))),
        )
