"""Concentration: a quarter, or what luck gives the largest of so few."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import t as student

from backtesting.concentration import concentration, largest_by_chance


def test_a_quarter_is_allowed_where_luck_gives_less():
    many = np.full(400, 0.01)
    found = concentration((many,), 4.0)
    assert (found.share, found.allowed) == (pytest.approx(0.01 / 4.0), 0.25)
    assert found.held


def test_what_luck_gives_is_a_students_quantile_without_the_largest_one():
    parts = np.array([0.02, -0.01, 0.03, 0.01, -0.02, 0.50])
    # Five others: mean square (4 + 1 + 9 + 1 + 4) / 5 = 3.8, times 1e-4; Student's t of 4 degrees has variance 2.
    scale = sqrt(3.8e-4 / 2.0)
    expected = scale * student.ppf(0.99 ** (1 / 6), 4)
    assert largest_by_chance(parts) == pytest.approx(expected)
    assert largest_by_chance(np.array([0.5])) == 0.0


def test_one_stroke_of_luck_does_not_allow_itself():
    parts = np.concatenate([np.full(99, 0.001), [0.3]])
    found = concentration((parts,), float(parts.sum()))
    assert found.share == pytest.approx(0.3 / 0.399)
    assert found.allowed == 0.25
    assert not found.held


def test_an_honest_modest_profit_may_have_a_large_best_part_and_days_without_a_position_do_not_count():
    rng = np.random.default_rng(2)
    # 80 trades with t = 1.5; the largest of them is well above a quarter of their sum now and then, and may be.
    held = 0
    for _ in range(200):
        parts = 0.01 * rng.standard_t(4, 80) / sqrt(2.0)
        parts += 1.5 * 0.01 / sqrt(80) - parts.mean()
        held += concentration((parts,), float(parts.sum())).held
    # 99 % each; 12 refusals or more of 200 would happen with probability 1e-6.
    assert held > 188
    assert concentration((np.concatenate([parts, np.zeros(1000)]),), float(parts.sum())) == concentration(
        (parts,), float(parts.sum())
    )


def test_the_worst_kind_of_part_speaks_for_all():
    days, trades = np.full(100, 0.01), np.array([0.4, 0.01, 0.01])
    found = concentration((days, trades), 1.0)
    assert found.share == 0.4
    assert not found.held


@pytest.mark.parametrize("total", [0.0, -1.0, float("nan")])
def test_without_a_profit_nothing_is_spread(total):
    found = concentration((np.array([0.1, -0.2]),), total)
    assert np.isnan(found.share)
    assert not found.held


def test_a_profit_that_no_part_explains_is_not_spread():
    assert not concentration((np.zeros(5),), 1.0).held
