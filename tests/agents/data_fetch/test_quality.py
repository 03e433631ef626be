import json

import numpy as np
import pytest

from agents.data_fetch.quality import Flag, QualityReport, check_quality, doubtful_bars
from backtesting.bars import Bars, FloatArray, Sessions

N = 1300


def weekdays(n: int = N) -> Sessions:
    return np.busday_offset(np.datetime64("2015-01-01"), np.arange(n), roll="forward")


def closes(n: int = N, assets: int = 1) -> FloatArray:
    moves = np.random.default_rng(5).normal(0.0, 0.01, (n, assets))
    return 100 * np.exp(np.cumsum(moves, axis=0))


def make(
    close: FloatArray | None = None,
    sessions: Sessions | None = None,
    *,
    volume: float | FloatArray = 1000.0,
    source: str = "csv:x.csv",
    periods: float = 252.0,
    close_only: bool = False,
    symbols: tuple[str, ...] = ("X",),
    opens: FloatArray | None = None,
) -> Bars:
    close = closes() if close is None else close
    opens = close * 0.999 if opens is None else opens
    return Bars(
        symbols=symbols,
        sessions=weekdays(len(close)) if sessions is None else sessions,
        open=opens,
        high=np.fmax(opens, close) * 1.01,
        low=np.fmin(opens, close) * 0.99,
        close=close,
        volume=np.broadcast_to(volume, close.shape),
        source=source,
        periods_per_year=periods,
        close_only=close_only,
    )


def rules(report: QualityReport) -> list[str]:
    return [flag.rule for flag in report.flags]


def only(report: QualityReport, rule: str) -> Flag:
    (flag,) = [flag for flag in report.flags if flag.rule == rule]
    return flag


def test_clean_bars_have_no_flag() -> None:
    report = check_quality(make())
    assert rules(report) == []
    assert report.verdict == "usable"
    assert (report.n_bars, report.first) == (N, "2015-01-01")


def test_a_bad_tick_that_is_taken_back_is_a_spike_and_a_crash_that_stays_is_not() -> None:
    close = closes()
    close[500] *= 1.6
    close[900:] *= 0.6
    flag = only(check_quality(make(close)), "spike")
    assert (flag.count, flag.first) == (1, (str(weekdays()[500]),))


def test_a_price_that_halves_for_good_looks_like_a_split() -> None:
    close = closes()
    close[700:] /= 2
    flag = only(check_quality(make(close)), "split")
    assert (flag.count, flag.first) == (1, (str(weekdays()[700]),))


def test_five_equal_closes_are_stale_and_four_are_not() -> None:
    close = closes()
    close[100:104] = close[100]
    assert "stale" not in rules(check_quality(make(close)))
    close[100:105] = close[100]
    flag = only(check_quality(make(close)), "stale")
    assert (flag.count, flag.first[0]) == (5, str(weekdays()[100]))


def test_a_constant_price_is_stale_all_over_and_nothing_else() -> None:
    report = check_quality(make(np.full((N, 1), 7.0)))
    assert rules(report) == ["stale"]
    assert only(report, "stale").count == N


def test_zero_volume_is_flagged_and_unknown_volume_is_a_remark() -> None:
    volume = np.full((N, 1), 1000.0)
    volume[3] = 0.0
    flag = only(check_quality(make(volume=volume)), "zero-volume")
    assert (flag.count, flag.first) == (1, (str(weekdays()[3]),))
    report = check_quality(make(volume=np.nan))
    assert rules(report) == ["no-volume"]
    assert report.verdict == "usable"


def test_six_missing_weekdays_are_a_gap_and_five_are_not() -> None:
    days = weekdays(N + 6)
    assert "gap" not in rules(check_quality(make(sessions=np.delete(days, range(50, 55))[:N])))
    flag = only(check_quality(make(sessions=np.delete(days, range(50, 56)))), "gap")
    assert (flag.count, flag.first) == (1, (str(days[56]),))


def test_too_many_missing_sessions_warn_and_then_make_the_bars_unusable() -> None:
    days = weekdays(2 * N)
    # Every tenth weekday is gone: 10 %, more than holidays explain (7.5 %), less than the limit of 20 %.
    tenth = days[np.arange(len(days)) % 10 != 5][:N]
    report = check_quality(make(sessions=tenth))
    assert only(report, "missing-sessions").severity == "warning"
    assert report.verdict == "usable with warnings"
    third = days[np.arange(len(days)) % 3 != 1][:N]
    report = check_quality(make(sessions=third))
    assert only(report, "missing-sessions").severity == "error"
    assert report.verdict == "unusable"


def test_holidays_are_not_missing_sessions() -> None:
    days = weekdays(2 * N)
    holidays = days[np.arange(len(days)) % 27 != 5][:N]  # 3.7 %, as in New York
    assert rules(check_quality(make(sessions=holidays))) == []


def test_weekend_bars_are_flagged_unless_the_market_trades_every_day() -> None:
    days = np.datetime64("2015-01-01") + np.arange(N)
    report = check_quality(make(sessions=days))
    assert only(report, "weekend").first[0] == "2015-01-03"
    assert "365" in only(report, "periods").sentence
    right = check_quality(make(sessions=days, periods=365.0))
    assert (rules(right), right.verdict) == (["periods"], "usable")
    assert only(right, "periods").sentence == "annual figures and rates count 365 bars a year"


