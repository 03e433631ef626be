"""Where words go: results to stdout, progress and errors to stderr, JSON lines when asked.

With `--json` every line of stdout is one object `{"v": 1, "event": ...}`; NaN is null. Text that a model or a file
wrote is passed through `plain` before it reaches a terminal, so that it cannot move the cursor or colour the screen.
"""

import json
import math
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

SCHEMA_VERSION = 1


class ReaderGone(Exception):
    """Whoever read stdout (head, less) has seen enough. No OSError, because typer turns that one into exit code 1."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with exit code 1 here."""
        raise ReaderGone


@dataclass(frozen=True)
class Output:
    """The two consoles and the way results are written."""

    out: Console
    err: Console
    json_lines: bool

    @classmethod
    def from_environment(cls, *, json_lines: bool) -> "Output":
        """Consoles on stdout and stderr; `NO_COLOR`, `TERM=dumb` and pipes are respected by rich."""
        # A pipe has no width of its own; 80 columns would break every table that a person then reads in a file.
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
        return cls(
            out=_Console(highlight=False, width=width),
            err=_Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120),
            json_lines=json_lines,
        )

    def event(self, event: str, **values: Any) -> None:
        """One JSON line; silent without `--json`."""
        if self.json_lines:
            record = {"v": SCHEMA_VERSION, "event": event, **jsonable(values)}
            try:
                # ASCII: a reply can hold characters that turn the direction of a terminal's line.
                sys.stdout.write(json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                raise ReaderGone from None

    def line(self, text: str = "", style: str = "") -> None:
        """One line of a result, for people; silent with `--json`."""
        if not self.json_lines:
            self.out.print(Text(text, style=style), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of a result, for people; cells are text, never markup. Columns ending in `>` are right-aligned."""
        if self.json_lines:
            return
        table = Table(
            title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
        )
        for place, column in enumerate(columns):
            # The first column holds the name that the next command wants: it stays in one piece on a narrow screen.
            table.add_column(
                column.removesuffix(">"),
                justify="right" if column.endswith(">") else "left",
                overflow="fold",
                no_wrap=place == 0,
            )
        for row in rows:
            table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
        self.out.print(table)

    def note(self, text: str) -> None:
        """One line of progress or of warning, to stderr."""
        self.err.print(Text(text, style="dim" if self.err.is_terminal else ""), soft_wrap=True)

    def error(self, text: str, *, code: int) -> None:
        """An error sentence, to stderr; with `--json` also as an event."""
        self.event("error", message=text, exit_code=code)
        self.err.print(Text(f"error: {text}", style="red" if self.err.is_terminal else ""), soft_wrap=True)


_STYLES = {"pass": "bold green", "fail": "red", "underpowered": "yellow", "rejected": "red", "active": "green"}


def _style(cell: str) -> str:
    return _STYLES.get(cell, "")


def jsonable(value: Any) -> Any:
    """`value` with NaN and infinities as null and tuples as lists, ready for strict JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def plain(text: str, limit: int = 600) -> str:
    """Text of unknown origin, safe for a terminal: no control, format or private characters, bounded length."""
    kept = "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table cell; a dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage for a table cell; a dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value * 100:.{digits}f}%"
