"""ArchiveMap: the quality-diversity map of an archive. A cell is a way of trading; each keeps its best few rules.

The bins are fixed and declared here. Bins that followed the data would move under the search, and two runs, or two
blocks of one run, could not be compared. A rule whose score is undefined takes a place only where nobody has one.
Method: MAP-Elites (Mouret and Clune 2015), with declared bins and one map an arm.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, TypeVar

from generator.behaviour import Behaviour

PER_CELL = 2


@dataclass(frozen=True)
class Axis:
    """One axis of the map: values below the first edge are bin 0, on or above the last are the last bin.

    Attributes:
        unit: for people.
        undefined: bin of NaN; a rule that never closed a trade holds for ever.
    """

    name: str
    unit: str
    edges: tuple[float, ...]
    undefined: int

    def bin_of(self, value: float) -> int:
        """The bin of a value."""
        return bisect_right(self.edges, value) if isfinite(value) else self.undefined

    def label(self, number: int) -> str:
        """What a bin holds, in words."""
        if number == 0:
            return f"< {self.edges[0]:g}"
        if number == len(self.edges):
            return f">= {self.edges[-1]:g}"
        return f"{self.edges[number - 1]:g} to {self.edges[number]:g}"


TURNOVER = Axis("turnover", "times equity a year", (4.0, 12.0, 40.0), 0)
HOLDING = Axis("holding", "bars", (4.0, 15.0, 60.0), 3)
EXPOSURE = Axis("exposure", "of equity", (0.2, 0.5, 0.8), 0)
BETA = Axis("beta", "to the market", (-0.05, 0.05, 0.35, 0.75), 1)
AXES: tuple[Axis, ...] = (TURNOVER, HOLDING, EXPOSURE, BETA)

Cell = tuple[int, int, int, int, str]


class Placed(Protocol):
    """Whatever has a cell and a score; NaN ranks last."""

    @property
    def ref(self) -> str:
        """Its name; decides between equals."""
        ...

    @property
    def alpha_t(self) -> float:
        """The score."""
        ...

    @property
    def cell(self) -> Cell | None:
        """Where it belongs; None keeps it off the map."""
        ...


P = TypeVar("P", bound=Placed)


def cell_of(behaviour: Behaviour) -> Cell:
    """The cell of a behaviour: its bins along AXES, then its family of functions."""
    return (
        TURNOVER.bin_of(behaviour.turnover),
        HOLDING.bin_of(behaviour.holding),
        EXPOSURE.bin_of(behaviour.exposure),
        BETA.bin_of(behaviour.beta),
        behaviour.family,
    )


def cell_in_words(cell: Cell) -> str:
    """A cell for people."""
    numbers: Sequence[int] = cell[:4]
    parts = [f"{axis.name} {axis.label(number)}" for axis, number in zip(AXES, numbers, strict=True)]
    return ", ".join([*parts, cell[4]])


def best_of_cells(entries: Iterable[P], per_cell: int = PER_CELL) -> dict[Cell, tuple[P, ...]]:
    """The best `per_cell` entries of every occupied cell, best first; cells in the order they were first reached."""
    cells: dict[Cell, list[P]] = {}
    for entry in entries:
        if entry.cell is not None:
            cells.setdefault(entry.cell, []).append(entry)
    return {cell: _best(found, per_cell) for cell, found in cells.items()}


def _best(entries: Sequence[P], per_cell: int) -> tuple[P, ...]:
    scored = [entry for entry in entries if isfinite(entry.alpha_t)] or list(entries)
    ranked = sorted(scored, key=lambda entry: (-entry.alpha_t if isfinite(entry.alpha_t) else 0.0, entry.ref))
    return tuple(ranked[:per_cell])
