"""Snapshot: prices as they were on one day, in Parquet beside a SHA-256; what research reads instead of the network.

Two kinds: bars (`write_snapshot`), and the raw rows a server sent for one symbol (`save_table`), unadjusted and with
whatever is wrong in them, because bars can be made again from rows and not the other way round. A file is written
whole or not at all, is never overwritten by other content, and is refused if a byte of it changed.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from agents.data_fetch.sources.table import Table
from backtesting.bars import FIELDS, Bars
from backtesting.errors import DataError, StorageError

_META = b"touchstone"
_VERSION = 1


def write_snapshot(bars: Bars, folder: Path) -> Path:
    """Store bars under their content id; the same bars are stored once. Returns the Parquet file."""
    columns: dict[str, Any] = {"session": bars.sessions}
    for k, symbol in enumerate(bars.symbols):
        columns |= {f"{name}:{symbol}": getattr(bars, name)[:, k] for name in FIELDS}
        columns |= {f"feature {name}:{symbol}": values[:, k] for name, values in bars.features.items()}
    meta = {
        "kind": "bars",
        "bars_id": bars.bars_id,
        "symbols": list(bars.symbols),
        "source": bars.source,
        "periods_per_year": bars.periods_per_year,
        "close_only": bars.close_only,
        "features": list(bars.features),
    }
    path = folder / f"bars-{bars.bars_id.partition(':')[2]}.parquet"
    _write(path, columns, meta)
    return path


def read_snapshot(path: Path) -> Bars:
    """The bars of a snapshot.

    Raises:
        DataError: missing, changed since it was written, or no snapshot of bars.
    """
    columns, meta = _read(path, "bars")

    def field(name: str) -> Any:
        return np.column_stack([columns[f"{name}:{symbol}"] for symbol in meta["symbols"]])

    bars = Bars(
        symbols=tuple(meta["symbols"]),
        sessions=columns["session"],
        **{name: field(name) for name in FIELDS},
        source=meta["source"],
        periods_per_year=meta["periods_per_year"],
        close_only=meta["close_only"],
        features={name: field(f"feature {name}") for name in meta["features"]},
    )
    if bars.bars_id != meta["bars_id"]:
        raise DataError(f"{path} holds other bars than its name says", next_step="fetch the market again")
    return bars


def save_table(table: Table, folder: Path, *, fetched_at: datetime) -> Path:
    """Store raw rows under symbol and time; earlier files stay, so that revised history can be compared."""
    meta = {"kind": "table", "symbol": table.symbol, "fetched_at": fetched_at.isoformat()}
    path = folder / f"{_stem(table.symbol)}{fetched_at:%Y%m%dT%H%M%SZ}.parquet"
    _write(path, {"session": table.sessions, **table.columns}, meta)
    return path


def latest_table(symbol: str, folder: Path, *, origin: str) -> tuple[Table, datetime] | None:
    """The newest stored rows of `symbol` and when they were fetched; None if there are none.

    Raises:
        DataError: the newest file was changed since it was written.
    """
    files = sorted(folder.glob(f"{_stem(symbol)}*.parquet"))
    if not files:
        return None
    columns, meta = _read(files[-1], "table")
    sessions = columns.pop("session")
    return Table(symbol, origin, sessions, columns), datetime.fromisoformat(meta["fetched_at"])


def _stem(symbol: str) -> str:
    # "@" ends the symbol: it is in no symbol, so BRK does not find the files of BRK-B.
    return f"yahoo-{quote(symbol, safe='')}@"


def _write(path: Path, columns: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps({"version": _VERSION, **meta}, sort_keys=True)
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_META: text.encode()}), buffer, compression="zstd")
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)
        # Data first: a crash in between leaves a file without a hash, which is refused, never a wrong one accepted.
        _replace(_sidecar(path), f"{digest}  {path.name}\n".encode())
    except OSError as error:
        raise StorageError(
            f"the snapshot {path} cannot be written: {error.strerror or error}",
            kept="the prices that were fetched are still in use",
            next_step="check the folder's permissions and free space",
        ) from None


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".snapshot-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    refetch = "fetch the market again; the damaged file can be deleted"
    try:
        data = path.read_bytes()
        noted = _sidecar(path).read_text(encoding="utf-8").partition(" ")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the snapshot {path} or its .sha256 cannot be read ({error})", next_step=refetch) from None
    if hashlib.sha256(data).hexdigest() != noted:
        raise DataError(
            f"the snapshot {path} changed since it was written: its SHA-256 is not the one beside it",
            next_step=refetch,
        )
    try:
        table = pq.read_table(io.BytesIO(data))
        meta = json.loads(table.schema.metadata[_META])
        if meta["version"] != _VERSION or meta["kind"] != kind:
            raise KeyError(kind)
    except (pa.ArrowException, KeyError, TypeError, ValueError):
        raise DataError(f"{path} is not a snapshot of {kind} of this version", next_step=refetch) from None
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    columns["session"] = columns["session"].astype("datetime64[D]")
    return columns, meta
