"""Functions on a panel against loops written for the test: one asset and one bar at a time, by the formula.

The oracles know nothing of the product's code: None is unknown, a float or a bool is a value. The panel has missing
cells, equal prices, an asset without a group, holidays, and assets that are listed later.
"""

import math
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from agents.strategy.expression.evaluate import EvaluationCache, evaluate, truth
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.truth import FALSE, TRUE
from backtesting.bars import Bars

N_BARS, N_ASSETS = 150, 7

Value = float | None
Column = list[Value]
Frame = list[Column]
"""One column an asset."""


def panel() -> Bars:
    rng = np.random.default_rng(17)
    shape = (N_BARS, N_ASSETS)
    # Whole numbers, so that equal prices are common and exactly equal.
    close = np.round(40 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0)))
    opened = np.round(close * np.exp(rng.normal(0, 0.01, shape)))
    high, low = np.maximum(opened, close) + rng.integers(0, 3, shape), np.minimum(opened, close) - 1
    volume = np.round(rng.uniform(1, 9, shape)) * 1000
    volume[50:53, 2] = 0
    close[70:80, 1] = opened[70:80, 1] = high[70:80, 1] = low[70:80, 1] = close[69, 1]
    for values in (opened, high, low, close, volume):
        values[:30, 6] = np.nan
        values[90, 3] = values[91, 3] = values[40, 0] = np.nan
        values[100, 1:] = np.nan  # one asset alone
        values[101, :] = np.nan
    sector = np.tile([0.0, 0, 1, 1, 1, 2, np.nan], (N_BARS, 1))
    days = np.busday_offset("2003-11-24", np.arange(N_BARS + 6), roll="forward")
    sessions = np.delete(days, [4, 23, 28, 60, 61, 100])  # holidays
    names = tuple(f"a{k}" for k in range(N_ASSETS))
    return Bars(names, sessions, opened, high, low, close, volume, "panel", features={"sector": sector})


BARS = panel()
DAYS = [date.fromisoformat(str(day)) for day in BARS.sessions]


def column(name: str) -> Frame:
    values = BARS.features[name] if name in BARS.features else getattr(BARS, name)
    return [[None if math.isnan(v) else float(v) for v in values[:, k]] for k in range(N_ASSETS)]


OP, H, L, C, V, G = (column(name) for name in ("open", "high", "low", "close", "volume", "sector"))


def each(f: Callable[..., Value], *frames: Frame) -> Frame:
    """Cell by cell; unknown where any is."""

    def cell(values: tuple[Value, ...]) -> Value:
        return None if None in values else f(*values)

    return [[cell(cells) for cells in zip(*columns, strict=True)] for columns in zip(*frames, strict=True)]


def column_wise(f: Callable[..., Column], *frames: Frame) -> Frame:
    return [f(*columns) for columns in zip(*frames, strict=True)]


def windowed(f: Callable[[list[float]], Value], n: int) -> Callable[[Frame], Frame]:
    """Over the last n bars; unknown where one of them is."""

    def over(x: Column) -> Column:
        parts = [x[t - n + 1 : t + 1] if t >= n - 1 else [None] for t in range(len(x))]
        return [None if None in part else f(part) for part in parts]  # type: ignore[arg-type]

    return lambda frame: column_wise(over, frame)


def back(frame: Frame, n: int) -> Frame:
    return [[None] * n + x[:-n] for x in frame]


def mean(x: list[float]) -> float:
    return math.fsum(x) / len(x)


def sample_deviation(x: list[float]) -> float:
    return math.sqrt(math.fsum((v - mean(x)) ** 2 for v in x) / (len(x) - 1))


def quotient(a: float, b: float) -> Value:
    return a / b if b != 0 else None


def across(f: Callable[[float, list[float]], Value], frame: Frame, groups: Frame | None = None) -> Frame:
    """f of a value and of all known values on the same bar, of its group if there are groups."""
    out: Frame = [[None] * N_BARS for _ in range(N_ASSETS)]
    for t in range(N_BARS):
        for k in range(N_ASSETS):
            mine = frame[k][t]
            if mine is None or (groups is not None and groups[k][t] is None):
                continue
            same = [m for m in range(N_ASSETS) if groups is None or groups[m][t] == groups[k][t]]
            out[k][t] = f(mine, [v for m in same if (v := frame[m][t]) is not None])
    return out


