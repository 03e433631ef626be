"""What the loop adds to the time that the model needs: a model on loopback that answers in two seconds, 32 in flight.

    python benchmarks/throughput.py [SLOTS [IN_FLIGHT [SECONDS]]]

Every slot is one call over a real socket and is then evaluated. Two times stand for the model alone: the ideal, as many
full rounds of `IN_FLIGHT` calls as the slots need, in which nothing else takes any time; and what a bare client takes,
which sends as many questions of the same length over as many connections and reads nothing of the answers. Overheads
are over the ideal, which is the harder one. The clock runs from the start of the loop, with the market loaded and the
client open, as a long run sees it.

One JSON object goes to stdout: the overhead until the last proposal is stored (what the loop costs while the model is
paid by the hour), until the last candidate is evaluated, and for the whole run with the judgement at its end. The CPU
seconds up to the judgement, of the thread that asks and stores and of those that evaluate, say what a busy machine
cannot hide: together they must fit into the ideal time, times the cores. `stolen_share` is what other guests of the
host took of the processors meanwhile, where the system says it: beyond a few percent the overheads are theirs.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command `touchstone` does, before numpy is imported

import numpy as np

from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import load_spec
from agents.strategy.wire import to_wire
from backtesting.splits import LEAD_BARS
from generator.budget import Budget, Caps
from generator.calls import PaidCalls
from generator.config import RunConfig
from generator.grammar import Grammar
from generator.llm.address import parse_address
from generator.llm.clients import Settings, open_client
from generator.llm.pace import Pace
from generator.loop import Progress, evolve
from generator.run import Run, open_run
from generator.templates import load_prompt, prompt_folders
from generator.traffic import Traffic
from generator.workflows.workflows import build_workflow

MARKET = "sample:sp500"


class SlowModel:
    """A chat-completions server that answers each question after `seconds`; it runs in a process of its own."""

    def __init__(self, seconds: float, replies: list[str]) -> None:
        self._seconds = seconds
        self._replies = replies
        self._answered = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
                body = await reader.readexactly(int(headers[b"content-length"]))
                await asyncio.sleep(self._seconds)
                writer.write(self._answer(body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, body: bytes) -> bytes:
        text = self._replies[self._answered % len(self._replies)]
        self._answered += 1
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": len(body) // 4, "completion_tokens": 200}
        answer = {"model": "slow", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        data = json.dumps(answer).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data


async def serve(seconds: float, script: Path) -> None:
    """Serve until the parent closes our stdin; the port is the first line of stdout."""
    model = SlowModel(seconds, json.loads(script.read_text()))
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def replies(n: int) -> list[str]:
    """Legal proposals, all different."""
    bars = fetch_bars(MARKET)
    grammar = Grammar(bars, EvaluationCache(), LEAD_BARS)
    rng = np.random.default_rng(1)
    return [json.dumps(to_wire(_legal(grammar, rng, number))) for number in range(n)]


def _legal(grammar: Grammar, rng: np.random.Generator, number: int) -> Any:
    while True:
        spec = load_spec(grammar.spec(rng, f"rule_{number}"), origin="")
        if not isinstance(spec, list):
            return spec


async def measure(slots: int, in_flight: int, seconds: float, folder: Path, port: int) -> dict[str, Any]:
    """One run against the model at `port`; figures in seconds and shares."""
    llm = f"openai:slow@http://127.0.0.1:{port}/v1"
    # Two blocks are under way at a time, and the next begins when the older one is evaluated: of this size, all places
    # stay taken meanwhile.
    config = RunConfig(market=MARKET, slots=slots, llm=llm, arms={"llm": 1.0}, block=2 * in_flight, seed=1)
    with Archive.open(folder / "touchstone.db", create=True) as archive:
        prompts = {role: load_prompt(name, prompt_folders()) for role, name in config.prompts.items()}
        run = open_run(config, archive, fetch_bars(MARKET), prompts)
        stages: dict[str, float] = {}
        spent: dict[str, float] = {}

        def watch(state: Progress) -> None:
            stages.setdefault(state.stage.partition(":")[0], time.monotonic())
            if state.stage.startswith("judging"):
                spent["loop"], spent["all"] = time.thread_time() - loop_cpu, time.process_time() - all_cpu
            if state.outcomes.get("planned", 0) == state.outcomes.get("prompted", 0) == 0:
                stages.setdefault("answered", time.monotonic())

        settings = Settings(environ={}, rng=np.random.default_rng(1), pace=Pace(in_flight))
        client = open_client(parse_address(llm), settings)
        _warm_up(run)
        ticks, stolen = _processor_ticks()
        began, loop_cpu, all_cpu = time.monotonic(), time.thread_time(), time.process_time()
        traffic = Traffic(in_flight)
        calls = PaidCalls(run.run_id, archive, client, Budget(Caps(), clock=time.monotonic), None, traffic=traffic)
        workflow = build_workflow(run, dict.fromkeys(prompts, calls))
        await evolve(run, workflow, watch, traffic=traffic, watch_seconds=0.1)
        ended = time.monotonic()
        ticks_now, stolen_now = _processor_ticks()
        await client.aclose()
        outcomes = archive.count_outcomes(run.run_id)
        by_itself = await alone(slots, in_flight, port, _question_bytes(run))
    ideal = math.ceil(slots / in_flight) * seconds
    measured = {"proposed": stages["answered"], "evaluated": stages["judging"], "whole": ended}
    return {
        "slots": slots,
        "in_flight": in_flight,
        "model_seconds": seconds,
        "ideal_seconds": ideal,
        "model_alone_seconds": round(by_itself, 3),
        **{f"{name}_seconds": round(at - began, 3) for name, at in measured.items()},
        **{f"overhead_{name}": round((at - began) / ideal - 1.0, 4) for name, at in measured.items()},
        "loop_cpu_seconds": round(spent["loop"], 3),
        "evaluation_cpu_seconds": round(spent["all"] - spent["loop"], 3),
        "stolen_share": round((stolen_now - stolen) / max(ticks_now - ticks, 1), 4),
        "outcomes": outcomes,
    }


async def alone(slots: int, in_flight: int, port: int, n_bytes: int) -> float:
    """Seconds that the model needs for so many questions of `n_bytes`, asked by somebody who does nothing else."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % n_bytes
    waiting = list(range(slots))

    async def one_place() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            waiting.pop()
            writer.write(head + b" " * n_bytes)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.rpartition(b"content-length: ")[2]))
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(one_place() for _ in range(in_flight)))
    return time.monotonic() - began


