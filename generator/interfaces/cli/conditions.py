"""Conditions: what trading costs and how a market trades, as a command names them: a known name, or a small file.

A file is a mapping in YAML or JSON, read as strictly as a spec. Nothing is filled in for a market: what a file of terms
leaves out is the default of `Terms`, and a file of costs names all five parts that have no default.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agents.strategy.spec_text import read_mapping
from backtesting.costs import COSTS, CostModel
from backtesting.errors import InvalidConfig, UsageError
from backtesting.terms import CASH, Terms

WORDS = ("fill", "roll", "funding")
"""The terms that are words; all others are numbers."""
WHOLE = ("roll_every", "delisted_after")


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
    values = _mapping(text)
    _known(text, values, CostModel)
    missing = [item.name for item in fields(CostModel) if item.default is MISSING and item.name not in values]
    if missing:
        raise InvalidConfig(
            f"{text}: {', '.join(missing)} is missing: a cost that is not written down would be zero in silence",
            next_step="write it, 0 if there is none; rates a side are in basis points, annual rates are fractions",
        )
    return CostModel(**{name: _number(text, name, value) for name, value in values.items()})


def terms_named(text: str | None) -> Terms:
    """The terms in a file; None for those of a cash account in shares.

    Raises:
        InvalidConfig: no such file, or it holds no terms.
    """
    if text is None:
        return CASH
    values = _mapping(text)
    _known(text, values, Terms)
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in WORDS:
            if not isinstance(value, str):
                raise InvalidConfig(f"{text}: {name} is {value!r}, wanted is a word", next_step="correct the file")
            found[name] = value
        elif name in WHOLE:
            if not isinstance(value, int) or isinstance(value, bool):
                raise InvalidConfig(f"{text}: {name} is {value!r}, wanted is a whole number", next_step="correct it")
            found[name] = value
        elif isinstance(value, list):
            if name not in ("multiplier", "lot"):
                raise InvalidConfig(f"{text}: {name} is one number, not a list", next_step="correct the file")
            found[name] = tuple(_number(text, name, item) for item in value)
        else:
            found[name] = _number(text, name, value)
    return Terms(**found)


def _mapping(file: str) -> dict[str, Any]:
    try:
        found = read_mapping(Path(file).read_bytes())
    except OSError as error:
        reason = (error.strerror or "not readable").lower()
        raise InvalidConfig(f"{file} cannot be read: {reason}", next_step="check the path") from None
    if isinstance(found, str):
        raise InvalidConfig(f"{file}: {found}", next_step="write one name: value a line")
    return found


def _known(file: str, values: Mapping[str, Any], kind: type[CostModel] | type[Terms]) -> None:
    known = [item.name for item in fields(kind)]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidConfig(f"{file}: unknown key {name[:40]!r}{hint}", next_step=f"known are {', '.join(known)}")


def _number(file: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidConfig(f"{file}: {name} is {value!r}, wanted is a number", next_step="correct the file")
    return float(value)
