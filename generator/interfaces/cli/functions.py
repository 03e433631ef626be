"""`touchstone functions`: the vocabulary of the strategy language, printed from the registry that defines it."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.functions.elsewhere import ELSEWHERE, spelt_out
from agents.strategy.indicators import ALIASES, FIELDS, FUNCTIONS
from agents.strategy.spec_error import did_you_mean, nearest
from agents.strategy.vocabulary import (
    absent_fields,
    available_functions,
    bounds_in_words,
    values_in_words,
    vocabulary_page,
    warmup_in_words,
)
from backtesting.errors import UsageError
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output

app = typer.Typer(add_completion=False)


@app.command(epilog="Examples: touchstone functions rsi; touchstone functions --market sample:wti")
def main(
    name: Annotated[str | None, typer.Argument(help="One function, by name or alias.")] = None,
    market: Annotated[
        str | None, typer.Option(help="Only what means something on this market, as the prompts say it.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/functions.md.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """List the fields and functions, or explain one."""
    output = Output.from_environment(json_lines=json_lines)
    if markdown:
        sys.stdout.write(vocabulary_page())
        return
    if name is None:
        fields, wanted = list(FIELDS), list(FUNCTIONS.values())
        if market is not None:
            bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
            absent = absent_fields(bars)
            fields, wanted = [field for field in fields if field not in absent], list(available_functions(bars))
            fields += [f"feature({feature})" for feature in bars.features]
        output.line("Fields: " + ", ".join(f"{field} ({FIELDS.get(field, 'ratio')})" for field in fields))
        rows = [(f.family, f.signature, f.formula) for f in wanted]
        output.table(f"{len(wanted)} functions", ("family", "function", "what it is"), rows)
    else:
        canonical = ALIASES.get(name, name)
        if canonical not in FUNCTIONS:
            instead = spelt_out(name.lower(), FUNCTIONS, ALIASES)
            advice = ELSEWHERE.get(name.lower(), (f"write {instead}" if instead else "",))[0]
            hint = f"; {advice}" if advice else did_you_mean(nearest(name, [*FUNCTIONS, *ALIASES]))
            raise UsageError(f'there is no function "{name[:40]}"{hint}', next_step="see touchstone functions")
        wanted = [FUNCTIONS[canonical]]
        entry = wanted[0]
        output.table(
            entry.signature,
            ("", ""),
            [
                ("formula", entry.formula),
                ("bounds", bounds_in_words(entry) or "–"),
                ("warm-up", warmup_in_words(entry)),
                ("missing values", entry.nan_rule),
                ("values", values_in_words(entry) or "–"),
                ("elsewhere", entry.differs or "–"),
                ("source", entry.source),
                ("example", entry.example),
                ("also known as", ", ".join(entry.aliases) or "–"),
            ],
        )
    for entry in wanted:
        output.event(
            "function",
            name=entry.name,
            family=entry.family,
            parameters=[asdict(parameter) for parameter in entry.parameters],
            result=entry.result,
            reads=list(entry.reads),
            signature=entry.signature,
            formula=entry.formula,
            warmup=warmup_in_words(entry),
            nan_rule=entry.nan_rule,
            lies_in=entry.lies_in,
            differs=entry.differs,
            source=entry.source,
            example=entry.example,
            aliases=list(entry.aliases),
        )
