"""Code length: what a rule costs, and that all rules together cost no more than one."""

from itertools import product
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategy import code_length as code
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.indicators import FIELDS, FUNCTIONS
from agents.strategy.spec import load_spec


def spec(**parts):
    given = {"name": "some_rule", "hypothesis": "", "kind": "rules", **parts}
    loaded = load_spec(given, origin="")
    assert not isinstance(loaded, list), loaded
    return loaded


def simple(enter="close > sma(close, 200)", leave="not (close > sma(close, 200))", **parts):
    return spec(long={"enter": enter, "exit": leave}, **parts)


# --- What one rule costs --------------------------------------------------------------------------------------------


def test_a_simple_trend_rule_by_hand():
    # rules 1, long only 1, comparison 1, ">" 1; close 2 - log2(1/2 + 1/64); function -log2(3/8), sma among 16 common
    # -log2(0.75/16 + 0.25/256), close as its argument 1, 200 on a grid of six; exit mirror 2, no protection 1, size 1.
    close = 2 - log2(1 / 2 + 1 / 64)
    average = -log2(3 / 8) - log2(0.75 / 16 + 0.25 / 256) + 1 - log2(7 / 8) + log2(6)
    assert code.code_bits(simple()) == pytest.approx(1 + 1 + 1 + 1 + close + average + 2 + 1 + 1)
    assert code.code_bits(simple()) < 21


def test_name_and_prose_are_free_and_spelling_does_not_matter():
    other = simple(enter="sma(close, 200) < close", name="another", hypothesis="words are free")
    assert code.code_bits(other) == code.code_bits(simple())


def test_coarse_numbers_are_cheaper_than_tuned_ones():
    coarse, tuned = simple("close > sma(close, 200)", None), simple("close > sma(close, 193)", None)
    # 193 leaves the grid: three digits and an exponent instead of one place in six.
    assert code.code_bits(tuned) > code.code_bits(coarse) + 10
    assert code.number_bits(0.5) < code.number_bits(0.55) < code.number_bits(0.5512)


def test_exits_that_repeat_the_entry_cost_two_bits():
    crossed = "crosses_above(sma(close, 50), sma(close, 200))"
    back = "crosses_below(sma(close, 50), sma(close, 200))"
    assert code.code_bits(simple(crossed, back)) == code.code_bits(simple(crossed, None))
    assert code.code_bits(simple("close > open", "open > close")) == code.code_bits(simple("close > open", None))
    assert code.code_bits(simple("close > open", "close > high")) > code.code_bits(simple("close > open", None)) + 5


def test_every_part_that_does_something_costs_something():
    bare = code.code_bits(simple())
    assert code.code_bits(simple(protect={"stop_atr": 2.0})) > bare
    assert code.code_bits(simple(sizing={"kind": "volatility"})) > bare
    assert code.code_bits(simple("close > sma(close, 200) and volume > 0")) > bare


def test_all_shipped_rules_have_a_length():
    for shipped in shipped_incumbents():
        assert 5 < code.code_bits(shipped) < 200


# --- Kraft ----------------------------------------------------------------------------------------------------------


def test_the_shares_of_every_choice_add_up_to_at_most_one():
    for shares in (
        code.NUMERIC_SHARES,
        code.CONDITION_SHARES,
        code.COMPARISON_SHARES,
        code.KIND_SHARES,
        code.SIDE_SHARES,
        code.EXIT_SHARES,
    ):
        assert sum(shares.values()) <= 1.0
    for boolean, common, places in (
        (False, code.COMMON, code.NUMERIC_PLACES),
        (True, code.COMMON_CONDITIONS, code.CONDITION_PLACES),
    ):
        names = [f.name for f in FUNCTIONS.values() if (f.result is Dimension.BOOLEAN) == boolean]
        assert set(common) <= set(names)
        # The registry can grow up to the reserved places before the code has to be renewed.
        assert len(names) <= places
        total = sum((1 - code.ON_COMMON) / places + (code.ON_COMMON / len(common) if n in common else 0) for n in names)
        assert total <= 1.0
    fields = [(1 / 2 if name == "close" else 0.0) + 1 / (2 * code.FIELD_PLACES) for name in FIELDS]
    assert len(fields) <= code.FIELD_PLACES
    assert sum(fields) <= 1.0


def test_the_weights_of_all_numbers_of_three_digits_add_up_to_less_than_one():
    grid = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
    numbers = {0.0, *grid}
    for sign, mantissa, exponent in product((1, -1), range(1, 1000), range(-12, 13)):
        numbers.add(float(f"{sign * mantissa}e{exponent}"))
    total = sum(2.0 ** -code.number_bits(x, grid) for x in numbers)
    assert 0.9 < total <= 1.0
    assert sum(2.0 ** -code.number_bits(x) for x in numbers) <= 1.0


def test_the_weights_of_a_whole_language_of_short_conditions_add_up_to_less_than_one():
    numeric = ["close", "open", "high", "low", "volume"]
    numeric += [
        f"{f}({x}, {w})" for f in ("sma", "ema", "lag", "roc") for x in ("close", "open") for w in range(2, 120)
    ]
    texts = {}
    for left, sign, right in product(numeric[:300], (">", "<", ">=", "<="), numeric[:40]):
        node = parse(f"{left} {sign} {right}")
        if isinstance(node, Node):
            texts[node.text] = node
    assert len(texts) > 5000
    assert sum(2.0 ** -code.condition_bits(node) for node in texts.values()) <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: float(f"{x:.6g}")),
    grid=st.sampled_from([(), (5.0, 10.0)]),
)
def test_every_number_has_a_finite_positive_length(value, grid):
    assert 0.0 < code.number_bits(value, grid) < 80.0


def test_a_portfolio_has_a_grammar_of_its_own():
    def portfolio(**more):
        config = {"kind": "portfolio", "name": "winners", "hypothesis": "-", "score": "roc(close, 60)"}
        spec = load_spec({**config, "select": {"kind": "share", "share": 0.1}, **more}, origin="")
        assert not isinstance(spec, list)
        return spec

    plain = portfolio()
    # Kind 3, no universe and no groups 2, usual share, weight and rebalancing 3, direction log2(3), gross and cap 2.
    assert code.code_bits(plain) == pytest.approx(code.numeric_bits(plain.nodes["score"]) + 3 + 2 + 3 + log2(3) + 2)
    # `sector` is six letters and an end, at six bits each.
    assert code.code_bits(portfolio(neutralise="sector")) == pytest.approx(code.code_bits(plain) + 42)
    # Kinds of weight: the usual one, or one of three.
    assert code.code_bits(portfolio(weight={"kind": "score"})) == pytest.approx(code.code_bits(plain) + log2(3))
    ensemble = {"kind": "ensemble", "name": "both", "hypothesis": "-"}
    members = [{"spec": plain.config()}, {"spec": portfolio(direction="both").config()}]
    spelt = load_spec({**ensemble, "members": members}, origin="")
    assert not isinstance(spelt, list)
    assert code.code_bits(spelt) > 10 * code.code_bits(plain)
