"""`touchstone validate`: is this spec legal, and what does it do?"""

from typing import Annotated

import typer

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.spec import check_for_bars, rule_text
from agents.strategy.strategy import TradingStrategy
from backtesting.splits import LEAD_BARS
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.interfaces.cli.report import price_of_length
from generator.interfaces.cli.specs import legal_spec, show_errors

app = typer.Typer(add_completion=False)

# Of the history that the price of a rule's length is quoted for.
YEARS = 20.0


@app.command(epilog="Example: touchstone validate my_rule.yaml --market sample:sp500")
def main(
    file: Annotated[str, typer.Argument(help="A YAML or JSON spec, or the name of a shipped incumbent.")],
    market: Annotated[str | None, typer.Option(help="Also check that this market has what the rule needs.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Check a spec: every error, its place, what is allowed, and the nearest legal thing. Exit code 3 if illegal."""
    output = Output.from_environment(json_lines=json_lines)
    spec = legal_spec(file, output)
    if market is not None:
        bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
        errors = check_for_bars(spec, bars, max_warmup=LEAD_BARS)
        if errors:
            show_errors(file, errors, output)
            raise typer.Exit(3)
    strategy = TradingStrategy(spec)
    output.event(
        "valid", file=file, name=spec.name, spec_id=spec.spec_id, warmup_bars=strategy.warmup_bars, rule=spec.rule()
    )
    output.line(f"{spec.name} is legal.", style="green")
    output.line(rule_text(spec))
    output.line(price_of_length(spec, YEARS))
    output.line(f"Warm-up {strategy.warmup_bars} bars. {spec.spec_id}")
