"""CalibrationTable: the measured error rates that ship with the product, and the sentence that a report quotes.

The table is a JSON file made by `touchstone calibrate`; one that a user measured in the workspace goes before the
shipped one. Rows say how many replications they rest on, and every rate is quoted with its exact interval.
"""

import json
from pathlib import Path

from backtesting.calibration import Row, clopper_pearson, nearest, power_beside
from backtesting.errors import StorageError

SHIPPED = Path(__file__).parent / "calibration.json"
NAME = "calibration.json"


def load_table(folder: Path | None = None) -> tuple[Row, ...]:
    """The rows measured in this workspace, or the shipped ones.

    Raises:
        StorageError: the file is there and is not such a table.
    """
    own = folder / NAME if folder is not None else None
    path = own if own is not None and own.is_file() else SHIPPED
    try:
        return tuple(Row.of(entry) for entry in json.loads(path.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"the calibration table {path.name} cannot be read: {type(error).__name__}",
            next_step="measure again with `touchstone calibrate`, or remove the file to use the shipped table",
        ) from None


def write_table(rows: tuple[Row, ...], path: Path) -> None:
    """Write the rows in their order, with a line end: the same rows are the same bytes."""
    text = json.dumps(
        {"version": 1, "rows": [row.as_dict() for row in sorted(rows, key=lambda row: (row.gate, row.cell))]}, indent=1
    )
    path.write_text(text + "\n", encoding="utf-8")


def quote(rows: tuple[Row, ...], *, candidates: int, years: float, alpha: float) -> str:
    """What this gate did on runs most like this one, as a sentence; says so when nothing was measured.

    Args:
        alpha: what the run's opening could spend; 0 if the blind test was not made.
    """
    if not alpha > 0.0:
        return "The blind test was not made, so none of its measured rates applies."
    row = nearest(rows, candidates=candidates, years=years, alpha=alpha)
    if row is None:
        return "The error rate of this gate has not been measured here: touchstone calibrate."
    low, high = clopper_pearson(row.false_passes, row.replications)
    text = (
        f"Measured on {row.replications} runs without any edge ({row.cell.family}, {row.cell.candidates} candidates,"
        f" {row.cell.years:g} years, alpha {row.cell.alpha:g}): {row.false_promotion:.1%} promoted something"
        f" ({low:.1%} to {high:.1%})"
    )
    found = [
        f"{other.power:.0%} at Sharpe {other.cell.sharpe:g} and alpha {other.cell.alpha:g}"
        for other in power_beside(rows, row, alpha=alpha)
    ]
    return f"{text}; a planted edge was found {', '.join(found)}." if found else f"{text}."
