"""Split: which bars may be looked at (open), and which judge once (sealed).

The first `lead_bars` belong to no window: they warm indicators up, so that every rule of a run is measured on
the same days and warm-up is never counted as performance. The `embargo_bars` between the windows belong to none either.
"""

from dataclasses import asdict, dataclass

from backtesting.bars import Bars
from backtesting.errors import DataError, InvalidConfig

LEAD_BARS = 300
EMBARGO_BARS = 21
OPEN_SHARE = 0.30
MIN_WINDOW_BARS = 252


@dataclass(frozen=True)
class Window:
    """Bars `start` to `stop - 1` of a market."""

    start: int
    stop: int

    @property
    def n_bars(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Split:
    """The open window, the sealed window and what lies before and between them; all in bar numbers."""

    open: Window
    sealed: Window

    @property
    def lead_bars(self) -> int:
        return self.open.start

    @property
    def embargo_bars(self) -> int:
        return self.sealed.start - self.open.stop

    def as_dict(self) -> dict[str, dict[str, int]]:
        return asdict(self)


def plan_split(
    bars: Bars,
    *,
    open_share: float = OPEN_SHARE,
    lead_bars: int = LEAD_BARS,
    embargo_bars: int = EMBARGO_BARS,
) -> Split:
    """The oldest `open_share` of the usable bars is open, the rest, after the embargo, is sealed.

    Raises:
        DataError: too few bars for both windows; the sentence says how many are needed.
        InvalidConfig: a share outside 0.1 to 0.9, or a negative lead or embargo.
    """
    if not 0.1 <= open_share <= 0.9:
        raise InvalidConfig(f"open_share is {open_share!r}, allowed is 0.1 to 0.9", next_step="choose a share between")
    if lead_bars < 0 or embargo_bars < 0:
        raise InvalidConfig("lead_bars and embargo_bars cannot be negative", next_step="give 0 or more bars")
    usable = bars.n_bars - lead_bars - embargo_bars
    n_open = int(usable * open_share)
    if n_open < MIN_WINDOW_BARS or usable - n_open < MIN_WINDOW_BARS:
        share = min(open_share, 1.0 - open_share)
        needed = lead_bars + embargo_bars + int(MIN_WINDOW_BARS / share) + 1
        raise DataError(
            f"{bars.source} has {bars.n_bars} bars, an open and a sealed window need {needed}",
            next_step="ask for a longer history",
        )
    cut = lead_bars + n_open
    return Split(open=Window(lead_bars, cut), sealed=Window(cut + embargo_bars, bars.n_bars))
