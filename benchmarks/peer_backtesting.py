"""backtesting.py's side: one strategy at a time, in a Python loop; its own statistics, trades and curve."""

import warnings

import numpy as np
import pandas as pd
import side
import works

from backtesting import Backtest, Strategy

warnings.simplefilter("ignore")


def one(close: np.ndarray, pairs: list[tuple[int, int]]):
    opened = works.opens(close)
    index = pd.date_range("1900-01-01", periods=len(close), freq="D" if len(close) < 50_000 else "min")
    frame = pd.DataFrame(
        {"Open": opened, "High": np.maximum(opened, close), "Low": np.minimum(opened, close), "Close": close},
        index=index,
    )
    # Fractions of a unit: it trades whole units only, so a unit is a millionth here.
    frame *= 1e-6

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
        values, trades = [], []
        for fast, slow in pairs:
            # It charges the spread when buying only; twice our slippage there is the same to one part in a million.
            test = Backtest(
                frame, Cross, cash=works.CAPITAL, commission=works.COMMISSION, spread=2 * works.SLIPPAGE,
                finalize_trades=True,
            )  # fmt: skip
            stats = test.run(fast=fast, slow=slow)
            values.append(stats["Equity Final [$]"])
            trades.append(stats["# Trades"])
        return {"final_equity": float(np.mean(values)), "trades": float(np.mean(trades)), "finals": values}

    return run


if __name__ == "__main__":
    prices = works.load()
    side.serve({"a": lambda: one(prices["wti"], works.pairs(1))})
