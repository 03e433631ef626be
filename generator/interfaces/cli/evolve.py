"""`touchstone evolve`: the generate-and-evaluate loop from the command line."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from pydantic import ValidationError

from agents.archive.lock import hold_workspace
from agents.archive.records import RunRecord
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_report
from backtesting.costs import COSTS
from backtesting.errors import EndpointError, InvalidConfig, TouchstoneError, UsageError
from generator.budget import Budget, Caps, Spend
from generator.calls import PaidCalls
from generator.config import RunConfig
from generator.context import cost_words, terms_words
from generator.fork import open_segment
from generator.interfaces.cli import workspace
from generator.interfaces.cli.compiling import said_once
from generator.interfaces.cli.conditions import costs_named, terms_named
from generator.interfaces.cli.output import Output
from generator.interfaces.cli.progress import ProgressView
from generator.interfaces.cli.run_text import show_run
from generator.lessons import Reflector
from generator.llm.address import FORMS, parse_address
from generator.llm.client import LLMClient
from generator.llm.clients import Settings, open_client, price_at
from generator.llm.keys import system_keyring
from generator.llm.pace import Pace
from generator.llm.pricing import load_prices
from generator.llm.transport import proxy_for
from generator.loop import Watcher, evolve
from generator.run import Run, config_of, open_run, seal_of, unfinished_run
from generator.templates import Prompt, load_prompt
from generator.traffic import Traffic, traffic_of
from generator.verdicts import check_after_cutoff
from generator.workflows.workflows import build_workflow

app = typer.Typer(add_completion=False)

NO_CAPS = Caps()
# More often than this nobody reads it, and each time costs a few queries.
WATCH_SECONDS = 0.1

EXAMPLES = """Examples:

  touchstone evolve --market sample:sp500 --slots 40 --seed 7

  touchstone evolve --market csv:prices.csv --llm openai:gpt-5-mini --max-usd 2

  touchstone evolve --llm openai:qwen3@http://127.0.0.1:8080/v1 --market sample:nasdaq

  touchstone evolve --market csv:es.csv --costs my_costs.yaml --terms es_contract.yaml

  touchstone evolve --resume

  touchstone evolve --resume --fork
"""


@app.command(epilog=EXAMPLES)
def main(
    market: Annotated[str | None, typer.Option(help="Market address, e.g. sample:sp500 or csv:PATH.")] = None,
    slots: Annotated[int | None, typer.Option(help="How many proposals to plan (40).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random (1).")] = None,
    llm: Annotated[
        str | None,
        typer.Option(envvar="TOUCHSTONE_LLM", help=f"Model address (none). Known: {FORMS}."),
    ] = None,
    llm_mode: Annotated[
        str | None, typer.Option(help="How the reply's form is asked for: schema, json or text (schema).")
    ] = None,
    arms: Annotated[str | None, typer.Option(help="Shares of the arms, e.g. llm=3,random=1,evolved=1.")] = None,
    workflow: Annotated[
        str | None, typer.Option(help="How the model is asked: one-shot, reasoner or tool-agent (one-shot).")
    ] = None,
    costs: Annotated[
        str | None, typer.Option(help="Cost model by name, or a YAML or JSON file with the numbers (liquid-index).")
    ] = None,
    terms: Annotated[
        str | None, typer.Option(help="YAML or JSON file with how the market trades: fill, multiplier, lot, rolls.")
    ] = None,
    open_share: Annotated[float | None, typer.Option(help="Share of the history that may be looked at (0.3).")] = None,
    replace: Annotated[
        str | None, typer.Option(help="Active agent whose place every candidate claims too; signed with the rest.")
    ] = None,
    after_cutoff: Annotated[
        bool | None,
        typer.Option("--after-cutoff", help="Judge a model's rules on the days after its cutoff, not by length (off)."),
    ] = None,
    queue: Annotated[int | None, typer.Option(help="How many candidates go to review (5).")] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt that proposes (propose).")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with a section `evolve`; flags win over it.")] = None,
    max_usd: Annotated[float | None, typer.Option(help="Stop before spending more.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop before using more.")] = None,
    max_calls: Annotated[int | None, typer.Option(help="Stop before asking more often.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop asking after this time.")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls in flight at the same time.", min=1, max=256)] = 4,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the last unfinished run with its own settings.")
    ] = False,
    fork: Annotated[
        bool, typer.Option("--fork", help="With --resume: go on in a new segment although something changed.")
    ] = False,
    reflect: Annotated[
        bool | None, typer.Option("--reflect", help="Let the model write lessons after each block, a call each (off).")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Plan slots, propose, validate, test against the incumbents, judge once, and queue the best few for review.

    The same command again continues an interrupted run, and shows a finished one.
    """
    output = Output.from_environment(json_lines=json_lines)
    given = {
        "market": market,
        "slots": slots,
        "seed": seed,
        "llm": llm,
        "llm_mode": llm_mode,
        "arms": None if arms is None else _shares(arms),
        "costs": costs if costs is None else _costs(costs),
        "terms": None if terms is None else terms_named(terms).as_dict(),
        "open_share": open_share,
        "replace": replace,
        "after_cutoff": after_cutoff,
        "queue": queue,
        "prompt": prompt,
        "workflow": workflow,
        "reflect": reflect,
    }
    if fork and not resume:
        raise UsageError("--fork goes on from a stopped run", next_step="add --resume")
    caps = Caps(max_usd, max_tokens, max_calls, None if max_minutes is None else max_minutes * 60.0)
    with workspace.opened(create=True) as archive:
        if resume:
            stored = unfinished_run(archive)
            wanted = config_of(stored)
            differing = [name for name, value in given.items() if value is not None and _differs(wanted, name, value)]
            if differing and not (differing == ["llm"] and llm == os.environ.get("TOUCHSTONE_LLM")):
                raise UsageError(
                    f"--resume continues run {stored.run_id} with its own settings, but {', '.join(differing)} differs",
                    next_step="leave the option out, or start another run without --resume",
                )
        else:
            stored = None
            wanted = _run_config(given, config)
        run_it(wanted, archive, output, caps=caps, concurrency=concurrency, continues=stored, fork=fork)


