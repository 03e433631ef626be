"""Diagnosis: what the ledger says about one candidate, from the streams of its run."""

from math import sqrt
from typing import Any

import numpy as np
import pytest

from agents.archive.store import Archive
from generator.diagnosis import diagnosis_of


def test_the_diagnostics_are_those_of_the_stored_streams(kit: Any, archive: Archive) -> None:
    run = kit.go(kit.open_(kit.settings(slots=6), archive))
    slot_id = next(iter(archive.evaluations(run.run_id)))
    found = diagnosis_of(archive, slot_id, n_trials=50, periods_per_year=252.0)
    assert found is not None
    (own,) = [trial for trial in archive.trials(run.run_id) if trial.slot_id == slot_id and trial.purpose == "open"]
    stream = archive.stream(str(own.stream_id))
    assert found.annual_sharpe == pytest.approx(stream.mean() / stream.std() * sqrt(252.0))
    # Fifty looks at 357 bars: E[max of 50] = 2.249 (False Strategy theorem), times sqrt(252 / 357).
    assert found.expected_maximum_annual == pytest.approx(2.249 * sqrt(252 / len(stream)), rel=0.02)
    assert found.n_trials == 50
    assert 1.0 <= found.n_effective <= 6.0
    assert np.isfinite(found.pbo)


def test_fewer_looks_than_streams_are_not_believed(kit: Any, archive: Archive) -> None:
    run = kit.go(kit.open_(kit.settings(slots=6), archive))
    slot_id = next(iter(archive.evaluations(run.run_id)))
    n_streams = sum(trial.purpose == "open" for trial in archive.trials(run.run_id))
    found = diagnosis_of(archive, slot_id, n_trials=1, periods_per_year=252.0)
    assert found is not None
    assert found.n_trials == n_streams > 1


def test_a_slot_without_a_look_has_none(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(slots=2), archive)
    assert diagnosis_of(archive, f"{run.run_id}/0000", n_trials=1, periods_per_year=252.0) is None
