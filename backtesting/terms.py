"""Terms: how orders become fills on one market, apart from what trading costs.

The defaults are those of a cash account in shares that trades at the next open. Nothing here is a guess about
a market: multiplier, lots, rolls and funding are named by the caller or are not there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from backtesting.errors import InvalidConfig


@dataclass(frozen=True)
class Terms:
    """The conventions of the market that is traded; docs/engine.md has the rules in full.

    Attributes:
        fill: an order decided at the close of bar t fills at the next bar's "open" or at the next bar's "close".
        multiplier: account currency for one point of price and one unit; one number, or one an asset.
        lot: orders come in whole multiples of this many units (1 for futures contracts), rounded towards no trade;
            0 for any fraction. One number, or one an asset.
        roll_every: a held position is rolled at every so many bars of the market; 0 for never.
        roll: name of a feature that is not 0 on bars at which a held position is rolled; None for none.
        funding: name of a feature with the rate that a long pays a short at the close of a bar, as a fraction of
            the notional (a perpetual's funding over the bar); None for none.
        delisted_after: an asset without a price for so many bars in a row is gone: what is held is settled at its
            last close, and the trade ends as "delisted"; 0 for never.
        haircut: what a settlement of a delisted asset loses of its last close, 0 to 1, for shorts too.
    """

    fill: Literal["open", "close"] = "open"
    multiplier: float | tuple[float, ...] = 1.0
    lot: float | tuple[float, ...] = 0.0
    roll_every: int = 0
    roll: str | None = None
    funding: str | None = None
    delisted_after: int = 10
    haircut: float = 0.0

    def __post_init__(self) -> None:
        if self.fill not in ("open", "close"):
            raise _refused("fill", self.fill, "open or close")
        for value in _each(self.multiplier):
            if not 0.0 < value <= 1e9:
                raise _refused("multiplier", value, "above 0")
        for value in _each(self.lot):
            if not 0.0 <= value <= 1e9:
                raise _refused("lot", value, "0 or more")
        for name in ("roll_every", "delisted_after"):
            if getattr(self, name) < 0:
                raise _refused(name, getattr(self, name), "0 or more")
        if not 0.0 <= self.haircut <= 1.0:
            raise _refused("haircut", self.haircut, "0 to 1")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The terms of `as_dict`, read back from JSON."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**read)

    def as_dict(self) -> dict[str, Any]:
        """Every term by name, as JSON holds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def plain(self) -> bool:
        """Whether nothing but next-bar fills of any fraction is asked for."""
        return (
            self.fill == "open"
            and self.multiplier == 1.0
            and self.lot == 0.0
            and not self.roll_every
            and self.roll is None
            and self.funding is None
        )


def _each(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _refused(name: str, value: object, allowed: str) -> InvalidConfig:
    return InvalidConfig(f"terms.{name} is {value!r}, allowed is {allowed}", next_step="correct the number")


CASH = Terms()
