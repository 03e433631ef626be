"""Parents: who may be drawn, with which probability; and what a proposer is shown."""

from collections import Counter

import numpy as np
import pytest

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from generator.selection import (
    MAX_TRIED,
    Chosen,
    Entry,
    Snapshot,
    Tried,
    choose_parents,
    mixture,
    pareto_frequency,
    shown_to,
)

SPEC = shipped_incumbents()[0]
NAN = float("nan")
HERE, THERE = (1, 1, 1, 1, "trend"), (2, 1, 1, 1, "trend")


def entry(
    ref: str,
    arm: str,
    alpha_t: float = NAN,
    folds: tuple[float, ...] = (),
    cell: tuple[int, int, int, int, str] | None = None,
) -> Entry:
    return Entry(ref, arm, SPEC, SPEC.spec_id, alpha_t, {}, folds, cell)


INCUMBENTS = (entry("one", "incumbent"), entry("two", "incumbent"))


def draw(snapshot: Snapshot, arm: str, n_parents: int, seed: int = 1, **more: float) -> list[tuple[str, float]]:
    chosen = choose_parents(snapshot, arm, np.random.default_rng(seed), n_parents=n_parents, **more)
    return [(parent.entry.ref, parent.probability) for parent in chosen]


def a_rule(enter: str) -> Spec:
    spec = load_spec({"kind": "rules", "name": "a_rule", "hypothesis": "", "long": {"enter": enter}}, origin="")
    assert not isinstance(spec, list)
    return spec


# --- the folds -------------------------------------------------------------------------------------------------------


def test_each_fold_is_won_by_its_best_and_equals_share_it() -> None:
    own = [entry("a", "llm", folds=(3.0, 1.0, 0.0, 2.0)), entry("b", "llm", folds=(1.0, 2.0, 0.0, 2.0))]
    # a wins fold 0, b wins fold 1, folds 2 and 3 are halved.
    assert list(pareto_frequency(own)) == [2.0, 2.0]


def test_leader_that_another_one_dominates_wins_nothing() -> None:
    own = [entry("a", "llm", folds=(2.0, 1.0)), entry("b", "llm", folds=(2.0, 3.0))]
    # a leads fold 0 too, but b is as good there and better in fold 1.
    assert list(pareto_frequency(own)) == [0.0, 2.0]


def test_undefined_folds_are_never_won() -> None:
    own = [entry("a", "llm", folds=(NAN, NAN)), entry("b", "llm", folds=(-1.0, NAN)), entry("c", "llm")]
    assert list(pareto_frequency(own)) == [0.0, 1.0, 0.0]
    assert list(pareto_frequency([entry("c", "llm")])) == [0.0]


def test_specialist_keeps_its_place_however_low_its_rank() -> None:
    strong = [entry(f"s{i}", "llm", 3.0 - i / 10, (2.0, 2.0, 2.0, -1.0 - i)) for i in range(20)]
    weights = mixture([*strong, entry("odd", "llm", 0.1, (-1.0, -1.0, -1.0, 4.0))])
    # One fold of four: 0.40 / 4 and its rank's share of 0.25 / 21 at most.
    assert weights[-1] == pytest.approx(0.10, abs=0.012)
    assert weights[-1] > max(weights[1:20])


# --- the mixture -----------------------------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    own = [
        entry("a", "llm", 2.0, (2.0, 0.0), HERE),
        entry("b", "llm", 1.0, (0.0, 1.0), HERE),
        entry("c", "llm", 0.5, (-1.0, -1.0), THERE),
    ]
    # Folds: one each for a and b. Ranks 1, 2, 3 of 3: 1/4, 1/5, 1/6 of 37/60. Cells: HERE is shared by a and b.
    ranks = [0.25 / (37 / 60), 0.20 / (37 / 60), (1 / 6) / (37 / 60)]
    expected = [
        0.40 / 2 + 0.25 * ranks[0] + 0.20 / 4,
        0.40 / 2 + 0.25 * ranks[1] + 0.20 / 4,
        0.25 * ranks[2] + 0.20 / 2,
    ]
    assert mixture(own) == pytest.approx(expected)
    assert sum(mixture(own)) == pytest.approx(0.85)


def test_shares_of_own_incumbents_and_nobody() -> None:
    own = tuple(entry(f"c{i}", "llm", -float(i), (-float(i),), HERE) for i in range(3))
    drawn = dict(draw(Snapshot(INCUMBENTS, own), "llm", 5))
    # 85 % own, 10 % incumbents, 5 % nobody.
    assert sum(p for ref, p in drawn.items() if ref.startswith("c")) == pytest.approx(0.85, abs=1e-9)
    assert drawn["one"] == drawn["two"] == pytest.approx(0.05)


