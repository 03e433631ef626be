"""What the tests of the loop share: a small market, replies of a model, and a run opened and driven as the CLI does.

A market of six years has 1512 bars: 300 lead, 357 open, 21 embargo, 834 sealed; a run on it takes half a second.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.archive.records import Slot
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.bars import Bars
from generator.budget import Budget, Caps, Spend
from generator.calls import PaidCalls
from generator.config import RunConfig
from generator.llm.address import parse_address
from generator.llm.client import LLMClient
from generator.llm.keys import api_key
from generator.llm.openai_client import OpenAIClient
from generator.llm.patience import Patience
from generator.llm.pricing import Price
from generator.loop import evolve
from generator.run import Run, open_run
from generator.templates import load_prompt, prompt_folders
from generator.traffic import Traffic
from generator.workflows.workflow import Workflow
from generator.workflows.workflows import build_workflow

MARKET = "synthetic:planted?years=6&seed=1"
# In dollars per million tokens, as the price list writes it.
PRICE = Price(input=1.0, cached=0.5, output=4.0, date="2030-01-01", source="made up")
NO_CAPS = Caps()

IDEAS = (
    ("rsi(close, 3) < 30", "rsi(close, 3) > 60"),
    ("relative_volume(20) > 1.4", "relative_volume(20) < 1"),
    ("day_of_week() == 1", "day_of_week() == 3"),
    ("close > highest(lag(close, 1), 10)", "close < sma(close, 10)"),
    ("natr(14) < 0.012", "natr(14) > 0.016"),
    ("turn_of_month(2, 3)", "not turn_of_month(2, 3)"),
    ("zscore(close, 20) < -1", "zscore(close, 20) > 1"),
    ("falling(close, 2)", "rising(close, 2)"),
)
PLANTED = ("volume > 1.5 * sma(volume, 20)", "not (volume > 1.5 * sma(volume, 20))")


@cache
def market(address: str = MARKET) -> Bars:
    """The bars, loaded once a session."""
    return fetch_bars(address)


def wire(enter: str, leave: str | None, name: str = "an_idea", **more: Any) -> dict[str, Any]:
    """A reply in the form of the wire schema, as an object."""
    return {
        "hypothesis": "Somebody has to trade and pays for it.",
        "name": name,
        "source": None,
        "rule": {
            "kind": "rules",
            "long": {"enter": enter, "exit": leave},
            "short": None,
            "protect": None,
            "sizing": {"kind": "fraction", "fraction": 1.0},
            **more,
        },
    }


def reply(number: int) -> str:
    """The `number`-th legal reply; eight different ideas."""
    enter, leave = IDEAS[number % len(IDEAS)]
    return json.dumps(wire(enter, leave, f"idea_{number % len(IDEAS)}"))


def illegal(number: int = 0) -> str:
    """The same with one error that the validator names: a function that does not exist."""
    enter, leave = IDEAS[number % len(IDEAS)]
    return json.dumps(wire(f"({enter}) and close > smaa(close, 20)", leave, f"idea_{number % len(IDEAS)}"))


def answer_by_content(server: Any, *, broken_every: int = 4) -> None:
    """Make the server answer each question with the same reply whenever and however often it is asked.

    The reply to every `broken_every`-th question that is new to the server is illegal; its repair is legal.
    """
    places: dict[bytes, int] = {}

    def text(body: dict[str, Any]) -> str:
        said = json.dumps(body["messages"], sort_keys=True).encode()
        number = int.from_bytes(hashlib.blake2b(said, digest_size=4).digest(), "little")
        # By its place and not by its hash: a word changed in a prompt must not decide what a test gets to see.
        broken = places.setdefault(said, len(places)) % broken_every == broken_every - 1
        return illegal(number) if broken and "smaa" not in said.decode() else reply(number)

    answer_with(server, lambda received: server.says(text(received.body)))


def answer_with(server: Any, choose: Callable[[Any], Any]) -> None:
    """Make the server choose each answer by the request."""

    def next_answer(received: Any) -> Any:
        if "messages" not in received.body:
            return server.reset()  # the client was killed while it was still sending: nothing was asked
        with server._lock:
            server.requests.append(received)
        return choose(received)

    server.next_answer = next_answer


def settings(server: Any | None = None, **more: Any) -> RunConfig:
    """A configuration; with a server, of a run in which the model proposes everything."""
    values: dict[str, Any] = {"market": MARKET, "slots": 8, "seed": 5, "block": 4}
    if server is not None:
        values |= {"llm": f"openai:tiny@{server.base_url}", "arms": {"llm": 1.0}}
    return RunConfig.model_validate(values | more)


def open_(config: RunConfig, archive: Archive, bars: Bars | None = None) -> Run:
    """The run, planned and stored, with the shipped prompts if there is a model."""
    folders = prompt_folders()
    prompts = {role: load_prompt(name, folders) for role, name in config.prompts.items()}
    return open_run(config, archive, bars or market(config.market), prompts)


def client_of(run: Run, patience: Patience | None = None, waits: list[float] | None = None) -> OpenAIClient:
    """The real client, which notes its waits instead of sleeping."""
    address = parse_address(run.config.llm)

    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return OpenAIClient(
        address,
        api_key(address, {}),
        rng=np.random.default_rng(0),
        patience=patience or Patience(),
        sleep=sleep,
    )


def workflow(
    run: Run,
    client: LLMClient,
    *,
    caps: Caps = NO_CAPS,
    price: Price | None = PRICE,
    traffic: Traffic | None = None,
) -> Workflow:
    """The workflow as the command line builds it, its budget beginning with what the run has spent before."""
    spend = run.archive.spend(run.run_id)
    spent = Spend(usd=spend.usd, tokens=spend.tokens, calls=spend.calls, unpriced_calls=spend.unpriced)
    budget = Budget(caps, clock=time.monotonic, spent=spent)
    calls = PaidCalls(run.run_id, run.archive, client, budget, price, traffic=traffic)
    return build_workflow(run, dict.fromkeys(run.prompts, calls))


def go(
    run: Run,
    *,
    client: LLMClient | None = None,
    caps: Caps = NO_CAPS,
    price: Price | None = PRICE,
    concurrency: int = 1,
    watch: Callable[[Any], None] = lambda progress: None,
    watch_seconds: float = 0.0,
) -> Run:
    """Bring the run to its end; what stops it is raised."""

    async def all_of_it() -> None:
        if run.config.llm == "none":
            await evolve(run, None, watch)
            return
        asked = client or client_of(run)
        try:
            traffic = Traffic(concurrency)
            asking = workflow(run, asked, caps=caps, price=price, traffic=traffic)
            await evolve(run, asking, watch, traffic=traffic, watch_seconds=watch_seconds)
        finally:
            await asked.aclose()

    asyncio.run(all_of_it())
    return run


def reopened(run: Run) -> Run:
    """The same run as another process would find it."""
    return open_(run.config, run.archive, run.bars)


def decisions(archive: Archive, run_id: str) -> dict[str, Any]:
    """Everything a run decided, without times, ids of rows, and the id of the run itself."""

    def slot(found: Slot) -> dict[str, Any]:
        candidate, report = archive.candidate(found.slot_id), archive.gate_report(found.slot_id)
        rejected = [event.data for event in archive.events(run_id, found.slot_id) if event.kind == "rejected"]
        return {
            "arm": found.arm,
            "state": archive.slot_states(run_id)[found.slot_id],
            "candidate": candidate and {**asdict(candidate), "slot_id": ""},
            "evaluation": archive.evaluation(found.slot_id),
            "report": report and report.report,
            "rejected": rejected,
            "proposals": [
                (p.attempt, p.origin, p.template_id, p.prompt, p.reply, [_ref(parent) for parent in p.parents])
                for p in archive.proposals(found.slot_id)
            ],
        }

    trials = [(t.spec_id, t.purpose, t.by, t.metrics, t.stream_id) for t in archive.trials(run_id)]
    ended = [event.data for event in archive.events(run_id) if event.kind == "finished"]
    return {"slots": [slot(found) for found in archive.slots(run_id)], "trials": trials, "ended": ended}


def without(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """The end of a run without the ids that depend on the run's own id or on the sealed prices."""
    ended = [{name: value for name, value in data.items() if name not in names} for data in found["ended"]]
    return {**found, "ended": ended}


