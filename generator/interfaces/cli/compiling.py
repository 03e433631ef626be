"""Compiling: the sentence that is said when the engine has to be compiled, once on a machine, while somebody waits.

numba tells when it begins to compile, and only then: what comes out of its cache is silent. Most commands never need
numba, so it is not imported here; a thread looks now and then whether somebody else did.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from generator.interfaces.cli.output import Output

SENTENCE = (
    "compiling the engine: once on this machine, and up to a minute; touchstone doctor --warm compiles all of it ahead"
)
LOOK_SECONDS = 0.25


@contextmanager
def said_once(output: Output) -> Iterator[None]:
    """Say so on stderr once compiling goes on inside the block for more than a moment."""
    done = threading.Event()
    registered: list[tuple[Any, Any]] = []

    def wait() -> None:
        while not done.wait(LOOK_SECONDS):
            event: Any = sys.modules.get("numba.core.event")
            if event is not None and hasattr(event, "unregister"):
                teller = _teller(event, output)
                event.register("numba:compile", teller)
                registered.append((event, teller))
                return

    watcher = threading.Thread(target=wait, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        for event, teller in registered:
            event.unregister("numba:compile", teller)


def _teller(event: Any, output: Output) -> Any:
    """A listener of numba's that speaks at the first compilation it hears of; one function compiles many."""

    class Teller(event.Listener):  # type: ignore[misc]
        told = False

        def on_start(self, event: object) -> None:
            if not self.told:
                self.told = True
                output.note(SENTENCE)

        def on_end(self, event: object) -> None:
            """Nothing is said when it is done: what was waited for is there."""

    return Teller()
