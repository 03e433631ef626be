"""The length of a rule in words: what it must show where whoever proposed it may know the history."""

from agents.strategy.code_length import code_bits
from agents.strategy.spec import Spec
from backtesting.calibration import BARS_A_YEAR
from backtesting.occam import detectable_sharpe


def price_of_length(spec: Spec, years: float) -> str:
    """What a rule of this length must show where its proposer may know the history, as a sentence."""
    bits = code_bits(spec)
    needed = detectable_sharpe(bits, round(years * BARS_A_YEAR), alpha=0.05, periods_per_year=BARS_A_YEAR)
    return (
        f"Length: {bits:.0f} bits. Proposed by somebody who may know the history, it must show a residual Sharpe of"
        f" about {needed:.1f} on {years:.0f} years."
    )
