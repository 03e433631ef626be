import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yfinance
from yfinance.data import YfData
from yfinance.exceptions import YFPricesMissingError, YFRateLimitError

from agents.data_fetch.market import parse_market
from agents.data_fetch.sources.source import Loaded
from agents.data_fetch.sources.yahoo import load_with, yfinance_history
from backtesting.errors import DataError

NOW = datetime(2026, 3, 10, 22, tzinfo=UTC)
Answer = Callable[[str, Path | None], Any]


def frame(days: list[str], close: list[float], zone: str | None = "America/New_York", **columns: Any) -> pd.DataFrame:
    prices = np.array(close)
    given = {
        "Open": prices,
        "High": prices + 1,
        "Low": prices - 1,
        "Close": prices,
        "Adj Close": prices,
        "Volume": np.full(len(prices), 100),
        "Dividends": np.zeros(len(prices)),
        "Stock Splits": np.zeros(len(prices)),
    }
    return pd.DataFrame(given | columns, index=pd.DatetimeIndex(days, tz=zone, name="Date"))


def three_days(symbol: str, cache_dir: Path | None) -> pd.DataFrame:
    return frame(["2026-03-05", "2026-03-06", "2026-03-09"], [10.0, 11.0, 12.0])


def failing(error: Exception) -> Answer:
    def answer(symbol: str, cache_dir: Path | None) -> Any:
        raise error

    return answer


def load(answer: Answer, address: str = "yahoo:SPY", cache_dir: Path | None = None, now: datetime = NOW) -> Loaded:
    return load_with(answer, parse_market(address), cache_dir=cache_dir, clock=lambda: now)


def test_the_answer_becomes_bars_of_the_exchanges_own_dates() -> None:
    loaded = load(three_days)
    assert [str(day) for day in loaded.bars.sessions] == ["2026-03-05", "2026-03-06", "2026-03-09"]
    assert loaded.bars.close[:, 0].tolist() == [10, 11, 12]
    assert loaded.bars.source == "yahoo:SPY"
    assert loaded.notes == ()


def test_midnight_in_tokyo_is_the_day_of_tokyo_across_a_clock_change_too() -> None:
    # 10 March 22:00 UTC is 11 March in Tokyo, so the bar of the 10th is finished there.
    tokyo = frame(["2026-03-09", "2026-03-10"], [10.0, 11.0], "Asia/Tokyo")
    assert [str(day) for day in load(lambda *_: tokyo).bars.sessions] == ["2026-03-09", "2026-03-10"]
    # New York changes its clocks on 8 March 2026.
    newyork = frame(["2026-03-06", "2026-03-09"], [10.0, 11.0])
    assert [str(day) for day in load(lambda *_: newyork).bars.sessions] == ["2026-03-06", "2026-03-09"]


def test_todays_bar_is_left_out_and_noted() -> None:
    loaded = load(lambda *_: frame(["2026-03-09", "2026-03-10"], [10.0, 11.0]))
    assert [str(day) for day in loaded.bars.sessions] == ["2026-03-09"]
    assert [(note.rule, note.first) for note in loaded.notes] == [("unfinished-bar", ("2026-03-10",))]


def test_a_dividend_enters_the_returns_through_adj_close() -> None:
    # 2 paid on the second day: 100 x (1 - 2 / 100) = 98 before, so 98 -> 99 is a gain of 1 / 98, not a loss of 1 %.
    paid = frame(["2026-03-05", "2026-03-06"], [100.0, 99.0], **{"Adj Close": [98.0, 99.0], "Dividends": [0.0, 2.0]})
    loaded = load(lambda *_: paid)
    assert loaded.bars.close[:, 0].tolist() == [98.0, 99.0]
    assert loaded.bars.high[0, 0] == pytest.approx(101 * 0.98)
    assert [note.rule for note in loaded.notes] == ["adjusted"]


