"""raptorbt's side: `batch_single_backtest` over ready signal arrays; its own 48 metrics, trades and curves."""

import numpy as np
import raptorbt
import side
import works

CHUNK = 500


def mean(x: np.ndarray, window: int) -> np.ndarray:
    """A running sum, as raptorbt's own `sma` takes one window at a time."""
    return np.asarray(raptorbt.sma(x, window))


def grid(close: np.ndarray, pairs: list[tuple[int, int]], *, listed: bool = False):
    close = np.ascontiguousarray(close)
    stamps = np.arange(len(close), dtype=np.int64) * 86_400_000_000_000
    volume = np.ones(len(close))
    config = raptorbt.BacktestConfig(
        initial_capital=works.CAPITAL, fees=works.COMMISSION, slippage=works.SLIPPAGE, upon_bar_close=True
    )
    windows = sorted({window for pair in pairs for window in pair})
    means = {window: mean(close, window) for window in windows}
    signals = [(means[i] > means[j], means[i] <= means[j]) for i, j in pairs] if len(pairs) <= 1_000 else None

    def run() -> side.Answer:
        values, trades, rows = [], [], []
        for at in range(0, len(pairs), CHUNK):
            chunk = pairs[at : at + CHUNK]
            ready = (
                signals[at : at + CHUNK] if signals is not None
                else [(means[i] > means[j], means[i] <= means[j]) for i, j in chunk]
            )  # fmt: skip
            items = [raptorbt.BatchSingleItem(str(k), enter, leave) for k, (enter, leave) in enumerate(ready)]
            found = raptorbt.batch_single_backtest(stamps, close, close, close, close, volume, items, config)
            values += [result.metrics.end_value for _, result in found]
            trades += [result.metrics.total_trades for _, result in found]
            # A fill at the close that decides is one at the next open here.
            rows += [listed_trades(result, 1, len(close)) for _, result in found] if listed else []
        if listed:
            return {"trades": rows}
        return {"final_equity": float(np.mean(values)), "trades": float(np.mean(trades)), "finals": values}

    return run


def listed_trades(result: raptorbt.BacktestResult, later: int, n_bars: int) -> list[list[int]]:
    """Entry and exit bar of every trade, moved to the bar whose open is the fill; -1 for an exit that has not come."""
    found = [(trade.entry_idx + later, trade.exit_idx + later, trade.exit_reason) for trade in result.trades()]
    return [
        [entry, -1 if leave >= n_bars or why == "EndOfData" else leave] for entry, leave, why in found if entry < n_bars
    ]


def work_c(data: dict[str, np.ndarray], *, listed: bool = False):
    """A lighter work than c: its ATR stop does not trail, all of equity is used, and RSI > 70 leaves."""
    opened, high, low, close = (
        np.ascontiguousarray(data[f"sp500_{name}"]) for name in ("open", "high", "low", "close")
    )
    stamps, volume = np.arange(len(close), dtype=np.int64) * 86_400_000_000_000, np.ones(len(close))
    shared = raptorbt.BacktestConfig(initial_capital=works.CAPITAL, fees=works.COMMISSION, slippage=works.SLIPPAGE)
    ready = []
    for work in works.sets_c():
        config = raptorbt.BacktestConfig(
            initial_capital=works.CAPITAL, fees=works.COMMISSION, slippage=works.SLIPPAGE,
            fill_timing="next_bar_open",
        )  # fmt: skip
        config.set_atr_stop(work["trail"], 14)
        config.set_fixed_target(work["target"])
        rsi = np.nan_to_num(raptorbt.rsi(close, int(work["window"])), nan=50.0)
        ready.append((rsi < work["level"], rsi > 70.0, config))

    def run() -> side.Answer:
        values, trades, rows = [], [], []
        for at in range(0, len(ready), CHUNK):
            items = [
                raptorbt.BatchSingleItem(str(k), enter, leave, config=config)
                for k, (enter, leave, config) in enumerate(ready[at : at + CHUNK])
            ]
            found = raptorbt.batch_single_backtest(stamps, opened, high, low, close, volume, items, shared)
            values += [result.metrics.end_value for _, result in found]
            trades += [result.metrics.total_trades for _, result in found]
            rows += [listed_trades(result, 0, len(close)) for _, result in found] if listed else []
        if listed:
            return {"trades": rows}
        return {"final_equity": float(np.mean(values)), "trades": float(np.mean(trades)), "finals": values}

    return run


if __name__ == "__main__":
    prices = works.load()
    side.serve(
        {
            "a": lambda: grid(prices["wti"], works.pairs(1)),
            "b1000": lambda: grid(prices["wti"], works.pairs(1_000)),
            "b10000": lambda: grid(prices["wti"], works.pairs(10_000)),
            "c": lambda: work_c(prices),
            "trades a": lambda: grid(prices["wti"], works.pairs(1), listed=True),
            "trades b1000": lambda: grid(prices["wti"], works.pairs(1_000), listed=True),
            "trades c fixed": lambda: work_c(prices, listed=True),
            "d": lambda: grid(prices["minute"], [(60, 240)]),
        }
    )
