"""The root of the command line: which commands exist, and what an error looks like.

A command's module is imported when the command is called and not before, because `touchstone --help` has to answer
at once and numpy, numba, SQLAlchemy and pydantic do not. The help lines therefore stand here, beside the loaders.
"""

import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from backtesting.errors import TouchstoneError
from generator.interfaces.cli.output import Output, ReaderGone

PACKAGES = ("backtesting", "agents", "generator")
# Our products are small: a second thread of BLAS waits for the first one longer than both would work, and takes the
# core of somebody else. It is read when numpy is imported, which is later than this module; what the user set stays.
THREADS = ("OPENBLAS_NUM_THREADS", "1")


@dataclass(frozen=True)
class Entry:
    """One command: the line in the help, and where its code is."""

    summary: str
    load: Callable[[], typer.Typer]


def _demo() -> typer.Typer:
    from generator.interfaces.cli import demo

    return demo.app


def _evolve() -> typer.Typer:
    from generator.interfaces.cli import evolve

    return evolve.app


def _validate() -> typer.Typer:
    from generator.interfaces.cli import validate

    return validate.app


def _backtest() -> typer.Typer:
    from generator.interfaces.cli import backtest

    return backtest.app


def _review() -> typer.Typer:
    from generator.interfaces.cli import review

    return review.app


def _agents() -> typer.Typer:
    from generator.interfaces.cli import agents

    return agents.app


def _runs() -> typer.Typer:
    from generator.interfaces.cli import runs

    return runs.app


def _prompts() -> typer.Typer:
    from generator.interfaces.cli import prompts

    return prompts.app


def _functions() -> typer.Typer:
    from generator.interfaces.cli import functions

    return functions.app


def _audit() -> typer.Typer:
    from generator.interfaces.cli import audit

    return audit.app


def _calibrate() -> typer.Typer:
    from generator.interfaces.cli import calibrate

    return calibrate.app


def _doctor() -> typer.Typer:
    from generator.interfaces.cli import doctor

    return doctor.app


COMMANDS = {
    "demo": Entry("The whole story offline, in under a minute.", _demo),
    "evolve": Entry("Propose, validate, test and judge candidates; put the best into the review queue.", _evolve),
    "validate": Entry("Is this spec legal? Every error, with the nearest legal thing.", _validate),
    "backtest": Entry("What would this spec have done?", _backtest),
    "audit": Entry("Does this spec look ahead?", _audit),
    "calibrate": Entry("What the gate's error rates really are.", _calibrate),
    "functions": Entry("The vocabulary of the strategy language.", _functions),
    "review": Entry("The review queue: list, show, approve, reject.", _review),
    "agents": Entry("The registry: list, show, promote.", _agents),
    "runs": Entry("What happened: list, show.", _runs),
    "prompts": Entry("The prompt writer's bench: new, lint, render, try, diff, ab, keep, watch.", _prompts),
    "doctor": Entry("Is this installation healthy?", _doctor),
}


class LazyGroup(TyperGroup):
    """Lists commands by their stubs and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its stub."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        loaded = get_command(COMMANDS[name].load())
        loaded.name = name
        return name, loaded, rest


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="First steps: touchstone demo · touchstone evolve --market sample:sp500 --slots 40 --seed 7",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"touchstone {version('touchstone-agents')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """A language model proposes trading agents; evidence and people decide which of them trade."""


def root_command() -> TyperGroup:
    """The click command with a stub for every entry of COMMANDS."""
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("the root must be a group")
    for name, entry in COMMANDS.items():
        group.add_command(TyperCommand(name=name, help=entry.summary, callback=lambda: None))
    return group


def run() -> None:
    """Entry point of `touchstone`: exit codes as in docs/command-line.md, never a traceback for bad input."""
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or a pipe that is not UTF-8 shows "?" for a dash; it is no reason to fail.
            stream.reconfigure(errors="replace")
    os.environ.setdefault(*THREADS)
    debug = os.environ.get("TOUCHSTONE_DEBUG") == "1"
    output = Output.from_environment(json_lines="--json" in sys.argv)
    try:
        _refuse_foreign_packages()
        code = root_command()(prog_name="touchstone", standalone_mode=False)
    except TouchstoneError as error:
        if debug:
            raise
        output.error(str(error), code=error.exit_code)
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        # Without any argument the help has been printed, and the message is empty.
        if message := error.format_message().rstrip("."):
            output.error(_usage(message, getattr(error, "ctx", None)), code=error.exit_code)
        sys.exit(error.exit_code)
    except ReaderGone:
        # Python must not complain about the closed pipe at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        output.error(
            f"{type(error).__name__}: {error}; this is a bug in Touchstone, what was committed to the workspace"
            " is kept; run again with TOUCHSTONE_DEBUG=1 for the traceback and report it",
            code=1,
        )
        sys.exit(1)
    sys.exit(code or 0)


def _usage(message: str, ctx: Any) -> str:
    """A usage error of the parser, in the words of every other error."""
    what = message[:1].lower() + message[1:].replace(". Did you mean", "; did you mean")
    return f"{what}; nothing was changed; see {ctx.command_path if ctx else 'touchstone'} --help"


def _terminated(signum: int, _frame: Any) -> None:
    # Unwinds through `finally` blocks, so that a lock is released and a transaction rolled back.
    sys.exit(128 + signum)


def _refuse_foreign_packages() -> None:
    """Two other distributions install packages called `agents` and `backtesting`; ours must be the ones found."""
    home = Path(__file__).resolve().parents[3]
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or home not in origin.parents:
            raise TouchstoneError(
                f"the package {name!r} that Python finds is not Touchstone's ({origin})",
                next_step="install Touchstone into a virtual environment of its own,"
                " without openai-agents and without backtesting",
            )
