"""Compiling: the sentence that is said when the engine has to be compiled, once on a machine, while somebody waits.

numba tells when it begins to compile, and only then: what comes out of its cache is silent.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from generator.interfaces.cli.output import Output

SENTENCE = (
    "compiling the engine: once on this machine, and up to a minute; touchstone doctor --warm compiles all of it ahead"
)


@contextmanager
def said_once(output: Output) -> Iterator[None]:
    """Say so on stderr at the first compilation inside the block."""
    from numba.core import event  # a third of a second, and whoever comes here needs it anyway

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
    try:
        yield
    finally:
        event.unregister("numba:compile", teller)  # type: ignore[no-untyped-call]
