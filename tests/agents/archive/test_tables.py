import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.archive import tables
from agents.archive.store import Archive

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", sorted(tables.METADATA.tables))
def test_columns_are_those_that_the_migrations_make(archive: Archive, name: str) -> None:
    with archive.transaction() as connection:
        made = [row.name for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")]
    assert set(made) == {column.name for column in tables.METADATA.tables[name].columns}


def test_every_table_is_described(archive: Archive) -> None:
    with archive.transaction() as connection:
        names = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'table'").scalars())
    assert names - {"sqlite_sequence", "migrations"} == set(tables.METADATA.tables)


@given(JSON_VALUES)
def test_json_comes_back_equal(value: object) -> None:
    text = tables.json_text(value)
    text.encode("utf-8")
    assert json.loads(text) == value


def test_what_has_no_json_form_is_null() -> None:
    assert tables.json_text({"b": math.nan, "a": (math.inf, -math.inf, 1.5)}) == '{"a":[null,null,1.5],"b":null}'


def test_half_a_surrogate_pair_is_escaped_not_lost() -> None:
    assert tables.json_text("é") == '"é"'
    assert tables.json_text("é\ud800") == '"\\u00e9\\ud800"'
