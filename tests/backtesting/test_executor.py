"""Wherever blocks run, the results are the same, in order; a lost worker costs its own block."""

import os
from functools import partial
from pathlib import Path

import pytest

from backtesting.errors import DataError, TouchstoneError, UsageError
from backtesting.executor import InProcess, Processes


def square(number: int) -> int:
    return number * number


def die_once(folder: str, number: int) -> int:
    """Write down that the block was tried; block 3 takes its worker with it on the first try."""
    tries = Path(folder) / str(number)
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if number == 3 and tries.read_text() == "x":
        os._exit(9)
    return number * number


def die(number: int) -> int:
    if number == 1:
        os._exit(9)
    return number


def refuse(number: int) -> int:
    raise ValueError(f"no {number}")


def refuse_the_data(number: int) -> int:
    raise DataError(f"no prices for {number}", kept="the others", next_step="fetch them")


class TwoPartsError(Exception):
    """Leaves its process well, and cannot be put together again in another one."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_two_parts(number: int) -> int:
    raise TwoPartsError("this", "that")


def return_a_function(number: int) -> object:
    return lambda: number


def test_processes_give_what_this_process_gives_in_order() -> None:
    blocks = [5, 1, 4, 2]
    assert InProcess().map_blocks(square, blocks) == [25, 1, 16, 4]
    assert Processes(2).map_blocks(square, blocks) == [25, 1, 16, 4]
    assert Processes(2).map_blocks(square, []) == []


def test_a_lost_worker_costs_only_its_block(tmp_path: Path) -> None:
    assert Processes(2).map_blocks(partial(die_once, str(tmp_path)), [1, 2, 3, 4, 5]) == [1, 4, 9, 16, 25]
    tries = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert tries == {"1": "x", "2": "x", "3": "xx", "4": "x", "5": "x"}


def test_a_block_that_always_loses_its_worker_is_named() -> None:
    with pytest.raises(TouchstoneError, match=r"block 2 of 2 lost its worker 3 times \(exit code 9\)"):
        Processes(1).map_blocks(die, [0, 1])


def test_an_exception_of_the_function_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="no 7"):
        Processes(1).map_blocks(refuse, [7])
    with pytest.raises(DataError) as caught:
        Processes(1).map_blocks(refuse_the_data, [7])
    assert (caught.value.what, caught.value.kept, caught.value.next_step) == (
        "no prices for 7",
        "the others",
        "fetch them",
    )
    with pytest.raises(UsageError, match="n_workers is 0"):
        Processes(0)


def test_what_cannot_travel_is_named_and_is_no_lost_worker() -> None:
    with pytest.raises(TouchstoneError, match="a block raised TwoPartsError: this and that, which cannot travel"):
        Processes(1).map_blocks(raise_two_parts, [7])
    with pytest.raises(TouchstoneError, match="a block returned function, which cannot travel between processes"):
        Processes(1).map_blocks(return_a_function, [7])
