"""vectorbt's side: `Portfolio.from_signals` in chunks of 50 columns; final value, entries, Sharpe ratio, drawdown."""

import os

import numpy as np
import pandas as pd
import side
import vectorbt as vbt
import wilder
import works
from numba import njit
from vectorbt.portfolio.enums import TradeStatus
from vectorbt.portfolio.nb import order_nb, order_nothing_nb

CHUNK = 50
vbt.settings.array_wrapper["freq"] = "1D"
if os.environ.get("ENGINE") == "rust":
    vbt.settings["engine"] = "rust"


def grid(close: np.ndarray, pairs: list[tuple[int, int]], *, listed: bool = False):
    index = pd.date_range("1900-01-01", periods=len(close), freq="D" if len(close) < 50_000 else "min")
    series = pd.Series(close, index=index)
    windows = sorted({window for pair in pairs for window in pair})

    def run() -> side.Answer:
        means = {window: vbt.MA.run(series, window).ma.to_numpy() for window in windows}
        values, trades, rows = [], [], []
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
            # A fill at the close that decides is one at the next open here.
            rows += listed_trades(portfolio, len(chunk), 1, len(close)) if listed else []
            portfolio.sharpe_ratio()
            portfolio.max_drawdown()
        if listed:
            return {"trades": rows}
        finals = np.concatenate(values)
        return {
            "final_equity": float(finals.mean()),
            "trades": float(np.concatenate(trades).mean()),
            "finals": list(finals),
        }

    return run


def listed_trades(portfolio: vbt.Portfolio, n_columns: int, later: int, n_bars: int) -> list[list[list[int]]]:
    """By column entry and exit bar of every trade, moved to the bar whose open is the fill; -1: it is still open."""
    rows: list[list[list[int]]] = [[] for _ in range(n_columns)]
    records = portfolio.trades.values
    columns = (records[name].tolist() for name in ("col", "entry_idx", "exit_idx", "status"))
    for k, entry, leave, status in zip(*columns, strict=True):
        if entry + later < n_bars:
            still_open = status == TradeStatus.Open or leave + later >= n_bars
            rows[k].append([entry + later, -1 if still_open else leave + later])
    return [sorted(column) for column in rows]


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


def shared_account(data: dict[str, np.ndarray]):
    def run() -> side.Answer:
        frame = pd.DataFrame(data["panel"])
        frame.index = pd.date_range("1900-01-01", periods=len(frame), freq="D")
        momentum = frame.to_numpy() / frame.shift(126).to_numpy() - 1.0
        weights = np.full(frame.shape, np.nan)
        for t in range(0, len(frame), 5):
            if np.isfinite(momentum[t]).all():
                weights[t] = 0.0
                weights[t, np.argsort(-momentum[t], kind="stable")[:50]] = 1.0 / 50
        portfolio = vbt.Portfolio.from_orders(
            frame, size=weights, size_type="targetpercent", group_by=True, cash_sharing=True, call_seq="auto",
            init_cash=works.CAPITAL, fees=works.COMMISSION, slippage=works.SLIPPAGE,
        )  # fmt: skip
        answer = {"final_equity": float(portfolio.final_value()), "trades": float(portfolio.trades.count())}
        portfolio.sharpe_ratio()
        portfolio.max_drawdown()
        return answer

    return run


@njit
def _orders(c, enter, size, distance, target, opened, high, low, close, fees, slippage, state):
    """One account of work c; state a column: best close, trailing distance, target, and what was done in this bar."""
    k = c.from_col
    i = c.i
    if c.call_idx == 0:
        state[k, 3] = 0.0
        if c.last_position[k] == 0.0 and i > 0 and enter[i - 1, k] and size[i - 1] > 0.0 and distance[i - 1, k] > 0.0:
            fill = opened[i] * (1.0 + slippage)
            amount = size[i - 1] * c.last_cash[k] / (fill * (1.0 + fees))
            state[k, 0] = fill
            state[k, 1] = distance[i - 1, k]
            state[k, 2] = fill + target[k] * close[i - 1]
            return k, order_nb(size=amount, price=opened[i], fees=fees, slippage=slippage)
    if c.last_position[k] > 0.0 and state[k, 3] == 0.0:
        state[k, 3] = 1.0
        level = state[k, 0] - state[k, 1]
        price = 0.0
        worse = slippage
        if opened[i] <= level:
            price = opened[i]
        elif opened[i] >= state[k, 2]:
            price, worse = opened[i], 0.0
        elif low[i] <= level:
            price = level
        elif high[i] >= state[k, 2]:
            price, worse = state[k, 2], 0.0
        if price > 0.0:
            return k, order_nb(size=-c.last_position[k], price=price, fees=fees, slippage=worse)
    state[k, 0] = max(state[k, 0], close[i])
    return -1, order_nothing_nb()


def work_c(data: dict[str, np.ndarray], *, listed: bool = False):
    opened, high, low, close = (data[f"sp500_{name}"] for name in ("open", "high", "low", "close"))
    sets = works.sets_c()
    series = pd.Series(close)
    before = series.shift()
    size = np.minimum(0.15 / (np.log(series / before).rolling(20).std() * np.sqrt(252)), 1.0).to_numpy()
    true_range = np.maximum(high, before) - np.minimum(low, before)
    atr = wilder.smoothed(true_range, 14)
    step = series.diff()

    def run() -> side.Answer:
        rsi = {}
        for window in {int(work["window"]) for work in sets}:
            gain, loss = wilder.smoothed(step.clip(lower=0), window), wilder.smoothed((-step).clip(lower=0), window)
            rsi[window] = 100 * gain / (gain + loss)
        values, trades, rows = [], [], []
        for at in range(0, len(sets), CHUNK):
            chunk = sets[at : at + CHUNK]
            enter = np.column_stack([rsi[int(work["window"])] < work["level"] for work in chunk])
            distance = np.column_stack([work["trail"] * atr for work in chunk])
            target = np.array([work["target"] for work in chunk])
            frame = pd.DataFrame(np.repeat(close[:, None], len(chunk), axis=1))
            frame.index = pd.date_range("1900-01-01", periods=len(close), freq="D")
            portfolio = vbt.Portfolio.from_order_func(
                frame, _orders, enter, size, distance, target, opened, high, low, close, works.COMMISSION,
                works.SLIPPAGE, np.zeros((len(chunk), 4)), init_cash=works.CAPITAL, flexible=True,
                max_orders=2 * frame.size,
            )  # fmt: skip
            values.append(portfolio.final_value().to_numpy())
            trades.append(portfolio.trades.count().to_numpy())
            rows += listed_trades(portfolio, len(chunk), 0, len(close)) if listed else []
            portfolio.sharpe_ratio()
            portfolio.max_drawdown()
        if listed:
            return {"trades": rows}
        finals = np.concatenate(values)
        return {
            "final_equity": float(finals.mean()),
            "trades": float(np.concatenate(trades).mean()),
            "finals": list(finals),
        }

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
            "trades c": lambda: work_c(prices, listed=True),
            "d": lambda: grid(prices["minute"], [(60, 240)]),
            "e": lambda: panel(prices),
            "x": lambda: shared_account(prices),
        }
    )
