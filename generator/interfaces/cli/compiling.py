"""Compiling: the sentence that is said when the engine has to be compiled, once on a machine, while somebody waits.

numba tells when it begins to compile, and only then: what comes out of its cache is silent. A command that never needs
numba does not import it for this.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backtesting.kernel import STARTING
from generator.interfaces.cli.output import Output

SENTENCE = (
    "compiling the engine: once on this machine, and up to a minute; touchstone doctor --warm compiles all of it ahead"
)


@contextmanager
def said_once(output: Output) -> Iterator[None]:
    """Say so on stderr at the first compilation inside the block."""
    stop: list[Callable[[], None]] = []

    def listen() -> None:
        stop.append(_listening(output))

    if "numba" in sys.modules:
        listen()
    else:
        STARTING.append(listen)
    try:
        yield
    finally:
        if listen in STARTING:
            STARTING.remove(listen)
        for end in stop:
            end()


def _listening(output: Output) -> Callable[[], None]:
    """Begin to listen; the answer ends it."""
    from numba.core import event

    class _Teller(event.Listener):
        told = False

        def on_start(self, event: object) -> None:
            if not self.told:
                self.told = True
                output.note(SENTENCE)

        def on_end(self, event: object) -> None:
            """Nothing is said when it is done: what was waited for is."""

    teller = _Teller()
    event.register("numba:compile", teller)  # type: ignore[no-untyped-call]

    def end() -> None:
        event.unregister("numba:compile", teller)  # type: ignore[no-untyped-call]

    return end
