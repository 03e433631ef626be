"""Progress of a run: a live panel on a terminal, else a line a change and a heartbeat on stderr, or JSON events."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from generator.interfaces.cli.output import Output, plain
from generator.loop import Progress

HEARTBEAT_SECONDS = 30.0


class ProgressView:
    """Shows `Progress`; use as a context, and call it with each state."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._began = clock()
        self._done_at_start: int | None = None
        self._shown = ""
        self._shown_at = float("-inf")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._output.err.is_terminal and not self._output.json_lines:
            self._live = Live(console=self._output.err, refresh_per_second=8, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, at)

    def __call__(self, state: Progress) -> None:
        """Show a state."""
        if self._done_at_start is None:
            self._done_at_start = state.done
        if self._output.json_lines:
            self._output.event(
                "progress",
                run_id=state.run_id,
                stage=state.stage,
                done=state.done,
                planned=state.planned,
                outcomes=state.outcomes,
                duplicates=state.searched.duplicates,
                occupied=state.searched.occupied,
                new_cells=state.searched.new_cells,
                usd=state.spend.usd,
                calls=state.spend.calls,
            )
            return
        if self._live is not None:
            self._live.update(Group(*(Text(line) for line in self._lines(state))))
            return
        line = " | ".join(self._lines(state)[:2])
        due = self._clock() - self._shown_at > HEARTBEAT_SECONDS
        # Every tenth part is a line, and every half minute: a log stays short and never looks hung.
        step = f"{state.done * 10 // max(state.planned, 1)}/{state.stage if state.done == state.planned else ''}"
        if step != self._shown or due:
            self._shown, self._shown_at = step, self._clock()
            self._output.note(line)

    def _lines(self, state: Progress) -> list[str]:
        seconds = self._clock() - self._began
        fresh = state.done - (self._done_at_start or 0)
        left = (state.planned - state.done) * seconds / fresh if fresh else None
        eta = "" if left is None or state.done == state.planned else f"  eta {_minutes(left)}"
        best = "none yet" if state.best is None else f"{plain(state.best[0], 40)} Sharpe {state.best[1]:.2f}"
        return [
            f"run {state.run_id}  {state.stage}",
            f"{state.done}/{state.planned} slots  {counts(state.outcomes)}  {_minutes(seconds)}{eta}",
            f"best in the open window: {best}; luck alone would show {state.luck:.2f}",
            f"search: {state.searched.words}",
            f"spent {spent(state)}",
            f"last: {plain(state.last, 120)}" if state.last else "",
        ]


def counts(outcomes: dict[str, int]) -> str:
    """Outcomes in a few words: evaluated 12, duplicate_exact 2, ..."""
    return ", ".join(
        f"{name.removeprefix('rejected:')} {n}" for name, n in sorted(outcomes.items()) if name != "planned"
    )


def spent(state: Progress) -> str:
    """What the calls cost, with what is unpriced said."""
    spend = state.spend
    if not spend.calls:
        return "nothing, no model is asked"
    free = f", {spend.free} free" if spend.free else ""
    return f"{spend.in_words}{free}"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