def test_an_interior_nan_row_is_left_out_and_noted() -> None:
    nan = float("nan")
    loaded = load(lambda *_: frame(["2026-03-05", "2026-03-06", "2026-03-09"], [10.0, nan, 12.0]))
    assert loaded.bars.n_bars == 2
    assert [(note.rule, note.first) for note in loaded.notes] == [("missing-price", ("2026-03-06",))]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda *_: pd.DataFrame(), "without any prices for SPY"),
        (lambda *_: None, "without any prices for SPY"),
        (lambda *_: pd.DataFrame({"html": ["Will be right back"]}), "without any prices for SPY"),
        (lambda *_: frame(["2026-03-05"], [float("nan")]), "no row with all its prices"),
        (lambda *_: frame(["2026-03-05"], [-1.0]), "is not positive"),
        (lambda *_: frame(["2026-03-10"], [10.0]), "holds no rows"),
        (lambda *_: three_days("", None).reset_index(drop=True), "has another form than expected"),
        (failing(YFRateLimitError()), "rate limit"),
        (failing(YFPricesMissingError("SPY", "")), "knows no daily prices for SPY"),
        (
            failing(ConnectionError("curl: (6)\n could not resolve")),
            "source down or no network (ConnectionError: curl:",
        ),
        (failing(KeyError("chart")), "source down or no network (KeyError"),
    ],
    ids=["empty", "none", "html", "nan", "negative", "today", "no-dates", "limit", "unknown", "network", "form"],
)
def test_whatever_yahoo_does_ends_in_a_sentence(answer: Answer, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        load(answer)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_when_the_network_is_down_the_snapshot_is_used_and_its_age_is_said(tmp_path: Path) -> None:
    online = load(three_days, cache_dir=tmp_path)
    offline = load(failing(ConnectionError("down")), cache_dir=tmp_path, now=NOW + timedelta(days=3))
    assert offline.bars.bars_id == online.bars.bars_id
    (note,) = offline.notes
    assert note.rule == "offline-snapshot"
    assert note.severity == "warning"
    assert "fetched 3 days ago, at 2026-03-10 22:00 UTC" in note.sentence


def test_one_snapshot_serves_every_window_and_is_raw(tmp_path: Path) -> None:
    crash = frame(["2020-04-17", "2020-04-20", "2020-04-21"], [18.27, -37.63, 10.01])
    load(lambda *_: crash, "yahoo:CL=F?to=2020-04-17", tmp_path)
    offline = load(failing(ConnectionError("down")), "yahoo:CL=F?from=2020-04-21", tmp_path)
    assert offline.bars.close[:, 0].tolist() == [10.01]
    with pytest.raises(DataError, match=r"2020-04-20: open -37\.63 is not positive"):
        load(failing(ConnectionError("down")), "yahoo:CL=F", tmp_path)


def test_without_a_folder_nothing_is_kept_and_the_failure_is_told(tmp_path: Path) -> None:
    load(three_days)
    with pytest.raises(DataError, match="source down"):
        load(failing(ConnectionError("down")), cache_dir=tmp_path)


def test_a_snapshot_that_cannot_be_written_does_not_cost_the_prices(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    loaded = load(three_days, cache_dir=blocked)
    assert loaded.bars.n_bars == 3
    assert [note.rule for note in loaded.notes] == ["no-snapshot"]


def test_several_symbols_share_the_union_of_their_sessions() -> None:
    def answer(symbol: str, cache_dir: Path | None) -> pd.DataFrame:
        days = {"A": ["2026-03-05", "2026-03-06"], "B": ["2026-03-06", "2026-03-09"]}[symbol]
        return frame(days, [10.0, 11.0])

    bars = load(answer, "yahoo:A,B").bars
    assert bars.symbols == ("A", "B")
    assert np.array_equal(bars.close, [[10, np.nan], [11, 10], [np.nan, 11]], equal_nan=True)


def one_fails(symbol: str, cache_dir: Path | None) -> pd.DataFrame:
    if symbol == "S3":
        raise YFPricesMissingError(symbol, "")
    return three_days(symbol, cache_dir)


def test_one_of_twenty_symbols_may_fail_and_the_smaller_universe_is_noted() -> None:
    loaded = load(one_fails, "yahoo:" + ",".join(f"S{i}" for i in range(20)))
    assert loaded.bars.n_assets == 19
    (note,) = loaded.notes
    assert (note.rule, note.severity, note.first) == ("missing-symbols", "warning", ("S3",))


def test_one_of_five_symbols_is_too_many() -> None:
    with pytest.raises(DataError, match=r"1 of 5 symbols could not be had \(S3\)"):
        load(one_fails, "yahoo:S1,S2,S3,S4,S5")


class FakeReply:
    status_code = 200

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.text = json.dumps(body)

    def json(self) -> dict[str, Any]:
        return self.body


def chart(closes: list[float | None]) -> dict[str, Any]:
    """Yahoo's chart answer for consecutive days from 5 March 2026, 09:30 in New York."""
    opens_at = 1772721000
    quote = dict.fromkeys(("open", "high", "low", "close"), closes) | {"volume": [100] * len(closes)}
    meta = {
        "symbol": "SPY",
        "currency": "USD",
        "instrumentType": "INDEX",
        "exchangeTimezoneName": "America/New_York",
        "timezone": "EST",
        "gmtoffset": -18000,
        "dataGranularity": "1d",
        "regularMarketTime": opens_at,
        "validRanges": ["1d", "max"],
        "priceHint": 2,
    }
    result = {
        "meta": meta,
        "timestamp": [opens_at + 86400 * i for i in range(len(closes))],
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": closes}]},
    }
    return {"chart": {"result": [result], "error": None}}


@pytest.fixture
def yahoo_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    def say(body: dict[str, Any]) -> None:
        for name in ("get", "cache_get"):
            monkeypatch.setattr(YfData, name, lambda *_, **__: FakeReply(body))
        monkeypatch.setattr(YfData, "get_raw_json", lambda *_, **__: body)

    return say


def test_the_real_library_is_asked_for_unadjusted_prices_and_read(yahoo_says, tmp_path: Path) -> None:
    yahoo_says(chart([10.0, 11.0, None]))
    bars = load(yfinance_history, cache_dir=tmp_path).bars
    assert [str(day) for day in bars.sessions] == ["2026-03-05", "2026-03-06"]
    assert bars.close[:, 0].tolist() == [10.0, 11.0]


def test_the_real_library_hides_nothing_and_its_own_setting_is_put_back(yahoo_says, tmp_path: Path) -> None:
    before = yfinance.config.debug.hide_exceptions
    yahoo_says({"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}})
    with pytest.raises(DataError, match="knows no daily prices for NOSUCH"):
        load(yfinance_history, "yahoo:NOSUCH", cache_dir=tmp_path)
    yahoo_says(chart([10.0]) | {"note": "Will be right back"})
    with pytest.raises(DataError, match="source down"):
        load(yfinance_history, "yahoo:SPY", cache_dir=tmp_path)
    assert yfinance.config.debug.hide_exceptions == before
