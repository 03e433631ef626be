"""Wherever blocks run, the results are the same, in order; a lost worker costs its own block."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from agents.strategy.population import GateMetrics, Job, evaluate_in_blocks
from backtesting.bars import Bars
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import DataError, TouchstoneError, UsageError
from backtesting.executor import Executor, InProcess, Processes, RayCluster
from backtesting.splits import Window


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


def walk(n_bars: int) -> Bars:
    steps = np.random.default_rng(3).normal(0.0, 0.01, (n_bars, 1))
    close = 100.0 * np.exp(np.cumsum(steps, axis=0))
    days = np.datetime64("2000-01-03") + np.arange(n_bars)
    return Bars(("x",), days, close, close, close, close, np.full(close.shape, np.nan), source="walk", close_only=True)


def as_bytes(metrics: GateMetrics) -> bytes:
    return b"".join(values.tobytes() for values in vars(metrics).values())


def check_the_bytes_of_a_population(executor: Executor) -> None:
    configs = [
        {
            "kind": "rules",
            "name": f"cross_{fast}_{slow}",
            "hypothesis": "-",
            "long": {"enter": f"crosses_above(sma(close, {fast}), sma(close, {slow}))", "exit": "rsi(close, 14) > 70"},
        }
        for fast in (3, 5, 8)
        for slow in (13, 21, 34, 55)
    ]
    job = Job(walk(600), (Window(60, 300), Window(300, 600)), LIQUID_INDEX)
    here = as_bytes(evaluate_in_blocks(job, configs, InProcess(), block_size=12))
    assert as_bytes(evaluate_in_blocks(job, configs, executor, block_size=5)) == here


def check_that_a_lost_worker_costs_only_its_block(executor: Executor, folder: Path) -> None:
    assert executor.map_blocks(partial(die_once, str(folder)), [1, 2, 3, 4, 5]) == [1, 4, 9, 16, 25]
    tries = {path.name: path.read_text() for path in folder.iterdir()}
    assert tries == {"1": "x", "2": "x", "3": "xx", "4": "x", "5": "x"}


def check_that_a_block_that_always_loses_its_worker_is_named(executor: Executor) -> None:
    with pytest.raises(TouchstoneError, match="block 2 of 2 lost its worker 3 times"):
        executor.map_blocks(die, [0, 1])


def check_that_an_error_is_raised_as_it_is_or_named(executor: Executor) -> None:
    with pytest.raises(ValueError, match="no 7"):
        executor.map_blocks(refuse, [7])
    with pytest.raises(DataError) as caught:
        executor.map_blocks(refuse_the_data, [7])
    error = caught.value
    assert (error.what, error.kept, error.next_step) == ("no prices for 7", "the others", "fetch them")
    with pytest.raises(TouchstoneError, match="a block raised TwoPartsError: this and that, which cannot travel"):
        executor.map_blocks(raise_two_parts, [7])


def test_processes_lose_a_block_at_most(tmp_path: Path) -> None:
    check_that_a_lost_worker_costs_only_its_block(Processes(2), tmp_path)
    check_that_a_block_that_always_loses_its_worker_is_named(Processes(1))


def test_an_exception_of_the_function_is_raised_as_it_is_or_named() -> None:
    check_that_an_error_is_raised_as_it_is_or_named(Processes(1))
    with pytest.raises(TouchstoneError, match="a block returned function, which cannot travel between processes"):
        Processes(1).map_blocks(return_a_function, [7])
    with pytest.raises(UsageError, match="n_workers is 0"):
        Processes(0)


@pytest.fixture
def two_nodes() -> Iterator[None]:
    # Not at the top: it takes a second, and every process of the suite reads this file.
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    assert len(ray.nodes()) == 2
    yield
    ray.shutdown()
    cluster.shutdown()


# One test and not five: a cluster is several seconds and a gigabyte, and tests side by side would start one each.
# Ray leaves sockets to the garbage collector, and uses what Python has deprecated.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("two_nodes")
@pytest.mark.skipif(os.environ.get("TOUCHSTONE_FAST") == "1", reason="a cluster is started")
def test_two_nodes_give_what_this_process_gives_and_a_lost_worker_costs_its_block(tmp_path: Path) -> None:
    check_the_bytes_of_a_population(RayCluster())
    check_that_a_lost_worker_costs_only_its_block(RayCluster(), tmp_path)
    check_that_a_block_that_always_loses_its_worker_is_named(RayCluster())
    check_that_an_error_is_raised_as_it_is_or_named(RayCluster())