def place(mine: float, others: list[float]) -> Value:
    below, equal = sum(v < mine for v in others), sum(v == mine for v in others) - 1
    return quotient(below + equal / 2, len(others) - 1)


def standard(mine: float, others: list[float]) -> Value:
    spread = sample_deviation(others) if len(others) > 1 else 0.0
    return (mine - mean(others)) / spread if spread > 1e-12 else None


def winsorised(mine: float, others: list[float]) -> Value:
    if len(others) < 2:
        return None
    middle, reach = mean(others), 2 * sample_deviation(others)
    return min(max(mine, middle - reach), middle + reach)


def wilder(n: int) -> Callable[[Column], Column]:
    """The mean of the first n known values, then a step of 1 / n; missing bars are skipped."""

    def run(x: Column) -> Column:
        out: Column = []
        seen: list[float] = []
        state: Value = None
        for value in x:
            if value is None:
                out.append(None)
                continue
            if state is None:
                seen.append(value)
                state = mean(seen) if len(seen) == n else None
            else:
                state += (value - state) / n
            out.append(state)
        return out

    return run


def true_ranges() -> Frame:
    before = back(C, 1)
    return each(lambda h, low, c: max(h - low, abs(h - c), abs(low - c)), H, L, before)


def supertrend(c: Column, h: Column, low: Column, tr: Column) -> Column:
    reach = wilder(10)(tr)
    out: Column = []
    upper, lower, up, before = math.inf, -math.inf, True, math.nan
    for t in range(len(c)):
        if c[t] is None or h[t] is None or low[t] is None:
            out.append(None)
            continue
        price, wide = float(c[t] or 0), reach[t]
        if wide is None:
            out.append(None)
            before = price
            continue
        middle = (float(h[t] or 0) + float(low[t] or 0)) / 2
        over, under = middle + 3 * wide, middle - 3 * wide
        upper = over if over < upper or before > upper else upper
        lower = under if under > lower or before < lower else lower
        up = price >= lower if up else price > upper
        out.append(lower if up else upper)
        before = price
    return out


def crossing(x: Frame, y: Frame, up: bool, down: bool) -> Frame:
    def one(now_x: float, now_y: float, was_x: float, was_y: float) -> float:
        above, below = now_x > now_y and was_x <= was_y, now_x < now_y and was_x >= was_y
        return float((up and above) or (down and below))

    return each(one, x, y, back(x, 1), back(y, 1))


def moved(sign: int, n: int) -> Frame:
    step = each(lambda now, was: float(sign * (now - was) > 0), C, back(C, 1))
    return windowed(lambda part: float(all(part)), n)(step)


UP = each(lambda c, o: float(c > o), C, OP)
NEWS = each(lambda c, was: float(c > 1.02 * was), C, back(C, 1))


def streak(x: Column) -> Column:
    out: Column = []
    run = 0.0
    for held in x:
        run = run + 1 if held else 0.0
        out.append(None if held is None else run)
    return out


def last_held(x: Column) -> list[int | None]:
    """The bar at which the condition last held, for every bar."""
    out: list[int | None] = []
    at: int | None = None
    for t, held in enumerate(x):
        at = t if held else at
        out.append(at)
    return out


def since(x: Column) -> Column:
    return [None if at is None else float(t - at) for t, at in enumerate(last_held(x))]


def days_since(x: Column) -> Column:
    return [None if at is None else float((DAYS[t] - DAYS[at]).days) for t, at in enumerate(last_held(x))]


def value_when(x: Column, values: Column) -> Column:
    return [None if at is None else values[at] for at in last_held(x)]


def extreme_since(pick: Callable[[list[float]], float]) -> Callable[[Column, Column], Column]:
    def run(x: Column, values: Column) -> Column:
        out: Column = []
        for t, at in enumerate(last_held(x)):
            known = [] if at is None else [v for v in values[at : t + 1] if v is not None]
            out.append(pick(known) if known else None)
        return out

    return run


