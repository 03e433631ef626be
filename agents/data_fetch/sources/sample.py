"""`sample:sp500`, `sample:nasdaq`, `sample:wti`: real daily series that come inside the dependency `arch`.

The package is found, not imported: importing it costs a second and needs pandas. The two indices hold open, high, low,
close and volume of 1999-2018 (5,031 days each); wti is a spot price, one a day, 1986-2019, with blanks on holidays.
"""

import gzip
import importlib.util
import zlib
from pathlib import Path

from agents.data_fetch.market import Market, nearest
from agents.data_fetch.sources.csv_file import parse_csv
from agents.data_fetch.sources.source import Clock, Loaded
from agents.data_fetch.sources.table import load_tables
from backtesting.errors import DataError, UsageError

SAMPLES = {"sp500": "SP500", "nasdaq": "NASDAQ", "wti": "WTI"}
"""Name in the address, and symbol in the bars."""


def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The bars of a sample; see `source.py`."""
    name = market.name
    if name not in SAMPLES:
        raise UsageError(
            f"there is no sample {name!r}{nearest(name, SAMPLES)}", next_step=f"choose one of {', '.join(SAMPLES)}"
        )
    try:
        text = gzip.decompress(_sample_path(name).read_bytes()).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"sample:{name} cannot be read from the installed package arch ({error})",
            next_step="reinstall the dependencies: make install, or pip install --force-reinstall arch",
        ) from None
    tables, _ = parse_csv(text, symbol=SAMPLES[name], origin=f"sample:{name}")
    return load_tables(tables, market)


def _sample_path(name: str) -> Path:
    spec = importlib.util.find_spec("arch")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package is not installed")
    return Path(spec.origin).parent / "data" / name / f"{name}.csv.gz"
