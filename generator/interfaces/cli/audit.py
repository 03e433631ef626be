"""`touchstone audit`: does a spec look ahead, and does a model recognise the market that our prompts describe?"""

import asyncio
import os
from typing import Annotated

import numpy as np
import typer

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.spec import check_for_bars
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.costs import FREE
from backtesting.errors import UsageError
from backtesting.look_ahead import N_CUTS, audit_signals, same_bar_sharpe, spread_cuts
from backtesting.splits import plan_split
from generator.config import CARD
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.interfaces.cli.specs import legal_spec, show_errors
from generator.llm.address import parse_address
from generator.llm.clients import Settings, open_client
from generator.llm.keys import system_keyring
from generator.recall import Question, Recall, questions, recall
from generator.templates import load_prompt

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: touchstone audit look-ahead golden_cross --market sample:sp500",
)

MAX_STANDARD_ERRORS = 3.0


@app.callback()
def main() -> None:
    """Audits of a spec, and of a model."""


@app.command("look-ahead", epilog="Example: touchstone audit look-ahead golden_cross --market sample:sp500")
def look_ahead(
    file: Annotated[str, typer.Argument(help="A YAML or JSON spec, or the name of a shipped incumbent.")],
    market: Annotated[str, typer.Option(help="Market address, e.g. sample:sp500 or csv:PATH.")],
    cuts: Annotated[int, typer.Option(help="At how many places the history is cut off.", min=1, max=5000)] = N_CUTS,
    seed: Annotated[int, typer.Option(help="Seed of the cuts.", min=0)] = 1,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Cut the history off at many places and compare every decision before the cut. Exit code 8 if one changes."""
    output = Output.from_environment(json_lines=json_lines)
    spec = legal_spec(file, output)
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    errors = check_for_bars(spec, bars, max_warmup=bars.n_bars - 1)
    if errors:
        show_errors(file, errors, output)
        raise typer.Exit(3)
    strategy = TradingStrategy(spec)
    rng = np.random.default_rng(seed)
    places = spread_cuts(bars.n_bars, strategy.warmup_bars, rng, cuts)
    leaks = audit_signals(strategy, bars, places)
    fill = same_bar_sharpe(lambda signals: simulate(signals, FREE).returns, rng)
    early = abs(fill) > MAX_STANDARD_ERRORS
    output.event(
        "audit",
        name=spec.name,
        spec_id=spec.spec_id,
        cuts=len(places),
        leaks=[{"field": leak.field, "bar": leak.bar, "cut": leak.cut} for leak in leaks],
        same_bar_standard_errors=fill,
        passed=not leaks and not early,
    )
    for leak in leaks:
        output.line(f"{spec.name} looks ahead: {leak}.", style="red")
    if early:
        output.line(f"The engine fills too early: {fill:.1f} standard errors on pure noise.", style="red")
    if leaks or early:
        raise typer.Exit(8)
    output.line(f"{spec.name} does not look ahead: every decision before {len(places)} cuts stays the same.")
    output.line(f"The engine does not fill on the bar that decides: {fill:.1f} standard errors on pure noise.")


@app.command("leakage", epilog="Example: touchstone audit leakage --llm openai:gpt-5.5 --market sample:sp500")
def leakage(
    llm: Annotated[str, typer.Option(help="Address of the model; a call for each question, at its price.")],
    market: Annotated[str, typer.Option(help="Market address, e.g. sample:sp500 or csv:PATH.")],
    asked: Annotated[int, typer.Option("--questions", help="How many questions.", min=5, max=500)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the questions.", min=0)] = 1,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Ask a model which market and years our prompts describe. Exit code 8 if it names them more often than chance.

    The answer is kept in the audit trail. A clean one proves nothing about what the model remembers.
    """
    output = Output.from_environment(json_lines=json_lines)
    if market.startswith("synthetic:"):
        raise UsageError("nobody can remember a made-up market", next_step="ask about a real one, such as sample:sp500")
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    split = plan_split(bars)
    card = load_prompt(CARD, workspace.folders())
    # The open window only: a question shows what it is about.
    drawn = questions(card, bars.upto(split.open.stop), split.open, asked, np.random.default_rng(seed))
    found = asyncio.run(_recall(llm, drawn))
    kept = {
        "market": market,
        "model": found.model,
        "unreadable": found.unreadable,
        "tokens": found.tokens,
        "hits": [hits.as_dict() for hits in found.hits],
    }
    with workspace.opened(create=True) as archive:
        archive.add_audit(workspace.person(), "audit.leakage", llm, kept)
    output.event("leakage", llm=llm, recognised=found.recognised, **kept)
    rows = [
        (
            hits.what,
            f"{hits.hits} of {hits.asked}",
            f"{hits.asked * hits.chance:.1f}",
            f"{hits.limit:.1f}",
            f"{hits.p_value:.3f}",
            "recognised" if hits.recognised else "not shown",
        )
        for hits in found.hits
    ]
    columns = ("asked for", "named>", "by chance>", "limit>", "p>", "")
    output.table(f"What {llm} makes of the market card of {market}", columns, rows)
    output.line(f"{found.unreadable} replies could not be read and count as misses; {found.tokens} tokens.")
    if found.recognised:
        output.line("Hiding names and dates has failed for this model: it recognises what it is shown.", style="red")
        raise typer.Exit(8)
    output.line("This shows no recognition and proves no ignorance: grades rest on cutoffs, not on this.")


async def _recall(llm: str, drawn: tuple[Question, ...]) -> Recall:
    client = open_client(
        parse_address(llm),
        Settings(environ=os.environ, keyring=system_keyring, rng=np.random.default_rng(), mode="text"),
    )
    try:
        return await recall(client, drawn)
    finally:
        await client.aclose()
