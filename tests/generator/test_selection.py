"""Parents: who may be drawn, and with which probability."""

import numpy as np
import pytest

from agents.strategy.incumbents import shipped_incumbents
from generator.selection import Entry, Snapshot, choose_parents

SPEC = shipped_incumbents()[0]
NAN = float("nan")


def entry(ref: str, arm: str, alpha_t: float = NAN) -> Entry:
    return Entry(ref, arm, SPEC, SPEC.spec_id, alpha_t, {})


INCUMBENTS = (entry("one", "incumbent"), entry("two", "incumbent"))


def draw(snapshot: Snapshot, arm: str, n_parents: int, seed: int = 1) -> list[tuple[str, float]]:
    chosen = choose_parents(snapshot, arm, np.random.default_rng(seed), n_parents=n_parents)
    return [(parent.entry.ref, parent.probability) for parent in chosen]


def test_first_block_draws_from_the_incumbents_evenly() -> None:
    drawn = draw(Snapshot(INCUMBENTS, ()), "llm", 2)
    assert sorted(drawn) == [("one", 0.5), ("two", 0.5)]


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


def test_probabilities_by_hand() -> None:
    # Ranks 1, 2, 3 weigh 1, 1/2, 1/3 of 11/6; three quarters go to them and a quarter to the two incumbents.
    candidates = tuple(entry(f"c{rank}", "llm", -float(rank)) for rank in (1, 2, 3))
    drawn = dict(draw(Snapshot(INCUMBENTS, candidates), "llm", 5))
    assert drawn == {
        "c1": pytest.approx(0.75 * 6 / 11),
        "c2": pytest.approx(0.75 * 3 / 11),
        "c3": pytest.approx(0.75 * 2 / 11),
        "one": pytest.approx(0.125),
        "two": pytest.approx(0.125),
    }


def test_first_parent_is_drawn_as_often_as_it_says() -> None:
    candidates = tuple(entry(f"c{rank}", "llm", -float(rank)) for rank in (1, 2, 3))
    snapshot = Snapshot(INCUMBENTS, candidates)
    firsts = [draw(snapshot, "llm", 1, seed)[0][0] for seed in range(2000)]
    # 0.409 +- 4 standard errors of 0.011
    assert firsts.count("c1") / 2000 == pytest.approx(0.75 * 6 / 11, abs=0.044)
    assert (firsts.count("one") + firsts.count("two")) / 2000 == pytest.approx(0.25, abs=0.04)


def test_without_incumbents_all_weight_is_on_own_candidates() -> None:
    drawn = dict(draw(Snapshot((), (entry("c1", "llm", 1.0), entry("c2", "llm", 0.0))), "llm", 2))
    assert drawn == {"c1": pytest.approx(2 / 3), "c2": pytest.approx(1 / 3)}