def terminal_events(archive: Archive, run_id: str) -> list[int]:
    """How many ends each slot has, in the order of the slots."""
    ends = ("gated", "rejected", "abandoned")
    return [sum(event.kind in ends for event in archive.events(run_id, slot.slot_id)) for slot in archive.slots(run_id)]


def with_other_future(bars: Bars, start: int, seed: int = 1) -> Bars:
    """The same bars up to `start`; from there on other prices and volumes."""
    rng = np.random.default_rng(seed)
    factor = np.ones((bars.n_bars, 1))
    factor[start:, 0] = np.exp(np.cumsum(rng.normal(0.002, 0.02, bars.n_bars - start)))
    volume = bars.volume.copy()
    volume[start:] = rng.permutation(volume[start:])
    prices = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")}
    return replace(bars, **prices, volume=volume)


def archive_at(folder: Path) -> Archive:
    """The archive of a workspace folder."""
    return Archive.open(folder / "touchstone.db", create=True)


def codes(archive: Archive, run_id: str) -> list[str | None]:
    """The rejection code of each slot, None where it was not rejected."""
    found: list[str | None] = []
    for slot in archive.slots(run_id):
        ends = [event.code for event in archive.events(run_id, slot.slot_id) if event.kind == "rejected"]
        found.append(ends[0] if ends else None)
    return found


def questions(server: Any) -> Sequence[str]:
    """The text of every request that the server has had, messages only."""
    return [json.dumps(received.body["messages"]) for received in server.requests]


def _ref(parent: str) -> str:
    return parent.rpartition("/")[2]
