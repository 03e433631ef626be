"""`touchstone calibrate`: how often the gate is wrong, and what it finds, measured on runs whose truth is known.

Replications are made in pieces of twenty, over processes; each finished piece is a line in a file, so an interrupted
measurement goes on where it stopped, and more replications add to those that are there.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from agents.data_fetch.data_fetch import fetch_bars
from backtesting.bars import FloatArray
from backtesting.calibration import (
    ALPHA,
    FAMILIES,
    FIRST_OPENING,
    GATE,
    MOST_SENTENCES,
    OCCAM_FAMILIES,
    REPLACE_FAMILIES,
    Cell,
    Row,
    clopper_pearson,
    replicate,
    tally,
)
from backtesting.errors import StorageError, UsageError
from generator.calibration_table import NAME, write_table
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.loop_calibration import LOOP_FAMILIES, replicate_loop

app = typer.Typer(add_completion=False)

PIECE = 20
LOOP_PIECE = 2
PIECES = "calibration.jsonl"

EXAMPLES = """Examples:

  touchstone calibrate --candidates 50 --years 5 --reps 200

  touchstone calibrate --families factor --candidates 200 --years 20 --sharpe 0 --sharpe 1 --reps 1000 --jobs 4

  touchstone calibrate --loop --candidates 40 --years 20 --reps 100

  touchstone calibrate --loop --families rules-planted --candidates 50 --years 20 --sharpe 1 --reps 100

  touchstone calibrate --families occam-factor --candidates 1024 --years 20 --alpha 0.05 --reps 400
"""


@dataclass(frozen=True)
class Piece:
    """Replications `first` to `first + count - 1` of a cell, and what became of them under which gate."""

    cell: str
    first: int
    count: int
    seed: int
    false: int
    true: int
    gate: int = GATE


@app.command(epilog=EXAMPLES)
def main(
    families: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Null markets: {', '.join(FAMILIES)}; replace-NAME with claims on a place, occam-NAME for the test by"
            " length; may be repeated."
        ),
    ] = None,
    candidates: Annotated[list[int] | None, typer.Option(help="Candidates a run (50, 200); may be repeated.")] = None,
    years: Annotated[list[float] | None, typer.Option(help="Years of history (10, 20); may be repeated.")] = None,
    sharpe: Annotated[
        list[float] | None, typer.Option(help="Annual Sharpe ratio of one planted edge, 0 for none (0); repeatable.")
    ] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option(
            help="Error rates to hold, each run judged at all of them; what a run has, and its first opening, if left"
            " out.",
            min=0.001,
            max=0.5,
        ),
    ] = None,
    reps: Annotated[int, typer.Option(help="Replications a cell.", min=1, max=1_000_000)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 1,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1, max=256)] = 1,
    loop: Annotated[bool, typer.Option("--loop", help="The whole search loop, not only the test.")] = False,
    table: Annotated[Path | None, typer.Option(help="Where the table goes (the workspace).")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Measure false promotions and power, print them with exact intervals, and keep the table that reports quote."""
    output = Output.from_environment(json_lines=json_lines)
    allowed = LOOP_FAMILIES if loop else (*FAMILIES, *REPLACE_FAMILIES, *OCCAM_FAMILIES)
    chosen = families or (["loop-random-walk"] if loop else list(FAMILIES))
    unknown = [name for name in chosen if name not in allowed]
    if unknown:
        raise UsageError(f"unknown null market {unknown[0]!r}", next_step=f"choose from {', '.join(allowed)}")
    cells = [
        Cell(family, n, span, edge, level)
        for family, n, span, edge, level in product(
            chosen,
            candidates or [50, 200],
            years or [10.0, 20.0],
            sharpe or [0.0],
            alpha or ([ALPHA] if loop else [ALPHA, FIRST_OPENING]),
        )
    ]
    huge = [cell for cell in cells if cell.family in OCCAM_FAMILIES and cell.sharpe == 0.0]
    if any(not 2 <= cell.candidates <= MOST_SENTENCES for cell in huge):
        raise UsageError(
            f"an oracle over more than {MOST_SENTENCES} sentences cannot be drawn",
            next_step=f"give --candidates 2 to {MOST_SENTENCES}; with --sharpe, more bits may be measured",
        )
    folder = workspace.home()
    folder.mkdir(parents=True, exist_ok=True)
    done = read_pieces(folder / PIECES)
    history = _history()
    _measure(cells, reps, seed, jobs, done, folder / PIECES, history, output)
    rows = rows_of(done.values())
    write_table(rows, table or folder / NAME)
    show([row for row in rows if row.cell in cells], output)


