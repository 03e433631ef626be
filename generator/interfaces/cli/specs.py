"""Reading spec files for a command: the spec, or every error in it and exit code 3; or many specs of one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from agents.strategy.incumbents import panel_incumbents, shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from agents.strategy.spec_error import SpecError, nearest
from agents.strategy.spec_text import read_mapping
from backtesting.errors import InvalidConfig
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
            return load_spec(path.read_bytes(), origin=path.name)
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
    return [FoundSpec(place, load_spec(text, origin="")) for place, text in texts]


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
