"""Two prompts on the same pairs: figures by hand, published examples, and the error rates that are promised."""

from math import isnan, nan

import numpy as np
import pytest

from generator import comparison
from generator.comparison import (
    TYPICAL_RATE,
    Comparison,
    Outcome,
    Pair,
    compare,
    detectable,
    pairs_for_rates,
    pairs_for_share,
    wilson,
)

GOOD = Outcome(True, True, True, 1.0, 1000, 0.01, "evaluated")
BAD = Outcome(False, False, False, nan, 1000, 0.01, "not_json")


def outcome(valid: bool = True, score: float = 1.0, tokens: int = 1000, usd: float | None = 0.01) -> Outcome:
    return Outcome(valid, valid, valid, score if valid else nan, tokens, usd, "evaluated" if valid else "schema")


def compared(pairs: list[tuple[Outcome, Outcome]], primary: str = "valid") -> Comparison:
    numbered = [Pair(f"pair {number}", a, b) for number, (a, b) in enumerate(pairs)]
    return compare(numbered, primary=primary, rng=np.random.default_rng(1))


# -- what can be shown -----------------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_tables() -> None:
    # Connor: p = .8*.1 + .2*.9 = .26, d = .1: (1.960 sqrt(.26) + .8416 sqrt(.26 - .01))^2 / .01 = 201.7
    assert pairs_for_rates(0.8, 0.9) == 202
    assert pairs_for_rates(0.9, 0.8) == 202
    # Sign test at 70 %: (1.960 * .5 + .8416 * sqrt(.21))^2 / .04 = (.98 + .38567)^2 / .04 = 46.6
    assert pairs_for_share(0.7) == 47
    # Wilcoxon: d = (1.960 + .8416) / sqrt(33 * 3 / pi) = 2.8016 / 5.6136 = 0.499
    assert detectable(33).effect == pytest.approx(0.499, abs=1e-3)


def test_what_is_detectable_needs_just_that_many_pairs() -> None:
    found = detectable(202, 0.8)
    assert found.rise == pytest.approx(0.1, abs=2e-4)
    assert pairs_for_rates(0.8, 0.8 - found.fall) <= 202 < pairs_for_rates(0.8, 0.8 - found.fall + 0.001)
    assert pairs_for_share(found.share) <= 202


def test_few_pairs_say_that_they_find_nothing() -> None:
    # From 80 % to 100 %: p = .2, d = .2: (1.960 sqrt(.2) + .8416 sqrt(.16))^2 / .04 = 36.8, so 20 pairs cannot.
    assert pairs_for_rates(0.8, 1.0) == 37
    assert "no rise however large" in detectable(20).sentence()
    assert "a rise of" in detectable(37).sentence()
    assert isnan(detectable(3).share)
    assert "in score nothing" in detectable(3).sentence()
    assert detectable(20).base_rate == TYPICAL_RATE


@pytest.mark.parametrize(("n_pairs", "rate"), [(0, 0.8), (10, 0.0), (10, 1.0)])
def test_sizes_without_sense_are_refused(n_pairs: int, rate: float) -> None:
    with pytest.raises(ValueError, match="give 1 or more"):
        detectable(n_pairs, rate)


# -- the measures ----------------------------------------------------------------------------------------------------


def test_valid_rates_are_compared_by_mcnemar_and_newcombe() -> None:
    # Newcombe (1998), table: 36 both, 12 only the one, 2 only the other, 0 neither; method 10 gives .0569 to .3404.
    yes, no = outcome(), outcome(valid=False)
    pairs = [(yes, yes)] * 36 + [(no, yes)] * 12 + [(yes, no)] * 2
    measure = compared(pairs).measure("valid")
    assert (measure.a, measure.b) == (0.76, 0.96)
    assert measure.low == pytest.approx(0.0569, abs=5e-5)
    assert measure.high == pytest.approx(0.3404, abs=5e-5)
    # Exact McNemar: 2 * P(X <= 2 of 14) = 2 * (1 + 14 + 91) / 16384 = 0.012939
    assert measure.p == pytest.approx(0.012939, abs=1e-6)
    assert measure.shown
    assert compared(pairs).verdict == "b"


def test_wilson_interval_of_81_of_263_is_the_published_one() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_no_difference_is_a_verdict_that_says_how_many_pairs_it_would_take() -> None:
    yes, no = outcome(), outcome(valid=False)
    pairs = [(yes, yes)] * 14 + [(no, yes)] * 4 + [(yes, no)] * 2
    found = compared(pairs)
    # p = 6/20, d = 2/20: (1.960 sqrt(.3) + .8416 sqrt(.29))^2 / .01 = (1.07351 + .45323)^2 / .01 = 233.1
    assert found.measure("valid").n_needed == 234
    assert found.verdict == "no difference shown"
    assert "n too small: needs about 234" in found.sentence