def run_it(
    config: RunConfig,
    archive: Archive,
    output: Output,
    *,
    caps: Caps = NO_CAPS,
    concurrency: int = 4,
    continues: RunRecord | None = None,
    fork: bool = False,
) -> Run:
    """Run, or continue, one configuration and show the result. Used by `evolve` and `demo`."""
    bars, quality = fetch_report(config.market, cache_dir=workspace.home() / "snapshots")
    for flag in quality.flags:
        if flag.severity != "info":
            output.note(f"data: {flag}")
    prompts = prompts_of(config)
    with said_once(output), hold_workspace(workspace.home(), config.market):
        if config.llm != "none":
            asyncio.run(_opens(config))  # a missing key or script ends the command before a run is planned
            check_after_cutoff(config, bars)
        if continues is not None and fork:
            run = open_segment(continues, archive, bars, prompts)
        else:
            parent = str(continues.config.get("forked_from", "")) if continues else ""
            run = open_run(config, archive, bars, prompts, continues=continues, parent=parent)
        _announce(run, output)
        if not run.finished:
            asyncio.run(_evolve(run, output, caps, concurrency))
    show_run(run.archive, run.run_id, output)
    _refuse_silence(run)
    return run


def _refuse_silence(run: Run) -> None:
    """A run of fewer slots than stop it early, none of which the model answered, is no success for a script."""
    calls = run.archive.calls(run.run_id)
    if calls and all(call.status in ("failed", "abandoned") for call in calls):
        raise EndpointError(
            f"none of the {len(calls)} calls to {run.config.llm} brought a reply (touchstone runs show {run.run_id})",
            kept="the run and what its other arms found are saved",
            next_step="look at the endpoint (touchstone doctor --llm), then start another run",
        )


async def _evolve(run: Run, output: Output, caps: Caps, concurrency: int) -> None:
    try:
        with ProgressView(output) as view:
            if run.config.llm == "none":
                await drive(run, None, view)
                return
            traffic = traffic_of([str(run.config.role(role).llm) for role in run.config.asked], concurrency)
            clients = _Clients(run, output, traffic)
            try:
                await drive(run, clients.calls(caps), view, traffic=traffic)
            finally:
                await clients.aclose()
    except (TouchstoneError, asyncio.CancelledError, KeyboardInterrupt, SystemExit) as stop:
        states = run.archive.slot_states(run.run_id)
        begun = sum(state not in ("planned", "prompted", "responded", "valid") for state in states.values())
        run.archive.append_run_event(run.run_id, "stopped", {"why": type(stop).__name__})
        output.note(f"stopped: {begun} of {len(states)} slots done, all saved. Continue: touchstone evolve --resume")
        raise


