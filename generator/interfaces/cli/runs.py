"""`touchstone runs`: what happened, from the archive."""

from typing import Annotated

import typer

from backtesting.errors import UsageError
from generator.ab import KIND
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output
from generator.interfaces.cli.progress import counts
from generator.interfaces.cli.prompt_ab import show_stored
from generator.interfaces.cli.report import show_run

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What happened: list, show.",
    epilog="Example: touchstone runs show last",
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]


@app.command("list", epilog="Example: touchstone runs list")
def list_(json_lines: Json = False) -> None:
    """Every run of this workspace, oldest first."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        rows = []
        for run in archive.runs():
            ended = any(event.kind == "finished" for event in archive.events(run.run_id) if event.slot_id is None)
            outcomes = archive.count_outcomes(run.run_id)
            output.event(
                "run",
                run_id=run.run_id,
                market=run.market,
                seed=run.seed,
                finished=ended,
                outcomes=outcomes,
                at=run.created_at,
            )
            rows.append(
                (
                    run.run_id,
                    run.created_at[:16],
                    run.market,
                    str(run.seed),
                    "finished" if ended else "open",
                    counts(outcomes),
                )
            )
    output.table("Runs", ("run", "started (UTC)", "market", "seed>", "state", "slots"), rows)


@app.command(epilog="Example: touchstone runs show r-0123456789 --json")
def show(
    run: Annotated[str, typer.Argument(help="Run id, a beginning of it, or `last`.")] = "last", json_lines: Json = False
) -> None:
    """One run: outcomes, candidates, verdicts, cost. With --json also every slot, without any time of day."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        known = [record.run_id for record in archive.runs()]
        found = known[-1:] if run == "last" else [run_id for run_id in known if run_id.startswith(run)]
        if len(found) != 1:
            raise UsageError(
                f"{run!r} names {len(found) or 'no'} run{'s' if len(found) > 1 else ''}",
                next_step="see touchstone runs list",
            )
        if archive.run(found[0]).config.get("kind") == KIND:
            show_stored(archive, found[0], output)
            return
        show_run(archive, found[0], output)
