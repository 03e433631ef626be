import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agents.data_fetch.data_fetch import fetch_bars
from agents.data_fetch.snapshot import latest_table, read_snapshot, save_table, write_snapshot
from agents.data_fetch.sources.table import Table
from backtesting.bars import Bars
from backtesting.errors import DataError, StorageError


def two_assets() -> Bars:
    prices = np.array([[10.0, np.nan], [11.0, 20.0], [12.0, 21.0]])
    return Bars(
        symbols=("A", "B-C"),
        sessions=np.array(["2020-01-02", "2020-01-03", "2020-01-06"], dtype="datetime64[D]"),
        open=prices,
        high=prices + 1,
        low=prices - 1,
        close=prices,
        volume=np.array([[1.0, np.nan], [2.0, 0.0], [3.0, 5.0]]),
        source="csv:x.csv",
        periods_per_year=365.0,
        features={"mood": np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6]])},
    )


def rows(symbol: str, price: float) -> Table:
    days = np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")
    return Table(symbol, "yahoo", days, {"close": np.array([price, -36.98])})


def test_bars_come_back_with_the_same_id_and_the_same_words(tmp_path: Path) -> None:
    bars = two_assets()
    back = read_snapshot(write_snapshot(bars, tmp_path / "new" / "folder"))
    assert back.bars_id == bars.bars_id
    assert (back.symbols, back.source, back.periods_per_year, back.close_only) == (
        bars.symbols,
        bars.source,
        bars.periods_per_year,
        bars.close_only,
    )
    assert list(back.features) == ["mood"]


def test_the_same_bars_are_stored_once_under_their_id(tmp_path: Path) -> None:
    bars = fetch_bars("synthetic:garch?years=1")
    one, two = write_snapshot(bars, tmp_path), write_snapshot(bars, tmp_path)
    assert one == two
    assert one.name == f"bars-{bars.bars_id.removeprefix('b2:')}.parquet"
    assert sorted(path.name for path in tmp_path.iterdir()) == [one.name, one.name + ".sha256"]


def test_the_sidecar_is_what_sha256sum_writes(tmp_path: Path) -> None:
    path = write_snapshot(two_assets(), tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert Path(f"{path}.sha256").read_text() == f"{digest}  {path.name}\n"


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path = write_snapshot(two_assets(), tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="changed since it was written: its SHA-256"):
        read_snapshot(path)


def test_a_snapshot_without_its_hash_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_snapshot(two_assets(), tmp_path)
    Path(f"{path}.sha256").unlink()
    with pytest.raises(DataError, match=r"or its \.sha256 cannot be read"):
        read_snapshot(path)
    table = save_table(rows("SPY", 1.0), tmp_path, fetched_at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(DataError, match="is not a snapshot of bars"):
        read_snapshot(table)
    text = tmp_path / "x.parquet"
    text.write_bytes(b"Date,Close")
    Path(f"{text}.sha256").write_text(hashlib.sha256(b"Date,Close").hexdigest())
    with pytest.raises(DataError, match="is not a snapshot of bars"):
        read_snapshot(text)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        write_snapshot(two_assets(), tmp_path / "file")
    assert caught.value.exit_code == 7


def test_raw_rows_are_kept_as_they_came_and_the_newest_is_found(tmp_path: Path) -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    save_table(rows("BRK", 5.0), tmp_path, fetched_at=late)
    save_table(rows("BRK", 4.0), tmp_path, fetched_at=early)
    save_table(rows("BRK-B", 9.0), tmp_path, fetched_at=datetime(2026, 1, 3, tzinfo=UTC))
    found = latest_table("BRK", tmp_path, origin="snapshot")
    assert found is not None
    table, fetched_at = found
    assert fetched_at == late
    assert table.columns["close"].tolist() == [5.0, -36.98]
    assert table.sessions.dtype == np.dtype("datetime64[D]")
    assert len(list(tmp_path.glob("yahoo-BRK@*.parquet"))) == 2


def test_no_rows_are_none_and_odd_symbols_are_file_names(tmp_path: Path) -> None:
    assert latest_table("^GSPC", tmp_path, origin="x") is None
    path = save_table(rows("^GSPC", 1.0), tmp_path, fetched_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert path.name == "yahoo-%5EGSPC@20260101T000000Z.parquet"
    assert latest_table("^GSPC", tmp_path, origin="x") is not None