async def drive(
    run: Run, calls: Mapping[str, PaidCalls] | PaidCalls | None, watch: Watcher, *, traffic: Traffic | None = None
) -> None:
    """Bring a run to its end with these calls, by role or one for all; None where no model takes part."""
    if calls is None:
        await evolve(run, None, watch)
        return
    by_role = dict.fromkeys(run.config.asked, calls) if isinstance(calls, PaidCalls) else calls
    reflector = None
    if run.config.reflect:
        seed = run.config.seed % 2**31
        reflector = Reflector(run, by_role["reflect"], run.prompts["reflect"], seed)
    await evolve(
        run,
        build_workflow(run, by_role),
        watch,
        traffic=traffic,
        watch_seconds=WATCH_SECONDS,
        reflector=reflector,
    )


async def _opens(config: RunConfig) -> None:
    roles = [config.role(name) for name in config.asked]
    for llm, mode in sorted({(str(role.llm), str(role.llm_mode)) for role in roles}):
        settings = Settings(environ=os.environ, keyring=system_keyring, rng=np.random.default_rng(), mode=mode)  # type: ignore[arg-type]
        await open_client(parse_address(llm), settings).aclose()


class _Clients:
    """The models of a run: one client for each different address and mode, one pace and one budget for all."""

    def __init__(self, run: Run, output: Output, traffic: Traffic) -> None:
        self._run = run
        self._output = output
        self._traffic = traffic
        self._pace = Pace(traffic.in_flight)
        self._opened: dict[tuple[str, str], LLMClient] = {}

    def calls(self, caps: Caps) -> dict[str, PaidCalls]:
        """How each role asks its model, the budget beginning with what the run has spent before."""
        run = self._run
        spend, prices = run.archive.spend(run.run_id), load_prices(workspace.price_file())
        spent = Spend(usd=spend.usd, tokens=spend.tokens, calls=spend.calls, unpriced_calls=spend.unpriced)
        budget = Budget(caps, clock=time.monotonic, spent=spent)
        by_client: dict[tuple[str, str], PaidCalls] = {}
        by_role: dict[str, PaidCalls] = {}
        for role in run.config.asked:
            wanted = run.config.role(role)
            key = (str(wanted.llm), str(wanted.llm_mode))
            if key not in by_client:
                price = price_at(parse_address(key[0]), prices)
                budget.check_enforceable(price)
                by_client[key] = PaidCalls(
                    run.run_id, run.archive, self._client(*key), budget, price, traffic=self._traffic
                )
            by_role[role] = by_client[key]
        return by_role

    async def aclose(self) -> None:
        for client in self._opened.values():
            await client.aclose()

    def _client(self, llm: str, mode: str) -> LLMClient:
        address = parse_address(llm)
        probed = self._run.archive.last_probe(address.text)
        if probed is not None and probed.mode != mode:
            self._output.note(
                f"{address.text} was probed on {probed.at[:10]}: its replies' form is kept in mode {probed.mode},"
                f" this run asks in mode {mode} (touchstone doctor --llm, --llm-mode)"
            )
        settings = Settings(
            environ=os.environ,
            keyring=system_keyring,
            rng=np.random.default_rng(),
            mode=mode,  # type: ignore[arg-type]
            pace=self._pace,
            show=self._output.note,
        )
        self._opened[llm, mode] = open_client(address, settings)
        return self._opened[llm, mode]


def _why_forked(run: Run, parent: str) -> str:
    into = [event.data for event in run.archive.events(parent) if event.kind == "forked"]
    return ", ".join(str(part) for data in into if data["into"] == run.run_id for part in data["changed"])


