"""Calibration: exact intervals, replications that can be made again, and rows that find their run."""

from math import sqrt

import numpy as np
import pytest

from backtesting.calibration import (
    ALPHA,
    FAMILIES,
    FIRST_OPENING,
    GATE,
    Cell,
    Outcome,
    Row,
    clopper_pearson,
    judge_claims,
    judge_streams,
    nearest,
    power_beside,
    replicate,
    tally,
)
from backtesting.opening_price import alpha_for_opening

HISTORY = 0.01 * np.random.default_rng(0).standard_t(5, 3000)


def test_clopper_pearson_by_hand():
    # No success in n trials: the upper end u solves (1 - u)^n = 0.025.
    assert clopper_pearson(0, 50) == pytest.approx((0.0, 1 - 0.025 ** (1 / 50)))
    assert clopper_pearson(50, 50) == pytest.approx((0.025 ** (1 / 50), 1.0))
    # The textbook case 4 of 20: 5.7 % to 43.7 %.
    assert clopper_pearson(4, 20) == pytest.approx((0.0573, 0.4366), abs=5e-5)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_replication_can_be_made_again_and_another_differs(family):
    cell = Cell(family, 8, 5.0, 3.0)
    first = [replicate(cell, number, 1, HISTORY) for number in range(3)]
    assert first == [replicate(cell, number, 1, HISTORY) for number in range(3)]


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match="unknown null family 'weird'; known: factor"):
        replicate(Cell("weird", 5, 5.0), 0, 1, HISTORY)


def test_an_oracle_is_held_to_its_level_and_a_remembered_edge_of_twenty_bits_is_found():
    cell = Cell("occam-factor", 256, 10.0)
    false = [replicate(cell, number, 1, HISTORY)[0] for number in range(40)]
    # At 5 % more than 6 of 40 happen with probability 0.003.
    assert sum(outcome.false_pass for outcome in false) <= 6
    assert not any(outcome.true_pass for outcome in false)
    # 20 bits on 20 years: Sharpe 1.38 is found with 80 %, 2.0 with (2 * sqrt(20) - 5.335) = 3.6 deviations to spare.
    planted = Cell("occam-factor", 2**20, 20.0, 2.0)
    assert all(replicate(planted, number, 1, HISTORY)[0].true_pass for number in range(5))
    weak = Cell("occam-factor", 2**20, 20.0, 0.5)
    assert not any(replicate(weak, number, 1, HISTORY)[0].true_pass for number in range(5))


def test_an_oracle_over_more_sentences_than_can_be_drawn_is_refused():
    with pytest.raises(ValueError, match="an oracle over 1048576 sentences cannot be drawn, 2 to 8192 can"):
        replicate(Cell("occam-garch", 2**20, 20.0), 0, 1, HISTORY)


def test_claims_on_a_place_are_made_again_and_a_huge_edge_takes_it():
    cell = Cell("replace-factor", 12, 10.0, 3.0)
    outcomes = [replicate(cell, number, 1, HISTORY)[0] for number in range(6)]
    assert outcomes == [replicate(cell, number, 1, HISTORY)[0] for number in range(6)]
    # Beside a worthless incumbent of the same size the difference has Sharpe 3 / sqrt(2 - 2 r): t = 5.6 and more.
    assert sum(outcome.true_pass for outcome in outcomes) >= 5
    null = [replicate(Cell("replace-garch", 12, 5.0), number, 1, HISTORY)[0] for number in range(20)]
    # At 5 % more than 4 of 20 happen with probability 0.003.
    assert sum(outcome.false_pass for outcome in null) <= 4


def test_a_claim_on_a_place_is_as_strong_as_the_weaker_of_its_streams():
    rng = np.random.default_rng(6)
    market = 0.001 + 0.01 * rng.normal(size=2520)
    incumbent = 0.3 * market + 0.01 * rng.normal(size=2520)
    # More of the market alone: the difference is positive, and what a constant position leaves of it is noise.
    longer = incumbent + 0.7 * market + 0.001 * rng.normal(size=2520)
    add, place = judge_claims(longer[:, None], incumbent, market, enough=1.0, rng=np.random.default_rng(7))
    assert add[0] > 0.05
    assert place[0] > 0.05


