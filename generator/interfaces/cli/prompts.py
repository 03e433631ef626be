"""`touchstone prompts`: the prompts that proposals are asked for with."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.data_fetch.data_fetch import fetch_bars
from backtesting.errors import InvalidConfig
from generator.budget import estimated_tokens
from generator.context import CARD, real_inputs
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, plain
from generator.templates import list_prompts, load_prompt, render

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The prompts: list, show, render.",
    epilog="Example: touchstone prompts render propose",
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Name = Annotated[str, typer.Argument(help="A prompt's id.")]


@app.command("list", epilog="Example: touchstone prompts list")
def list_(json_lines: Json = False) -> None:
    """Every prompt; the workspace's own folder `prompts/` goes before the shipped ones."""
    output = Output.from_environment(json_lines=json_lines)
    prompts = list_prompts(workspace.folders())
    for prompt in prompts:
        output.event(
            "prompt", id=prompt.id, version=prompt.version, template_id=prompt.template_id, path=str(prompt.path)
        )
    rows = [(prompt.id, str(prompt.version), prompt.purpose, str(prompt.path)) for prompt in prompts]
    output.table("Prompts", ("prompt", "version>", "purpose", "file"), rows)


@app.command(epilog="Example: touchstone prompts show propose")
def show(name: Name, json_lines: Json = False) -> None:
    """A prompt's file, as it is."""
    output = Output.from_environment(json_lines=json_lines)
    prompt = load_prompt(name, workspace.folders())
    output.event("prompt", id=prompt.id, version=prompt.version, template_id=prompt.template_id, text=prompt.text)
    output.line(plain(prompt.text, 100_000))


@app.command("render", epilog="Example: touchstone prompts render propose --market sample:sp500")
def render_(
    name: Name,
    inputs: Annotated[
        Path | None, typer.Option(help="JSON file with inputs; the samples of the file for the rest.")
    ] = None,
    market: Annotated[str | None, typer.Option(help="Fill in this market's open window.")] = None,
    json_lines: Json = False,
) -> None:
    """The messages that a model would get: with the samples, with your inputs, or with a real market."""
    output = Output.from_environment(json_lines=json_lines)
    prompt = load_prompt(name, workspace.folders())
    values: dict[str, Any] = dict(prompt.samples)
    if market is not None:
        bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
        values |= real_inputs(prompt, load_prompt(CARD, workspace.folders()), bars)
    if inputs is not None:
        values |= _read(inputs)
    messages = render(prompt, values)
    size = sum(len(message.content.encode()) for message in messages)
    for message in messages:
        output.event("message", role=message.role, content=message.content)
        output.line(f"--- {message.role}", style="bold")
        output.line(plain(message.content, 200_000))
    output.note(f"{prompt.template_id}: {size:,} bytes, about {estimated_tokens(size):,} tokens (est.)")


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InvalidConfig(f"{file} cannot be read as JSON: {error}", next_step="give one object of inputs") from None
    if not isinstance(values, dict):
        raise InvalidConfig(f"{file} holds no JSON object", next_step="give one object of inputs by name")
    return values
