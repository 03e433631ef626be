"""Costs are written out, bounded, and scale as a whole."""

import pytest

from backtesting.costs import COSTS, FREE, LIQUID_INDEX, CostModel
from backtesting.errors import InvalidConfig


def test_spread_and_slippage_make_the_fill_worse_and_commission_is_apart():
    costs = CostModel(5.0, 2.0, 3.0, 0.0, 0.0)
    assert costs.adverse == pytest.approx(0.0005)  # 2 bp + 3 bp
    assert costs.commission == pytest.approx(0.0005)  # 5 bp


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"commission_bps": -1.0}, "costs.commission_bps is -1.0, allowed is 0 to 1000"),
        ({"slippage_bps": 1001.0}, "costs.slippage_bps is 1001.0, allowed is 0 to 1000"),
        ({"half_spread_bps": float("nan")}, "costs.half_spread_bps is nan, allowed is 0 to 1000"),
        ({"impact": 11.0}, "costs.impact is 11.0, allowed is 0 to 10"),
        ({"participation": 1.5}, "costs.participation is 1.5, allowed is 0 to 1"),
        ({"borrow_annual": 1.5}, "costs.borrow_annual is 1.5, allowed is 0 to 1"),
        ({"financing_annual": float("inf")}, "costs.financing_annual is inf, allowed is 0 to 1"),
    ],
)
def test_a_cost_outside_its_range_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises(InvalidConfig) as caught:
        CostModel(**{**FREE.as_dict(), **changes})
    assert sentence in str(caught.value)


def test_nothing_is_free_by_default():
    with pytest.raises(TypeError):
        CostModel()  # type: ignore[call-arg]
    assert [name for name, costs in COSTS.items() if costs == FREE] == ["free"]


def test_times_multiplies_every_cost_and_leaves_the_limit_on_participation():
    dear = CostModel(1.0, 1.0, 1.0, 0.1, 0.1, commission_per_unit=2.0, impact=1.0, participation=0.01).times(2.0)
    assert (dear.commission_per_unit, dear.impact, dear.participation) == (4.0, 2.0, 0.01)
    assert LIQUID_INDEX.times(2.0).as_dict() == {name: 2 * value for name, value in LIQUID_INDEX.as_dict().items()}
    assert LIQUID_INDEX.times(0.0) == FREE
