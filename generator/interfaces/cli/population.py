"""Many specs at once, for `touchstone backtest`: six numbers each, the best first, and what luck alone would show.

Every rule that is looked at is a trial, and a list of thousands is thousands of them. So the table never comes without
the Sharpe ratio that the best of as many worthless rules would have, and it is no verdict.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import typer

from agents.archive.records import Trial, series_key
from agents.strategy.population import GateMetrics, Job, Population, evaluate_in_blocks
from agents.strategy.spec import Spec, check_for_bars
from backtesting.bars import Bars, FloatArray
from backtesting.errors import UsageError
from backtesting.executor import Executor, Processes, RayCluster
from backtesting.splits import LEAD_BARS, Window
from backtesting.statistics import expected_max_sharpe
from generator.interfaces.cli import workspace
from generator.interfaces.cli.conditions import Conditions
from generator.interfaces.cli.output import Output, number, percent, plain
from generator.interfaces.cli.specs import FoundSpec

SHOWN_ERRORS = 5
"""Of the specs that are not legal: how many are shown in full to a person; a machine gets all."""

BLOCK = 500
"""Specs that travel to another process at a time: a second of work, or less."""


@dataclass(frozen=True)
class Looks:
    """What is looked at: rules, each once with the place it was read from, in windows of some bars.

    Attributes:
        windows: the whole window, and behind it the parts that it is cut into, if there are several.
    """

    specs: tuple[Spec, ...]
    places: tuple[str, ...]
    bars: Bars
    windows: tuple[Window, ...]
    conditions: Conditions

    def evaluate(self, executor: Executor | None, threads: int) -> GateMetrics:
        """Gate metrics by spec and window, by `threads` threads here without an executor; the same bytes anywhere."""
        given = self.conditions
        if executor is None:
            return Population.from_specs(self.specs).evaluate(
                self.bars, self.windows, given.costs, capital=given.capital, threads=threads, terms=given.terms
            )
        job = Job(self.bars, self.windows, given.costs, given.capital, threads, given.terms)
        return evaluate_in_blocks(job, [spec.config() for spec in self.specs], executor, block_size=BLOCK)


def workers_named(text: str) -> tuple[Executor | None, int]:
    """Where to compute: `4` threads here, `processes:4`, or `ray`; None for here, with the number of threads.

    Raises:
        UsageError: none of them.
    """
    kind, _, count = text.rpartition(":")
    if text == "ray":
        return RayCluster(), 1
    if kind in ("", "processes") and count.isascii() and count.isdigit() and 1 <= int(count) <= 1024:
        return (Processes(int(count)), 1) if kind else (None, int(count))
    raise UsageError(
        f"unknown workers {text!r}", next_step="give a number of threads, processes:NUMBER, or ray for a Ray cluster"
    )


def usable_cores() -> str:
    """As many threads as this process has cores."""
    return str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def distinct(found: Sequence[FoundSpec], bars: Bars, output: Output) -> tuple[tuple[Spec, ...], tuple[str, ...], int]:
    """The specs that are legal on these bars, each rule once, and their places; the others are told, and how many.

    Raises:
        typer.Exit: with code 3, if none is left.
    """
    specs: dict[str, tuple[Spec, str]] = {}
    wrong = repeated = 0
    for each in found:
        errors = each.spec if isinstance(each.spec, list) else check_for_bars(each.spec, bars, max_warmup=LEAD_BARS)
        if errors or isinstance(each.spec, list):
            wrong += 1
            output.event("invalid", file=each.place, errors=[error.as_dict() for error in errors])
            if wrong <= SHOWN_ERRORS:
                output.note(plain(f"{each.place}: {errors[0]}"))
            continue
        spec = each.spec
        if spec.spec_id in specs:
            repeated += 1
            output.event("repeated", file=each.place, name=spec.name, same_as=specs[spec.spec_id][1])
        else:
            specs[spec.spec_id] = (spec, each.place)
    if wrong:
        more = f", {wrong - SHOWN_ERRORS} of them not shown" if wrong > SHOWN_ERRORS else ""
        output.note(f"{wrong} of {len(found)} specs are not legal here and were left out{more}; touchstone validate")
    if repeated:
        output.note(
            f"{repeated} of {len(found)} specs say in other words what an earlier one says; each rule is run once"
        )
    if not specs:
        output.line("No legal spec is left; nothing was run.", style="red")
        raise typer.Exit(3)
    kept = specs.values()
    return tuple(spec for spec, _ in kept), tuple(place for _, place in kept), wrong


def parts_of(window: Window, n_parts: int) -> tuple[Window, ...]:
    """The window, and behind it its consecutive parts, if it is cut at all.

    Raises:
        UsageError: more parts than the window has pairs of bars.
    """
    if n_parts == 1:
        return (window,)
    if 2 * n_parts > window.n_bars:
        raise UsageError(
            f"a window of {window.n_bars} bars cannot be cut into {n_parts} parts", next_step="ask for fewer parts"
        )
    cuts = np.linspace(window.start, window.stop, n_parts + 1).astype(int).tolist()
    return (window, *(Window(start, stop) for start, stop in pairwise(cuts)))


def show_looks(looks: Looks, metrics: GateMetrics, output: Output, *, window: str, n_shown: int) -> None:
    """The best by Sharpe ratio to a person, all in the order of the file to a machine."""
    bars, whole, given = looks.bars, looks.windows[0], looks.conditions
    sharpe, n_parts = metrics.sharpe_ratio, len(looks.windows) - 1
    luck = expected_max_sharpe(len(looks.specs), whole.n_bars, bars.periods_per_year)
    first, last = str(bars.sessions[whole.start]), str(bars.sessions[whole.stop - 1])
    best = float(np.nanmax(sharpe[:, 0])) if np.isfinite(sharpe[:, 0]).any() else float("nan")
    output.event(
        "population", market=bars.source, bars_id=bars.bars_id, window=window, first=first, last=last,
        costs=given.costs.as_dict(), terms=asdict(given.terms), capital=given.capital,
        n_rules=len(looks.specs), n_parts=max(n_parts, 1), best_sharpe=best, expected_max_sharpe=luck,
    )  # fmt: skip
    if output.json_lines:
        names = tuple(vars(metrics))
        for i, (spec, place) in enumerate(zip(looks.specs, looks.places, strict=True)):
            values = {name: getattr(metrics, name)[i] for name in names}
            parts = [{name: float(value[1 + part]) for name, value in values.items()} for part in range(n_parts)]
            output.event(
                "candidate", file=place, name=spec.name, spec_id=spec.spec_id,
                metrics={name: float(value[0]) for name, value in values.items()}, parts=parts,
            )  # fmt: skip
        return
    # An unknown Sharpe ratio comes last; equal ones in the order of the file.
    order = np.argsort(np.where(np.isfinite(sharpe[:, 0]), -sharpe[:, 0], np.inf), kind="stable")[:n_shown]
    parts_columns = ("parts > 0>", "worst part>") if n_parts else ()
    rows = [
        (
            plain(looks.specs[i].name),
            number(sharpe[i, 0]),
            percent(metrics.final_equity[i, 0] / given.capital - 1.0),
            percent(metrics.max_drawdown[i, 0]),
            f"{metrics.n_trades[i, 0]:.0f}",
            *(_parts(sharpe[i, 1:]) if n_parts else ()),
        )
        for i in order.tolist()
    ]
    output.line(f"{bars.source}, {window} window {first}..{last}, costs {given.costs_name}")
    title = f"{len(rows)} of {len(looks.specs)} rules by Sharpe ratio"
    output.table(title, ("rule", "Sharpe>", "return>", "max DD>", "trades>", *parts_columns), rows)
    output.line(
        f"Best of {len(looks.specs)} tried: Sharpe {number(best)} in the {window} window;"
        f" luck alone would show {number(luck)}."
    )
    output.line(
        "The first of a list is mostly the luckiest: this is no verdict. Look at one with --only NAME,"
        " and let touchstone evolve judge."
    )


def _parts(sharpe: FloatArray) -> tuple[str, str]:
    known = sharpe[np.isfinite(sharpe)]
    return f"{int((known > 0.0).sum())}/{len(sharpe)}", number(float(known.min()) if len(known) else None)


def count_trials(looks: Looks, metrics: GateMetrics, window: str, output: Output) -> None:
    """Enter every rule into the workspace's ledger, if there is a workspace: a look at thousands is that many looks."""
    if not workspace.exists():
        return
    bars, whole, by = looks.bars, looks.windows[0], workspace.person()
    with workspace.opened() as archive, archive.transaction():
        for i, spec in enumerate(looks.specs):
            archive.add_trial(
                Trial(
                    spec_id=spec.spec_id,
                    bars_id=bars.bars_id,
                    series=series_key(bars.symbols),
                    window_start=whole.start,
                    window_stop=whole.stop,
                    first_session=str(bars.sessions[whole.start]),
                    last_session=str(bars.sessions[whole.stop - 1]),
                    purpose="open" if window == "open" else "shown",
                    by=by,
                    metrics={name: float(values[i, 0]) for name, values in vars(metrics).items()},
                )
            )
    output.note(f"{len(looks.specs)} trials were entered into the ledger of this workspace, one for every rule")
