"""FUNCTIONS: everything an expression may call, one entry a function; the families are put together here.

The one registry feeds the parser, the type checker, the evaluator, the prompt's vocabulary, the docs page, the tests
and the random proposer: a new entry is known to all of them the moment it exists. It never looks ahead: each `compute`
is causal, and a test truncates the bars and compares, for every entry.
"""

from agents.strategy.functions import (
    arithmetic,
    calendar,
    cross_section,
    logic,
    momentum,
    statistics,
    trend,
    volatility,
    volume,
)
from agents.strategy.functions.entry import MAX_WINDOW, Function, Kind, Parameter, Rule
from agents.strategy.functions.fields import (
    FIELD_ALIASES,
    FIELDS,
    RANGE_FIELDS,
    SHORTHANDS,
    field_values,
    typical_price,
)

__all__ = [
    "ALIASES",
    "FIELDS",
    "FIELD_ALIASES",
    "FUNCTIONS",
    "MAX_WINDOW",
    "RANGE_FIELDS",
    "SHORTHANDS",
    "Function",
    "Kind",
    "Parameter",
    "Rule",
    "field_values",
    "typical_price",
]

_FAMILIES = (trend, momentum, statistics, volatility, volume, calendar, logic, arithmetic, cross_section)

FUNCTIONS: dict[str, Function] = {entry.name: entry for family in _FAMILIES for entry in family.ENTRIES}

ALIASES: dict[str, str] = {alias: entry.name for entry in FUNCTIONS.values() for alias in entry.aliases}