def test_reports_quote_no_row_of_the_test_by_length():
    rows = [Row(Cell("occam-factor", 50, 10.0), 100, 40, 0), Row(Cell("occam-factor", 50, 10.0, 1.0), 100, 0, 99)]
    blind = Row(Cell("factor", 200, 20.0), 100, 3, 0)
    assert nearest(rows, candidates=50, years=10.0) is None
    assert nearest([*rows, blind], candidates=50, years=10.0) is blind
    assert power_beside(rows, Row(Cell("factor", 50, 10.0), 100, 3, 0)) == ()


def test_a_huge_edge_is_found_and_only_that_one():
    row = tally(
        Cell("factor", 20, 10.0, 3.0), [replicate(Cell("factor", 20, 10.0, 3.0), n, 1, HISTORY)[0] for n in range(8)]
    )
    assert row.power == 1.0
    assert row.false_promotion <= 0.25


def test_streams_whose_open_alpha_is_not_positive_cannot_pass():
    rng = np.random.default_rng(1)
    x = 0.01 * rng.normal(size=(2520, 3))
    x[800:, 0] += 3.0 / sqrt(252) * 0.01
    x[:750, 0] -= x[:750, 0].mean() + 0.0005
    p_values = judge_streams(x, 0.01 * rng.normal(size=(2520, 1)), enough=0.05, rng=rng)
    assert p_values[0] == 1.0


def test_the_same_runs_are_judged_at_every_level():
    cell = Cell("factor", 20, 5.0, 1.0)
    both = [replicate(cell, number, 1, HISTORY, (0.5, 0.1)) for number in range(12)]
    for at, alpha in enumerate((0.5, 0.1)):
        alone = [replicate(Cell("factor", 20, 5.0, 1.0, alpha), number, 1, HISTORY)[0] for number in range(12)]
        assert [outcomes[at] for outcomes in both] == alone
    assert sum(high.false_pass + high.true_pass for high, _ in both) > sum(
        low.false_pass + low.true_pass for _, low in both
    )


def test_the_level_of_a_first_opening_is_what_it_may_spend():
    assert alpha_for_opening(ALPHA, []) == pytest.approx(FIRST_OPENING, abs=5e-5)


def test_cells_and_rows_read_back():
    cell = Cell("factor", 200, 12.5, 1.0, 0.04)
    assert Cell.of(cell.key) == cell
    row = tally(cell, [Outcome(True, False), Outcome(False, True), Outcome(False, True)])
    assert (row.replications, row.false_passes, row.true_passes) == (3, 1, 2)
    assert Row.of(row.as_dict()) == row


def test_rates_of_an_earlier_gate_are_never_quoted():
    old = Row(Cell("factor", 50, 20.0), 1000, 1, 0, gate=GATE - 1)
    assert nearest([old], candidates=50, years=20.0) is None
    now = Row(Cell("factor", 200, 5.0), 100, 5, 0)
    assert nearest([old, now], candidates=50, years=20.0) == now
    assert power_beside([Row(Cell("factor", 200, 5.0, 1.0), 100, 0, 90, gate=GATE - 1)], now) == ()
    # A table from before gates were counted is one of the first.
    assert Row.of({k: v for k, v in now.as_dict().items() if k != "gate"}).gate == 1


def test_a_market_that_is_no_null_is_never_quoted():
    raw, strict = Row(Cell("bootstrap", 50, 5.0), 100, 8, 0), Row(Cell("bootstrap-centred", 50, 5.0), 100, 4, 0)
    assert nearest([raw, strict], candidates=50, years=5.0) == strict
    assert nearest([raw], candidates=50, years=5.0) is None


def test_the_nearest_row_is_near_in_logs_and_the_worst_of_its_families():
    rows = [
        Row(Cell("factor", 50, 20.0), 100, 4, 0),
        Row(Cell("garch", 50, 20.0), 100, 6, 0),
        Row(Cell("factor", 1000, 20.0), 100, 9, 0),
        Row(Cell("factor", 50, 20.0, 1.0), 100, 0, 90),
        Row(Cell("factor", 50, 20.0, 0.5), 100, 0, 20),
    ]
    found = nearest(rows, candidates=40, years=19.0)
    assert found == rows[1]
    assert [row.cell.sharpe for row in power_beside(rows, rows[1])] == [0.5, 1.0]
    assert nearest(rows, candidates=600, years=19.0) == rows[2]
    assert nearest(rows[3:], candidates=600, years=19.0) is None
