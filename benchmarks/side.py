"""One side of a comparison, as a process: a line names a work and a thread count, the answer is one line of JSON.

So that all sides stay warm and take turns: the timed part runs in the environment of the side, and only there.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
# A work is run again and again for so long; the mean is reported.
SHORT_S = 0.05
# Works whose first run is timed as it is, where a run takes minutes and smaller works have compiled everything.
COLD = set(os.environ.get("COLD", "").split(","))


def peak_mb() -> float:
    """Of this program. What `getrusage` says of it begins with the memory of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(works: dict[str, Callable[[], Callable[[], Answer]]]) -> None:
    """`works`: by name, what prepares the work (not timed) and returns the timed part."""
    prepared: dict[str, Callable[[], Answer]] = {}
    out = os.fdopen(os.dup(1), "w")
    # Whatever a library prints goes elsewhere.
    os.dup2(2, 1)
    for line in sys.stdin:
        name = line.strip()
        answer: dict[str, Any] = {}
        if name in works:
            try:
                if name not in prepared:
                    prepared[name] = works[name]()
                    if name not in COLD:
                        prepared[name]()
                begin, spent, runs = time.perf_counter(), time.process_time(), 0
                # A run of a millisecond would be timed with the caches full of the work before it.
                while runs == 0 or (time.perf_counter() - begin < SHORT_S and name not in COLD):
                    answer = dict(prepared[name]())
                    runs += 1
                answer["cpu_ms"] = (time.process_time() - spent) * 1e3 / runs
                answer["ms"] = (time.perf_counter() - begin) * 1e3 / runs
                answer["peak_mb"] = peak_mb()
            except Exception as failed:
                answer = {"error": f"{type(failed).__name__}: {failed}"[:300]}
        out.write(json.dumps(answer) + "\n")
        out.flush()
