"""Variation: every operator on every incumbent and on random rules gives a legal other rule, or nothing."""

import copy
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from agents.strategy.expression.evaluate import EvaluationCache, condition
from agents.strategy.expression.parse import parse
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import check_for_bars, load_spec
from backtesting.splits import LEAD_BARS, plan_split
from generator.grammar import Grammar, texts_of
from generator.variation import OPERATORS, cross, mutate

PARENTS = {spec.name: spec for spec in shipped_incumbents()}


@pytest.fixture(scope="module")
def grammar(kit: Any) -> Grammar:
    bars = kit.market()
    return Grammar(bars.upto(plan_split(bars).open.stop), EvaluationCache(), LEAD_BARS)


def parents(grammar: Grammar) -> list[dict[str, Any]]:
    """The incumbents and twenty random rules, as configurations."""
    drawn = [load_spec(grammar.spec(np.random.default_rng(seed), f"draw_{seed}"), origin="") for seed in range(20)]
    return [spec.config() for spec in (*PARENTS.values(), *(spec for spec in drawn if not isinstance(spec, list)))]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operator_gives_a_readable_child_or_nothing(operator: str, grammar: Grammar) -> None:
    children, legal, other = 0, 0, 0
    for number, parent in enumerate(parents(grammar)):
        for seed in range(6):
            child = OPERATORS[operator](copy.deepcopy(parent), grammar, rng(100 * number + seed))
            if child is None:
                continue
            children += 1
            # The text of every part is one that the language reads back; types and bounds may still refuse it.
            spec = load_spec(child, origin="")
            if isinstance(spec, list):
                continue
            legal += 1
            before = load_spec(parent, origin="")
            assert not isinstance(before, list)
            other += spec.spec_id != before.spec_id
            assert {error.rule for error in check_for_bars(spec, grammar.bars, max_warmup=10**6)} == set()
    assert children >= 6, "the operator hardly ever applies"
    assert legal >= 0.9 * children
    assert other >= 0.75 * legal


def test_five_hundred_mutations_leave_the_parent_as_it_was(grammar: Grammar) -> None:
    parent = PARENTS["bollinger_reversion"].config()
    before = json.dumps(parent, sort_keys=True)
    operators: Counter[str] = Counter()
    for seed in range(500):
        varied = mutate(parent, grammar, rng(seed))
        if varied is not None:
            operators[varied[0]] += 1
            spec = load_spec(varied[1], origin="")
            assert not isinstance(spec, list), (varied, [str(error) for error in spec])
    assert json.dumps(parent, sort_keys=True) == before
    # Nothing is joined in this rule, so `widen` has nothing to drop; the others each get about 1 in 6.
    assert set(operators) == set(OPERATORS) - {"widen"}
    assert min(operators.values()) > 50


def test_retune_moves_a_window_to_its_neighbour_on_the_grid(grammar: Grammar) -> None:
    parent = {
        "kind": "rules",
        "name": "one",
        "hypothesis": "",
        "long": {"enter": "close > sma(close, 50)", "exit": None},
    }
    seen = set()
    for seed in range(30):
        child = OPERATORS["retune"](copy.deepcopy(parent), grammar, rng(seed))
        assert child is not None
        node = parse(child["long"]["enter"])
        seen.add(node.text)  # type: ignore[union-attr]
    # The grid is 5, 10, 20, 50, 100, 200.
    assert seen == {"close > sma(close, 20)", "close > sma(close, 100)"}


def test_narrow_only_asks_for_more_and_widen_for_less(grammar: Grammar) -> None:
    bars, cache = grammar.bars, EvaluationCache()
    enter = "rsi(close, 5) < 40 and close > sma(close, 20)"
    parent = {"kind": "rules", "name": "one", "hypothesis": "", "long": {"enter": enter, "exit": None}}
    held = condition(parse(enter), bars, cache)  # type: ignore[arg-type]
    for seed in range(20):
        narrow = OPERATORS["narrow"](copy.deepcopy(parent), grammar, rng(seed))
        assert narrow is not None
        assert not np.any(condition(parse(narrow["long"]["enter"]), bars, cache) & ~held)  # type: ignore[arg-type]
        widen = OPERATORS["widen"](copy.deepcopy(parent), grammar, rng(seed))
        assert widen is not None
        assert not np.any(held & ~condition(parse(widen["long"]["enter"]), bars, cache))  # type: ignore[arg-type]


def test_flip_turns_a_comparison_and_a_score_round(grammar: Grammar) -> None:
    rules = {"kind": "rules", "name": "one", "hypothesis": "", "long": {"enter": "rsi(close, 5) < 40", "exit": None}}
    child = OPERATORS["flip"](copy.deepcopy(rules), grammar, rng(1))
    assert child is not None
    assert parse(child["long"]["enter"]) == parse("not (rsi(close, 5) < 40)")
    score = PARENTS["time_series_momentum"].config()
    flipped = OPERATORS["flip"](copy.deepcopy(score), grammar, rng(1))
    assert flipped is not None
    assert parse(flipped["score"]) == parse("-(lag(close, 21) / lag(close, 252) - 1)")


def test_operators_for_rules_say_nothing_about_a_score(grammar: Grammar) -> None:
    score = PARENTS["time_series_momentum"].config()
    assert OPERATORS["narrow"](copy.deepcopy(score), grammar, rng(1)) is None
    assert OPERATORS["reexit"](copy.deepcopy(score), grammar, rng(1)) is None
    assert cross(score, PARENTS["golden_cross"].config(), rng(1)) is None
    assert cross(PARENTS["golden_cross"].config(), score, rng(1)) is None


def test_cross_takes_the_first_parent_and_one_condition_of_the_second() -> None:
    first, second = PARENTS["golden_cross"].config(), PARENTS["donchian_breakout"].config()
    theirs = set(texts_of(second).values())
    ways = set()
    for seed in range(40):
        child = cross(first, second, rng(seed))
        assert child is not None
        changed = [path for path, text in texts_of(child).items() if texts_of(first)[path] != text]
        assert len(changed) == 1
        text = texts_of(child)[changed[0]]
        ways.add("replaced" if text in theirs else "joined")
        assert any(other in text for other in theirs)
        assert not isinstance(load_spec(child, origin=""), list)
    assert ways == {"replaced", "joined"}