def test_the_same_prompt_twice_shows_nothing() -> None:
    found = compared([(outcome(), outcome())] * 10)
    assert found.verdict == "no difference shown"
    assert "none was seen" in found.sentence
    assert found.measure("score").p == 1.0
    assert found.token_ratio == 1.0


def test_a_failure_ranks_below_every_score() -> None:
    # B fails where A is bad, and is better elsewhere: 9 wins and 1 loss, whatever the size of the score.
    pairs = [(outcome(score=-50.0), outcome(valid=False))] + [(outcome(score=0.1), outcome(score=0.2))] * 9
    measure = compared(pairs, "score").measure("score")
    assert measure.difference == pytest.approx(0.9 - 0.5)
    assert measure.low == pytest.approx(0.5550 - 0.5, abs=5e-5)  # Clopper-Pearson of 9 of 10: .5550 to .9975
    assert measure.high == pytest.approx(0.9975 - 0.5, abs=5e-5)


def test_two_failures_are_equal_and_give_no_pair() -> None:
    found = compared([(outcome(valid=False), outcome(valid=False))] * 8, "score")
    assert found.measure("score").difference == 0.0
    assert isnan(found.measure("score").a)
    assert found.verdict == "no difference shown"


def test_cost_is_of_all_slots_over_the_legal_ones() -> None:
    pairs = [(outcome(usd=0.02), outcome(usd=0.01))] * 9 + [(outcome(valid=False, usd=0.02), outcome(usd=0.01))]
    found = compared(pairs, "cost")
    measure = found.measure("cost")
    assert measure.a == pytest.approx(0.20 / 9)
    assert measure.b == pytest.approx(0.10 / 10)
    # Every sample of pairs has B at 0.01 and A at 0.02 or more.
    assert measure.high <= -0.01 + 1e-12
    assert found.verdict == "b"
    assert "cost of a legal candidate" in found.sentence


def test_an_unpriced_model_has_no_cost_and_no_verdict_on_it() -> None:
    found = compared([(outcome(usd=None), outcome(usd=None))] * 10, "cost")
    assert isnan(found.measure("cost").difference)
    assert "it is not defined on these pairs" in found.sentence


def test_new_candidates_are_counted_by_what_they_cost_in_tokens() -> None:
    pairs = [(outcome(tokens=1000), outcome(tokens=2000))] * 10
    found = compared(pairs, "novel")
    assert (found.measure("novel").a, found.measure("novel").b) == (1.0, 0.5)
    assert found.verdict == "a"
    assert found.token_ratio == 2.0


def test_pairs_that_share_their_parents_are_one_draw() -> None:
    pairs = [Pair(f"set {number % 3}", outcome(tokens=1000), outcome(tokens=2000)) for number in range(30)]
    found = compare(pairs, primary="novel", rng=np.random.default_rng(1))
    # Three sets of parents are too few for an interval, however many pairs stand behind them.
    assert (found.n_pairs, found.n_clusters) == (30, 3)
    assert isnan(found.measure("novel").low)
    assert found.verdict == "no difference shown"


def test_the_same_stream_gives_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    pairs = [(outcome(tokens=int(a)), outcome(tokens=int(b))) for a, b in rng.integers(500, 2000, (20, 2))]
    assert compared(pairs).as_dict() == compared(pairs).as_dict()


def test_without_pairs_or_a_known_measure_there_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="wanted are pairs"):
        compared([])
    with pytest.raises(ValueError, match="one of valid, novel, score, cost"):
        compared([(GOOD, BAD)], "taste")


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of valid replies needs no bootstrap; without it a simulation takes a second."""
    monkeypatch.setattr(comparison, "BOOTSTRAP_REPS", 10)


@pytest.mark.usefixtures("few_draws")
def test_equal_prompts_are_called_different_no_more_often_than_promised() -> None:
    """200 comparisons of 60 pairs, both valid at 70 %: the exact test is cautious, so at most 5 % and some room."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(200):
        pairs = [(outcome(bool(a)), outcome(bool(b))) for a, b in rng.random((60, 2)) < 0.7]
        numbered = [Pair(str(number), a, b) for number, (a, b) in enumerate(pairs)]
        wrong += compare(numbered, primary="valid", rng=np.random.default_rng(1)).verdict != "no difference shown"
    # 200 * .05 = 10; three standard deviations are 9.2.
    assert wrong <= 19


@pytest.mark.usefixtures("few_draws")
def test_a_detectable_difference_is_found_about_four_times_in_five() -> None:
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(100):
        draws = rng.random((202, 2))
        pairs = [Pair(str(n), outcome(bool(a < 0.8)), outcome(bool(b < 0.9))) for n, (a, b) in enumerate(draws)]
        found += compare(pairs, primary="valid", rng=np.random.default_rng(1)).verdict == "b"
    # The exact test is a little more cautious than the formula; 80 - 3 * 4 = 68 is the lower end of chance.
    assert 64 <= found <= 95
