"""Kernel: a loop over numbers that runs compiled where that pays, and as plain Python where starting numba would not.

Importing numba and reading what it compiled takes longer than one backtest of some years of days in plain Python. So
a process begins with the plain loops and turns to the compiled ones once it has spent a small allowance, or at once
where numba has been imported anyway. Both do the same operations in the same order: the bytes of a result never depend
on which of the two ran, and tests hold every kernel to that.

What a loop may use: numbers, arrays, `math`, numpy's element access, and the `helpers` it is declared with. No
fast-math. A loop guards its own divisions: under plain Python a division of two Python floats by zero raises.
"""

import sys
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from backtesting.memory import keep_freed_memory

P = ParamSpec("P")
R = TypeVar("R")

# Whoever calculates imports this file first, and all of them gain by it.
keep_freed_memory()

# Numbers that plain loops may read in one process, about a third of a second's work.
ALLOWANCE = 60_000


# Called before this package first imports numba, by whoever wants to say that it may take a while.
STARTING: list[Callable[[], None]] = []


def start_numba() -> None:
    """Import numba, after telling who asked for it."""
    if "numba" not in sys.modules:
        for tell in STARTING:
            tell()
    import numba  # noqa: F401


class Kernel(Generic[P, R]):
    """A loop and its compiled form. `loop` is the plain twin that tests compare with.

    Args:
        loop: the function; it returns a value that does not share memory with its arguments.
        helpers: plain functions of the same file that the loop calls; numba's cache does not notice other files.
    """

    spent = 0

    def __init__(self, loop: Callable[P, R], helpers: tuple[Callable[..., Any], ...] = ()) -> None:
        self.loop = loop
        self.helpers = helpers
        self._compiled: Callable[..., R] | None = None

    def __call__(self, *args: P.args, **named: P.kwargs) -> R:
        """Run the loop; every array is handed over contiguous and, but for those it fills, read-only."""
        ready: Any = [_ready(arg) for arg in args]
        if self._compiled is None:
            size = max((arg.size for arg in ready if isinstance(arg, np.ndarray)), default=0)
            if "numba" not in sys.modules and Kernel.spent + size <= ALLOWANCE:
                Kernel.spent += size
                with np.errstate(all="ignore"):
                    return self.loop(*ready, **named)
            self._compiled = self.compiled()
        return self._compiled(*ready, **named)

    def compiled(self) -> Callable[..., R]:
        """The compiled form, from numba's cache where it is there; it releases the GIL."""
        start_numba()
        from numba import njit
        from numba.extending import register_jitable

        make: Any = njit
        for helper in self.helpers:
            register_jitable(helper)
        try:
            compiled: Callable[..., R] = make(cache=True, nogil=True, error_model="numpy")(self.loop)
        except RuntimeError:
            # No folder for numba's cache can be written: compile in memory, once a process.
            compiled = make(nogil=True, error_model="numpy")(self.loop)
        return compiled


def _ready(arg: Any) -> Any:
    # Contiguous and read-only always, so that numba sees one type and compiles once.
    if not isinstance(arg, np.ndarray):
        return arg
    flags = arg.flags
    if flags.c_contiguous and not flags.writeable:
        return arg
    view = np.ascontiguousarray(arg).view()
    view.flags.writeable = False
    return view
