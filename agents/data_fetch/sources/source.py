"""Source: what every origin of prices promises. One function a scheme, in the plain dict `data_fetch.SOURCES`.

    load(market, *, cache_dir, clock) -> Loaded

`market.scheme` is its own; the bars come back checked, inside `market.start` and `market.end`, with `source` set to
`market.address`; whatever was left out or changed on the way is a note, never silent. A source that cannot deliver
raises DataError. Sources without network or clock ignore the two arguments: they are the same for all so that the
caller needs no cases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from agents.data_fetch.market import Market
from agents.data_fetch.quality import Flag
from backtesting.bars import Bars

Clock = Callable[[], datetime]
"""Gives the time now, with a time zone."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """Bars and what had to be done to get them."""

    bars: Bars
    notes: tuple[Flag, ...] = ()


class Source(Protocol):
    """A function that loads one scheme."""

    def __call__(self, market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
        """The bars behind `market`."""
        ...
