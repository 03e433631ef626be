"""Equal content has one id, on every machine and in every process."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtesting.hashing import arrays_id, bytes_id, canonical_json, content_id

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_the_id_says_how_it_was_made_and_stays_for_ever():
    # BLAKE2b, 16 bytes, of no bytes at all (RFC 7693 implementations agree on it)
    assert bytes_id(b"") == "b2:cae66941d9efbd404e4d88758ea67670"
    assert content_id({"b": 1, "a": [0.1, "ä"]}) == bytes_id('{"a":[0.1,"ä"],"b":1}'.encode())


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    assert content_id(dict(reversed(value.items()))) == content_id(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_a_number_without_a_json_form_has_no_id(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


def test_name_shape_type_and_header_are_part_of_an_array_id():
    ones = np.ones(4)
    ids = {
        arrays_id({}, {"a": ones}),
        arrays_id({}, {"b": ones}),
        arrays_id({"h": 1}, {"a": ones}),
        arrays_id({}, {"a": ones.reshape(2, 2)}),
        arrays_id({}, {"a": ones.astype(np.float32)}),
        arrays_id({}, {"a": ones[:2], "b": ones[2:]}),
    }
    assert len(ids) == 6


def test_memory_layout_and_order_of_names_are_not():
    table = np.arange(6.0).reshape(2, 3)
    assert arrays_id({}, {"a": table}) == arrays_id({}, {"a": np.asfortranarray(table)})
    assert arrays_id({}, {"a": table, "b": table}) == arrays_id({}, {"b": table, "a": table})
