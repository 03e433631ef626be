"""`touchstone functions`: the vocabulary of the strategy language, printed from the registry that defines it."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from agents.strategy.indicators import ALIASES, FIELDS, FUNCTIONS
from agents.strategy.spec_error import did_you_mean, nearest
from agents.strategy.vocabulary import vocabulary_page
from backtesting.errors import UsageError
from generator.interfaces.cli.output import Output

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: touchstone functions rsi")
def main(
    name: Annotated[str | None, typer.Argument(help="One function, by name or alias.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/functions.md.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """List the fields and functions, or explain one."""
    output = Output.from_environment(json_lines=json_lines)
    if markdown:
        sys.stdout.write(vocabulary_page())
        return
    if name is None:
        output.line("Fields: " + ", ".join(f"{field} ({kind})" for field, kind in FIELDS.items()))
        rows = [(f.family, f.signature, f.formula) for f in FUNCTIONS.values()]
        output.table(f"{len(FUNCTIONS)} functions", ("family", "function", "what it is"), rows)
        wanted = list(FUNCTIONS.values())
    else:
        canonical = ALIASES.get(name, name)
        if canonical not in FUNCTIONS:
            hint = did_you_mean(nearest(name, [*FUNCTIONS, *ALIASES]))
            raise UsageError(f'there is no function "{name[:40]}"{hint}', next_step="see touchstone functions")
        wanted = [FUNCTIONS[canonical]]
        entry = wanted[0]
        output.table(
            entry.signature,
            ("", ""),
            [
                ("formula", entry.formula),
                ("missing values", entry.nan_rule),
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
            nan_rule=entry.nan_rule,
            source=entry.source,
            example=entry.example,
            aliases=list(entry.aliases),
        )
