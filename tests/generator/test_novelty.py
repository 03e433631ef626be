"""Novelty: the same rule, the same tree, the same positions, the same scores; and siblings that must be beaten."""

import numpy as np
import pytest

from agents.archive.records import REJECTION_CODES, Rejection
from agents.strategy.spec import Spec, load_spec
from backtesting.bars import FloatArray
from generator.novelty import (
    DUPLICATE_CODES,
    SAME_POSITIONS,
    Known,
    Sibling,
    refuse_positions,
    refuse_scores,
    refuse_text,
)

DAYS = np.arange(200)
HELD = (DAYS % 7 < 3).astype(float)
NAN = float("nan")


def a_rule(enter: str, **more: object) -> Spec:
    spec = load_spec({"kind": "rules", "name": "a_rule", "hypothesis": "", "long": {"enter": enter}, **more}, origin="")
    assert not isinstance(spec, list)
    return spec


def known_with(name: str, positions: FloatArray, alpha_t: float = 1.0) -> Known:
    known = Known()
    known.add_behaviour(name, positions, alpha_t)
    return known


def refused(found: object) -> Rejection:
    assert isinstance(found, Rejection)
    assert found.stage == "novelty"
    assert found.code in DUPLICATE_CODES
    return found


def test_codes_are_those_that_the_archive_keeps() -> None:
    assert set(DUPLICATE_CODES) <= set(REJECTION_CODES)


def test_known_rule_is_refused_and_its_twin_named() -> None:
    known = Known()
    known.add_rule(a_rule("close > sma(close, 50)"), "slow_one")
    rejection = refused(refuse_text(a_rule("sma(close, 50) < close"), known))
    assert rejection.code == "duplicate_exact"
    assert rejection.reason == "the same rule as slow_one"
    assert rejection.detail == {"twin": "slow_one"}
    assert refuse_text(a_rule("close > sma(close, 100)"), known) is None


def test_same_tree_with_nearly_the_same_numbers_is_a_structural_twin() -> None:
    known = Known()
    known.add_rule(a_rule("close > sma(close, 50) and rsi(close, 14) < 30"), "first")
    known.add_rule(a_rule("close > sma(close, 51) and rsi(close, 14) < 31"), "second")
    # 52/50 is 4 % and 31/30 is 3.3 %; both are nearly the same, and the first of two twins is named.
    rejection = refused(refuse_text(a_rule("close > sma(close, 52) and rsi(close, 14) < 30.5"), known))
    assert (rejection.code, rejection.detail["twin"]) == ("duplicate_structure", "first")
    assert rejection.reason == "the same tree as first, no number more than 5 % apart"
    # 60/50 is 18 %: another window is another rule until its positions say otherwise.
    assert refuse_text(a_rule("close > sma(close, 60) and rsi(close, 14) < 30"), known) is None
    sized = a_rule("close > sma(close, 52) and rsi(close, 14) < 30", sizing={"kind": "fraction", "fraction": 0.5})
    assert refuse_text(sized, known) is None


def test_same_positions_are_refused_whatever_their_size() -> None:
    known = known_with("other", 1.0 - HELD)
    known.add_behaviour("twin", HELD, 0.5)
    rejection = refused(refuse_positions(0.5 * HELD, known))
    assert rejection.code == "duplicate_behaviour"
    assert rejection.reason == "holds the same positions as twin (correlation 1.000 on the open window)"
    assert rejection.detail == {"twin": "twin", "correlation": 1.0}


def test_of_equal_twins_the_first_is_named() -> None:
    known = known_with("first", HELD)
    known.add_behaviour("second", 2.0 * HELD, 9.0)
    assert refused(refuse_positions(3.0 * HELD, known)).detail["twin"] == "first"


def test_opposite_positions_are_another_rule() -> None:
    assert refuse_positions(1.0 - HELD, known_with("twin", HELD)) is None


def test_bounds_of_twin_and_sibling() -> None:
    # 0/1 positions that differ on k of 200 days correlate by about 1 - k / (2 * 200 * p * (1 - p)), p = 87/200.
    near, far = HELD.copy(), HELD.copy()
    near[:3] = 0.0  # 1 - 3 / 98.3 = 0.969
    far[:17] = 1.0 - far[:17]
    assert refused(refuse_positions(near, known_with("twin", HELD))).detail["correlation"] == pytest.approx(
        0.969, abs=0.004
    )
    sibling = refuse_positions(far, known_with("twin", HELD, 1.5))
    # 1 - 17 / 98.3 = 0.827
    assert isinstance(sibling, Sibling)
    assert (sibling.name, sibling.alpha_t) == ("twin", 1.5)
    assert 0.80 < sibling.likeness < SAME_POSITIONS


def test_rules_that_never_move_are_twins_only_of_the_same_constant() -> None:
    flat, full = np.zeros(200), np.ones(200)
    assert isinstance(refuse_positions(flat, known_with("flat", np.zeros(200))), Rejection)
    assert refuse_positions(flat, known_with("full", full)) is None
    assert refuse_positions(full, known_with("moving", HELD)) is None


def test_sibling_has_to_be_beaten_and_a_stranger_has_not() -> None:
    known = Known()
    close = Sibling("older", 0.9, 1.2)
    rejection = refused(refuse_scores(1.2, None, close, known))
    assert rejection.code == "not_better"
    assert rejection.reason == "much like older (correlation 0.90) and adds no more than it does"
    assert refuse_scores(1.3, None, close, known) is None
    assert refused(refuse_scores(NAN, None, close, known)).code == "not_better"
    assert refuse_scores(-3.0, None, Sibling("older", 0.79, 1.2), known) is None
    assert refuse_scores(-3.0, None, None, known) is None


def test_sibling_without_a_score_is_beaten_by_whoever_adds_anything() -> None:
    assert refuse_scores(0.1, None, Sibling("older", 0.9, NAN), Known()) is None
    assert refused(refuse_scores(0.0, None, Sibling("older", 0.9, NAN), Known())).code == "not_better"


def test_same_scores_in_every_fold_are_the_same_rule_in_effect() -> None:
    known = Known()
    known.add_behaviour("older", HELD, 1.0, (0.1, 0.2, 0.3, 0.4))
    rejection = refused(refuse_scores(1.0, (0.1, 0.2, 0.3, 0.4), None, known))
    assert rejection.reason == "earns the same as older in every fold"
    assert refuse_scores(1.0, (0.1, 0.2, 0.3, 0.5), None, known) is None
    assert refuse_scores(1.0, None, None, known) is None


def test_a_thousand_rules_are_compared() -> None:
    rng = np.random.default_rng(1)
    known = Known()
    for number in range(1000):
        positions = (rng.random(1500) < 0.5).astype(float)
        spec = a_rule(f"close > sma(close, {2 + number % 290}) and rsi(close, {2 + number // 290}) < 30")
        refuse_text(spec, known)
        refuse_positions(positions, known)
        known.add_rule(spec, f"rule_{number}")
        known.add_behaviour(f"rule_{number}", positions, 0.0)
    assert known.closest(positions) is not None