def test_draws_are_as_frequent_as_they_say() -> None:
    own = tuple(entry(f"c{i}", "llm", -float(i), (-float(i),), HERE) for i in range(3))
    snapshot = Snapshot(INCUMBENTS, own)
    said = dict(draw(snapshot, "llm", 5))
    firsts = Counter(found[0][0] if (found := draw(snapshot, "llm", 1, seed)) else "" for seed in range(4000))
    # Four standard errors of a share of p in 4000 draws are below 0.032.
    assert firsts[""] / 4000 == pytest.approx(0.05, abs=0.014)
    for ref, probability in said.items():
        assert firsts[ref] / 4000 == pytest.approx(probability, abs=0.032)


def test_children_already_there_make_a_parent_rarer() -> None:
    own = (entry("a", "llm", 1.0, (1.0,), HERE), entry("b", "llm", 1.0, (1.0,), THERE))
    plain = dict(draw(Snapshot((), own), "llm", 2))
    busy = dict(draw(Snapshot((), own, children={("llm", "a"): 3, ("random", "b"): 9}), "llm", 2))
    # Before their children a has 1/3 : 1/4 of the ranks more than b; three children divide its weight by 4.
    assert busy["a"] / busy["b"] == pytest.approx(plain["a"] / plain["b"] / 4)
    assert busy["a"] + busy["b"] == pytest.approx(0.95)


def test_first_block_draws_from_the_incumbents_evenly() -> None:
    drawn = draw(Snapshot(INCUMBENTS, ()), "llm", 2)
    assert sorted(drawn) == [("one", 0.475), ("two", 0.475)]


def test_nobody_is_never_drawn_where_somebody_is_needed() -> None:
    snapshot = Snapshot(INCUMBENTS, ())
    assert all(draw(snapshot, "evolved", 2, seed, none_share=0.0) for seed in range(200))
    assert not all(draw(snapshot, "llm", 2, seed) for seed in range(200))


def test_no_parent_is_drawn_twice_and_no_more_than_there_are() -> None:
    assert len({ref for ref, _ in draw(Snapshot(INCUMBENTS, ()), "llm", 5)}) == 2
    assert draw(Snapshot((), ()), "llm", 3) == []


def test_an_arm_never_sees_the_candidates_of_another() -> None:
    snapshot = Snapshot(INCUMBENTS, (entry("theirs", "random", 9.0), entry("own", "evolved", 0.1)))
    seen = {ref for seed in range(50) for ref, _ in draw(snapshot, "evolved", 3, seed)}
    assert seen == {"one", "two", "own"}
    assert [found.ref for found in snapshot.of_arm("random")] == ["theirs"]


def test_own_candidates_are_ranked_and_undefined_scores_come_last() -> None:
    candidates = (entry("b", "llm", NAN), entry("c", "llm", 0.5), entry("a", "llm", NAN), entry("d", "llm", 2.0))
    assert [found.ref for found in Snapshot((), candidates).of_arm("llm")] == ["d", "c", "a", "b"]


def test_without_incumbents_all_weight_is_on_own_candidates() -> None:
    drawn = dict(draw(Snapshot((), (entry("c1", "llm", 1.0), entry("c2", "llm", 0.0))), "llm", 2))
    # Without folds and cells only the ranks weigh: 1/3 and 1/4 of 7/12, times 0.95.
    assert drawn == {"c1": pytest.approx(0.95 * 4 / 7), "c2": pytest.approx(0.95 * 3 / 7)}


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_tried_rules_come_nearest_to_the_parent_first() -> None:
    parent = Chosen(Entry("p", "llm", a_rule("close > sma(close, 50)"), "", 1.0, {}), 1.0)
    tried = tuple(
        Tried("llm", a_rule(text), "no")
        for text in (
            "rsi(close, 3) < 30",
            "close > sma(close, 200)",
            "close > sma(close, 55)",
            "volume > 1.5 * sma(volume, 20)",
        )
    )
    shown = shown_to(Snapshot((), (), tried=tried), "llm", (parent,))
    assert shown.failures[:2] == ("close > sma(close, 55): no", "close > sma(close, 200): no")
    assert len(shown.failures) == 4


def test_without_parents_the_latest_comes_first_and_the_list_is_bounded() -> None:
    tried = tuple(Tried("llm", a_rule(f"close > sma(close, {window})"), "no") for window in range(10, 40))
    shown = shown_to(Snapshot((), (), tried=tried), "llm", ())
    assert len(shown.failures) == MAX_TRIED
    assert shown.failures[0] == "close > sma(close, 39): no"


def test_what_another_arm_tried_is_not_shown_and_lessons_come_last() -> None:
    tried = (
        Tried("random", a_rule("close > sma(close, 9)"), "no"),
        Tried("llm", a_rule("close > sma(close, 8)"), "no"),
    )
    snapshot = Snapshot((), (entry("theirs", "random"),), tried=tried, lessons=("trade less",))
    shown = shown_to(snapshot, "llm", ())
    assert shown.failures == ("close > sma(close, 8): no", "trade less")
    assert shown.candidates == ()