def _warm_up(run: Run) -> None:
    """Compile what is compiled once in the life of an installation."""
    strategy = run.incumbents[0]
    run.open.look(strategy.spec, run.open.simulate(strategy), n_trials=1, seed=run.config.seed)


def _processor_ticks() -> tuple[int, int]:
    """Ticks of all processors so far, and those of them that other guests of the host took; zeros where unknown."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    ticks = [int(word) for word in stat.read_text().splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[7]


def _question_bytes(run: Run) -> int:
    """How long the first question of the run was."""
    slot_id = next(slot.slot_id for slot in run.archive.slots(run.run_id))
    return sum(len(turn["content"].encode()) for turn in run.archive.proposals(slot_id)[0].prompt or ())


def main() -> None:
    """Read the arguments, run once, print; `--serve` is the other process."""
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(float(sys.argv[2]), Path(sys.argv[3])))
        return
    given = [float(text) for text in sys.argv[1:]]
    slots, in_flight, seconds = (*given, *(256, 32, 2.0)[len(given) :])
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "replies.json"
        script.write_text(json.dumps(replies(int(slots))))
        command = [sys.executable, __file__, "--serve", str(seconds), str(script)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as model:
            assert model.stdout is not None
            port = int(model.stdout.readline())
            print(json.dumps(asyncio.run(measure(int(slots), int(in_flight), seconds, Path(folder), port))))
            model.communicate()


if __name__ == "__main__":
    main()
