"""`touchstone audit`: does a spec look ahead? Every decision is made again without the future and compared."""

from typing import Annotated

import numpy as np
import typer

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.spec import check_for_bars
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.costs import FREE
from backtesting.look_ahead import N_CUTS, audit_signals, same_bar_sharpe, spread_cuts
from backtesting.splits import LEAD_BARS
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.interfaces.cli.specs import legal_spec, show_errors

app = typer.Typer(add_completion=False, no_args_is_help=True)

MAX_STANDARD_ERRORS = 3.0


@app.callback()
def main() -> None:
    """Audits of a spec."""


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
    errors = check_for_bars(spec, bars, max_warmup=LEAD_BARS)
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
