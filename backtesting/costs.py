"""CostModel: what trading costs, written out on every result.

There is no default and no zero that nobody asked for: a caller names a model or writes the numbers. The parts that
most markets do not have (a fee a unit, a minimum, impact) are 0 unless they are written down.
"""

from dataclasses import asdict, dataclass, fields, replace

from backtesting.errors import InvalidConfig

LIMITS = {"commission_per_unit": 1e6, "commission_minimum": 1e6, "impact": 10.0}


@dataclass(frozen=True)
class CostModel:
    """Costs of trading and of holding.

    Attributes:
        commission_bps: of the traded notional, a side, in basis points; paid from cash.
        half_spread_bps: the fill is worse than the quoted price by this much, a side.
        slippage_bps: on top of the half spread, a side.
        borrow_annual: fee on the short notional, a year, as a fraction (0.005 is 50 bp).
        financing_annual: rate paid on negative cash, a year, as a fraction. Positive cash earns nothing.
        commission_per_unit: on top of `commission_bps`, for each unit or contract a side, in account currency.
        commission_minimum: least commission of an order, in account currency.
        impact: Y of the square-root law: a market order of Q units makes its fill worse by
            Y * volatility a bar * sqrt(Q / volume a bar) of the price (Almgren et al. 2005; Y is about 1).
            Volatility and volume are means of the last 20 bars, known when the order was decided.
        participation: most of the usual volume of a bar that one order may open, 0.01 is 1 %; 0 for no limit.
            The rest of such an order is dropped; orders that close are never cut.
    """

    commission_bps: float
    half_spread_bps: float
    slippage_bps: float
    borrow_annual: float
    financing_annual: float
    commission_per_unit: float = 0.0
    commission_minimum: float = 0.0
    impact: float = 0.0
    participation: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            limit = LIMITS.get(item.name, 1_000.0 if item.name.endswith("_bps") else 1.0)
            if not 0.0 <= value <= limit:  # also false for NaN
                raise InvalidConfig(
                    f"costs.{item.name} is {value!r}, allowed is 0 to {limit:g}",
                    next_step="correct the number; rates a side are in basis points, annual rates are fractions",
                )

    @property
    def adverse(self) -> float:
        """How much worse than the quoted price a fill is, as a fraction."""
        return (self.half_spread_bps + self.slippage_bps) * 1e-4

    @property
    def commission(self) -> float:
        """Commission a side as a fraction of the notional."""
        return self.commission_bps * 1e-4

    def times(self, factor: float) -> "CostModel":
        """The same model with every cost multiplied, for sensitivity checks; `participation` is no cost and stays."""
        dearer = CostModel(**{name: value * factor for name, value in asdict(self).items() if name != "participation"})
        return replace(dearer, participation=self.participation)

    @property
    def plain(self) -> bool:
        """Whether every cost is proportional to the notional, whatever the size of the order."""
        return not (self.commission_per_unit or self.commission_minimum or self.impact or self.participation)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


# Liquid US index products: 1-5 bp a side is usual; see docs/concepts.md for the sources of the figures.
LIQUID_INDEX = CostModel(
    commission_bps=1.0, half_spread_bps=1.0, slippage_bps=1.0, borrow_annual=0.005, financing_annual=0.05
)
FUTURES = CostModel(commission_bps=0.5, half_spread_bps=1.5, slippage_bps=1.5, borrow_annual=0.0, financing_annual=0.0)
CRYPTO = CostModel(commission_bps=7.5, half_spread_bps=2.0, slippage_bps=3.0, borrow_annual=0.10, financing_annual=0.10)
FREE = CostModel(0.0, 0.0, 0.0, 0.0, 0.0)

COSTS = {"liquid-index": LIQUID_INDEX, "futures": FUTURES, "crypto": CRYPTO, "free": FREE}