def read_pieces(path: Path) -> dict[tuple[str, int, int], Piece]:
    """The finished pieces by cell, first replication and seed; a last line that was cut off is measured again.

    Raises:
        StorageError: a line that is no piece, other than the last one.
    """
    found: dict[tuple[str, int, int], Piece] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for at, line in enumerate(lines):
        try:
            piece = Piece(**json.loads(line))
        except (ValueError, TypeError):
            if at == len(lines) - 1:
                path.write_text("".join(f"{kept}\n" for kept in lines[:-1]), encoding="utf-8")
                break
            raise StorageError(
                f"line {at + 1} of {path.name} is no piece of a calibration",
                next_step="remove the line; what it held is measured again",
            ) from None
        # What an earlier gate did is kept in the file and measured again for this one.
        if piece.gate == GATE:
            found[piece.cell, piece.first, piece.seed] = piece
    return found


def rows_of(pieces: Iterable[Piece]) -> tuple[Row, ...]:
    """One row a cell, all its pieces added up."""
    counts: dict[Cell, list[int]] = {}
    for piece in pieces:
        total = counts.setdefault(Cell.of(piece.cell), [0, 0, 0])
        for place, value in enumerate((piece.count, piece.false, piece.true)):
            total[place] += value
    return tuple(Row(cell, *counts[cell]) for cell in sorted(counts))


def show(rows: Iterable[Row], output: Output) -> None:
    """The table on screen, a row a cell."""
    lines = []
    for row in rows:
        low, high = clopper_pearson(row.false_passes, row.replications)
        output.event("calibration", **row.as_dict(), false_low=low, false_high=high)
        power = "" if row.cell.sharpe == 0.0 else f"{row.power:.3f}"
        lines.append(
            (
                row.cell.family,
                str(row.cell.candidates),
                f"{row.cell.years:g}",
                f"{row.cell.sharpe:g}",
                f"{row.cell.alpha:g}",
                str(row.replications),
                f"{row.false_promotion:.3f}",
                f"{low:.3f} to {high:.3f}",
                power,
            )
        )
    columns = (
        "null market",
        "candidates>",
        "years>",
        "Sharpe>",
        "alpha>",
        "runs>",
        "wrong>",
        "95 % interval>",
        "found>",
    )
    output.table("How often something worthless was promoted, and the planted edge was found", columns, lines)


def run_piece(cells: Sequence[Cell], first: int, count: int, seed: int, history: FloatArray) -> tuple[Piece, ...]:
    """One piece of cells that differ in alpha only; what a worker process does."""
    cell, numbers = cells[0], range(first, first + count)
    if cell.family in LOOP_FAMILIES:
        outcomes = [tuple(replicate_loop(c, number, seed, history) for c in cells) for number in numbers]
    else:
        alphas = [c.alpha for c in cells]
        outcomes = [replicate(cell, number, seed, history, alphas) for number in numbers]
    rows = [tally(c, [made[at] for made in outcomes]) for at, c in enumerate(cells)]
    return tuple(Piece(row.cell.key, first, count, seed, row.false_passes, row.true_passes) for row in rows)


def _measure(
    cells: list[Cell],
    reps: int,
    seed: int,
    jobs: int,
    done: dict[tuple[str, int, int], Piece],
    path: Path,
    history: FloatArray,
    output: Output,
) -> None:
    levels: dict[Cell, list[Cell]] = {}
    for cell in cells:
        levels.setdefault(replace(cell, alpha=ALPHA), []).append(cell)
    waiting = []
    for same in levels.values():
        size = LOOP_PIECE if same[0].family in LOOP_FAMILIES else PIECE
        for first in range(0, reps, size):
            missing = [cell for cell in same if (cell.key, first, seed) not in done]
            if missing:
                waiting.append((missing, first, min(size, reps - first)))
    output.note(f"{len(waiting)} pieces to measure, {len(done)} kept from before")
    with path.open("a", encoding="utf-8") as file:
        for number, pieces in enumerate(_finished(waiting, seed, jobs, history), start=1):
            for piece in pieces:
                done[piece.cell, piece.first, piece.seed] = piece
                file.write(json.dumps(vars(piece)) + "\n")
                file.flush()
                output.note(
                    f"{number}/{len(waiting)} {piece.cell}: {piece.false} wrong, {piece.true} found of {piece.count}"
                )


def _finished(
    waiting: list[tuple[list[Cell], int, int]], seed: int, jobs: int, history: FloatArray
) -> Iterator[tuple[Piece, ...]]:
    if jobs == 1:
        for cells, first, count in waiting:
            yield run_piece(cells, first, count, seed, history)
        return
    # Spawned, not forked: a forked child would inherit the threads of numpy and numba in whatever state they are.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run_piece, cells, first, count, seed, history) for cells, first, count in waiting]
        for finished in as_completed(running):
            yield finished.result()


def _history() -> FloatArray:
    """Daily returns of a real index, for the null markets that keep some of it."""
    close = fetch_bars("sample:sp500", cache_dir=None).close[:, 0]
    returns: FloatArray = np.asarray(close[1:] / close[:-1] - 1.0)
    return returns