def test_weekly_bars_counted_as_daily_are_unusable_and_the_way_out_is_named() -> None:
    days = np.datetime64("1990-01-05") + 7 * np.arange(N)
    report = check_quality(make(sessions=days))
    assert report.verdict == "unusable"
    assert "?periods=52" in only(report, "periods").sentence
    right = check_quality(make(sessions=days, periods=52.0))
    assert (rules(right), only(right, "periods").severity) == (["periods"], "info")


def test_a_history_too_short_for_two_windows_says_how_many_bars_are_needed() -> None:
    flag = only(check_quality(make(closes(200))), "short-history")
    # 300 to warm up + 21 embargo + 252 / 0.30 = 840 + 1.
    assert "200 bars, an open and a sealed window need 1162" in flag.sentence


def test_opens_copied_from_the_close_before_are_flagged() -> None:
    close = closes()
    opens = close * 0.999
    opens[1:400] = close[:399]
    flag = only(check_quality(make(close, opens=opens)), "copied-open")
    assert flag.count == 399
    assert "31%" in flag.sentence  # 399 / 1300


def test_each_source_brings_its_caveat() -> None:
    for source, symbols, rule in [
        ("sample:sp500", ("SP500",), "not-tradable"),
        ("sample:wti?from=2001-01-01", ("WTI",), "not-tradable"),
        ("yahoo:^GSPC", ("^GSPC",), "not-tradable"),
        ("yahoo:CL=F", ("CL=F",), "futures-splice"),
        ("yahoo:AAPL", ("AAPL",), "survivorship"),
        ("synthetic:garch", ("garch",), "synthetic"),
    ]:
        assert rules(check_quality(make(source=source, symbols=symbols))) == [rule]
    assert rules(check_quality(make(source="yahoo:EURUSD=X", symbols=("EURUSD=X",)))) == []


def test_notes_of_the_source_come_first_and_count_for_the_verdict() -> None:
    note = Flag("offline-snapshot", "warning", 0, (), "the network was down")
    report = check_quality(make(close_only=True), [note])
    assert rules(report) == ["offline-snapshot", "close-only"]
    assert report.verdict == "usable with warnings"


def test_with_several_assets_dates_carry_the_symbol_and_a_late_listing_is_said() -> None:
    close = closes(assets=2)
    close[:100, 1] = np.nan
    close[500, 1] *= 1.6
    report = check_quality(make(close, symbols=("A", "B")))
    assert rules(report) == ["spike", "listed-later"]
    assert only(report, "listed-later").first == (f"B {weekdays()[100]}",)
    assert report.verdict == "usable with warnings"  # for the spike
    assert only(report, "spike").first == (f"B {weekdays()[500]}",)


def test_a_panel_says_who_ended_who_has_holes_and_who_was_never_there() -> None:
    close = closes(assets=4)
    n_bars = len(close)
    close[n_bars - 11 :, 1] = np.nan  # gone eleven bars before the end; ten may be a holiday
    close[n_bars - 10 :, 2] = np.nan
    close[300, 2] = np.nan
    close[:, 3] = np.nan
    report = check_quality(make(close, symbols=("A", "B", "C", "D")))
    assert only(report, "ended").first == (f"B {weekdays()[n_bars - 12]}",)
    assert only(report, "ended").severity == "warning"
    assert only(report, "holes").first == (f"C {weekdays()[300]}",)
    assert only(report, "holes").severity == "info"  # one bar of hundreds; more than 2 % would be a warning
    assert only(report, "no-price").first == (f"D {weekdays()[0]}",)
    close[310:350, 2] = np.nan
    assert only(check_quality(make(close, symbols=("A", "B", "C", "D"))), "holes").severity == "warning"


def test_a_single_bar_has_a_report() -> None:
    assert rules(check_quality(make(closes(1)))) == ["short-history"]


def test_a_report_is_json_and_its_flags_read_aloud() -> None:
    close = closes()
    close[500] *= 1.6
    report = check_quality(make(close))
    data = json.loads(json.dumps(report.as_dict()))
    assert data["verdict"] == "usable with warnings"
    assert data["flags"][0]["rule"] == "spike"
    assert data["flags"][0]["first"] == [str(weekdays()[500])]
    assert str(report.flags[0]).startswith("warning spike: a move of more than 8 robust deviations")
    assert str(report.flags[0]).endswith(f"(1: {weekdays()[500]})")


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_the_samples_are_usable_with_warnings(name: str) -> None:
    from agents.data_fetch.data_fetch import fetch_report

    _, report = fetch_report(f"sample:{name}")
    assert report.verdict == "usable with warnings"
    # The index publisher's opens of the first years are the closes before: 2,004 of 5,031 for the S&P 500.
    assert ("copied-open" in rules(report)) is (name == "sp500")


def test_doubtful_bars_are_those_of_the_flags_of_single_bars():
    close = closes()
    close[100] *= 1.5  # a bad tick, taken back by the next bar
    close[200:206] = close[200]  # six closes alike
    volume = np.full(close.shape, 1e6)
    volume[300] = 0.0
    found = np.flatnonzero(doubtful_bars(make(close, volume=volume)))
    assert found.tolist() == [100, *range(200, 206), 300]


def test_what_is_flagged_of_the_whole_source_makes_no_bar_stand_out():
    assert not doubtful_bars(make(close_only=True)).any()
