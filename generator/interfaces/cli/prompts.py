"""`touchstone prompts`: the prompt writer's bench. This file looks and writes; the bench itself is in prompt_bench.py.

A prompt is named by its id, by `shipped:ID` (the shipped one, where the workspace has its own under the same id), or by
the path of a file.

The bench reads replies, trades and compares, for which much has to be imported; its modules are therefore imported when
one of its commands is called. Whoever lists, shows, begins or renders a prompt does not wait for them.
"""

import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from agents.data_fetch.data_fetch import fetch_bars
from backtesting.errors import InvalidConfig, UsageError
from backtesting.splits import plan_split
from generator.budget import estimated_tokens
from generator.config import CARD
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, plain
from generator.interfaces.cli.prompt_files import find
from generator.llm.client import Message
from generator.templates import (
    Prompt,
    list_prompts,
    load_prompt,
    places,
    prompt_names,
    read_draft,
    render,
)

Command = Callable[..., None]
AB_EXAMPLES = """Examples:

  touchstone prompts ab propose breakout --market sample:sp500 --llm openai:gpt-5-mini -n 20 --plan

  touchstone prompts ab propose breakout --market sample:sp500 --llm openai:gpt-5-mini -n 20 --max-usd 1
"""


def _lint() -> Command:
    from generator.interfaces.cli import prompt_bench

    return prompt_bench.lint_


def _try() -> Command:
    from generator.interfaces.cli import prompt_bench

    return prompt_bench.try_


def _keep() -> Command:
    from generator.interfaces.cli import prompt_bench

    return prompt_bench.keep


def _watch() -> Command:
    from generator.interfaces.cli import prompt_bench

    return prompt_bench.watch


def _ab() -> Command:
    from generator.interfaces.cli import prompt_ab

    return prompt_ab.ab


BENCH: dict[str, tuple[Callable[[], Command], str]] = {
    "lint": (_lint, "Example: touchstone prompts lint breakout --fix"),
    "try": (_try, "Example: touchstone prompts try propose --reply reply.txt"),
    "keep": (_keep, "Example: touchstone prompts keep 12"),
    "watch": (_watch, "Example: touchstone prompts watch breakout"),
    "ab": (_ab, AB_EXAMPLES),
}
"""The commands of the bench: where each is, and the end of its help."""


class BenchGroup(TyperGroup):
    """Lists the commands of the bench by their stubs and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its stub."""
        name, command, rest = super().resolve_command(ctx, args)
        if name not in BENCH:
            return name, command, rest
        load, epilog = BENCH[name]
        single = typer.Typer(add_completion=False)
        single.command(name, epilog=epilog)(load())
        loaded = get_command(single)
        loaded.name = name
        return name, loaded, rest


