"""`touchstone prompts ab`: which of two prompts asks better? It says first what can be shown, and what that costs."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import typer

from agents.archive.lock import hold_workspace
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.errors import StorageError, TouchstoneError, UsageError
from generator.ab import SIDES, Ab, AbConfig, Result, open_ab, result_of, run_ab
from generator.budget import Budget, Caps, Spend
from generator.calls import PaidCalls
from generator.comparison import COST_RATIO, PRIMARY
from generator.config import CARD
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, number
from generator.interfaces.cli.prompt_files import find
from generator.llm.address import parse_address
from generator.llm.clients import Settings, open_client
from generator.llm.keys import system_keyring
from generator.llm.pricing import Price, load_prices, price_of
from generator.templates import load_prompt
from generator.traffic import Traffic, traffic_of

CELLS = ("different", "failed", "all", "none")
SHOWN_CELLS = 40

_TITLES = {
    "valid": "valid at first try",
    "legal": "legal after repair",
    "novel": "new a 1,000 tokens",
    "score": "open-window score",
    "cost": "USD a legal candidate",
}


def ab(
    first: Annotated[str, typer.Argument(metavar="A", help="A prompt's id, shipped:ID, or the path of a file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    market: Annotated[str, typer.Option(help="Market address; both prompts see its open window.")],
    pairs: Annotated[int, typer.Option("-n", "--pairs", help="How often each prompt is asked.", min=1)] = 20,
    llm: Annotated[
        str | None, typer.Option(envvar="TOUCHSTONE_LLM", help="Model address, the same for both prompts.")
    ] = None,
    llm_mode: Annotated[str, typer.Option(help="How the reply's form is asked for: schema, json or text.")] = "schema",
    primary: Annotated[str, typer.Option(help=f"The measure that decides: {', '.join(PRIMARY)}.")] = "valid",
    temperature: Annotated[float | None, typer.Option(help="For both prompts; else what A recommends.")] = None,
    costs: Annotated[str, typer.Option(help="Cost model by name.")] = "liquid-index",
    seed: Annotated[int, typer.Option(help="Of parents, order and intervals; another one is another sample.")] = 1,
    max_usd: Annotated[float | None, typer.Option(help="Stop before spending more.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop before using more.")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls in flight at the same time.", min=1, max=256)] = 4,
    cells: Annotated[
        str, typer.Option(help="Pairs to list, one a line: different, failed, all or none.")
    ] = "different",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it could show and cost.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Ask two prompts the same questions, pair by pair, on an archive that does not move, and compare.

    The same command again goes on where it stopped, and shows a comparison that is finished.
    """
    output = Output.from_environment(json_lines=json_lines)
    if cells not in CELLS:
        raise UsageError(f"--cells {cells} is not known", next_step=f"choose {', '.join(CELLS)}")
    if llm is None or parse_address(llm).kind == "none":
        raise UsageError("a comparison of prompts needs a model", next_step="add --llm openai:MODEL or scripted:FILE")
    config = AbConfig(
        market=market,
        llm=llm,
        n_pairs=pairs,
        seed=seed,
        llm_mode=llm_mode,
        costs=costs,
        primary=primary,
        temperature=temperature,
    )
    folders = workspace.folders()
    prompts = {
        "a": find(first),
        "b": find(second),
        "repair": load_prompt("repair", folders),
        CARD: load_prompt(CARD, folders),
    }
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    price = price_of(llm, load_prices(workspace.price_file()))
    caps = Caps(max_usd=max_usd, max_tokens=max_tokens)
    if plan:
        with workspace.opened() if workspace.exists() else Archive.in_memory() as archive:
            _announce(open_ab(config, archive, bars, prompts), price, caps, output)
        return
    with workspace.opened(create=True) as archive, hold_workspace(workspace.home(), market):
        made = open_ab(config, archive, bars, prompts)
        _announce(made, price, caps, output)
        try:
            result = asyncio.run(_run(made, price, caps, traffic_of([llm], concurrency), output))
        except TouchstoneError:
            show_result(made.run_id, _names(made), result_of(made).as_dict(), output, cells)
            raise
        show_result(made.run_id, _names(made), result.as_dict(), output, cells)


