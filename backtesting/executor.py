"""Executor: where blocks of work run: in this process, in processes beside it, or on a Ray cluster.

`map_blocks(function, blocks)` gives `[function(block) for block in blocks]` in that order, wherever it runs; so a
pure function gives the same bytes everywhere. A worker that is lost costs its own block alone, which runs again in a
fresh one; a block that loses its worker every time ends the run with a sentence that names it. An exception of the
function itself is no loss: it is raised here as it is, or, where it cannot travel, as a sentence that names it.

Processes are started afresh (spawn) and not forked: a fork copies the locks of threads that it does not copy. What
travels is handed to the interpreter's own transport between processes of one user; nothing from outside is ever read
that way, and nothing is stored.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, TypeVar

from backtesting.errors import TouchstoneError, UsageError

Block = TypeVar("Block")
Result = TypeVar("Result")

# How often a block may lose its worker. Twice may be the machine; three times is the block.
MAX_LOSSES = 2


class Executor(Protocol):
    """Runs a function over blocks."""

    def map_blocks(self, function: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
        """The results in the order of the blocks.

        Args:
            function: pure and, for other processes, importable by name (or a partial of such a function).
            blocks: plain data, each worth a second of work or more if it has to travel.

        Raises:
            TouchstoneError: a block lost its worker too often. Whatever the function raises is raised as it is.
        """
        ...


class InProcess:
    """One block after the other, here. The default: a population is fast enough, and threads are inside it."""

    def map_blocks(self, function: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
        """See `Executor`."""
        return [function(block) for block in blocks]


class Processes:
    """Processes of this machine, each with one block at a time; started for one call and gone after it."""

    def __init__(self, n_workers: int) -> None:
        if n_workers < 1:
            raise UsageError(f"n_workers is {n_workers}, it has to be 1 or more", next_step="give the number of cores")
        self.n_workers = n_workers

    def map_blocks(self, function: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
        """See `Executor`."""
        results: dict[int, Result] = {}
        losses = [0] * len(blocks)
        waiting = deque(range(len(blocks)))
        workers: dict[Connection, tuple[BaseProcess, int]] = {}
        try:
            while waiting or workers:
                while waiting and len(workers) < self.n_workers:
                    connection, process = _start(function)
                    self._give(connection, process, waiting.popleft(), blocks, workers)
                for ready in wait(list(workers)):
                    connection = ready  # type: ignore[assignment]
                    process, at = workers.pop(connection)
                    try:
                        succeeded, answer = connection.recv()
                    except (EOFError, OSError):
                        _stop(connection, process)
                        losses[at] += 1
                        if losses[at] > MAX_LOSSES:
                            raise _lost(at, len(blocks), len(results), f"exit code {process.exitcode}") from None
                        waiting.append(at)
                        continue
                    if not succeeded:
                        workers[connection] = (process, at)
                        raise answer
                    results[at] = answer
                    if waiting:
                        self._give(connection, process, waiting.popleft(), blocks, workers)
                    else:
                        _stop(connection, process)
        finally:
            for connection, (process, _) in workers.items():
                _stop(connection, process)
        return [results[at] for at in range(len(blocks))]

    @staticmethod
    def _give(
        connection: Connection,
        process: BaseProcess,
        at: int,
        blocks: Sequence[Any],
        workers: dict[Connection, tuple[BaseProcess, int]],
    ) -> None:
        workers[connection] = (process, at)
        try:
            connection.send(blocks[at])
        except OSError:
            # It died before it was given anything; the loss is noticed where answers are read.
            return


def _start(function: Callable[[Any], Any]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _stop(connection: Connection, process: BaseProcess) -> None:
    connection.close()
    process.terminate()
    process.join()


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    """What a worker does: a block in, (True, its result) or (False, the exception) out, until nobody listens."""
    while True:
        try:
            block = connection.recv()
        except EOFError:
            return
        answer = _answer(function, block)
        try:
            connection.send(answer)
        except OSError:
            return
        except Exception as refused:
            # Pickled before the first byte leaves, so the other side still waits for an answer.
            connection.send((False, _unsendable("returned", answer[1], refused)))


class RayCluster:
    """A Ray cluster that this process is connected to (`ray.init` or RAY_ADDRESS); needs the extra `distributed`.

    Ray runs a block whose worker was lost again by itself.
    """

    def map_blocks(self, function: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
        """See `Executor`."""
        try:
            import ray
        except ImportError:
            raise UsageError(
                "this environment has no Ray",
                next_step='install the extra: pip install "touchstone-agents[distributed]"',
            ) from None
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        # The function, with the prices it may carry, travels to a node once and not with every block.
        shared = ray.put(function)
        run: Any = ray.remote(max_retries=MAX_LOSSES, num_cpus=1)(_answer)
        pending = [run.remote(shared, block) for block in blocks]
        results: list[Result] = []
        for at, reference in enumerate(pending):
            try:
                succeeded, answer = ray.get(reference)
            except ray.exceptions.RayTaskError as raised:
                # Ray's own words: what the function raised comes as an answer.
                raise raised.cause from None
            except ray.exceptions.RayError as lost:
                raise _lost(at, len(blocks), at, type(lost).__name__) from None
            if not succeeded:
                raise answer
            results.append(answer)
        return results


def _answer(function: Callable[[Block], Any], block: Block) -> tuple[bool, Any]:
    """(True, its result) or (False, what it raised, in a shape that arrives in another process)."""
    try:
        return True, function(block)
    except Exception as raised:
        try:
            # Some exceptions leave well and cannot be put together again where they arrive.
            ForkingPickler.loads(ForkingPickler.dumps(raised))
        except Exception as refused:
            return False, _unsendable("raised", raised, refused)
        return False, raised


def _unsendable(verb: str, what: object, refused: Exception) -> TouchstoneError:
    words = f": {what}" if isinstance(what, Exception) else ""
    return TouchstoneError(
        f"a block {verb} {type(what).__qualname__}{words}, which cannot travel between processes ({refused})",
        kept="the results of this call were not stored",
        next_step="run this block in process to see where it comes from",
    )


def _lost(at: int, n_blocks: int, n_done: int, why: str) -> TouchstoneError:
    return TouchstoneError(
        f"block {at + 1} of {n_blocks} lost its worker {MAX_LOSSES + 1} times ({why})",
        kept=f"{n_done} other blocks were finished, their results were not stored",
        next_step="run this block in process to see why; out of memory is the usual reason",
    )
