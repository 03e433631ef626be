"""Reading a spec file for a command: the spec, or every error in it and exit code 3."""

from pathlib import Path

import typer

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from agents.strategy.spec_error import SpecError
from agents.strategy.spec_text import read_mapping
from backtesting.errors import InvalidConfig
from generator.interfaces.cli.output import Output, plain

SPEC_KEYS = frozenset({"kind", "name", "hypothesis"})


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
    shipped = {spec.name: spec for spec in shipped_incumbents()}
    if file in shipped:
        return shipped[file]
    raise InvalidConfig(
        f"there is no file {file}", next_step=f"give a YAML or JSON spec, or a shipped incumbent: {', '.join(shipped)}"
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
