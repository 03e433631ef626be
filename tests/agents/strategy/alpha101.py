"""The 101 formulas of the paper over plain pandas, for comparison with docs/examples/alpha101.yaml.

Kakushadze, 101 Formulaic Alphas, 2016. Windows that are no whole numbers are cut down, as the paper says. `u` marks
where the paper mixes units; it does nothing here. A comparison is 1, 0, or NaN where a side is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

Frame = pd.DataFrame


def u(x: Frame) -> Frame:
    return x


def rank(x: Frame) -> Frame:
    return (x.rank(axis=1) - 1).div((x.count(axis=1) - 1).replace(0, np.nan), axis=0)


def delay(x: Frame, d: int) -> Frame:
    return x.shift(d)


def delta(x: Frame, d: int) -> Frame:
    return x.diff(d)


def windows(x: Frame, d: int, f: Callable[[np.ndarray], np.ndarray]) -> Frame:
    """f over the windows that hold no missing value: (..., d) -> (...)."""
    out = np.full(x.shape, np.nan)
    views = sliding_window_view(x.to_numpy(dtype=float), d, axis=0)
    whole = ~np.isnan(views).any(axis=2)
    out[d - 1 :][whole] = f(views[whole])
    return Frame(out, index=x.index, columns=x.columns)


def ts_sum(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: w.sum(axis=1))


def product(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: w.prod(axis=1))


def stddev(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: w.std(axis=1, ddof=1))


def ts_min(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: w.min(axis=1))


def ts_max(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: w.max(axis=1))


def ts_argmax(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: d - np.argmax(w[:, ::-1], axis=1))


def ts_argmin(x: Frame, d: int) -> Frame:
    return windows(x, d, lambda w: d - np.argmin(w[:, ::-1], axis=1))


def ts_rank(x: Frame, d: int) -> Frame:
    def place(w: np.ndarray) -> np.ndarray:
        last = w[:, -1:]
        return ((w < last).sum(axis=1) + ((w == last).sum(axis=1) - 1) / 2) / (d - 1)

    return windows(x, d, place)


def decay_linear(x: Frame, d: int) -> Frame:
    weights = np.arange(1.0, d + 1)
    return windows(x, d, lambda w: w @ weights / weights.sum())


def paired(x: Frame, y: Frame, d: int, f: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Frame:
    gone = x.isna() | y.isna()
    x, y = x.mask(gone), y.mask(gone)
    out = np.full(x.shape, np.nan)
    xs = sliding_window_view(x.to_numpy(dtype=float), d, axis=0)
    ys = sliding_window_view(y.to_numpy(dtype=float), d, axis=0)
    whole = ~np.isnan(xs).any(axis=2)
    xs, ys = xs[whole], ys[whole]
    out[d - 1 :][whole] = f(xs - xs.mean(axis=1, keepdims=True), ys - ys.mean(axis=1, keepdims=True))
    return Frame(out, index=x.index, columns=x.columns)


def correlation(x: Frame, y: Frame, d: int) -> Frame:
    moves = (ts_max(x, d) > ts_min(x, d)) & (ts_max(y, d) > ts_min(y, d))
    with np.errstate(all="ignore"):
        found = paired(x, y, d, lambda a, b: (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))
    return found.where(moves).round(12)


def covariance(x: Frame, y: Frame, d: int) -> Frame:
    return paired(x, y, d, lambda a, b: (a * b).sum(axis=1) / (d - 1))


def scale(x: Frame) -> Frame:
    return x.div(x.abs().sum(axis=1).replace(0, np.nan), axis=0)


def sign(x: Frame) -> Frame:
    return np.sign(x)


def log(x: Frame) -> Frame:
    with np.errstate(all="ignore"):
        return np.log(x.where(x > 0))


def power(x: Frame, y: Any) -> Frame:
    with np.errstate(all="ignore"):
        return (x**y).replace([np.inf, -np.inf], np.nan).mask(x.isna() | (y.isna() if isinstance(y, Frame) else False))


def signedpower(x: Frame, y: Any) -> Frame:
    return np.sign(x) * power(x.abs(), y)


def less(x: Any, y: Any) -> Frame:
    gone = sum(side.isna().astype(int) for side in (x, y) if isinstance(side, Frame)) > 0
    return (x < y).astype(float).mask(gone)


def at_most(x: Any, y: Any) -> Frame:
    return 1 - less(y, x)


def where(condition: Frame, x: Any, y: Any) -> Frame:
    x, y = (side if isinstance(side, Frame) else condition * 0 + side for side in (x, y))
    return x.where(condition == 1, y).mask(condition.isna())


def minimum(x: Frame, y: Frame) -> Frame:
    return x.where(x <= y, y).mask(x.isna() | y.isna())


def maximum(x: Frame, y: Frame) -> Frame:
    return x.where(x >= y, y).mask(x.isna() | y.isna())


def indneutralize(x: Frame, group: Frame) -> Frame:
    # Here no asset ever changes its group.
    return x - x.T.groupby(group.iloc[0]).transform("mean").T


@dataclass(frozen=True)
class Panel:
    open: Frame
    high: Frame
    low: Frame
    close: Frame
    volume: Frame
    cap: Frame
    sector: Frame
    industry: Frame
    subindustry: Frame


def formulas(panel: Panel) -> dict[int, Callable[[], Frame]]:
    open_, high, low, close, volume, cap = (
        panel.open, panel.high, panel.low, panel.close, panel.volume, panel.cap,
    )  # fmt: skip
    sector, industry, subindustry = panel.sector, panel.industry, panel.subindustry
    returns = close / close.shift(1) - 1
    vwap = (high + low + close) / 3

    def adv(d: int) -> Frame:
        return windows(close * volume, d, lambda w: w.mean(axis=1))

    # fmt: off
    return {
        1: lambda: rank(ts_argmax(signedpower(where(less(returns, 0), stddev(returns, 20), u(close)), 2), 5)) - 0.5,
        2: lambda: -1 * correlation(rank(delta(log(u(volume)), 2)), rank((close - open_) / open_), 6),
        3: lambda: -1 * correlation(rank(open_), rank(volume), 10),
        4: lambda: -1 * ts_rank(rank(low), 9),
        5: lambda: rank(open_ - ts_sum(vwap, 10) / 10) * (-1 * abs(rank(close - vwap))),
        6: lambda: -1 * correlation(open_, volume, 10),
        7: lambda: where(less(u(adv(20)), u(volume)), -1 * ts_rank(abs(delta(close, 7)), 60) * sign(delta(close, 7)), -1),
        8: lambda: -1 * rank(ts_sum(open_, 5) * ts_sum(returns, 5) - delay(ts_sum(open_, 5) * ts_sum(returns, 5), 10)),
        9: lambda: where(less(0, ts_min(delta(close, 1), 5)), delta(close, 1), where(less(ts_max(delta(close, 1), 5), 0), delta(close, 1), -1 * delta(close, 1))),
        10: lambda: rank(where(less(0, ts_min(delta(close, 1), 4)), delta(close, 1), where(less(ts_max(delta(close, 1), 4), 0), delta(close, 1), -1 * delta(close, 1)))),
        11: lambda: (rank(ts_max(vwap - close, 3)) + rank(ts_min(vwap - close, 3))) * rank(delta(volume, 3)),
        12: lambda: sign(delta(volume, 1)) * (-1 * delta(close, 1)),
        13: lambda: -1 * rank(covariance(rank(close), rank(volume), 5)),
        14: lambda: -1 * rank(delta(returns, 3)) * correlation(open_, volume, 10),
        15: lambda: -1 * ts_sum(rank(correlation(rank(high), rank(volume), 3)), 3),
        16: lambda: -1 * rank(covariance(rank(high), rank(volume), 5)),
        17: lambda: -1 * rank(ts_rank(close, 10)) * rank(delta(delta(close, 1), 1)) * rank(ts_rank(u(volume) / u(adv(20)), 5)),
        18: lambda: -1 * rank(u(stddev(abs(close - open_), 5) + (close - open_)) + correlation(close, open_, 10)),
        19: lambda: -1 * sign(close - delay(close, 7) + delta(close, 7)) * (1 + rank(1 + ts_sum(returns, 250))),
        20: lambda: -1 * rank(open_ - delay(high, 1)) * rank(open_ - delay(close, 1)) * rank(open_ - delay(low, 1)),
        21: lambda: where(less(ts_sum(close, 8) / 8 + stddev(close, 8), ts_sum(close, 2) / 2), -1, where(less(ts_sum(close, 2) / 2, ts_sum(close, 8) / 8 - stddev(close, 8)), 1, where(at_most(1, u(volume) / u(adv(20))), 1, -1))),
        22: lambda: -1 * (delta(correlation(high, volume, 5), 5) * rank(stddev(close, 20))),
        23: lambda: where(less(ts_sum(high, 20) / 20, high), -1 * delta(high, 2), 0),
        24: lambda: where(at_most(delta(ts_sum(close, 100) / 100, 100) / delay(close, 100), 0.05), -1 * (close - ts_min(close, 100)), -1 * delta(close, 3)),
        25: lambda: rank(-1 * returns * u(adv(20)) * u(vwap) * u(high - close)),
        26: lambda: -1 * ts_max(correlation(ts_rank(volume, 5), ts_rank(high, 5), 5), 3),
        27: lambda: where(less(0.5, rank(ts_sum(correlation(rank(volume), rank(vwap), 6), 2) / 2.0)), -1, 1),
        28: lambda: scale(correlation(adv(20), low, 5) + u((high + low) / 2 - close)),
        29: lambda: ts_min(product(rank(rank(scale(log(ts_sum(ts_min(rank(rank(-1 * rank(delta(u(close) - 1, 5)))), 2), 1))))), 1), 5) + ts_rank(delay(-1 * returns, 6), 5),
        30: lambda: (1.0 - rank(sign(close - delay(close, 1)) + sign(delay(close, 1) - delay(close, 2)) + sign(delay(close, 2) - delay(close, 3)))) * ts_sum(volume, 5) / ts_sum(volume, 20),
        31: lambda: rank(rank(rank(decay_linear(-1 * rank(rank(delta(close, 10))), 10)))) + rank(-1 * delta(close, 3)) + sign(scale(correlation(adv(20), low, 12))),
        32: lambda: scale(ts_sum(close, 7) / 7 - close) + 20 * scale(correlation(vwap, delay(close, 5), 230)),
        33: lambda: rank(-1 * power(1 - open_ / close, 1)),
        34: lambda: rank((1 - rank(stddev(returns, 2) / stddev(returns, 5))) + (1 - rank(delta(close, 1)))),
        35: lambda: ts_rank(volume, 32) * (1 - ts_rank(close + high - low, 16)) * (1 - ts_rank(returns, 32)),
        36: lambda: 2.21 * rank(correlation(close - open_, delay(volume, 1), 15)) + 0.7 * rank(open_ - close) + 0.73 * rank(ts_rank(delay(-1 * returns, 6), 5)) + rank(abs(correlation(vwap, adv(20), 6))) + 0.6 * rank(u(ts_sum(close, 200) / 200 - open_) * u(close - open_)),
        37: lambda: rank(correlation(delay(open_ - close, 1), close, 200)) + rank(open_ - close),
        38: lambda: -1 * rank(ts_rank(close, 10)) * rank(close / open_),
        39: lambda: -1 * rank(delta(close, 7) * (1 - rank(decay_linear(u(volume) / u(adv(20)), 9)))) * (1 + rank(ts_sum(returns, 250))),
        40: lambda: -1 * rank(stddev(high, 10)) * correlation(high, volume, 10),
        41: lambda: power(u(high) * u(low), 0.5) - u(vwap),
        42: lambda: rank(vwap - close) / rank(vwap + close),
        43: lambda: ts_rank(u(volume) / u(adv(20)), 20) * ts_rank(-1 * delta(close, 7), 8),
        44: lambda: -1 * correlation(high, rank(volume), 5),
        45: lambda: -1 * (rank(ts_sum(delay(close, 5), 20) / 20) * correlation(close, volume, 2) * rank(correlation(ts_sum(close, 5), ts_sum(close, 20), 2))),
        46: lambda: where(less(0.25, u((delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10)), -1, where(less((delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10, 0), 1, -1 * u(close - delay(close, 1)))),
        47: lambda: rank(1 / u(close)) * u(volume) / u(adv(20)) * (high * rank(high - close) / (ts_sum(high, 5) / 5)) - rank(vwap - delay(vwap, 5)),
        48: lambda: indneutralize(correlation(delta(close, 1), delta(delay(close, 1), 1), 250) * delta(close, 1) / close, subindustry) / ts_sum(power(delta(close, 1) / delay(close, 1), 2), 250),
        49: lambda: where(less(u((delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10), -0.1), 1, -1 * u(close - delay(close, 1))),
        50: lambda: -1 * ts_max(rank(correlation(rank(volume), rank(vwap), 5)), 5),
        51: lambda: where(less(u((delay(close, 20) - delay(close, 10)) / 10 - (delay(close, 10) - close) / 10), -0.05), 1, -1 * u(close - delay(close, 1))),
        52: lambda: (-1 * ts_min(low, 5) + delay(ts_min(low, 5), 5)) * rank((ts_sum(returns, 240) - ts_sum(returns, 20)) / 220) * ts_rank(volume, 5),
        53: lambda: -1 * delta(((close - low) - (high - close)) / (close - low), 9),
        54: lambda: -1 * (u(low - close) * power(u(open_), 5)) / (u(low - high) * power(u(close), 5)),
        55: lambda: -1 * correlation(rank((close - ts_min(low, 12)) / (ts_max(high, 12) - ts_min(low, 12))), rank(volume), 6),
        56: lambda: 0 - rank(ts_sum(returns, 10) / ts_sum(ts_sum(returns, 2), 3)) * rank(returns * cap),
        57: lambda: 0 - (close - vwap) / decay_linear(rank(ts_argmax(close, 30)), 2),
        58: lambda: -1 * ts_rank(decay_linear(correlation(indneutralize(vwap, sector), volume, 3), 7), 5),
        59: lambda: -1 * ts_rank(decay_linear(correlation(indneutralize(vwap * 0.728317 + vwap * (1 - 0.728317), industry), volume, 4), 16), 8),
        60: lambda: 0 - (2 * scale(rank(((close - low) - (high - close)) / (high - low) * volume)) - scale(rank(ts_argmax(close, 10)))),
        61: lambda: less(rank(vwap - ts_min(vwap, 16)), rank(correlation(vwap, adv(180), 17))),
        62: lambda: less(rank(correlation(vwap, ts_sum(adv(20), 22), 9)), rank(less(rank(open_) + rank(open_), rank((high + low) / 2) + rank(high)))) * -1,
        63: lambda: (rank(decay_linear(delta(indneutralize(close, industry), 2), 8)) - rank(decay_linear(correlation(vwap * 0.318108 + open_ * (1 - 0.318108), ts_sum(adv(180), 37), 13), 12))) * -1,
        64: lambda: less(rank(correlation(ts_sum(open_ * 0.178404 + low * (1 - 0.178404), 12), ts_sum(adv(120), 12), 16)), rank(delta((high + low) / 2 * 0.178404 + vwap * (1 - 0.178404), 3))) * -1,
        65: lambda: less(rank(correlation(open_ * 0.00817205 + vwap * (1 - 0.00817205), ts_sum(adv(60), 8), 6)), rank(open_ - ts_min(open_, 13))) * -1,
        66: lambda: (rank(decay_linear(delta(vwap, 3), 7)) + ts_rank(decay_linear((low * 0.96633 + low * (1 - 0.96633) - vwap) / (open_ - (high + low) / 2), 11), 6)) * -1,
        67: lambda: power(rank(high - ts_min(high, 2)), rank(correlation(indneutralize(vwap, sector), indneutralize(adv(20), subindustry), 6))) * -1,
        68: lambda: less(ts_rank(correlation(rank(high), rank(adv(15)), 8), 13), rank(delta(close * 0.518371 + low * (1 - 0.518371), 1))) * -1,
        69: lambda: power(rank(ts_max(delta(indneutralize(vwap, industry), 2), 4)), ts_rank(correlation(close * 0.490655 + vwap * (1 - 0.490655), adv(20), 4), 9)) * -1,
        70: lambda: power(rank(delta(vwap, 1)), ts_rank(correlation(indneutralize(close, industry), adv(50), 17), 17)) * -1,
        71: lambda: maximum(ts_rank(decay_linear(correlation(ts_rank(close, 3), ts_rank(adv(180), 12), 18), 4), 15), ts_rank(decay_linear(power(rank(low + open_ - (vwap + vwap)), 2), 16), 4)),
        72: lambda: rank(decay_linear(correlation((high + low) / 2, adv(40), 8), 10)) / rank(decay_linear(correlation(ts_rank(vwap, 3), ts_rank(volume, 18), 6), 2)),
        73: lambda: maximum(rank(decay_linear(delta(vwap, 4), 2)), ts_rank(decay_linear(delta(open_ * 0.147155 + low * (1 - 0.147155), 2) / (open_ * 0.147155 + low * (1 - 0.147155)) * -1, 3), 16)) * -1,
        74: lambda: less(rank(correlation(close, ts_sum(adv(30), 37), 15)), rank(correlation(rank(high * 0.0261661 + vwap * (1 - 0.0261661)), rank(volume), 11))) * -1,
        75: lambda: less(rank(correlation(vwap, volume, 4)), rank(correlation(rank(low), rank(adv(50)), 12))),
        76: lambda: maximum(rank(decay_linear(delta(vwap, 1), 11)), ts_rank(decay_linear(ts_rank(correlation(indneutralize(low, sector), adv(81), 8), 19), 17), 19)) * -1,
        77: lambda: minimum(rank(decay_linear((high + low) / 2 + high - (vwap + high), 20)), rank(decay_linear(correlation((high + low) / 2, adv(40), 3), 5))),
        78: lambda: power(rank(correlation(ts_sum(low * 0.352233 + vwap * (1 - 0.352233), 19), ts_sum(adv(40), 19), 6)), rank(correlation(rank(vwap), rank(volume), 5))),
        79: lambda: less(rank(delta(indneutralize(close * 0.60733 + open_ * (1 - 0.60733), sector), 1)), rank(correlation(ts_rank(vwap, 3), ts_rank(adv(150), 9), 14))),
        80: lambda: power(rank(sign(delta(indneutralize(open_ * 0.868128 + high * (1 - 0.868128), industry), 4))), ts_rank(correlation(high, adv(10), 5), 5)) * -1,
        81: lambda: less(rank(log(product(rank(power(rank(correlation(vwap, ts_sum(adv(10), 49), 8)), 4)), 14))), rank(correlation(rank(vwap), rank(volume), 5))) * -1,
        82: lambda: minimum(rank(decay_linear(delta(open_, 1), 14)), ts_rank(decay_linear(correlation(indneutralize(volume, sector), open_ * 0.634196 + open_ * (1 - 0.634196), 17), 6), 13)) * -1,
        83: lambda: rank(delay((high - low) / (ts_sum(close, 5) / 5), 2)) * rank(rank(volume)) / ((high - low) / (ts_sum(close, 5) / 5) / u(vwap - close)),
        84: lambda: signedpower(ts_rank(vwap - ts_max(vwap, 15), 20), u(delta(close, 4))),
        85: lambda: power(rank(correlation(high * 0.876703 + close * (1 - 0.876703), adv(30), 9)), rank(correlation(ts_rank((high + low) / 2, 3), ts_rank(volume, 10), 7))),
        86: lambda: less(ts_rank(correlation(close, ts_sum(adv(20), 14), 6), 20), rank(open_ + close - (vwap + open_))) * -1,
        87: lambda: maximum(rank(decay_linear(delta(close * 0.369701 + vwap * (1 - 0.369701), 1), 2)), ts_rank(decay_linear(abs(correlation(indneutralize(adv(81), industry), close, 13)), 4), 14)) * -1,
        88: lambda: minimum(rank(decay_linear(rank(open_) + rank(low) - (rank(high) + rank(close)), 8)), ts_rank(decay_linear(correlation(ts_rank(close, 8), ts_rank(adv(60), 20), 8), 6), 2)),
        89: lambda: ts_rank(decay_linear(correlation(low * 0.967285 + low * (1 - 0.967285), adv(10), 6), 5), 3) - ts_rank(decay_linear(delta(indneutralize(vwap, industry), 3), 10), 15),
        90: lambda: power(rank(close - ts_max(close, 4)), ts_rank(correlation(indneutralize(adv(40), subindustry), low, 5), 3)) * -1,
        91: lambda: (ts_rank(decay_linear(decay_linear(correlation(indneutralize(close, industry), volume, 9), 16), 3), 4) - rank(decay_linear(correlation(vwap, adv(30), 4), 2))) * -1,
        92: lambda: minimum(ts_rank(decay_linear(less((high + low) / 2 + close, low + open_), 14), 18), ts_rank(decay_linear(correlation(rank(low), rank(adv(30)), 7), 6), 6)),
        93: lambda: ts_rank(decay_linear(correlation(indneutralize(vwap, industry), adv(81), 17), 19), 7) / rank(decay_linear(delta(close * 0.524434 + vwap * (1 - 0.524434), 2), 16)),
        94: lambda: power(rank(vwap - ts_min(vwap, 11)), ts_rank(correlation(ts_rank(vwap, 19), ts_rank(adv(60), 4), 18), 2)) * -1,
        95: lambda: less(rank(open_ - ts_min(open_, 12)), ts_rank(power(rank(correlation(ts_sum((high + low) / 2, 19), ts_sum(adv(40), 19), 12)), 5), 11)),
        96: lambda: maximum(ts_rank(decay_linear(correlation(rank(vwap), rank(volume), 3), 4), 8), ts_rank(decay_linear(ts_argmax(correlation(ts_rank(close, 7), ts_rank(adv(60), 4), 3), 12), 14), 13)) * -1,
        97: lambda: (rank(decay_linear(delta(indneutralize(low * 0.721001 + vwap * (1 - 0.721001), industry), 3), 20)) - ts_rank(decay_linear(ts_rank(correlation(ts_rank(low, 7), ts_rank(adv(60), 17), 4), 18), 15), 6)) * -1,
        98: lambda: rank(decay_linear(correlation(vwap, ts_sum(adv(5), 26), 4), 7)) - rank(decay_linear(ts_rank(ts_argmin(correlation(rank(open_), rank(adv(15)), 20), 8), 6), 8)),
        99: lambda: less(rank(correlation(ts_sum((high + low) / 2, 19), ts_sum(adv(60), 19), 8)), rank(correlation(low, volume, 6))) * -1,
        100: lambda: 0 - (1.5 * scale(indneutralize(indneutralize(rank(((close - low) - (high - close)) / (high - low) * volume), subindustry), subindustry)) - scale(indneutralize(correlation(close, rank(adv(20)), 5) - rank(ts_argmin(close, 30)), subindustry))) * (u(volume) / u(adv(20))),
        101: lambda: u(close - open_) / (u(high - low) + 0.001),
    }
    # fmt: on