app = typer.Typer(
    cls=BenchGroup,
    add_completion=False,
    no_args_is_help=True,
    help="The prompt writer's bench: list, show, new, lint, render, diff, try, keep, watch, ab.",
    epilog="Example: touchstone prompts new breakout --from propose",
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Name = Annotated[str, typer.Argument(help="A prompt's id, shipped:ID, or the path of a file.")]


@app.command("list", epilog="Example: touchstone prompts list")
def list_(json_lines: Json = False) -> None:
    """Every prompt; the workspace's own folder `prompts/` goes before the shipped ones."""
    output = Output.from_environment(json_lines=json_lines)
    prompts = list_prompts(workspace.folders())
    for prompt in prompts:
        output.event(
            "prompt", id=prompt.id, version=prompt.version, template_id=prompt.template_id, path=str(prompt.path)
        )
    rows = [(prompt.id, str(prompt.version), prompt.output, prompt.purpose, str(prompt.path)) for prompt in prompts]
    output.table("Prompts", ("prompt", "version>", "reply", "purpose", "file"), rows)


@app.command(epilog="Example: touchstone prompts show propose")
def show(name: Name, json_lines: Json = False) -> None:
    """A prompt's file, as it is."""
    output = Output.from_environment(json_lines=json_lines)
    prompt = find(name)
    output.event("prompt", id=prompt.id, version=prompt.version, template_id=prompt.template_id, text=prompt.text)
    output.line(plain(prompt.text, 100_000))


@app.command(epilog="Example: touchstone prompts new breakout --from propose")
def new(
    name: Annotated[str, typer.Argument(help="Id of the new prompt: lower-case letters, digits, - and _.")],
    source: Annotated[str, typer.Option("--from", help="The prompt to begin with.")] = "propose",
    json_lines: Json = False,
) -> None:
    """Begin a prompt in the workspace as a copy of another; under the same id it takes the other's place."""
    output = Output.from_environment(json_lines=json_lines)
    begun = find(source)
    file = workspace.home() / "prompts" / f"{name}.md"
    if file.exists():
        raise UsageError(f"{file} exists already", next_step="choose another name, or edit it")
    text = _renamed(begun, name)
    # Checked before it is written: the id may be no legal name.
    read_draft(file, text)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    output.event("prompt_made", id=name, path=str(file), begun_from=begun.template_id)
    output.line(f"{file} is a copy of {begun.id}. Edit it, then: touchstone prompts lint {name}")
    if name in prompt_names(workspace.folders()[1:]):
        output.note(f"{name} now takes the place of the shipped prompt in this workspace")


@app.command("render", epilog="Example: touchstone prompts render propose --market sample:sp500")
def render_(
    name: Name,
    inputs: Annotated[
        Path | None, typer.Option(help="JSON or YAML file with inputs; the samples of the file for the rest.")
    ] = None,
    market: Annotated[str | None, typer.Option(help="Fill in this market's open window.")] = None,
    other: Annotated[
        str | None, typer.Option("--diff", help="Show what another prompt would say differently with the same inputs.")
    ] = None,
    json_lines: Json = False,
) -> None:
    """The messages that a model would get: with the samples, with your inputs, or with a real market."""
    output = Output.from_environment(json_lines=json_lines)
    prompt = find(name)
    messages = render(prompt, _values(prompt, inputs, market))
    if other is not None:
        second = find(other)
        given = {key: value for key, value in _values(prompt, inputs, market).items() if key in second.inputs}
        _show_diff(
            _as_lines(messages),
            _as_lines(render(second, {**_values(second, None, market), **given})),
            (prompt.template_id, second.template_id),
            output,
        )
        return
    size = 0
    for message in messages:
        n_bytes = len(message.content.encode())
        size += n_bytes
        output.event(
            "message", role=message.role, content=message.content, tokens=estimated_tokens(n_bytes, overhead=0)
        )
        output.line(f"--- {message.role}, about {estimated_tokens(n_bytes, overhead=0):,} tokens (est.)", style="bold")
        output.line(plain(message.content, 200_000))
    landed = places(prompt)
    output.event("inputs", places={name: [f"{role}:{line}" for role, line in where] for name, where in landed.items()})
    for input_name, where in landed.items():
        fenced = " (untrusted, fenced)" if prompt.inputs[input_name].untrusted else ""
        output.note(f"{input_name}{fenced}: " + ", ".join(f"{role}, line {line}" for role, line in where))
    output.note(f"{prompt.template_id}: {size:,} bytes, about {estimated_tokens(size):,} tokens (est.)")


@app.command(epilog="Example: touchstone prompts diff shipped:propose propose")
def diff(first: Name, second: Annotated[str, typer.Argument(help="The other one.")], json_lines: Json = False) -> None:
    """What the file of one prompt has that the other's has not."""
    output = Output.from_environment(json_lines=json_lines)
    a, b = find(first), find(second)
    _show_diff(a.text.splitlines(), b.text.splitlines(), (a.template_id, b.template_id), output)


@app.command("lint")
def _lint_stub() -> None:
    """What is wrong with a prompt, by line, column and rule; exit code 8 if anything is."""


@app.command("try")
def _try_stub() -> None:
    """Take stored replies through parse, schema, language, compilation and backtest; nothing is sent or spent."""


@app.command("keep")
def _keep_stub() -> None:
    """Turn the stored reply of a paid call into a test of its prompt, with what it leads to today."""


@app.command("watch")
def _watch_stub() -> None:
    """Lint, render and test prompts again whenever their file changes; Ctrl-C ends it."""


@app.command("ab")
def _ab_stub() -> None:
    """Ask two prompts the same questions, pair by pair, on an archive that does not move, and compare."""


def _renamed(prompt: Prompt, name: str) -> str:
    """The text under another id, counted from version 1."""
    draft = read_draft(prompt.path, prompt.text)
    lines = prompt.text.split("\n")
    lines[draft.line_of(("id",)) - 1] = f"id: {name}"
    lines[draft.line_of(("version",)) - 1] = "version: 1"
    return "\n".join(lines)


def _values(prompt: Prompt, inputs: Path | None, market: str | None) -> dict[str, Any]:
    values: dict[str, Any] = dict(prompt.samples)
    if market is not None:
        from generator.context import real_inputs

        bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
        window = plan_split(bars).open
        values |= real_inputs(prompt, load_prompt(CARD, workspace.folders()), bars.upto(window.stop), window)
    return values | (_read(inputs) if inputs is not None else {})


def _as_lines(messages: Sequence[Message]) -> list[str]:
    return [line for message in messages for line in (f"--- {message.role}", *message.content.split("\n"))]


def _show_diff(a: Sequence[str], b: Sequence[str], names: tuple[str, str], output: Output) -> None:
    lines = list(difflib.unified_diff(a, b, *names, lineterm="", n=2))
    output.event("diff", a=names[0], b=names[1], lines=lines)
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        output.line(plain(line, 100_000), style=style)
    if not lines:
        output.line("No difference.")


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        values = yaml.safe_load(text) if file.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        kind = "YAML" if file.suffix in (".yaml", ".yml") else "JSON"
        raise InvalidConfig(
            f"{file} cannot be read as {kind}: {str(error).splitlines()[0]}", next_step="give one object of inputs"
        ) from None
    if not isinstance(values, dict):
        raise InvalidConfig(f"{file} holds no JSON object", next_step="give one object of inputs by name")
    return values
