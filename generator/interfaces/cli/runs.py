"""`touchstone runs`: what happened, from the archive."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.errors import CheckFailed, StorageError, UsageError
from generator.ab import KIND
from generator.calls import PaidCalls
from generator.history import history_of
from generator.interfaces.cli import workspace
from generator.interfaces.cli.evolve import drive, prompts_of
from generator.interfaces.cli.output import Output, plain
from generator.interfaces.cli.progress import ProgressView, counts
from generator.interfaces.cli.prompt_ab import show_stored
from generator.interfaces.cli.run_text import memory_of, show_run, uplifts_of
from generator.interfaces.html.run_page import run_page
from generator.replay import replay as replay_run
from generator.run import Run, config_of

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What happened: list, show, report, replay.",
    epilog="Example: touchstone runs show last",
)

RunName = Annotated[str, typer.Argument(help="Run id, a beginning of it, or `last`.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]


@app.command("list", epilog="Example: touchstone runs list")
def list_(json_lines: Json = False) -> None:
    """Every run of this workspace, oldest first."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        rows = []
        for run in archive.runs():
            ends = {event.kind: event.data for event in archive.events(run.run_id) if event.slot_id is None}
            ended, forked = "finished" in ends, ends.get("forked", {}).get("into")
            outcomes = archive.count_outcomes(run.run_id)
            output.event(
                "run",
                run_id=run.run_id,
                market=run.market,
                seed=run.seed,
                finished=ended,
                forked_into=forked,
                outcomes=outcomes,
                at=run.created_at,
            )
            rows.append(
                (
                    run.run_id,
                    run.created_at[:16],
                    run.market,
                    str(run.seed),
                    "finished" if ended else f"forked into {forked}" if forked else "open",
                    counts(outcomes),
                )
            )
    output.table("Runs", ("run", "started (UTC)", "market", "seed>", "state", "slots"), rows)


@app.command(epilog="Example: touchstone runs show r-0123456789 --json")
def show(run: RunName = "last", json_lines: Json = False) -> None:
    """One run: outcomes, candidates, verdicts, cost. With --json also every slot, without any time of day."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        run_id = _found(archive, run)
        if archive.run(run_id).config.get("kind") == KIND:
            show_stored(archive, run_id, output)
            return
        show_run(archive, run_id, output)


@app.command(epilog="Example: touchstone runs report last --out report.html")
def report(
    run: RunName = "last",
    out: Annotated[Path | None, typer.Option(help="File to write; in the workspace's reports/ if left out.")] = None,
    json_lines: Json = False,
) -> None:
    """One run as one HTML file: funnel, best so far by arm, cell map, lineage, repetitions, cost, verdicts."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        run_id = _of_the_loop(archive, run)
        history = history_of(archive, run_id)
        compared = uplifts_of(history)
        memory = memory_of(archive, run_id) if compared else ""
        page = run_page(history, compared, now=archive.now(), memory=memory)
    file = out if out is not None else workspace.home() / "reports" / f"{run_id}.html"
    try:
        if out is None:
            file.parent.mkdir(exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written: {error.strerror}", next_step="choose another place with --out"
        ) from None
    output.event("report", run_id=run_id, file=str(file), bytes=len(page.encode()))
    output.line(f"{file}: the report of run {run_id}; it opens in any browser and loads nothing")


@app.command(epilog="Example: touchstone runs replay last")
def replay(run: RunName = "last", json_lines: Json = False) -> None:
    """Make every decision of a finished run again, offline, from the stored replies, and compare it byte for byte."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        run_id = _of_the_loop(archive, run)
        config = config_of(archive.run(run_id))
        bars = fetch_bars(config.market, cache_dir=workspace.home() / "snapshots")
        with ProgressView(output) as view:

            def again(rerun: Run, calls: PaidCalls) -> None:
                asyncio.run(drive(rerun, None if config.llm == "none" else calls, view))

            found = replay_run(archive, run_id, bars, prompts_of(config), again)
    output.event(
        "replay",
        run_id=run_id,
        identical=found.difference is None,
        slots=found.n_slots,
        decisions=found.n_decisions,
        replies=found.n_replies,
        difference=None if found.difference is None else plain(str(found.difference)),
    )
    if found.difference is not None:
        raise CheckFailed(
            f"run {run_id} is not what a replay gives; first difference: {plain(str(found.difference))}",
            next_step="if nobody edited the workspace, this is a bug: report it with the run",
        )
    output.line(
        f"identical: {found.n_decisions} decisions in {found.n_slots} slots of run {run_id}, made again from"
        f" {found.n_replies} stored replies, offline"
    )


def _found(archive: Archive, run: str) -> str:
    known = [record.run_id for record in archive.runs()]
    found = known[-1:] if run == "last" else [run_id for run_id in known if run_id.startswith(run)]
    if len(found) != 1:
        raise UsageError(
            f"{run!r} names {len(found) or 'no'} run{'s' if len(found) > 1 else ''}",
            next_step="see touchstone runs list",
        )
    return found[0]


def _of_the_loop(archive: Archive, run: str) -> str:
    run_id = _found(archive, run)
    if archive.run(run_id).config.get("kind") == KIND:
        raise UsageError(f"{run_id} is a comparison of prompts", next_step="see it with touchstone runs show")
    return run_id