def _announce(run: Run, output: Output) -> None:
    """What the run is, and its calendar, before it starts."""
    config, split, sessions = run.config, run.split, run.bars.sessions
    seal = seal_of(run)
    spans = {
        name: f"{sessions[window.start]}..{sessions[window.stop - 1]} ({window.n_bars} bars)"
        for name, window in (("open", split.open), ("sealed", seal.window))
    }
    sealed = f"opening {seal.n_earlier + 1} of this window, alpha {seal.alpha:.4f}"
    if seal.later:
        sealed = f"{sealed}; it begins later than planned, {seal.later}"
    if seal.broken:
        sealed = f"{seal.broken}; rules are judged by their length on all days, {seal.again}"
    output.event(
        "launch",
        run_id=run.run_id,
        resumed=run.resumed,
        forked_from=run.record.config.get("forked_from"),
        finished=run.finished,
        workspace=str(workspace.home()),
        market=config.market,
        bars_id=run.bars.bars_id,
        llm=config.llm,
        arms=config.shares,
        costs=config.cost_model.as_dict(),
        terms=config.market_terms.as_dict(),
        split=split.as_dict(),
        alpha=seal.alpha,
        seal_broken=seal.broken,
        replace=config.replace,
        after_cutoff=config.after_cutoff,
    )
    if output.json_lines:
        return
    state = " (finished before; this is what it found)" if run.finished else " (continued)" if run.resumed else ""
    output.note(
        f"run {run.run_id}{state}: {config.market}, {config.slots} slots, seed {config.seed}, costs"
        f" {config.costs if isinstance(config.costs, str) else cost_words(config.cost_model, config.market_terms)}"
    )
    if config.terms is not None:
        output.note(f"terms          {terms_words(config.market_terms)}")
    parent = run.record.config.get("forked_from")
    if parent:
        output.note(f"a new segment, forked from run {parent} because of {_why_forked(run, str(parent))}")
        output.note("what that one found stays there")
    output.note(f"open window    {spans['open']}: proposers and people may look")
    output.note(f"sealed window  {spans['sealed']}: judged once, at the end")
    if config.replace:
        output.note(f"the claims     each candidate to add to the book, and to take the place of {config.replace}")
    if config.after_cutoff:
        output.note("the cutoff     rules of a model that may know these days are judged on those after its cutoff")
    if not run.finished:
        output.note(f"the seal       {sealed}")
    arms = ", ".join(f"{arm} {share:.0%}" for arm, share in config.shares.items())
    if config.llm == "none":
        output.note(f"no model is used: proposals come from the arms {arms}, without a key and without network")
    else:
        others = ", ".join(f"{role} {own.llm}" for role, own in config.roles.items() if own.llm)
        output.note(f"model {config.llm}{f' ({others})' if others else ''}, workflow {config.workflow}, arms {arms}")
    base_url = None if config.llm == "none" else parse_address(config.llm).base_url
    proxy = proxy_for(base_url, os.environ) if base_url else None
    if proxy is not None:
        # Without what may stand before the @, which is a password.
        output.note(f"the model is asked through the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}")
    if os.environ.get("LANGSMITH_TRACING", "").lower() in ("1", "true"):
        output.note("LANGSMITH_TRACING is set; Touchstone itself sends nothing there")


def prompts_of(config: RunConfig) -> dict[str, Prompt]:
    """The prompts of a run, by role; none without a model."""
    folders = workspace.folders()
    return {role: load_prompt(name, folders) for role, name in config.prompts.items()}


def _costs(text: str) -> str | dict[str, float]:
    """A name, or the numbers of a file."""
    return costs_named(text).as_dict() if text not in COSTS and Path(text).is_file() else text


def _differs(config: RunConfig, name: str, value: Any) -> bool:
    """Whether an option says otherwise than a stored run; of costs and terms it is the numbers that count."""
    if name == "terms":
        return bool(value != config.market_terms.as_dict())
    if name == "costs" and not isinstance(value, str):
        return bool(value != config.cost_model.as_dict())
    return bool(value != getattr(config, name))


def _run_config(given: dict[str, Any], file: Path | None) -> RunConfig:
    values: dict[str, Any] = _section(file) if file is not None else {}
    values |= {name: value for name, value in given.items() if value is not None}
    if "market" not in values:
        raise UsageError(
            "evolve needs a market", next_step="add --market sample:sp500, csv:PATH, yahoo:SYMBOL or synthetic:planted"
        )
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "configuration"
        raise InvalidConfig(
            f"{where}: {first['msg'].removeprefix('Value error, ')}",
            next_step="correct it; touchstone evolve --help lists the options",
        ) from None
    for llm in (config.llm, *(role.llm for role in config.roles.values() if role.llm)):
        parse_address(llm)
    return config


def _section(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}", next_step="check the path") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InvalidConfig(f"{file} is not JSON: {error}", next_step="compare it with config.example.json") from None
    section = values.get("evolve") if isinstance(values, dict) else None
    if not isinstance(section, dict):
        raise InvalidConfig(f"{file} has no section `evolve`", next_step="compare it with config.example.json")
    return dict(section)


def _shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            shares[name.strip()] = float(value)
        except ValueError:
            raise UsageError(
                f"--arms {text!r}: {part!r} is not NAME=SHARE", next_step="write e.g. --arms llm=3,random=1,evolved=1"
            ) from None
    return shares
