"""Terms are bounded, and say themselves whether they ask for anything."""

import pytest

from backtesting.errors import InvalidConfig
from backtesting.terms import CASH, Terms


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"fill": "noon"}, "terms.fill is 'noon', allowed is open or close"),
        ({"multiplier": 0.0}, "terms.multiplier is 0.0, allowed is above 0"),
        ({"multiplier": (1.0, float("nan"))}, "terms.multiplier is nan, allowed is above 0"),
        ({"lot": -1.0}, "terms.lot is -1.0, allowed is 0 or more"),
        ({"roll_every": -1}, "terms.roll_every is -1, allowed is 0 or more"),
        ({"delisted_after": -1}, "terms.delisted_after is -1, allowed is 0 or more"),
        ({"haircut": 1.5}, "terms.haircut is 1.5, allowed is 0 to 1"),
    ],
)
def test_terms_outside_their_range_are_refused_with_a_sentence(terms, sentence):
    with pytest.raises(InvalidConfig) as caught:
        Terms(**terms)
    assert sentence in str(caught.value)


def test_the_default_asks_for_nothing():
    assert Terms() == CASH
    assert CASH.plain
    asks = [{"fill": "close"}, {"multiplier": 2.0}, {"lot": 1.0}, {"roll_every": 5}, {"roll": "x"}, {"funding": "x"}]
    assert [Terms(**one).plain for one in asks] == [False] * len(asks)