def chosen(test: Frame, x: Frame, y: Frame) -> Frame:
    def cell(held: Value, a: Value, b: Value) -> Value:
        return None if held is None else a if held else b

    return column_wise(lambda t, a, b: [cell(*cells) for cells in zip(t, a, b, strict=True)], test, x, y)


def constant(value: float) -> Frame:
    return [[value] * N_BARS for _ in range(N_ASSETS)]


def by_day(f: Callable[[int], Value]) -> Frame:
    return [[f(t) for t in range(N_BARS)] for _ in range(N_ASSETS)]


def weekdays_of_month(day: date) -> list[date]:
    first = day.replace(day=1)
    days = [first + timedelta(n) for n in range(31)]
    return [one for one in days if one.month == day.month and one.weekday() < 5]


def turns(t: int) -> float:
    days = weekdays_of_month(DAYS[t])
    at = days.index(DAYS[t])
    return float(at < 3 or at >= len(days) - 1)


STEP = each(lambda now, was: math.log(now / was), C, back(C, 1))
Z = windowed(lambda part: (part[-1] - mean(part)) / s if (s := sample_deviation(part)) > 1e-12 else None, 10)(C)
TYPICAL = each(lambda h, low, c: (h + low + c) / 3, H, L, C)
PAID = each(lambda p, v: p * v, TYPICAL, V)

