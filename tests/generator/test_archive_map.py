"""ArchiveMap: fixed bins, the best few a cell, and counters."""

from dataclasses import dataclass, replace

import pytest

from generator.archive_map import AXES, BETA, HOLDING, TURNOVER, Cell, best_of_cells, cell_in_words, cell_of
from generator.behaviour import Behaviour

NAN = float("nan")
TYPICAL = Behaviour(turnover=8.0, holding=10.0, exposure=0.6, beta=0.2, family="trend", folds=())
HERE: Cell = (1, 1, 2, 2, "trend")
THERE: Cell = (0, 1, 2, 2, "trend")


@dataclass(frozen=True)
class Found:
    ref: str
    alpha_t: float
    cell: Cell | None


def test_cell_by_hand() -> None:
    # Turnover 8 is between 4 and 12, holding 10 between 4 and 15, exposure 0.6 between 0.5 and 0.8, beta 0.2 between.
    assert cell_of(TYPICAL) == HERE
    assert cell_in_words(HERE) == "turnover 4 to 12, holding 4 to 15, exposure 0.5 to 0.8, beta 0.05 to 0.35, trend"


def test_an_edge_belongs_to_the_bin_above_it() -> None:
    for axis in AXES:
        assert [axis.bin_of(edge) for edge in axis.edges] == list(range(1, len(axis.edges) + 1))
        assert axis.bin_of(axis.edges[0] - 1e-9) == 0
        assert axis.bin_of(1e9) == len(axis.edges)


def test_bins_do_not_move_with_the_data() -> None:
    # The same behaviour has the same cell whatever else is in the archive: the function sees nothing else.
    assert cell_of(replace(TYPICAL, family="volume")) == (1, 1, 2, 2, "volume")
    assert [axis.edges for axis in (TURNOVER, HOLDING, BETA)] == [
        (4.0, 12.0, 40.0),
        (4.0, 15.0, 60.0),
        (-0.05, 0.05, 0.35, 0.75),
    ]


def test_rule_that_never_closed_a_trade_holds_for_ever() -> None:
    assert cell_of(replace(TYPICAL, holding=NAN))[1] == len(HOLDING.edges)
    assert cell_of(replace(TYPICAL, beta=NAN))[3] == BETA.bin_of(0.0)


def test_best_two_of_a_cell_stay_best_first() -> None:
    found = [Found(ref, score, HERE) for ref, score in (("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", NAN))]
    cells = best_of_cells([*found, Found("e", -5.0, THERE), Found("incumbent", 9.0, None)])
    assert {cell: [entry.ref for entry in kept] for cell, kept in cells.items()} == {HERE: ["b", "c"], THERE: ["e"]}


@pytest.mark.parametrize("rest", [[], [Found("z", -1.0, HERE)]])
def test_undefined_score_takes_a_place_only_where_nobody_has_one(rest: list[Found]) -> None:
    cells = best_of_cells([Found("n", NAN, HERE), *rest])
    assert [entry.ref for entry in cells[HERE]] == (["z"] if rest else ["n"])
