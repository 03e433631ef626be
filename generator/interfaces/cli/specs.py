"""Reading spec files for a command: the spec, or every error in it and exit code 3; or many specs of one place.

Agents that an ensemble names are looked up here, so that every command runs the rule that the names stand for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from agents.strategy.incumbents import panel_incumbents, shipped_incumbents
from agents.strategy.spec import EnsembleSpec, Spec, load_spec, with_members
from agents.strategy.spec_error import SpecError, nearest
from agents.strategy.spec_text import read_mapping
from backtesting.errors import InvalidConfig
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, plain

SPEC_KEYS = frozenset({"kind", "name", "hypothesis"})

SPEC_SUFFIXES = (".json", ".yaml", ".yml")
"""Of the files of a folder that are read as specs."""


@dataclass(frozen=True)
class FoundSpec:
    """One of many specs, or what is wrong with it; `place` is its file, or file and line."""

    place: str
    spec: Spec | list[SpecError]


def read_spec(file: str) -> Spec | list[SpecError]:
    """The spec in a file, or the shipped incumbent of that name.

    Raises:
        InvalidConfig: there is no such file and no such incumbent, or it cannot be read.
    """
    path = Path(file)
    try:
        if path.is_file():
            (spec,) = with_agents([load_spec(path.read_bytes(), origin=path.name)])
            return [error.of(path.name) for error in spec] if isinstance(spec, list) else spec
        if path.is_dir():
            raise InvalidConfig(f"{file} is a folder", next_step="name one YAML or JSON spec in it")
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}", next_step="check the file") from None
    shipped = {spec.name: spec for spec in (*shipped_incumbents(), *panel_incumbents())}
    if file in shipped:
        return shipped[file]
    raise InvalidConfig(
        f"there is no file {file}", next_step=f"give a YAML or JSON spec, or a shipped incumbent: {', '.join(shipped)}"
    )


def specs_in(file: str) -> list[FoundSpec] | None:
    """The specs of a `.jsonl` file, one a line, or of a folder, one a file; None for anything else.

    Raises:
        InvalidConfig: there is none, or it cannot be read.
    """
    path = Path(file)
    try:
        if path.is_dir():
            paths = sorted(each for each in path.iterdir() if each.suffix in SPEC_SUFFIXES and each.is_file())
            texts = [(each.name, each.read_bytes()) for each in paths]
        elif path.suffix == ".jsonl" and path.is_file():
            lines = enumerate(path.read_bytes().splitlines(), 1)
            texts = [(f"{path.name}:{at}", line) for at, line in lines if line.strip()]
        else:
            return None
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}", next_step="check the file") from None
    if not texts:
        raise InvalidConfig(f"{file} holds no spec", next_step="write a YAML or JSON file a spec, or one a line")
    specs = with_agents([load_spec(text, origin="") for _, text in texts])
    return [FoundSpec(place, spec) for (place, _), spec in zip(texts, specs, strict=True)]


def with_agents(specs: Sequence[Spec | list[SpecError]]) -> list[Spec | list[SpecError]]:
    """The specs with the rules of the agents that ensembles among them name, or what is wrong with a name.

    A name is that of a shipped strategy, or else of an agent of this workspace that is not retired.
    """
    if not any(isinstance(spec, EnsembleSpec) and spec.unresolved for spec in specs):
        return list(specs)
    agents = _agents()
    return [spec if isinstance(spec, list) else with_members(spec, agents) for spec in specs]


def _agents() -> dict[str, Spec]:
    shipped = {spec.name: spec for spec in (*shipped_incumbents(), *panel_incumbents())}
    if not workspace.exists():
        return shipped
    with workspace.opened() as archive:
        kept = [agent for agent in archive.agents() if agent.state != "retired"]
    loaded = {agent.agent_id: load_spec(agent.spec, origin="") for agent in kept}
    return {name: spec for name, spec in loaded.items() if not isinstance(spec, list)} | shipped


def spec_named(name: str, found: Sequence[FoundSpec], file: str) -> Spec:
    """The first of many specs with this name.

    Raises:
        InvalidConfig: none has it.
    """
    specs = {each.spec.name: each.spec for each in reversed(found) if not isinstance(each.spec, list)}
    if name in specs:
        return specs[name]
    near = nearest(name, specs)
    raise InvalidConfig(
        f"{file} has no legal spec named {plain(name)!r}",
        next_step=f"did you mean {plain(near)!r}?" if near else f"choose one of its {len(specs)} names",
    )


def expressions_in(file: str) -> dict[str, str] | None:
    """The expressions by name in a file that holds nothing else, as docs/examples do; None for any other file."""
    path = Path(file)
    if not path.is_file():
        return None
    found = read_mapping(path.read_bytes())
    if not isinstance(found, dict) or not found or SPEC_KEYS.intersection(found):
        return None
    return found if all(isinstance(text, str) for text in found.values()) else None


def legal_spec(file: str, output: Output) -> Spec:
    """As `read_spec`; with errors it prints them all and ends the command with exit code 3."""
    spec = read_spec(file)
    if isinstance(spec, list):
        show_errors(file, spec, output)
        raise typer.Exit(3)
    return spec


def show_errors(file: str, errors: list[SpecError], output: Output) -> None:
    """Every error, for a person or for a machine."""
    output.event("invalid", file=file, errors=[error.as_dict() for error in errors])
    for error in errors:
        output.line(plain(str(error)), style="red")
    output.line(f"{len(errors)} error{'s' if len(errors) > 1 else ''}; nothing was run. See: touchstone functions")
