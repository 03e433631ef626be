"""Makes docs/calibration.md from the shipped table of measured error rates.

python docs/calibration_page.py
"""

from pathlib import Path

from backtesting.calibration import Row, clopper_pearson
from generator.calibration_table import load_table

TARGET = Path(__file__).parent / "calibration.md"
HEAD = """# What the gate was measured to do

Made by `python docs/calibration_page.py` from `generator/calibration.json`, which a command like this makes:

```
touchstone calibrate --families factor --candidates 200 --years 20 --sharpe 1 --reps 400 --table TABLE
```

Each row is one cell of simulated runs through the blind test, at a nominal error rate of 5 %. *False* is the share of
runs in which something worthless passed, with an exact 95 % interval; *power* the share in which the one planted edge
passed. These are simulated streams, not whole search loops (`--loop` measures those), and cells of few replications
say little: read the interval, not the point.

The goals were at most 5 % false with an upper bound of at most 7 %, and power of 90 / 85 / 80 % for an edge of Sharpe
1.0 on 20 years among 50 / 200 / 1000 candidates. Rows whose interval reaches above 7 % have **not** reached the first.

| market | candidates | years | planted Sharpe | runs | false | 95 % interval | power |
|---|---|---|---|---|---|---|---|
"""


def page(rows: tuple[Row, ...]) -> str:
    """The page for a table."""
    return HEAD + "".join(_line(row) for row in sorted(rows, key=lambda row: row.cell))


def _line(row: Row) -> str:
    low, high = clopper_pearson(row.false_passes, row.replications)
    power = f"{row.power:.1%}" if row.cell.sharpe > 0 else "–"
    cell = row.cell
    return (
        f"| {cell.family} | {cell.candidates} | {cell.years:g} | {cell.sharpe:g} | {row.replications}"
        f" | {row.false_promotion:.1%} | {low:.1%} to {high:.1%} | {power} |\n"
    )


if __name__ == "__main__":
    TARGET.write_text(page(load_table()), encoding="utf-8")
