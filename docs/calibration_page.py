"""Makes docs/calibration.md from the shipped table of measured error rates.

python docs/calibration_page.py
"""

from collections.abc import Iterable
from math import log2
from pathlib import Path

from backtesting.calibration import ALPHA, FIRST_OPENING, GATE, OCCAM_FAMILIES, REPLACE_FAMILIES, Row, clopper_pearson
from backtesting.null_markets import NO_NULL
from generator.calibration_table import load_table
from generator.loop_calibration import LOOP_FAMILIES, RULES

TARGET = Path(__file__).parent / "calibration.md"
MOST_FALSE, MOST_UPPER = 0.05, 0.07
# By candidates, years and planted Sharpe ratio: the share that should be found.
LEAST_FOUND = {
    (50, 20.0, 1.0): 0.90,
    (200, 20.0, 1.0): 0.85,
    (1000, 20.0, 1.0): 0.80,
    (200, 10.0, 1.0): 0.45,
    (200, 10.0, 1.5): 0.92,
    (2**20, 20.0, 1.4): 0.80,
}
HEAD = f"""# What the gate was measured to do

Made by `python docs/calibration_page.py` from `generator/calibration.json`, which commands like these make:

```
touchstone calibrate --families factor --candidates 200 --years 20 --sharpe 1 --reps 300 --table TABLE
touchstone calibrate --loop --candidates 40 --years 10 --reps 100 --table TABLE
touchstone calibrate --loop --families {RULES} --candidates 50 --years 20 --sharpe 1 --reps 100 --table TABLE
touchstone calibrate --families occam-factor --candidates 1024 --years 20 --alpha 0.05 --reps 200 --table TABLE
touchstone calibrate --families occam-factor --candidates 1048576 --years 20 --sharpe 1.4 --alpha 0.05 --table TABLE
```

Each row is one cell of simulated runs through the blind test. *False* is the share of runs in which something
worthless passed, with an exact 95 % interval; *power* the share in which the one planted edge passed. Beside a planted
edge *false* counts every run in which something worthless passed as well, so a wrong winner alone is rarer still. Cells
of few replications say little: read the interval, not the point.

Runs are judged at two levels. {ALPHA:g} is what all openings of a window may spend together, and what the goals below
are about. {FIRST_OPENING:g} is what the first opening may spend of that
([the price of an opening](gate.md#what-an-opening-costs)), so it is what a user's first run on a market really does;
its power is the lower one. Reports quote the level nearest to their own.

The goals: at most {MOST_FALSE:.0%} false with an upper bound of at most {MOST_UPPER:.0%} in every cell, and the power
named in the column. A goal is *reached* if the figures say so, *missed* if the interval excludes it, and *open* if the
replications do not tell. A test whose true rate is just under its level shows more than {MOST_FALSE:.0%} in many cells
of a few hundred runs; the table of all null markets together is the sharper one.

`loop-*` rows are whole searches (random and evolved arms, parents chosen by open-window scores) with every gate, at the
price of a first opening. `{RULES}` is the gate with every economic check and without a search: the rule that trades the
planted edge among rules drawn at random, real costs. In `replace-*` rows every candidate claims an incumbent's place as
well, and power is that of this claim for the planted edge beside a worthless incumbent. `bootstrap` resamples real days
and is no null, `bootstrap-centred` is its strict form: [decisions/0004-the-gate.md](decisions/0004-the-gate.md).
"""
TOGETHER = """
## All null markets together

| candidates | years | alpha | runs | false | 95 % interval | goal |
|---|---|---|---|---|---|---|
"""
CELLS = """
## Cell by cell

| market | candidates | years | planted Sharpe | alpha | runs | false | 95 % interval | goal | power | goal |
|---|---|---|---|---|---|---|---|---|---|---|
"""
BY_LENGTH = """
## The test by length

Somebody who remembers the whole history picks the best of all sentences of so many bits. *False* is the share of
worthless histories on which that sentence passed; *power* that of one planted edge at that length.

| market | bits | years | planted Sharpe | alpha | runs | false | 95 % interval | goal | power | goal |
|---|---|---|---|---|---|---|---|---|---|---|
"""
BEFORE = """
## An earlier gate

Not measurements of the gate as it is; no report quotes them. The gate before this one was the same test at its full
level, so its false promotions and its power are upper bounds of today's.

| market | candidates | years | planted Sharpe | alpha | runs | false | 95 % interval | goal | power | goal |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def page(rows: tuple[Row, ...]) -> str:
    """The page for a table."""
    now = sorted((row for row in rows if row.gate == GATE), key=lambda row: row.cell)
    before = sorted((row for row in rows if row.gate != GATE), key=lambda row: row.cell)
    blind = [row for row in now if row.cell.family not in OCCAM_FAMILIES]
    by_length = [row for row in now if row.cell.family in OCCAM_FAMILIES]
    text = HEAD + TOGETHER + "".join(_together(blind)) + CELLS + "".join(_line(row) for row in blind)
    if by_length:
        text += BY_LENGTH + "".join(_line(row) for row in by_length)
    return text + BEFORE + "".join(_line(row) for row in before) if before else text


def _together(rows: Iterable[Row]) -> Iterable[str]:
    pools: dict[tuple[int, float, float], list[int]] = {}
    for row in rows:
        cell = row.cell
        if cell.sharpe == 0.0 and cell.family not in (NO_NULL, *LOOP_FAMILIES, *OCCAM_FAMILIES, *REPLACE_FAMILIES):
            pool = pools.setdefault((cell.candidates, cell.years, cell.alpha), [0, 0])
            pool[0] += row.replications
            pool[1] += row.false_passes
    for (candidates, years, alpha), (runs, false) in sorted(pools.items()):
        yield f"| {candidates} | {years:g} | {alpha:g} | {runs} | {_false(false, runs)} |\n"


def _false(false: int, runs: int) -> str:
    low, high = clopper_pearson(false, runs)
    share = false / runs
    goal = "missed" if low > MOST_FALSE else "reached" if share <= MOST_FALSE and high <= MOST_UPPER else "open"
    return f"{share:.1%} | {low:.1%} to {high:.1%} | {goal}"


def _line(row: Row) -> str:
    cell = row.cell
    power = _power(row) if cell.sharpe > 0 else "– | –"
    occam = cell.family in OCCAM_FAMILIES
    count = f"{log2(cell.candidates):.0f}" if occam else str(cell.candidates)
    setting = (cell.family.removeprefix("occam-"), count, f"{cell.years:g}", f"{cell.sharpe:g}", f"{cell.alpha:g}")
    return f"| {' | '.join(setting)} | {row.replications} | {_false(row.false_passes, row.replications)} | {power} |\n"


def _power(row: Row) -> str:
    cell = row.cell
    wanted = LEAST_FOUND.get((cell.candidates, cell.years, cell.sharpe))
    low, high = clopper_pearson(row.true_passes, row.replications)
    searched = cell.family in LOOP_FAMILIES and cell.family != RULES
    if wanted is None or searched or cell.family in REPLACE_FAMILIES:
        said = "–"
    else:
        said = f"{wanted:.0%} " + ("reached" if row.power >= wanted else "missed" if high < wanted else "open")
    return f"{row.power:.1%} ({low:.1%} to {high:.1%}) | {said}"


if __name__ == "__main__":
    TARGET.write_text(page(load_table()), encoding="utf-8")
