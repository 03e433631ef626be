"""Price: what a token costs at an address, out of a dated table that a user can override.

A model that is not in the table is unpriced (`None`), never free. Prices belong to an address, not to a model name:
a server on this machine that calls its model `gpt-4o` does not send the vendor's bill.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backtesting.errors import InvalidConfig
from generator.llm.client import Usage

SHIPPED = Path(__file__).with_name("prices.json")
_NUMBERS = ("input", "cached", "output")
_WORDS = ("date", "source")
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}\Z")


@dataclass(frozen=True)
class Price:
    """USD for a million tokens of each kind, the date the figure was read and where."""

    input: float
    cached: float
    output: float
    date: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        """For the record of a run, which freezes the prices that it was charged by."""
        return asdict(self)


FREE = Price(0.0, 0.0, 0.0, date="always", source="no model is asked")


def load_prices(override: Path | None = None) -> dict[str, Price]:
    """Prices by model address; those of the file `override` win over the shipped ones. Raises InvalidConfig."""
    return {**_shipped(), **(_read(override) if override is not None else {})}


def price_of(address: str, prices: Mapping[str, Price]) -> Price | None:
    """The price at `address` (`openai:gpt-4o-mini`); None is "unpriced". A dated snapshot has its model's price."""
    if address in prices:
        return prices[address]
    return prices.get(_SNAPSHOT.sub("", address))


def cost(usage: Usage, price: Price) -> float:
    """USD for `usage`. Cached tokens are a part of the input tokens and are charged at their own rate."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    fresh = usage.input_tokens - cached
    return (fresh * price.input + cached * price.cached + usage.output_tokens * price.output) / 1e6


@cache
def _shipped() -> dict[str, Price]:
    return _read(SHIPPED)


def _read(path: Path) -> dict[str, Price]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidConfig(
            f"the price table {path} cannot be read: {error}",
            next_step="write a JSON object of prices by model address",
        ) from None
    if not isinstance(table, dict):
        raise InvalidConfig(f"the price table {path} is not a JSON object", next_step="write prices by model address")
    return {address: _price(address, entry, path) for address, entry in table.items()}


def _price(address: str, entry: Any, path: Path) -> Price:
    def refuse(why: str) -> InvalidConfig:
        fields = ", ".join((*_NUMBERS, *_WORDS))
        return InvalidConfig(
            f"{path}: {address}: {why}", next_step=f"give each model {fields}; numbers are USD a million"
        )

    if not isinstance(entry, dict) or set(entry) != {*_NUMBERS, *_WORDS}:
        raise refuse("the entry has not the fields of a price")
    for name in _NUMBERS:
        value = entry[name]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not (0 <= value < 1e6 and math.isfinite(value))
        ):
            raise refuse(f"{name} is {value!r}, allowed is 0 to 1,000,000")
    for name in _WORDS:
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise refuse(f"{name} is missing")
    return Price(
        input=float(entry["input"]),
        cached=float(entry["cached"]),
        output=float(entry["output"]),
        date=entry["date"],
        source=entry["source"],
    )
