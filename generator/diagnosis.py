"""What the ledger says about a candidate beside its verdict: published ways to doubt a backtest, from stored streams.

Open-window streams of the candidate's own run only; nothing sealed is read, and nothing here decides anything.
"""

import numpy as np

from agents.archive.store import Archive
from backtesting.diagnostics import Diagnosis, diagnose
from backtesting.statistics import effective_trials
from generator.open_window import OPEN


def diagnosis_of(archive: Archive, slot_id: str, *, n_trials: int, periods_per_year: float) -> Diagnosis | None:
    """The diagnostics of a slot's candidate among all streams of its run; None where its look left no stream.

    Args:
        n_trials: looks at this market so far, by anybody; never taken lower than the streams that are there.
    """
    looks = [
        trial
        for trial in archive.trials(slot_id.rpartition("/")[0])
        if trial.purpose == OPEN and trial.stream_id is not None
    ]
    own = next((trial for trial in looks if trial.slot_id == slot_id), None)
    if own is None:
        return None
    alike = [
        trial
        for trial in looks
        if (trial.window_start, trial.window_stop) == (own.window_start, own.window_stop) and trial is not own
    ]
    streams = np.column_stack([archive.stream(str(trial.stream_id)) for trial in (own, *alike)])
    return diagnose(
        streams,
        0,
        n_trials=max(n_trials, streams.shape[1]),
        n_effective=effective_trials(streams),
        periods_per_year=periods_per_year,
    )
