"""`touchstone doctor`: is this installation healthy? Nothing is changed, no secret is shown, nothing is sent.

With `--llm ADDRESS` it asks that model a few small questions instead, and keeps what it found in the workspace. With
`--warm` it compiles the engine, all of it, into numba's cache: the next command that needs it does not wait.
"""

import asyncio
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import numpy as np
import typer

from agents.archive.records import ProbeRecord
from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.strategy import TradingStrategy
from agents.strategy.warm import WARMED
from backtesting.backtest import simulate
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import TouchstoneError, UsageError
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, plain
from generator.llm.address import ModelAddress, parse_address
from generator.llm.client import LLMClient, Mode
from generator.llm.clients import Settings, key_of, open_client
from generator.llm.keys import SERVICE, keyring_name, system_keyring
from generator.probe import Probed, probe
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
    text = os.environ.get("TOUCHSTONE_LLM", "none")
    address = parse_address(text)
    meant = parse_address(f"openai:{ANY}") if address.kind == "none" else address.live or address
    found = key_of(meant, os.environ, system_keyring)
    if found is not None:
        # The origin and never the key.
        return f"TOUCHSTONE_LLM={address.text}; a key is in {found.origin}"
    if address.kind == "none":
        return "TOUCHSTONE_LLM=none; no key is set, none is needed without a model"
    if meant.kind == "openai" and not meant.is_loopback:
        raise ValueError(
            f"TOUCHSTONE_LLM={address.text} needs a key, and there is none in the environment (OPENAI_API_KEY) nor in"
            f" the system's keyring ({SERVICE}, {keyring_name(meant)})"
        )
    return f"TOUCHSTONE_LLM={address.text}; no key is set"


CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "packages": _packages,
    "workspace": _database,
    "disk": _disk,
    "engine": _engine,
    "prompts": _prompts,
    "model": _model,
}


PROBED = ("openai", "langchain")
# Stands for whichever model of the vendor.
ANY = "any"

EXAMPLES = """Examples:

  touchstone doctor

  touchstone doctor --warm

  touchstone doctor --llm openai:qwen3@http://127.0.0.1:8080/v1
"""


@app.command(epilog=EXAMPLES)
def main(
    llm: Annotated[
        str | None, typer.Option(help="Ask this model what it does: about eight short calls, at its price.")
    ] = None,
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile every kernel once, so that no later command waits for it.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Check Python, packages, workspace, disk, engine, prompts and model settings; exit code 8 if one fails.

    With --llm: is the schema enforced, the output cap kept, the usage counted, a cut reply called cut?
    """
    output = Output.from_environment(json_lines=json_lines)
    if llm is not None:
        _ask_model(parse_address(llm), output)
        return
    if warm:
        _warm(output)
        return
    findings = [_checked(name, check) for name, check in CHECKS.items()]
    for finding in findings:
        output.event("check", name=finding.name, healthy=finding.healthy, found=finding.found)
    rows = [(finding.name, "good" if finding.healthy else "bad", finding.found) for finding in findings]
    output.table("Doctor", ("check", "", "found"), rows)
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(8)


def _warm(output: Output) -> None:
    """Compile everything, and say how long each part took: a fraction of a second where it was there already."""
    output.note("compiling the kernels; the first time on a machine this takes a minute or two")
    rows = []
    for name, compile_all in WARMED.items():
        begun = time.perf_counter()
        found = compile_all()
        seconds = time.perf_counter() - begun
        output.event("warmed", name=name, count=found, seconds=seconds)
        rows.append((name, str(found), f"{seconds:.1f}"))
    output.table("Compiled, or found compiled", ("part", "count>", "seconds>"), rows)


def _ask_model(address: ModelAddress, output: Output) -> None:
    """Probe a model, keep what was found, and say which mode to use."""
    if address.kind not in PROBED:
        raise UsageError(
            f"{address.text} is no endpoint, so there is nothing to find out about it",
            next_step="give an openai: or langchain: address",
        )

    def open_in(mode: Mode) -> LLMClient:
        return open_client(
            address, Settings(environ=os.environ, keyring=system_keyring, rng=np.random.default_rng(), mode=mode)
        )

    key = key_of(address, os.environ, system_keyring)
    found = asyncio.run(probe(open_in))
    with workspace.opened(create=True) as archive:
        findings = [{"name": item.name, "answer": item.answer, "found": item.found} for item in found.findings]
        archive.add_probe(ProbeRecord(address.text, found.model, found.mode, findings, found.usage.as_dict()))
    for item in found.findings:
        output.event("probe", address=address.text, name=item.name, answer=item.answer, found=item.found)
    output.event(
        "probed",
        address=address.text,
        model=found.model,
        mode=found.mode,
        calls=found.calls,
        tokens=found.usage.total_tokens,
        key_origin=None if key is None else key.origin,
    )
    rows = [(item.name.replace("_", " "), item.answer, plain(item.found, 200)) for item in found.findings]
    output.table(f"{address.text} ({plain(found.model, 80) or 'no answer'})", ("property", "", "seen"), rows)
    output.line(_advice(found))
    output.note("no key was sent" if key is None else f"the key is from {key.origin}")
    output.note(f"{found.calls} calls, {found.usage.total_tokens} tokens; kept in {workspace.home()}, shown with runs")


def _advice(found: Probed) -> str:
    if found.mode == "schema":
        return "The schema is enforced: the usual mode, --llm-mode schema, is right."
    reason = "JSON is, the schema is not" if found.mode == "json" else "neither schema nor JSON is"
    return f"Of a reply's form, {reason} enforced: use --llm-mode {found.mode}. A run does not change it by itself."


def _checked(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except (TouchstoneError, ValueError) as error:
        return Finding(name, False, str(error))
    except (PackageNotFoundError, OSError) as error:
        return Finding(name, False, f"{type(error).__name__}: {error}")
