"""FIELDS: the series of the bars that an expression may name, and the short names that stand for a call.

A daily bar has no volume-weighted price of its own; `vwap` alone is read as vwap(1), whose formula says what it is.
"""

from agents.strategy.expression.types import Dimension
from agents.strategy.functions.entry import PRICE, VOLUME
from backtesting.bars import Bars, FloatArray

FIELDS: dict[str, Dimension] = {
    "open": PRICE,
    "high": PRICE,
    "low": PRICE,
    "close": PRICE,
    "hlc3": PRICE,
    "volume": VOLUME,
}

# Fields that mean nothing where a market has one price a day.
RANGE_FIELDS = ("open", "high", "low", "hlc3")

FIELD_ALIASES = {"typical_price": "hlc3", "typical": "hlc3"}

# Names that people write without brackets, and the call each stands for.
SHORTHANDS = {"returns": "roc(close, 1)", "vwap": "vwap(1)"}


def field_values(bars: Bars, name: str) -> FloatArray:
    """A field of the bars; hlc3 is (high + low + close) / 3."""
    if name == "hlc3":
        return typical_price(bars)
    values: FloatArray = getattr(bars, name)
    return values


def typical_price(bars: Bars) -> FloatArray:
    """(high + low + close) / 3, with a close that does not move giving exactly the close."""
    return bars.close + ((bars.high - bars.close) + (bars.low - bars.close)) / 3.0
