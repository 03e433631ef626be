"""Backtest: decisions and costs in, a full and honest report out.

`simulate` is the one path from `Signals` to a `BacktestResult`; the evaluation, the gates, the monitor and the
command line all come through here. It checks what it is given and then lets the compiled engine run.
It never chooses costs for a caller, never fetches, never fills a gap in the data.
One symbol at a time so far: there is no shared cash over several assets yet.
"""

import math
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backtesting.bars import Bars
from backtesting.costs import LIQUID_INDEX, CostModel
from backtesting.decisions import Signals, TargetDecisions
from backtesting.engine import Simulated, simulate_signals, simulate_targets
from backtesting.errors import UsageError
from backtesting.metrics import summarise
from backtesting.result import REASONS, BacktestResult, Trade
from backtesting.splits import Window

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
        window: the bars to trade in; None for all of them. `Signals` carry no warm-up, so leave out the warm-up
            of the strategy here if it should not count as flat days.
    """

    def __init__(self, costs: CostModel = LIQUID_INDEX, capital: float = CAPITAL, window: Window | None = None) -> None:
        self.costs = costs
        self.capital = capital
        self.window = window

    def run(self, signals: Signals) -> BacktestResult:
        """The full report; see `simulate` of this module."""
        return simulate(signals, self.costs, window=self.window, capital=self.capital)

    def simulate(self, signals: Signals) -> dict[str, float]:
        """The metrics alone, by name (`sharpe_ratio`, ...); NaN where undefined."""
        return dict(self.run(signals).metrics)


def simulate(
    signals: Signals, costs: CostModel, *, window: Window | None = None, capital: float = CAPITAL
) -> BacktestResult:
    """What the decisions would have done inside the window, flat at its start, marked at every close.

    The rules of time, fills, exits and ruin are those of `engine_reference.py`.

    Args:
        signals: decisions with the bars they were made on; only decisions inside the window are used. On bars with
            one price a day the open repeats the close, so an order decided today fills at tomorrow's close.
        costs: written on the result.
        window: bars start to stop - 1; None for all bars.
        capital: account at the start, positive.

    Raises:
        UsageError: more than one asset, a window outside the bars, decisions of another shape, capital that is
            not positive, or sizes so large that the account overflows.
    """
    bars = signals.bars
    if bars.n_assets != 1:
        raise UsageError(
            f"{signals.name}: the bars hold {bars.n_assets} symbols ({', '.join(bars.symbols[:5])}), "
            "the engine trades one",
            next_step="run one symbol at a time",
        )
    window = Window(0, bars.n_bars) if window is None else window
    if not 0 <= window.start < window.stop <= bars.n_bars:
        raise UsageError(
            f"{signals.name}: the window {window.start}..{window.stop} does not lie inside the bars 0..{bars.n_bars}",
            next_step="choose a start below the stop, both within the bars",
        )
    if not 0.0 < capital < math.inf:
        raise UsageError(f"capital is {capital!r}, it has to be positive", next_step="give the size of the account")

    equity, exposure, turnover, whole, real, costs_paid = _run_engine(signals, costs, window, float(capital))
    if not np.isfinite(equity).all():
        at = bars.sessions[window.start + int(np.argmin(np.isfinite(equity)))]
        raise UsageError(
            f"{signals.name}: the account overflows at {at}", next_step="limit the position sizes, 1 is all of equity"
        )
    before = np.empty_like(equity)
    before[0] = capital
    before[1:] = equity[:-1]
    # A ruined account stays at 0 and returns 0, not 0/0.
    returns = np.divide(equity - before, before, out=np.zeros_like(equity), where=before > 0.0)
    trades = tuple(
        Trade(side, entry_bar, exit_bar, entry_price, exit_price, units, pnl, paid, REASONS[reason])
        for (side, entry_bar, exit_bar, reason), (entry_price, exit_price, units, pnl, paid) in zip(
            whole.tolist(), real.tolist(), strict=True
        )
    )
    for values in (equity, returns, exposure, turnover):
        values.setflags(write=False)
    metrics = summarise(returns, equity, exposure, turnover, trades, bars.periods_per_year, costs_paid, capital)
    return BacktestResult(
        name=signals.name,
        bars_id=bars.bars_id,
        source=bars.source,
        window=window,
        costs=costs,
        capital=capital,
        sessions=bars.sessions[window.start : window.stop],
        equity=equity,
        returns=returns,
        exposure=exposure,
        turnover=turnover,
        trades=trades,
        costs_paid=costs_paid,
        metrics=MappingProxyType(metrics),
    )


def _run_engine(signals: Signals, costs: CostModel, window: Window, capital: float) -> Simulated:
    bars, decisions = signals.bars, signals.decisions
    opened, high, low, close = (_column(values) for values in (bars.open, bars.high, bars.low, bars.close))
    borrow_rate = costs.borrow_annual / bars.periods_per_year
    financing_rate = costs.financing_annual / bars.periods_per_year
    if isinstance(decisions, TargetDecisions):
        if not decisions.band >= 0.0:
            raise UsageError(f"{signals.name}: band is {decisions.band!r}", next_step="give 0 or more, 0.02 is 2 %")
        return simulate_targets(
            opened,
            close,
            _decision(signals, "target"),
            float(decisions.band),
            window.start,
            window.stop,
            capital,
            costs.adverse,
            costs.commission,
            borrow_rate,
            financing_rate,
        )
    if decisions.max_bars < 0:
        raise UsageError(f"{signals.name}: max_bars is {decisions.max_bars}", next_step="give 0 for never, or more")
    return simulate_signals(
        opened,
        high,
        low,
        close,
        _decision(signals, "enter_long", np.bool_),
        _decision(signals, "exit_long", np.bool_),
        _decision(signals, "enter_short", np.bool_),
        _decision(signals, "exit_short", np.bool_),
        _decision(signals, "size"),
        _decision(signals, "stop_distance"),
        _decision(signals, "trail_distance"),
        _decision(signals, "target_distance"),
        int(decisions.max_bars),
        window.start,
        window.stop,
        capital,
        costs.adverse,
        costs.commission,
        borrow_rate,
        financing_rate,
    )


def _decision(signals: Signals, name: str, dtype: Any = np.float64) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = getattr(signals.decisions, name)
    shape = (signals.bars.n_bars, 1)
    if values.shape != shape:
        raise UsageError(
            f"{signals.name}: {name} has shape {values.shape}, the bars ask for {shape}",
            next_step="give every decision one row a bar and one column an asset",
        )
    return _column(values, dtype)


def _column(values: npt.NDArray[Any], dtype: Any = np.float64) -> npt.NDArray[Any]:
    """The only asset's values, contiguous and read-only: one array type, so that each kernel is compiled once."""
    column = np.ascontiguousarray(values[:, 0], dtype=dtype).view()
    column.setflags(write=False)
    return column
