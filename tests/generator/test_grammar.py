"""The random grammar: what it draws on each kind of market, and that all of it is legal."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from agents.strategy.expression.evaluate import EvaluationCache, condition, numbers
from agents.strategy.expression.nodes import FIELD, Node, distinct_nodes
from agents.strategy.expression.parse import parse
from agents.strategy.indicators import FUNCTIONS, RANGE_FIELDS
from agents.strategy.spec import check_for_bars, derived_nodes, load_spec
from backtesting.bars import Bars
from backtesting.splits import LEAD_BARS, plan_split
from generator.grammar import FAMILIES, Grammar, texts_of

DRAWS = 500


def open_bars(kit: Any, address: str) -> Bars:
    bars = kit.market(address)
    return bars.upto(plan_split(bars).open.stop)


def grammar_on(bars: Bars) -> Grammar:
    return Grammar(bars, EvaluationCache(), LEAD_BARS)


def without_volume(bars: Bars) -> Bars:
    return replace(bars, volume=np.full_like(bars.volume, np.nan))


def closes_only(bars: Bars) -> Bars:
    return replace(without_volume(bars), open=bars.close, high=bars.close, low=bars.close, close_only=True)


def draws(grammar: Grammar, n_draws: int = DRAWS) -> list[dict[str, Any]]:
    return [grammar.spec(np.random.default_rng(seed), f"draw_{seed:04d}") for seed in range(n_draws)]


def nodes_of(config: dict[str, Any]) -> list[Node]:
    roots = [parse(text) for text in texts_of(config).values()]
    assert all(isinstance(root, Node) for root in roots), config
    return distinct_nodes(*[root for root in roots if isinstance(root, Node)])


def reads(config: dict[str, Any]) -> set[str]:
    """Every field that a configuration reads, those of its functions included."""
    found: set[str] = set()
    for node in nodes_of(config):
        found.update(FUNCTIONS[node.op].reads if node.op in FUNCTIONS else (node.name,) if node.op == FIELD else ())
    return found


def test_five_hundred_draws_use_every_family_and_are_legal_but_for_their_warmup(kit: Any) -> None:
    bars = open_bars(kit, "sample:sp500")
    grammar = grammar_on(bars)
    families: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    ids = set()
    for config in draws(grammar):
        spec = load_spec(config, origin="")
        assert not isinstance(spec, list), (config, [str(error) for error in spec])
        # A join of two long windows may still need too many bars; the arm asks, like for any proposal.
        assert {error.rule for error in check_for_bars(spec, bars, max_warmup=LEAD_BARS)} <= {"warmup"}
        families.update({FUNCTIONS[node.op].family for node in nodes_of(config) if node.op in FUNCTIONS})
        kinds[spec.kind] += 1
        ids.add(spec.spec_id)
    assert set(FAMILIES) <= set(families)
    assert all(families[family] >= 20 for family in FAMILIES), families
    assert kinds["score"] > 25
    assert kinds["rules"] > 300
    assert len(ids) > 0.95 * DRAWS


def test_every_function_of_every_family_is_drawn_some_time(kit: Any) -> None:
    grammar = grammar_on(open_bars(kit, "sample:sp500"))
    drawn = {node.op for config in draws(grammar, 1800) for node in nodes_of(config)}
    wanted = {function.name for family in FAMILIES for function in grammar.functions(family)}
    # `abs`, `min` and the like belong to no family that is drawn; of the others few may have had bad luck.
    assert len(wanted - drawn) <= len(wanted) // 50, wanted - drawn


def test_market_without_volume_gets_no_volume(kit: Any) -> None:
    bars = without_volume(open_bars(kit, kit.MARKET))
    grammar = grammar_on(bars)
    assert "volume" not in grammar.families
    for config in draws(grammar, 250):
        assert "volume" not in reads(config), config
        spec = load_spec(config, origin="")
        assert not isinstance(spec, list)
        assert {error.rule for error in check_for_bars(spec, bars, max_warmup=LEAD_BARS)} <= {"warmup"}


def test_market_of_closes_gets_neither_ranges_nor_stops_in_ranges(kit: Any) -> None:
    bars = closes_only(open_bars(kit, kit.MARKET))
    for config in draws(grammar_on(bars), 250):
        assert not reads(config).intersection((*RANGE_FIELDS, "volume")), config
        assert not {"stop_atr", "trail_atr", "target_atr"}.intersection(config.get("protect", {}))
        spec = load_spec(config, origin="")
        assert not isinstance(spec, list)
        assert {error.rule for error in check_for_bars(spec, bars, max_warmup=LEAD_BARS)} <= {"warmup"}
        assert "protect" not in derived_nodes(spec)


def test_real_market_of_closes_can_be_drawn_on(kit: Any) -> None:
    bars = kit.market("sample:wti")
    window = bars.upto(plan_split(bars).open.stop)
    assert all(load_spec(config, origin="") for config in draws(grammar_on(window), 30))


def test_same_random_numbers_give_the_same_draw(kit: Any) -> None:
    bars = open_bars(kit, kit.MARKET)
    assert draws(grammar_on(bars), 20) == draws(grammar_on(bars), 20)


def test_thresholds_are_quantiles_of_the_open_bars_and_most_conditions_are_sometimes_true(kit: Any) -> None:
    bars = open_bars(kit, kit.MARKET)
    grammar = grammar_on(bars)
    shares = []
    for seed in range(150):
        node = parse(grammar.condition(np.random.default_rng(seed), 0))
        assert isinstance(node, Node)
        shares.append(float(np.mean(condition(node, bars, EvaluationCache()))))
    # Drawn blindly, most would never or always hold. True on more than 1 % and less than 99 % of the days:
    assert np.mean([0.01 < share < 0.99 for share in shares]) > 0.85


def test_a_score_takes_both_signs(kit: Any) -> None:
    bars = open_bars(kit, kit.MARKET)
    grammar = grammar_on(bars)
    for seed in range(40):
        node = parse(grammar.ratio(np.random.default_rng(seed)))
        assert isinstance(node, Node)
        values = numbers(node, bars, EvaluationCache())
        values = values[np.isfinite(values)]
        assert np.mean(values > 0) >= 0.05
        assert np.mean(values < 0) >= 0.05


def test_what_the_future_holds_changes_no_draw(kit: Any) -> None:
    whole = kit.market()
    stop = plan_split(whole).open.stop
    other = kit.with_other_future(whole, stop)
    assert draws(grammar_on(whole.upto(stop)), 30) == draws(grammar_on(other.upto(stop)), 30)


def test_texts_of_a_configuration_by_path() -> None:
    rules = {"kind": "rules", "long": {"enter": "a", "exit": None}, "short": {"enter": "b", "exit": "c"}, "sizing": {}}
    assert texts_of(rules) == {("long", "enter"): "a", ("short", "enter"): "b", ("short", "exit"): "c"}
    assert texts_of({"kind": "score", "score": "d"}) == {("score",): "d"}
