"""vectorbt's side: `Portfolio.from_signals` in chunks of 50 columns; final value, entries, Sharpe ratio, drawdown."""

import os

import numpy as np
import pandas as pd
import side
import vectorbt as vbt
import works

CHUNK = 50
vbt.settings.array_wrapper["freq"] = "1D"
if os.environ.get("ENGINE") == "rust":
    vbt.settings["engine"] = "rust"


def grid(close: np.ndarray, pairs: list[tuple[int, int]]):
    index = pd.date_range("1900-01-01", periods=len(close), freq="D" if len(close) < 50_000 else "min")
    series = pd.Series(close, index=index)
    windows = sorted({window for pair in pairs for window in pair})

    def run() -> side.Answer:
        means = {window: vbt.MA.run(series, window).ma.to_numpy() for window in windows}
        values, trades = [], []
        for at in range(0, len(pairs), CHUNK):
            chunk = pairs[at : at + CHUNK]
            fast = np.column_stack([means[i] for i, _ in chunk])
            slow = np.column_stack([means[j] for _, j in chunk])
            portfolio = vbt.Portfolio.from_signals(
                series, entries=fast > slow, exits=fast <= slow, init_cash=works.CAPITAL, fees=works.COMMISSION,
                slippage=works.SLIPPAGE, size=np.inf,
            )  # fmt: skip
            value = portfolio.final_value()
            values.append(np.atleast_1d(np.asarray(value)))
            trades.append(np.atleast_1d(np.asarray(portfolio.trades.count())))
            portfolio.sharpe_ratio()
            portfolio.max_drawdown()
        return {"final_equity": float(np.concatenate(values).mean()), "trades": float(np.concatenate(trades).mean())}

    return run


def panel(data: dict[str, np.ndarray]):
    pairs = works.pairs(100)
    index = pd.date_range("1900-01-01", periods=len(data["panel"]), freq="D")
    frame = pd.DataFrame(data["panel"], index=index)
    windows = sorted({window for pair in pairs for window in pair})

    def run() -> side.Answer:
        means = {window: vbt.MA.run(frame, window).ma.to_numpy() for window in windows}
        values, trades = [], []
        for fast, slow in pairs:
            portfolio = vbt.Portfolio.from_signals(
                frame, entries=means[fast] > means[slow], exits=means[fast] <= means[slow], init_cash=works.CAPITAL,
                fees=works.COMMISSION, slippage=works.SLIPPAGE, size=np.inf,
            )  # fmt: skip
            values.append(portfolio.final_value().to_numpy())
            trades.append(portfolio.trades.count().to_numpy())
            portfolio.sharpe_ratio()
            portfolio.max_drawdown()
        return {"final_equity": float(np.mean(values)), "trades": float(np.mean(trades))}

    return run


if __name__ == "__main__":
    prices = works.load()
    side.serve(
        {
            "a": lambda: grid(prices["wti"], works.pairs(1)),
            "b1000": lambda: grid(prices["wti"], works.pairs(1_000)),
            "b10000": lambda: grid(prices["wti"], works.pairs(10_000)),
            "d": lambda: grid(prices["minute"], [(60, 240)]),
            "e": lambda: panel(prices),
        }
    )
