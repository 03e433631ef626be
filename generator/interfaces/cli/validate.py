"""`touchstone validate`: is this spec legal, and what does it do? A file of named expressions is checked one by one."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.notices import notices, notices_of
from agents.strategy.schema import editor_schema, spec_schema
from agents.strategy.spec import Spec, check_for_bars, check_nodes_for_bars, rule_text, warmup_bars
from agents.strategy.spec_error import SpecError
from backtesting.errors import UsageError
from backtesting.splits import LEAD_BARS
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.interfaces.cli.rule_length import price_of_length
from generator.interfaces.cli.specs import expressions_in, legal_spec, show_errors

app = typer.Typer(add_completion=False)

# Of the history that the price of a rule's length is quoted for.
YEARS = 20.0


class SchemaForm(StrEnum):
    """For whom a schema is written."""

    JSON = "json"
    YAML = "yaml"


_SCHEMAS = {SchemaForm.JSON: spec_schema, SchemaForm.YAML: editor_schema}


@app.command(
    epilog="Example: touchstone validate my_rule.yaml --market sample:sp500."
    " With touchstone validate --schema yaml > spec.schema.json and a first line"
    " '# yaml-language-server: $schema=spec.schema.json' an editor checks while you write."
)
def main(
    file: Annotated[
        str | None,
        typer.Argument(help="A YAML or JSON spec, a file of named expressions, or the name of a shipped incumbent."),
    ] = None,
    market: Annotated[str | None, typer.Option(help="Also check that this market has what the rule needs.")] = None,
    schema: Annotated[
        SchemaForm | None, typer.Option(help="Print the JSON Schema of a spec, for programs or for editors of YAML.")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Check a spec: every error, its place, what is allowed, and the nearest legal thing. Exit code 3 if illegal."""
    output = Output.from_environment(json_lines=json_lines)
    if schema is not None:
        wanted = _SCHEMAS[schema]()
        output.event("schema", form=schema.value, schema=wanted)
        output.line(json.dumps(wanted, indent=1))
        return
    if file is None:
        raise UsageError("no spec is given", next_step="name a file, or ask for --schema json or --schema yaml")
    named = expressions_in(file)
    if named is not None:
        _check_expressions(file, named, market, output)
        return
    spec = legal_spec(file, output)
    if errors := _market_errors(spec, market):
        show_errors(file, errors, output)
        raise typer.Exit(3)
    needed = warmup_bars(spec)
    output.event("valid", file=file, name=spec.name, spec_id=spec.spec_id, warmup_bars=needed, rule=spec.rule())
    output.line(f"{spec.name} is legal.", style="green")
    _show_notices(file, notices(spec), output)
    output.line(rule_text(spec))
    output.line(price_of_length(spec, YEARS))
    more = f", more than the {LEAD_BARS} of a run; touchstone backtest begins later" if needed > LEAD_BARS else ""
    output.line(f"Warm-up {needed} bars{more}. {spec.spec_id}")


def _check_expressions(file: str, named: dict[str, str], market: str | None, output: Output) -> None:
    read = {name: parse(text) for name, text in named.items()}
    errors = [error.at(name) for name, node in read.items() if not isinstance(node, Node) for error in node]
    nodes = {name: node for name, node in read.items() if isinstance(node, Node)}
    if market is not None:
        bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
        errors += check_nodes_for_bars(nodes, bars, max_warmup=LEAD_BARS)
    if errors:
        show_errors(file, [error.of(Path(file).name) for error in errors], output)
        raise typer.Exit(3)
    conditions = sum(node.dimension is Dimension.BOOLEAN for node in nodes.values())
    for name, node in nodes.items():
        output.event("expression", file=file, name=name, text=node.text, warmup_bars=node.warmup)
    _show_notices(file, notices_of(nodes), output)
    output.line(
        f"{len(nodes)} expressions are legal: {len(nodes) - conditions} numbers and {conditions} conditions,"
        f" warm-up at most {max(node.warmup for node in nodes.values())} bars.",
        style="green",
    )


def _show_notices(file: str, found: list[SpecError], output: Output) -> None:
    """What is legal and probably not meant; the exit code stays 0."""
    for notice in found:
        output.event("notice", file=file, **notice.as_dict())
        output.line(f"Notice: {notice}", style="yellow")


def _market_errors(spec: Spec, market: str | None) -> list[SpecError]:
    if market is None:
        return []
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    return check_for_bars(spec, bars, max_warmup=bars.n_bars - 1)
