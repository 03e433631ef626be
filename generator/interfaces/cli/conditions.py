"""Conditions: what trading costs and how a market trades, as a command names them: a known name, or a small file.

A file is a mapping in YAML or JSON, read as strictly as a spec. Nothing is filled in for a market: what a file of terms
leaves out is the default of `Terms`, and a file of costs names all five parts that have no default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agents.strategy.spec_text import read_mapping
from backtesting.costs import COSTS, CostModel
from backtesting.errors import InvalidConfig, UsageError
from backtesting.terms import CASH, Terms
from generator.config import read_costs, read_terms

Made = TypeVar("Made", CostModel, Terms)


@dataclass(frozen=True)
class Conditions:
    """What trading costs, under the name that the person gave, how the market trades, and the account at the start."""

    costs_name: str
    costs: CostModel
    terms: Terms
    capital: float


def costs_named(text: str) -> CostModel:
    """The cost model of this name, or the one in the file of this name.

    Raises:
        UsageError: neither.
        InvalidConfig: the file is no cost model.
    """
    if text in COSTS:
        return COSTS[text]
    if not Path(text).is_file():
        raise UsageError(
            f"unknown cost model {text!r}",
            next_step=f"choose one of {', '.join(COSTS)}, or name a file with the numbers",
        )
    return _read(text, read_costs, "write every part, 0 if there is none; a side in basis points, a year as a fraction")


def terms_named(text: str | None) -> Terms:
    """The terms in a file; None for those of a cash account in shares.

    Raises:
        InvalidConfig: no such file, or it holds no terms.
    """
    return CASH if text is None else _read(text, read_terms, "correct the file; docs/engine.md says what each means")


def _read(file: str, read: Callable[[Mapping[str, Any]], Made], advice: str) -> Made:
    try:
        found = read_mapping(Path(file).read_bytes())
    except OSError as error:
        reason = (error.strerror or "not readable").lower()
        raise InvalidConfig(f"{file} cannot be read: {reason}", next_step="check the path") from None
    if isinstance(found, str):
        raise InvalidConfig(f"{file}: {found}", next_step="write one name: value a line")
    try:
        return read(found)
    except ValueError as error:
        raise InvalidConfig(f"{file}: {error}", next_step=advice) from None
