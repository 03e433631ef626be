"""Calendar: what the date of a bar says. Known at every bar, and the same for all assets."""

from typing import Any

import numpy as np

from agents.strategy import kernels_paths
from agents.strategy.functions.entry import (
    BASIC,
    BOOLEAN,
    CONDITION,
    COUNT,
    Function,
    bars_back,
    none,
    one,
)
from agents.strategy.functions.steps import stepped
from agents.strategy.truth import TruthArray, as_numbers, truth_of
from backtesting.bars import Bars, FloatArray


def _every_asset(bars: Bars, by_session: Any) -> FloatArray:
    return np.repeat(np.asarray(by_session, dtype=np.float64)[:, None], bars.n_assets, axis=1)


def _days(bars: Bars) -> FloatArray:
    return _every_asset(bars, bars.sessions.astype("int64"))


def _day_of_week(bars: Bars) -> FloatArray:
    # 1970-01-01 was a Thursday.
    return _every_asset(bars, (bars.sessions.astype("int64") + 3) % 7)


def _day_of_month(bars: Bars) -> FloatArray:
    return _every_asset(bars, (bars.sessions - bars.sessions.astype("datetime64[M]")).astype("int64") + 1)


def _day_of_year(bars: Bars) -> FloatArray:
    return _every_asset(bars, (bars.sessions - bars.sessions.astype("datetime64[Y]")).astype("int64") + 1)


def _week_of_month(bars: Bars) -> FloatArray:
    return np.floor((_day_of_month(bars) - 1.0) / 7.0) + 1.0


def _month(bars: Bars) -> FloatArray:
    return _every_asset(bars, bars.sessions.astype("datetime64[M]").astype("int64") % 12 + 1)


def _quarter(bars: Bars) -> FloatArray:
    return np.floor((_month(bars) - 1.0) / 3.0) + 1.0


def _turn_of_month(bars: Bars, last: int, first: int) -> TruthArray:
    month = bars.sessions.astype("datetime64[M]")
    begin, end = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]")
    following = bars.sessions + 1
    past = np.busday_count(begin, following)
    left = np.busday_count(bars.sessions, end)
    weekday = np.is_busday(bars.sessions)
    holds = np.repeat((weekday & ((past <= first) | (left <= last)))[:, None], bars.n_assets, axis=1)
    return truth_of(holds, np.ones(holds.shape, dtype=bool))


def _days_since(bars: Bars, condition: TruthArray) -> FloatArray:
    today = _days(bars)
    return today - kernels_paths.since_event(as_numbers(condition), today, 0)


def _days_gap(bars: Bars) -> FloatArray:
    return stepped(_days(bars))


_NEVER = "never NaN"

ENTRIES = (
    Function(
        "day_of_week", "calendar", (), COUNT, none, _day_of_week, "0 Monday to 6 Sunday", BASIC, "day_of_week() == 0",
        _NEVER, aliases=("weekday", "dayofweek"), lies_in=(0.0, 6.0),
    ),
    Function(
        "day_of_month", "calendar", (), COUNT, none, _day_of_month, "1 to 31", BASIC, "day_of_month() <= 3", _NEVER,
        aliases=("dayofmonth",), lies_in=(1.0, 31.0),
    ),
    Function(
        "day_of_year", "calendar", (), COUNT, none, _day_of_year, "1 to 366", BASIC, "day_of_year() > 300", _NEVER,
        aliases=("dayofyear",), lies_in=(1.0, 366.0),
    ),
    Function(
        "week_of_month", "calendar", (), COUNT, none, _week_of_month, "1 for the days 1 to 7, 2 for 8 to 14, ..., 5",
        BASIC, "week_of_month() == 3 and day_of_week() == 4", _NEVER, lies_in=(1.0, 5.0),
    ),
    Function(
        "month", "calendar", (), COUNT, none, _month, "1 January to 12 December", BASIC, "month() == 1", _NEVER,
        lies_in=(1.0, 12.0),
    ),
    Function(
        "quarter", "calendar", (), COUNT, none, _quarter, "1 to 4", BASIC, "quarter() == 4", _NEVER, lies_in=(1.0, 4.0),
    ),
    Function(
        "turn_of_month", "calendar",
        (
            bars_back(1, name="last", low=0, high=10, grid=(1, 2, 3)),
            bars_back(3, name="first", low=0, high=10, grid=(1, 2, 3)),
        ),
        BOOLEAN, none, _turn_of_month,
        "true on the last `last` and the first `first` weekdays of a month, never on a Saturday or Sunday; holidays are"
        " counted as weekdays, because the next session is not known in advance",
        "Lakonishok and Smidt, Are Seasonal Anomalies Real?, 1988",
        "turn_of_month(1, 3)", "never unknown",
    ),
    Function(
        "days_since", "calendar", (CONDITION,), COUNT, none, _days_since,
        "calendar days since the condition last held; 0 at that bar", BASIC,
        "days_since(close >= highest(close, 50)) < 14", "NaN before it first held",
    ),
    Function(
        "days_gap", "calendar", (), COUNT, one, _days_gap,
        "calendar days since the bar before; 3 on an ordinary Monday", BASIC, "days_gap() > 3", "NaN in the first bar",
    ),
)  # fmt: skip
