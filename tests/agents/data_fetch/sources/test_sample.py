import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.data_fetch.data_fetch import fetch_bars, load_market
from agents.data_fetch.sources import sample
from backtesting.errors import DataError, UsageError


def test_sp500_has_the_known_first_and_last_day() -> None:
    bars = fetch_bars("sample:sp500")
    assert bars.symbols == ("SP500",)
    assert bars.n_bars == 5031
    assert (str(bars.sessions[0]), str(bars.sessions[-1])) == ("1999-01-04", "2018-12-31")
    first = [bars.open[0, 0], bars.high[0, 0], bars.low[0, 0], bars.close[0, 0], bars.volume[0, 0]]
    assert first == [1229.22998, 1248.810059, 1219.099976, 1228.099976, 877000000]
    last = [bars.open[-1, 0], bars.high[-1, 0], bars.low[-1, 0], bars.close[-1, 0], bars.volume[-1, 0]]
    assert last == [2498.939941, 2509.23999, 2482.820068, 2506.850098, 3442870000]
    assert not bars.close_only


def test_nasdaq_keeps_its_days_without_volume() -> None:
    bars = fetch_bars("sample:nasdaq")
    assert bars.n_bars == 5031
    assert bars.close[-1, 0] == 6635.279785
    assert [str(day) for day in bars.sessions[bars.volume[:, 0] == 0]] == ["2015-05-12", "2018-01-09"]


def test_wti_has_one_price_a_day_and_says_which_days_had_none() -> None:
    loaded = load_market("sample:wti")
    bars = loaded.bars
    # 8,611 lines of data, 290 of them without a price (Washington's Birthday 1986 is the first): 8,321 bars.
    assert bars.n_bars == 8611 - 290
    assert bars.close_only
    assert not bars.has_volume
    assert (bars.close[0, 0], bars.close[-1, 0]) == (25.56, 46.92)
    assert np.array_equal(bars.open, bars.close)
    (note,) = loaded.notes
    assert (note.rule, note.severity, note.count, note.first[0]) == ("missing-price", "info", 290, "1986-02-17")


def test_dates_in_the_address_are_both_included() -> None:
    bars = fetch_bars("sample:sp500?from=2000-01-03&to=2000-12-29")
    assert (str(bars.sessions[0]), str(bars.sessions[-1])) == ("2000-01-03", "2000-12-29")
    assert bars.source == "sample:sp500?from=2000-01-03&to=2000-12-29"


def test_an_unknown_sample_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r'there is no sample \'sp50\'; did you mean "sp500"\?'):
        fetch_bars("sample:sp50")


def test_a_damaged_or_missing_package_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(b"Date,Close\n")[:-6])
    for path in (broken, tmp_path / "none.csv.gz"):
        monkeypatch.setattr(sample, "_sample_path", lambda _, path=path: path)
        with pytest.raises(DataError, match="cannot be read from the installed package arch") as caught:
            fetch_bars("sample:sp500")
        assert caught.value.exit_code == 4


def test_loading_a_sample_imports_no_heavy_package() -> None:
    code = (
        "import sys\nfrom agents.data_fetch.data_fetch import fetch_bars\nfetch_bars('sample:sp500')\n"
        "print([name for name in ('pandas', 'arch', 'pyarrow', 'yfinance', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
