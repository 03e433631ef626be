"""Files about several symbols: a symbol column, a folder, one column a symbol; their sessions, groups and features."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.data_fetch.data_fetch import fetch_bars, load_market
from backtesting.backtest import simulate
from backtesting.costs import FREE
from backtesting.decisions import Signals, TargetDecisions
from backtesting.errors import DataError, UsageError
from backtesting.terms import Terms

LONG = """Date,Symbol,Close,Volume,Sector,Cap
2020-01-02,AAA,10,100,tech,5
2020-01-03,AAA,11,110,tech,6
2020-01-03,BBB,20,200,energy,7
2020-01-06,BBB,21,210,energy,8
2020-01-06,AAA,12,120,,9
"""


def saved(folder: Path, text: str, name: str = "panel.csv") -> str:
    (folder / name).write_text(text)
    return f"csv:{folder / name}"


def test_a_symbol_column_makes_a_panel_on_the_union_of_the_sessions(tmp_path: Path) -> None:
    loaded = load_market(saved(tmp_path, LONG))
    bars = loaded.bars
    assert bars.symbols == ("AAA", "BBB")
    assert [str(day) for day in bars.sessions] == ["2020-01-02", "2020-01-03", "2020-01-06"]
    np.testing.assert_array_equal(bars.close, [[10, np.nan], [11, 20], [12, 21]])
    np.testing.assert_array_equal(bars.volume, [[100, np.nan], [110, 200], [120, 210]])
    # Words are numbered by the alphabet: energy 0, tech 1; a blank is no group, and neither is a missing row.
    np.testing.assert_array_equal(bars.features["sector"], [[1, np.nan], [1, 0], [np.nan, 0]])
    np.testing.assert_array_equal(bars.features["cap"], [[5, np.nan], [6, 7], [9, 8]])
    assert [note.sentence for note in loaded.notes] == ["sector is numbered: 0 energy, 1 tech"]


def test_groups_that_are_numbers_stay_these_numbers(tmp_path: Path) -> None:
    bars = fetch_bars(saved(tmp_path, LONG.replace("tech", "45").replace("energy", "10")))
    np.testing.assert_array_equal(bars.features["sector"], [[45, np.nan], [45, 10], [np.nan, 10]])


def test_common_sessions_are_those_of_all_symbols_and_the_rest_is_counted(tmp_path: Path) -> None:
    loaded = load_market(saved(tmp_path, LONG) + "?common=1")
    assert [str(day) for day in loaded.bars.sessions] == ["2020-01-03", "2020-01-06"]
    assert np.isfinite(loaded.bars.close).all()
    (note,) = [note for note in loaded.notes if note.rule == "common-sessions"]
    assert (note.count, note.severity) == (1, "warning")
    apart = "Date,Symbol,Close\n2020-01-02,A,1\n2020-01-03,B,1\n"
    with pytest.raises(DataError, match="no session on which all 2 symbols have a price"):
        fetch_bars(saved(tmp_path, apart) + "?common=1")


def test_a_folder_is_one_file_a_symbol_in_the_order_of_their_names(tmp_path: Path) -> None:
    saved(tmp_path, "Date,Close,Industry\n2020-01-02,10,x\n2020-01-03,11,x\n", "b.csv")
    saved(tmp_path, "Date,Close\n2020-01-03,20\n", "a.csv")
    (tmp_path / "notes.txt").write_text("not read")
    bars = fetch_bars(f"csv:{tmp_path}")
    assert bars.symbols == ("a", "b")
    np.testing.assert_array_equal(bars.close, [[np.nan, 10], [20, 11]])
    # A file without the column has no group.
    np.testing.assert_array_equal(bars.features["industry"], [[np.nan, 0], [np.nan, 0]])


def test_two_files_about_one_symbol_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, "Date,Ticker,Close\n2020-01-02,X,10\n", "a.csv")
    saved(tmp_path, "Date,Ticker,Close\n2020-01-03,X,10\n", "b.csv")
    with pytest.raises(DataError, match="both hold X"):
        fetch_bars(f"csv:{tmp_path}")


def test_wide_is_one_column_of_closes_a_symbol_from_its_first_to_its_last_price(tmp_path: Path) -> None:
    text = "Date,AAA,BBB\n2020-01-02,10,\n2020-01-03,11,20\n2020-01-06,,21\n2020-01-07,13,\n"
    loaded = load_market(saved(tmp_path, text) + "?wide=1")
    bars = loaded.bars
    assert bars.symbols == ("AAA", "BBB")
    assert bars.close_only
    np.testing.assert_array_equal(bars.close, [[10, np.nan], [11, 20], [np.nan, 21], [13, np.nan]])
    # BBB was listed on the second day and is gone after the third: no gap. AAA has one.
    assert [(note.rule, note.first) for note in loaded.notes] == [("missing-price", ("2020-01-06",))]
    with pytest.raises(DataError, match="the column BBB holds no price"):
        fetch_bars(saved(tmp_path, "Date,AAA,BBB\n2020-01-02,1,\n") + "?wide=1")
    with pytest.raises(DataError, match="no file of closes"):
        fetch_bars(saved(tmp_path, "AAA,BBB\n1,2\n") + "?wide=1")


def test_without_the_key_a_wide_file_is_no_panel(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no Close column"):
        fetch_bars(saved(tmp_path, "Date,AAA,BBB\n2020-01-02,10,20\n"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Date,Symbol,Close\n2020-01-02,,10\n", "the row of 2020-01-02 names no symbol"),
        ("Date,Symbol,Close\n2020-01-02,A,-1\n", "A 2020-01-02: close -1 is not positive"),
        ("Date,Symbol,Close\n2020-01-02,A,1\n2020-01-02,A,2\n", "two rows with different values"),
    ],
)
def test_what_is_wrong_is_said_with_the_row(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        fetch_bars(saved(tmp_path, text))


def test_equal_rows_that_differ_in_their_group_are_a_conflict(tmp_path: Path) -> None:
    text = "Date,Close,Sector\n2020-01-02,10,a\n2020-01-02,10,b\n"
    with pytest.raises(DataError, match="two rows with different values"):
        fetch_bars(saved(tmp_path, text))
    assert fetch_bars(saved(tmp_path, text.replace("b\n", "a\n"))).n_bars == 1


def test_parquet_holds_the_same_panel(tmp_path: Path) -> None:
    rows = [line.split(",") for line in LONG.splitlines()]
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    table = pa.table(
        {
            "date": pa.array(np.array(columns["Date"], dtype="datetime64[D]")),
            "symbol": list(columns["Symbol"]),
            "close": [float(price) for price in columns["Close"]],
            "volume": [float(volume) for volume in columns["Volume"]],
            "sector": [word or None for word in columns["Sector"]],
            "cap": [float(cap) for cap in columns["Cap"]],
        }
    )
    pq.write_table(table, tmp_path / "panel.parquet")
    assert fetch_bars(f"parquet:{tmp_path / 'panel.parquet'}").bars_id == fetch_bars(saved(tmp_path, LONG)).bars_id


def test_a_column_that_says_so_is_a_feature_and_terms_and_rules_can_read_it(tmp_path: Path) -> None:
    text = "Date,Close,Feature_Funding,feature news flow,feature_9\n2020-01-02,10,0.001,2,1\n2020-01-03,11,,3,1\n"
    loaded = load_market(saved(tmp_path, text))
    assert set(loaded.bars.features) == {"funding", "news_flow"}
    np.testing.assert_array_equal(loaded.bars.features["funding"][:, 0], [0.001, np.nan])
    assert "feature_9" in loaded.notes[0].sentence  # not a name, so not read
    short = Signals("short", loaded.bars, TargetDecisions(np.array([[-1.0], [-1.0]])))
    result = simulate(short, FREE, terms=Terms(funding="news_flow", fill="close"))
    # Sold at 11 on the second close, where a long pays 3 times its notional to the short.
    assert result.equity[-1] == pytest.approx(4e6)


def test_symbols_with_closes_alone_among_others_are_named(tmp_path: Path) -> None:
    saved(tmp_path, "Date,Close\n2020-01-02,10\n", "a.csv")
    saved(tmp_path, "Date,Open,High,Low,Close\n2020-01-02,10,11,9,10\n", "b.csv")
    loaded = load_market(f"csv:{tmp_path}")
    assert not loaded.bars.close_only
    assert [(note.rule, note.first) for note in loaded.notes] == [("close-only-symbols", ("a",))]


# --- made-up panels


def test_a_made_up_panel_is_the_same_for_the_same_seed_and_keeps_its_assets_when_others_join() -> None:
    few = fetch_bars("synthetic:panel?years=3&seed=4&assets=6")
    assert few.bars_id == fetch_bars("synthetic:panel?years=3&seed=4&assets=6").bars_id
    more = fetch_bars("synthetic:panel?years=3&seed=4&assets=9")
    np.testing.assert_array_equal(more.close[:, :6], few.close)
    assert set(few.features) == {"sector"}
    np.testing.assert_array_equal(few.features["sector"][-1, :2], [0, 1])


def test_some_assets_of_a_made_up_panel_are_listed_later_and_some_are_gone() -> None:
    close = fetch_bars("synthetic:panel?years=10&seed=1&assets=40").close
    later, gone = np.isnan(close[0]).sum(), np.isnan(close[-1]).sum()
    # 38 assets may: 20 % listed later and 25 % gone, 8 and 10 expected.
    assert 3 <= later <= 14
    assert 4 <= gone <= 17
    assert np.isfinite(close[:, :2]).all()


def test_the_planted_panel_pays_whoever_holds_the_surging_assets_against_the_others() -> None:
    def earned(address: str) -> float:
        bars = fetch_bars(address)
        volume = bars.volume
        usual = np.full(volume.shape, np.nan)
        for t in range(19, len(volume)):
            usual[t] = volume[t - 19 : t + 1].mean(axis=0)
        surging = np.where(np.isfinite(volume), (volume > 1.5 * usual).astype(float), np.nan)[:-1]
        moves = bars.close[1:] / bars.close[:-1] - 1.0
        surging = np.where(np.isfinite(moves), surging, np.nan)
        weights = surging - np.nanmean(surging, axis=1, keepdims=True)
        daily = np.nansum(weights * moves, axis=1)
        return float(daily.mean() / daily.std() * np.sqrt(252))

    # Before costs, so above the net 3; without the plant nothing is there but noise of about 1 / sqrt(20) = 0.22.
    assert earned("synthetic:planted-panel?seed=2") > 2.5
    assert abs(earned("synthetic:panel?seed=2")) < 0.8


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("synthetic:panel?assets=1", "assets is 1, allowed is 2 to 100"),
        ("synthetic:panel?assets=2.5", "assets is not a whole number"),
        ("synthetic:panel?edge=2", "has no edge to set"),
        ("synthetic:garch?assets=3", "is one asset"),
    ],
)
def test_a_panel_that_cannot_be_made_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        fetch_bars(address)
