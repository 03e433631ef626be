"""Arms without a model: legal, new, different from their parents, and honest when nothing is left."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.archive.records import Rejection
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import check_for_bars, load_spec
from backtesting.splits import LEAD_BARS, plan_split
from generator.arms import ARMS, MAX_DRAWS, Drawn, draw_evolved, draw_random
from generator.config import ARMS as CONFIGURED
from generator.config import MODEL_ARMS
from generator.grammar import Grammar
from generator.selection import Entry, Snapshot

SPECS = shipped_incumbents()
INCUMBENTS = tuple(Entry(spec.name, "incumbent", spec, spec.spec_id, float("nan"), {}) for spec in SPECS)
EMPTY = Snapshot(INCUMBENTS, ())


@pytest.fixture(scope="module")
def grammar(kit: Any) -> Grammar:
    bars = kit.market()
    return Grammar(bars.upto(plan_split(bars).open.stop), EvaluationCache(), LEAD_BARS)


def test_every_arm_but_the_models_has_its_function() -> None:
    assert set(ARMS) == set(CONFIGURED) - set(MODEL_ARMS)


@pytest.mark.parametrize("arm", ARMS)
def test_two_hundred_draws_are_legal_new_and_named(arm: str, grammar: Grammar) -> None:
    known = {spec.spec_id for spec in SPECS}
    for seed in range(200):
        drawn = ARMS[arm](f"{arm}_{seed:04d}", EMPTY, grammar, np.random.default_rng(seed), known)
        assert isinstance(drawn, Drawn)
        assert drawn.spec.name == f"{arm}_{seed:04d}"
        assert drawn.spec.spec_id not in known
        known.add(drawn.spec.spec_id)
        assert not check_for_bars(drawn.spec, grammar.bars, max_warmup=LEAD_BARS)
        again = load_spec(drawn.spec.config(), origin="")
        assert not isinstance(again, list)
        assert again.spec_id == drawn.spec.spec_id


def test_evolved_children_differ_from_their_parents_and_say_what_was_done(grammar: Grammar) -> None:
    operators = set()
    for seed in range(100):
        # Nothing is known, so only the operators themselves keep a child from being its parent.
        drawn = draw_evolved("child_one", EMPTY, grammar, np.random.default_rng(seed), {s.spec_id for s in SPECS})
        assert isinstance(drawn, Drawn)
        operators.add(drawn.operator)
        assert 1 <= len(drawn.parents) <= 2
        assert (len(drawn.parents) == 2) == (drawn.operator == "cross")
        assert drawn.spec.spec_id not in {parent.entry.spec_id for parent in drawn.parents}
        assert all(0.0 < parent.probability <= 1.0 for parent in drawn.parents)
        # A child does not carry its parent's reasons or literature: they were given for another rule.
        assert drawn.spec.source is None
        assert drawn.operator in drawn.spec.hypothesis
    assert operators >= {"cross", "retune", "regrow", "narrow", "reexit", "flip"}


def test_children_avoid_volume_and_ranges_where_the_market_has_none(grammar: Grammar) -> None:
    bars = grammar.bars
    closes = replace(
        bars, open=bars.close, high=bars.close, low=bars.close, volume=np.full_like(bars.close, np.nan), close_only=True
    )
    poor = Grammar(closes, EvaluationCache(), LEAD_BARS)
    for seed in range(60):
        # Incumbents with an ATR stop are among the parents; a child that kept it would not be legal here.
        drawn = draw_evolved("child_one", EMPTY, poor, np.random.default_rng(seed), ())
        assert isinstance(drawn, Drawn)
        assert not check_for_bars(drawn.spec, closes, max_warmup=LEAD_BARS)


def test_arm_that_finds_nothing_new_says_so_as_a_value(grammar: Grammar) -> None:
    class Everything:
        def __contains__(self, spec_id: object) -> bool:
            return True

    everything: Any = Everything()
    drawn = draw_random("name_it", EMPTY, grammar, np.random.default_rng(1), everything)
    assert isinstance(drawn, Rejection)
    assert drawn.code == "duplicate_exact"
    assert drawn.reason == f"{MAX_DRAWS} draws from the grammar gave nothing legal and new"
    evolved = draw_evolved("name_it", EMPTY, grammar, np.random.default_rng(1), everything)
    assert isinstance(evolved, Rejection)
    assert "its parents" in evolved.reason


def test_evolution_of_nothing_is_a_value_too(grammar: Grammar) -> None:
    drawn = draw_evolved("name_it", Snapshot((), ()), grammar, np.random.default_rng(1), ())
    assert isinstance(drawn, Rejection)
    assert "an empty archive" in drawn.reason


def test_random_arm_does_not_look_at_the_archive(grammar: Grammar) -> None:
    one = draw_random("name_it", EMPTY, grammar, np.random.default_rng(3), ())
    two = draw_random("name_it", Snapshot((), ()), grammar, np.random.default_rng(3), ())
    assert isinstance(one, Drawn)
    assert isinstance(two, Drawn)
    assert one.spec == two.spec