async def _run(made: Ab, price: Price | None, caps: Caps, traffic: Traffic, output: Output) -> Result:
    if made.archive.run_state(made.run_id) == "finished":
        return result_of(made)
    spent = made.archive.spend(made.run_id)
    earlier = Spend(usd=spent.usd, tokens=spent.tokens, calls=spent.calls, unpriced_calls=spent.unpriced)
    budget = Budget(caps, clock=time.monotonic, spent=earlier)
    budget.check_enforceable(price)
    settings = Settings(
        environ=os.environ,
        keyring=system_keyring,
        rng=np.random.default_rng(),
        mode=made.config.llm_mode,  # type: ignore[arg-type]
    )
    client = open_client(parse_address(made.config.llm), settings)
    n_slots = 2 * made.config.n_pairs

    def watch(done: int, planned: int) -> None:
        if done % max(1, n_slots // 10) == 0:
            output.note(f"{done} of {planned} slots asked")

    try:
        return await run_ab(made, PaidCalls(made.run_id, made.archive, client, budget, price, traffic=traffic), watch)
    finally:
        await client.aclose()


def show_stored(archive: Archive, run_id: str, output: Output) -> None:
    """A comparison from the archive, as it was stored when it ended."""
    record = archive.run(run_id)
    ending = next((e.data for e in reversed(archive.events(run_id)) if e.kind == "finished"), None)
    if ending is None:
        raise StorageError(
            f"the comparison {run_id} is not finished",
            kept="its slots are kept",
            next_step="go on with the prompts ab command that began it",
        )
    show_result(run_id, {side: record.config["prompts"][side] for side in SIDES}, ending, output)


def show_result(
    run_id: str, names: Mapping[str, str], result: Mapping[str, Any], output: Output, cells: str = "different"
) -> None:
    """The pairs side by side, every measure with its interval, then the verdict on the one that decides."""
    output.event("comparison", run_id=run_id, prompts=dict(names), **result)
    output.line()
    for side in SIDES:
        ends = ", ".join(f"{end} {n}" for end, n in sorted(result["ended"][side].items())) or "nothing yet"
        output.line(f"{side.upper()}  {names[side]}: {ends}")
    _show_cells(result.get("cells", ()), cells, output)
    if result["dropped"]:
        words = ", ".join(f"{code} {n}" for code, n in sorted(result["dropped"].items()))
        output.line(f"Left out because a call failed: {words} of {result['complete']} pairs.")
    comparison = result["comparison"]
    if comparison is None:
        output.line("No pair is complete, so there is nothing to compare yet.")
        return
    rows = [_row(measure) for measure in comparison["measures"]]
    columns = ("measure", "A>", "B>", "B - A>", "95 % interval>", "p>", "pairs needed>")
    output.table(f"{run_id}: {comparison['n_pairs']} pairs, {comparison['n_clusters']} sets of parents", columns, rows)
    output.line("Score: mean over the new ones; B - A is the share of unequal pairs that B won, minus a half.")
    output.line(comparison["sentence"] + ".", style="bold")
    uncounted = {side: n for side, n in result.get("uncounted", {}).items() if n}
    if uncounted:
        words = ", ".join(f"{n} of {side.upper()}" for side, n in uncounted.items())
        output.line(
            f"Calls without a token count: {words}. They stand with what was reserved, the most that they can have"
            " used.",
            style="yellow",
        )
    ratio = comparison["token_ratio"]
    if ratio is not None and not 1 / COST_RATIO <= ratio <= COST_RATIO:
        output.line(f"Not at equal cost: B used {ratio:.2f} times the tokens of A.", style="yellow")
    output.line("Choosing a prompt is a search too: confirm the choice with another --seed before you rely on it.")


def _show_cells(pairs: Sequence[Mapping[str, Any]], wanted: str, output: Output) -> None:
    """One line a pair, A beside B: where the two prompts part is where a writer looks next."""

    def kept(pair: Mapping[str, Any]) -> bool:
        ends = {pair[side]["ended"] for side in SIDES}
        return wanted == "all" or (
            len(ends) > 1 if wanted == "different" else wanted == "failed" and ends != {"evaluated"}
        )

    def cell(side: Mapping[str, Any]) -> str:
        return str(side["ended"]) + ("" if side["score"] is None else f" {side['score']:+.2f}")

    found = [pair for pair in pairs if kept(pair)]
    if not found:
        return
    more = f", the first {SHOWN_CELLS} of {len(found)}" if len(found) > SHOWN_CELLS else ""
    title = {"different": "Pairs that ended differently", "failed": "Pairs with a failure", "all": "All pairs"}[wanted]
    rows = [(str(pair["pair"]), *(cell(pair[side]) for side in SIDES)) for pair in found[:SHOWN_CELLS]]
    output.table(f"{title}{more}", ("pair>", "A", "B"), rows)


def _announce(made: Ab, price: Price | None, caps: Caps, output: Output) -> None:
    """What it can show and what it may cost, before anything is spent."""
    config = made.config
    found = made.detectable()
    tokens, usd = made.worst_case(price)
    sampling = made.prompts["a"].sampling
    output.event(
        "plan",
        run_id=made.run_id,
        resumed=made.resumed,
        prompts=_names(made),
        llm=config.llm,
        n_pairs=config.n_pairs,
        primary=config.primary,
        base_rate=found.base_rate,
        detectable_rise=found.rise,
        detectable_fall=found.fall,
        detectable_share=found.share,
        detectable_effect=found.effect,
        worst_case_tokens=tokens,
        worst_case_usd=usd,
        max_usd=caps.max_usd,
        max_tokens=caps.max_tokens,
        n_known=len(made.snapshot.candidates),
    )
    output.note(
        f"{made.run_id}{' (continued)' if made.resumed else ''}: A {made.prompts['a'].id}, B {made.prompts['b'].id},"
        f" {config.n_pairs} pairs on {config.market}, {config.llm}, temperature"
        f" {'left to the server' if sampling.temperature is None else f'{sampling.temperature:g}'}"
    )
    output.note(
        f"frozen archive: {len(made.snapshot.incumbents)} incumbents, {len(made.snapshot.candidates)} candidates"
    )
    output.note(found.sentence())
    output.note(f"decides: {_TITLES[config.primary]}; every other figure is only reported")
    money = "unpriced" if usd is None else f"${usd:.2f}"
    cap = "" if caps.max_usd is None else f"; it stops at ${caps.max_usd:g}"
    output.note(f"at most {tokens:,} tokens (est.), {money}, if every reply is full and every slot is repaired{cap}")


def _names(made: Ab) -> dict[str, str]:
    return {side: made.prompts[side].template_id for side in SIDES}


def _row(measure: Mapping[str, Any]) -> tuple[str, ...]:
    rate = measure["name"] in ("valid", "legal")

    def shown(value: float | None) -> str:
        if rate:
            return "–" if value is None else f"{100 * value:.0f} %"
        return number(value, 4 if measure["name"] == "cost" else 2)

    low, high = shown(measure["low"]), shown(measure["high"])
    return (
        _TITLES[measure["name"]],
        shown(measure["a"]),
        shown(measure["b"]),
        shown(measure["difference"]),
        "–" if low == "–" else f"{low} to {high}",
        number(measure["p"], 3),
        "–" if measure["n_needed"] is None else f"{measure['n_needed']:,}",
    )
