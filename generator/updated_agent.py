"""generate_updated_agent: one proposal, validated and loaded. It is not judged: that is what a run is for.

Nothing is kept: neither the call nor the agent is written to a workspace. Use `touchstone evolve` for anything that
should be compared, counted, or promoted.
"""

import asyncio
import os
import time

import numpy as np

from agents.archive.records import Rejection, RunRecord, Slot
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import Bars
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import CheckFailed
from backtesting.splits import LEAD_BARS, Split, plan_split
from generator.arms import draw_evolved
from generator.budget import Budget, Caps
from generator.calls import PaidCalls
from generator.config import RunConfig
from generator.context import inputs_by_role
from generator.grammar import Grammar
from generator.llm.address import ModelAddress, parse_address
from generator.llm.client import LLMClient
from generator.llm.clients import Settings, open_client, price_at
from generator.llm.keys import system_keyring
from generator.llm.pricing import load_prices
from generator.selection import Entry, Snapshot
from generator.templates import load_prompt, prompt_folders
from generator.workflows.dialogue import Desk
from generator.workflows.one_shot import OneShot
from generator.workflows.workflow import Task

RUN_ID = "single"


def generate_updated_agent(
    market: str | Bars = "sample:sp500",
    *,
    llm: str | None = None,
    seed: int = 1,
    max_calls: int = 3,
) -> TradingStrategy:
    """One new agent, ready for `MetaAgentManager.update_agent`.

    Args:
        market: address of the market, or its bars; the proposal sees the open window only.
        llm: address of the model; None for `TOUCHSTONE_LLM`, and without that for a variation of the incumbents.
        seed: of what is random.
        max_calls: of the model, the repairs included.

    Raises:
        CheckFailed: nothing legal came back; the sentence says what was wrong.
        EndpointError: the model could not be asked.
    """
    bars = market if isinstance(market, Bars) else fetch_bars(market)
    split = plan_split(bars)
    address = llm or os.environ.get("TOUCHSTONE_LLM") or "none"
    if address == "none":
        answer = _varied(bars.upto(split.open.stop), seed)
    else:
        answer = asyncio.run(_asked(bars, split, parse_address(address), seed, max_calls))
    if isinstance(answer, Rejection):
        raise CheckFailed(
            f"no agent was generated: {answer.reason}", next_step="try another seed, or look at the reply with evolve"
        )
    return TradingStrategy(answer).load_model()


def _varied(open_bars: Bars, seed: int) -> Spec | Rejection:
    grammar = Grammar(open_bars, EvaluationCache(), LEAD_BARS)
    known = {spec.spec_id for spec in shipped_incumbents()}
    drawn = draw_evolved(f"evolved_{seed}", _incumbents(), grammar, np.random.default_rng(seed), known)
    return drawn if isinstance(drawn, Rejection) else drawn.spec


async def _asked(bars: Bars, split: Split, address: ModelAddress, seed: int, max_calls: int) -> Spec | Rejection:
    client = open_client(address, Settings(environ=os.environ, keyring=system_keyring, rng=np.random.default_rng(seed)))
    try:
        return await _propose(client, bars, split, address, seed, max_calls)
    finally:
        await client.aclose()


async def _propose(
    client: LLMClient, bars: Bars, split: Split, address: ModelAddress, seed: int, max_calls: int
) -> Spec | Rejection:
    slot = Slot(RUN_ID, 0, "llm", 0)
    open_bars = bars.upto(split.open.stop)
    folders = prompt_folders()
    with Archive.in_memory() as archive:
        archive.add_run(RunRecord(RUN_ID, {}, bars.source, bars.bars_id, split.as_dict(), seed, ""), (slot,))
        budget = Budget(Caps(max_calls=max_calls), clock=time.monotonic)
        calls = PaidCalls(RUN_ID, archive, client, budget, price_at(address, load_prices()))
        config = RunConfig(market=bars.source, llm=address.text, seed=seed)
        prompts = {role: load_prompt(name, folders) for role, name in config.prompts.items()}
        desk = Desk(archive, dict.fromkeys(prompts, calls), prompts, config, open_bars, LEAD_BARS)
        snapshot = _incumbents()
        inputs = inputs_by_role(
            prompts, open_bars, split.open, LIQUID_INDEX, snapshot, (), max_warmup=LEAD_BARS, n_tried=0
        )
        answer = await OneShot(desk).propose(Task(slot, inputs, (), snapshot))
    return answer if isinstance(answer, Rejection) else answer[0]


def _incumbents() -> Snapshot:
    entries = tuple(
        Entry(spec.name, "incumbent", spec, spec.spec_id, float("nan"), {}) for spec in shipped_incumbents()
    )
    return Snapshot(entries, ())
