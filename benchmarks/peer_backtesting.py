"""backtesting.py's side: one strategy at a time, in a Python loop; its own statistics, trades and curve."""

import warnings

import numpy as np
import pandas as pd
import side
import wilder
import works

from backtesting import Backtest, Strategy

warnings.simplefilter("ignore")


# Fractions of a unit: it trades whole units only, so a unit is a millionth here.
UNIT = 1e-6


def frame_of(opened: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> pd.DataFrame:
    index = pd.date_range("1900-01-01", periods=len(close), freq="D" if len(close) < 50_000 else "min")
    return UNIT * pd.DataFrame({"Open": opened, "High": high, "Low": low, "Close": close}, index=index)


def traded(frame: pd.DataFrame, strategy: type[Strategy]) -> Backtest:
    # It charges the spread when buying only; twice our slippage there is the same to one part in a million.
    return Backtest(
        frame, strategy, cash=works.CAPITAL, commission=works.COMMISSION, spread=2 * works.SLIPPAGE,
        finalize_trades=True,
    )  # fmt: skip


def listed_trades(stats: pd.Series, n_bars: int) -> list[list[int]]:
    """Entry and exit bar of every trade; -1 for one that was closed because the data ended."""
    found = stats["_trades"][["EntryBar", "ExitBar"]].to_numpy().tolist()
    return sorted([entry, -1 if leave == n_bars - 1 else leave] for entry, leave in found)


def one(close: np.ndarray, pairs: list[tuple[int, int]], *, listed: bool = False):
    opened = works.opens(close)
    frame = frame_of(opened, np.maximum(opened, close), np.minimum(opened, close), close)

    def mean(x, window):
        return pd.Series(x).rolling(window).mean().to_numpy()

    class Cross(Strategy):
        fast, slow = 20, 50

        def init(self) -> None:
            self.quick, self.slow_one = (
                self.I(mean, self.data.Close, self.fast),
                self.I(mean, self.data.Close, self.slow),
            )

        def next(self) -> None:
            above = self.quick[-1] > self.slow_one[-1]
            if above and not self.position:
                self.buy(size=1 - 1e-12)
            elif not above and self.position:
                self.position.close()

    def run() -> side.Answer:
        values, trades, rows = [], [], []
        for fast, slow in pairs:
            stats = traded(frame, Cross).run(fast=fast, slow=slow)
            values.append(stats["Equity Final [$]"])
            trades.append(stats["# Trades"])
            rows += [listed_trades(stats, len(close))] if listed else []
        if listed:
            return {"trades": rows}
        return {"final_equity": float(np.mean(values)), "trades": float(np.mean(trades)), "finals": values}

    return run


def work_c(data, sets: list[dict[str, float]]):
    """Its stops and targets are prices, so the next open, from which ours are counted, is looked up in advance."""
    opened, high, low, close = (data[f"sp500_{name}"] for name in ("open", "high", "low", "close"))
    frame = frame_of(opened, high, low, close)
    series = pd.Series(close)
    before, step = series.shift(), series.diff()
    size = np.minimum(0.15 / (np.log(series / before).rolling(20).std() * np.sqrt(252)), 1.0 - 1e-12).to_numpy()
    atr = UNIT * wilder.smoothed(np.maximum(high, before) - np.minimum(low, before), 14)
    fills = UNIT * np.append(opened[1:], np.nan) * (1.0 + works.SLIPPAGE)

    class Rebound(Strategy):
        window, level, trail, target = 14, 30.0, 2.0, 0.03

        def init(self) -> None:
            window = int(self.window)
            gain = wilder.smoothed(step.clip(lower=0), window)
            self.rsi = 100 * gain / (gain + wilder.smoothed((-step).clip(lower=0), window))

        def next(self) -> None:
            at = len(self.data) - 1
            if self.position:
                (trade,) = self.trades
                # The best close since the entry, or the fill, less the distance at the decision; never lowered.
                trade.sl = max(trade.sl, self.data.Close[-1] - self.distance)
            elif self.rsi[at] < self.level and size[at] > 0.0 and atr[at] > 0.0:
                self.distance = self.trail * atr[at]
                stop, goal = fills[at] - self.distance, fills[at] + self.target * self.data.Close[-1]
                self.buy(size=size[at], sl=stop, tp=goal)

    def run() -> side.Answer:
        return {"trades": [listed_trades(traded(frame, Rebound).run(**work), len(close)) for work in sets]}

    return run


if __name__ == "__main__":
    prices = works.load()
    side.serve(
        {
            "a": lambda: one(prices["wti"], works.pairs(1)),
            "trades a": lambda: one(prices["wti"], works.pairs(1), listed=True),
            "trades b1000": lambda: one(prices["wti"], works.some(works.pairs(1_000), 20), listed=True),
            "trades c": lambda: work_c(prices, works.some(works.sets_c(), 5)),
        }
    )
