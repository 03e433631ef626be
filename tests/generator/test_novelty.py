"""Novelty: the same rule, and the same positions in other words."""

import numpy as np
import pytest

from generator.novelty import Known, same_positions, same_rule

DAYS = np.arange(200)
HELD = (DAYS % 7 < 3).astype(float)


def test_known_rule_is_refused_and_its_twin_named() -> None:
    rejection = same_rule("b2:x", Known({"b2:x": "golden_cross"}, {}))
    assert rejection is not None
    assert (rejection.stage, rejection.code) == ("novelty", "duplicate_exact")
    assert rejection.reason == "the same rule as golden_cross"
    assert rejection.detail == {"twin": "golden_cross"}
    assert same_rule("b2:y", Known({"b2:x": "golden_cross"}, {})) is None


def test_same_positions_are_refused_whatever_their_size() -> None:
    rejection = same_positions(0.5 * HELD, Known({}, {"other": 1.0 - HELD, "twin": HELD}))
    assert rejection is not None
    assert rejection.code == "duplicate_behaviour"
    assert rejection.reason == "holds the same positions as twin (correlation 1.000 on the open window)"


def test_opposite_positions_are_another_rule() -> None:
    assert same_positions(1.0 - HELD, Known({}, {"twin": HELD})) is None


def test_one_day_in_two_hundred_decides_at_the_bound() -> None:
    # 0/1 positions that differ on one of 200 days correlate by about 1 - 1 / (2 * 200 * p * (1 - p)), p = 87/200.
    near = HELD.copy()
    near[0] = 0.0
    likeness = float(np.corrcoef(near, HELD)[0, 1])
    assert likeness == pytest.approx(1.0 - 1.0 / (2 * 200 * 0.435 * 0.565), abs=5e-4)
    assert 0.985 < likeness < 0.99
    assert same_positions(near, Known({}, {"twin": HELD})) is None
    longer = np.tile(HELD, 2)
    one_in_400 = longer.copy()
    one_in_400[0] = 0.0
    assert same_positions(one_in_400, Known({}, {"twin": longer})) is not None


def test_rules_that_never_move_are_twins_only_of_the_same_constant() -> None:
    flat, full = np.zeros(200), np.ones(200)
    assert same_positions(flat, Known({}, {"flat": np.zeros(200)})) is not None
    assert same_positions(flat, Known({}, {"full": full})) is None
    assert same_positions(full, Known({}, {"moving": HELD})) is None