ORACLES: dict[str, Callable[[], Frame]] = {
    "rma(close, 8)": lambda: column_wise(wilder(8), C),
    "lag(close, 3)": lambda: back(C, 3),
    "log_return(close, 5)": lambda: each(lambda now, was: math.log(now / was), C, back(C, 5)),
    "stdev(close, 10)": lambda: windowed(sample_deviation, 10)(C),
    "zscore(close, 10)": lambda: Z,
    "volatility(10)": lambda: each(lambda s: s * math.sqrt(252), windowed(sample_deviation, 10)(STEP)),
    "donchian_high(6)": lambda: back(windowed(max, 6)(H), 1),
    "donchian_low(6)": lambda: back(windowed(min, 6)(L), 1),
    "vwap(5)": lambda: each(quotient, windowed(math.fsum, 5)(PAID), windowed(math.fsum, 5)(V)),
    "relative_volume(5)": lambda: each(quotient, V, windowed(mean, 5)(V)),
    "supertrend(10, 3)": lambda: column_wise(supertrend, C, H, L, true_ranges()),
    "day_of_week()": lambda: by_day(lambda t: DAYS[t].weekday()),
    "day_of_month()": lambda: by_day(lambda t: DAYS[t].day),
    "day_of_year()": lambda: by_day(lambda t: DAYS[t].timetuple().tm_yday),
    "week_of_month()": lambda: by_day(lambda t: (DAYS[t].day - 1) // 7 + 1),
    "month()": lambda: by_day(lambda t: DAYS[t].month),
    "quarter()": lambda: by_day(lambda t: (DAYS[t].month + 2) // 3),
    "days_gap()": lambda: by_day(lambda t: (DAYS[t] - DAYS[t - 1]).days if t else None),
    "turn_of_month(1, 3)": lambda: by_day(turns),
    "days_since(close > 1.02 * lag(close, 1))": lambda: column_wise(days_since, NEWS),
    "crosses_above(close, open)": lambda: crossing(C, OP, True, False),
    "crosses_below(close, open)": lambda: crossing(C, OP, False, True),
    "crosses(close, open)": lambda: crossing(C, OP, True, True),
    "rising(close, 2)": lambda: moved(1, 2),
    "falling(close, 2)": lambda: moved(-1, 2),
    "holds_for(close > open, 3)": lambda: windowed(lambda part: float(all(part)), 3)(UP),
    "streak(close > open)": lambda: column_wise(streak, UP),
    "since(close > 1.02 * lag(close, 1))": lambda: column_wise(since, NEWS),
    "value_when(close > 1.02 * lag(close, 1), high)": lambda: column_wise(value_when, NEWS, H),
    "highest_since(close > 1.02 * lag(close, 1), high)": lambda: column_wise(extreme_since(max), NEWS, H),
    "lowest_since(close > 1.02 * lag(close, 1), low)": lambda: column_wise(extreme_since(min), NEWS, L),
    "where(close > open, high, low)": lambda: chosen(UP, H, L),
    "fill(zscore(close, 10), 0)": lambda: [[0.0 if v is None else v for v in x] for x in Z],
    "known(zscore(close, 10))": lambda: [[float(v is not None) for v in x] for x in Z],
    "abs(close - open)": lambda: each(lambda c, o: abs(c - o), C, OP),
    "sign(close - open)": lambda: each(lambda c, o: float((c > o) - (c < o)), C, OP),
    "log(close / open)": lambda: each(lambda c, o: math.log(c / o), C, OP),
    "sqrt(close / open)": lambda: each(lambda c, o: math.sqrt(c / o), C, OP),
    "min(close, open)": lambda: each(min, C, OP),
    "max(close, open)": lambda: each(max, C, OP),
    "clip(zscore(close, 10), -1, 0.5)": lambda: each(lambda z: min(max(z, -1.0), 0.5), Z),
    "unitless(close) * unitless(volume)": lambda: each(lambda c, v: c * v, C, V),
    "cs_rank(close)": lambda: across(place, C),
    "cs_mean(close)": lambda: across(lambda mine, others: mean(others), C),
    "cs_stdev(close)": lambda: across(lambda mine, x: sample_deviation(x) if len(x) > 1 else None, C),
    "cs_demean(close)": lambda: across(lambda mine, others: mine - mean(others), C),
    "cs_zscore(close)": lambda: across(standard, C),
    "cs_scale(close - open, 2)": lambda: across(
        lambda mine, x: quotient(2 * mine, math.fsum(map(abs, x))), each(lambda c, o: c - o, C, OP)
    ),
    "cs_winsorise(close, 2)": lambda: across(winsorised, C),
    "neutralise(close, feature(sector))": lambda: across(lambda mine, x: mine - mean(x), C, G),
    "group_mean(close, feature(sector))": lambda: across(lambda mine, x: mean(x), C, G),
    "group_rank(close, feature(sector))": lambda: across(place, C, G),
    "group_zscore(close, feature(sector))": lambda: across(standard, C, G),
}


def found(text: str) -> np.ndarray:
    node: Any = parse(text)
    assert isinstance(node, Node), [str(error) for error in node]
    if node.dimension is Dimension.BOOLEAN:
        known = truth(node, BARS, EvaluationCache())
        return np.where(known == TRUE, 1.0, np.where(known == FALSE, 0.0, np.nan))
    return evaluate(node, BARS, EvaluationCache()).astype(float)


@pytest.mark.parametrize("text", ORACLES)
def test_agrees_with_a_loop(text: str) -> None:
    expected = np.array([[math.nan if v is None else v for v in x] for x in ORACLES[text]()], dtype=float).T
    values = found(text)
    here, there = np.isfinite(values), np.isfinite(expected)
    assert np.array_equal(here, there), np.argwhere(here != there)[:8].tolist()
    np.testing.assert_allclose(values[here], expected[there], rtol=1e-9, atol=1e-9)
    # An oracle that says little tests little.
    assert there.sum() > 300
    assert len(np.unique(expected[there])) > 1


def test_a_panel_in_another_order_has_the_same_values_in_that_order() -> None:
    order = [3, 0, 6, 1, 5, 2, 4]
    fields = {name: getattr(BARS, name)[:, order] for name in ("open", "high", "low", "close", "volume")}
    turned = Bars(
        tuple(BARS.symbols[k] for k in order), BARS.sessions, **fields, source="turned",
        features={"sector": BARS.features["sector"][:, order]},
    )  # fmt: skip
    for text in ORACLES:
        node = parse(text)
        assert isinstance(node, Node)
        values, again = (evaluate(node, bars, EvaluationCache()).astype(float) for bars in (BARS, turned))
        np.testing.assert_allclose(again, values[:, order], rtol=1e-9, err_msg=text)
