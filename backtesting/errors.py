"""What can go wrong, as a tree; each class knows the exit code that the command line ends with.

    TouchstoneError        1   a bug, unless a subclass says otherwise
    ├── UsageError         2   the command or the call is wrong
    ├── InvalidConfig      3   a configuration, prompt or spec is not legal
    ├── DataError          4   the market data cannot be used
    ├── EndpointError      5   the model endpoint refused, failed or is not configured
    ├── BudgetReached      6   a limit was reached; all that was done is saved
    ├── StorageError       7   the workspace cannot be read or written
    ├── CheckFailed        8   a check, a gate or an approval said no
    └── Locked             9   another run holds the workspace

An expected "no" about one candidate is a value (`Rejection`), never one of these.
"""

from copyreg import __newobj__  # type: ignore[attr-defined]
from typing import Any


class TouchstoneError(Exception):
    """One sentence: what failed and where; what was kept; what to do next.

    The three parts are kept apart so that the command line can print them as one sentence
    and a test can check that none is empty.
    """

    exit_code = 1

    def __init__(self, what: str, *, kept: str = "nothing was changed", next_step: str) -> None:
        self.what = what
        self.kept = kept
        self.next_step = next_step
        super().__init__(f"{what}; {kept}; {next_step}")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own way to another process calls its class with the finished sentence alone. This one calls no
        # constructor, so it holds for subclasses whatever theirs asks for.
        return __newobj__, (type(self), *self.args), vars(self).copy()


class UsageError(TouchstoneError):
    """The command or the call is wrong."""

    exit_code = 2


class InvalidConfig(TouchstoneError):
    """A configuration, a prompt or a strategy spec is not legal."""

    exit_code = 3


class DataError(TouchstoneError):
    """The market data cannot be used."""

    exit_code = 4


class EndpointError(TouchstoneError):
    """The model endpoint refused, failed or is not configured."""

    exit_code = 5


class BudgetReached(TouchstoneError):
    """A limit was reached; all that was done is saved."""

    exit_code = 6


class StorageError(TouchstoneError):
    """The workspace cannot be read or written."""

    exit_code = 7


class CheckFailed(TouchstoneError):
    """A check, a gate or an approval said no."""

    exit_code = 8


class Locked(TouchstoneError):
    """Another run holds the workspace."""

    exit_code = 9
