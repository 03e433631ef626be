"""`touchstone doctor`: is this installation healthy? Nothing is changed, no secret is shown, nothing is sent."""

import os
import platform
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import TouchstoneError
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.templates import list_prompts

app = typer.Typer(add_completion=False)

PACKAGES = ("openai", "langchain", "pydantic", "pandas", "numpy", "yfinance", "tenacity", "numba", "scipy", "arch")
MIN_FREE_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """One check: whether it holds, and what was found."""

    name: str
    healthy: bool
    found: str


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()}, SQLite {sqlite3.sqlite_version}"


def _packages() -> str:
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _database() -> str:
    if not workspace.exists():
        return f"no workspace in {workspace.home()} yet; the first run makes one"
    with workspace.opened() as archive:
        archive.check_integrity()
        broken = archive.verify_audit()
        if broken is not None:
            raise ValueError(f"audit row {broken.seq}: {broken.reason}")
        return f"{workspace.home()}: {len(archive.runs())} runs, {archive.count_trials()} trials, audit trail unbroken"


def _disk() -> str:
    folder = workspace.home() if workspace.home().exists() else workspace.home().absolute().parent
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise ValueError(f"{free / 1e6:.0f} MB free in {folder}; a run needs a few hundred")
    return f"{free / 1e9:.1f} GB free"


def _engine() -> str:
    bars = fetch_bars("sample:sp500")
    specs = shipped_incumbents()
    for spec in specs:
        simulate(TradingStrategy(spec).generate_signals(bars.upto(1000)), LIQUID_INDEX)
    return f"{len(specs)} incumbents trade {bars.n_bars} bars of sample:sp500"


def _prompts() -> str:
    return ", ".join(f"{prompt.id} v{prompt.version}" for prompt in list_prompts(workspace.folders()))


def _model() -> str:
    address = os.environ.get("TOUCHSTONE_LLM", "none")
    key = (
        "a key is set in OPENAI_API_KEY"
        if os.environ.get("OPENAI_API_KEY")
        else "no key is set, none is needed without a model"
    )
    return f"TOUCHSTONE_LLM={address}; {key}"


CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "packages": _packages,
    "workspace": _database,
    "disk": _disk,
    "engine": _engine,
    "prompts": _prompts,
    "model": _model,
}


@app.command(epilog="Example: touchstone doctor")
def main(json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False) -> None:
    """Check Python, packages, workspace, disk, engine, prompts and model settings; exit code 8 if one fails."""
    output = Output.from_environment(json_lines=json_lines)
    findings = [_checked(name, check) for name, check in CHECKS.items()]
    for finding in findings:
        output.event("check", name=finding.name, healthy=finding.healthy, found=finding.found)
    rows = [(finding.name, "good" if finding.healthy else "bad", finding.found) for finding in findings]
    output.table("Doctor", ("check", "", "found"), rows)
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(8)


def _checked(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except (TouchstoneError, PackageNotFoundError, OSError, ValueError) as error:
        return Finding(name, False, f"{type(error).__name__}: {error}")
