"""The same population in this process, in processes, and on a Ray cluster of two local nodes: bytes and seconds.

Usage: python benchmarks/distributed.py PRICES.npz [N]. The Ray part runs where Ray is installed (the extra
`distributed`), else it says so.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import ours
import works

from agents.strategy.population import GateMetrics, Job, Population, evaluate_in_blocks
from backtesting import sweep
from backtesting.executor import Executor, InProcess, Processes, RayCluster
from backtesting.splits import Window


def as_bytes(metrics: GateMetrics) -> bytes:
    return b"".join(getattr(metrics, name).tobytes() for name in vars(metrics))


def die_once(marker: str, job: Job, configs: list[dict[str, Any]]) -> GateMetrics:
    """The block that finds no marker leaves one and takes its worker with it."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return job(configs)
    os._exit(9)


def main() -> None:
    data = works.load()
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    sweep.warm()
    bars = ours.close_bars(data["wti"], "wti")
    configs = works.population(n)
    job = Job(bars, tuple(Window(a, b) for a, b in works.folds(bars.n_bars)), ours.COSTS)
    begin = time.perf_counter()
    whole = as_bytes(Population.from_configs(configs).evaluate(bars, job.windows, ours.COSTS))
    print(f"in process, one population: {time.perf_counter() - begin:.2f} s")

    def measure(name: str, executor: Executor) -> None:
        for block in (n // 2, n // 8):
            begin = time.perf_counter()
            found = as_bytes(evaluate_in_blocks(job, configs, executor, block_size=block))
            seconds = time.perf_counter() - begin
            print(f"{name}, blocks of {block}: {seconds:.2f} s, same bytes: {found == whole}")

    def lose(name: str, executor: Executor) -> None:
        marker = Path(sys.argv[1]).with_name(f"died-{os.getpid()}-{name.split(' ', maxsplit=1)[0]}")
        blocks = [configs[at : at + n // 8] for at in range(0, n, n // 8)]
        found = executor.map_blocks(partial(die_once, str(marker), job), blocks)
        same = [as_bytes(job(block)) == as_bytes(metrics) for block, metrics in zip(blocks, found, strict=True)]
        print(f"{name}, one worker lost: it was lost: {marker.exists()}, same bytes in all {len(same)}: {all(same)}")
        marker.unlink()

    measure("in process", InProcess())
    measure("processes (2)", Processes(2))
    lose("processes (2)", Processes(2))
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        print("ray: not installed here")
        return
    begin = time.perf_counter()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    print(f"ray, two nodes started: {time.perf_counter() - begin:.2f} s, nodes: {len(ray.nodes())}")
    measure("ray (2 nodes)", RayCluster())
    lose("ray (2 nodes)", RayCluster())
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
