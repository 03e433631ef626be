"""`synthetic:NAME?years=20&seed=1`: made-up markets whose truth is known, so that the judge can be judged.

    random-walk  independent heavy-tailed returns, no edge anywhere
    garch        GARCH(1,1) with t-distributed shocks, volatility clusters, no edge
    trend        a hidden drift that keeps its sign for months
    reversion    a day's return is partly taken back on the next
    planted      after a volume surge the next day drifts up; price alone says next to nothing (`edge=3`)
    panel          20 assets (`assets=20`) of 4 sectors on one market, no edge
    planted-panel  the same, and an asset drifts up against the others on the day after its own volume surge (`edge=3`)

All have open, high, low, close and volume, 252 bars a year on weekdays up to 2020-12-31, and an expected simple return
of zero for whoever just holds. Same name, years, seed and edge: same bytes; prices are rounded to 4 digits so that the
last bit of a machine's `exp` does not matter (a new version of numpy may draw other numbers). In a panel some assets
are listed later and some are gone before the end, with no loss on the last day; `sector` is a feature, 0 to 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.data_fetch.market import Market, nearest
from agents.data_fetch.sources.source import Clock, Loaded
from agents.data_fetch.sources.table import FEATURE, Table, load_tables
from backtesting.bars import BoolArray, FloatArray, Sessions
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import UsageError

LAST_SESSION = "2020-12-31"
BARS_A_YEAR = 252
MAX_YEARS = 60.0
DEFAULT_YEARS, DEFAULT_SEED = 20.0, 1.0
# Far more than real markets give: what it takes for 40 rules drawn at random to hold one that passes the gate in half
# of the markets (14 of 28 seeds; most draws never look at volume). On `garch` none of 12 markets had one.
DEFAULT_EDGE = 3.0

DAILY_VOLATILITY = 0.01
# Part of a day's variance that falls between close and open; indices show a fifth to a third.
OVERNIGHT_SHARE = 0.2
START_PRICE = 100.0

SURGE_FACTOR = 1.5
SURGE_WINDOW = 20
DEFAULT_ASSETS, MAX_ASSETS = 20.0, 100.0
SECTORS = 4
# Daily volatilities of the parts that an asset of a panel is made of, its own being DAILY_VOLATILITY: about 21 % a year
# in all, and a correlation of 0.4 between two assets of different sectors.
MARKET_PART, SECTOR_PART = 0.8, 0.4
LISTED_LATER, DELISTED = 0.2, 0.25

# What the ideal rule pays a side, as a fraction of what it trades.
COST_A_SIDE = LIQUID_INDEX.commission + LIQUID_INDEX.adverse


@dataclass(frozen=True, eq=False)
class _Returns:
    """Log returns before they become prices; all (n,). `sigma` is each day's own volatility."""

    overnight: FloatArray
    intraday: FloatArray
    sigma: FloatArray


def load(market: Market, *, cache_dir: Path | None, clock: Clock) -> Loaded:
    """The bars of a made-up market; see `source.py`."""
    known = (*SYNTHETICS, *PANELS)
    if market.name not in known:
        raise UsageError(
            f"there is no synthetic market {market.name!r}{nearest(market.name, known)}",
            next_step=f"choose one of {', '.join(known)}",
        )
    options = dict(market.options)
    if "edge" in options and market.name not in ("planted", "planted-panel"):
        raise UsageError(
            f"synthetic:{market.name} has no edge to set", next_step="leave edge= out, or use synthetic:planted"
        )
    if "assets" in options and market.name not in PANELS:
        raise UsageError(
            f"synthetic:{market.name} is one asset", next_step=f"leave assets= out, or use one of {', '.join(PANELS)}"
        )
    years = _in_range(market, "years", DEFAULT_YEARS, 1.0, MAX_YEARS)
    seed = _in_range(market, "seed", DEFAULT_SEED, 0.0, 2.0**53)
    edge = _in_range(market, "edge", DEFAULT_EDGE, 0.0, 4.0)
    assets = _in_range(market, "assets", DEFAULT_ASSETS, 2.0, MAX_ASSETS)
    for key, value in (("seed", seed), ("assets", assets)):
        if value != int(value):
            raise UsageError(f"{market.address}: {key} is not a whole number", next_step=f"write it as {key}=20")
    n_bars = round(years * BARS_A_YEAR)
    if market.name in PANELS:
        return load_tables(_panel(market, n_bars, int(seed), PANELS[market.name] * edge, int(assets)), market)
    return load_tables([_table(market, n_bars, int(seed), edge)], market)


def _in_range(market: Market, key: str, default: float, low: float, high: float) -> float:
    value = market.option(key, default)
    if not low <= value <= high:
        raise UsageError(
            f"{market.address}: {key} is {value:g}, allowed is {low:g} to {high:g}", next_step="choose a number between"
        )
    return value


def _table(market: Market, n_bars: int, seed: int, edge: float) -> Table:
    # The place in the registry separates the markets: the same seed gives each its own noise.
    rng = np.random.Generator(np.random.PCG64([seed, list(SYNTHETICS).index(market.name)]))
    volume = _volume(n_bars, rng)
    returns = SYNTHETICS[market.name](n_bars, rng, surges(volume), edge)
    return _traded(market.name, market.address, returns, volume, rng)


def _traded(symbol: str, origin: str, returns: _Returns, volume: FloatArray, rng: np.random.Generator) -> Table:
    """Prices of these returns, with a range."""
    n_bars = len(volume)
    moves = returns.overnight + returns.intraday
    log_close = math.log(START_PRICE) + np.cumsum(moves)
    log_open = log_close - returns.intraday
    # Extremes of a Brownian path with known ends (Karatzas and Shreve 1991, 2.8): solve the reflection formula for a
    # uniform draw. High and low are drawn apart, which is wrong in their joint law only.
    reach = 2.0 * (1.0 - OVERNIGHT_SHARE) * returns.sigma**2
    up = (returns.intraday + np.sqrt(returns.intraday**2 - reach * np.log1p(-rng.random(n_bars)))) / 2.0
    down = (returns.intraday - np.sqrt(returns.intraday**2 - reach * np.log1p(-rng.random(n_bars)))) / 2.0
    logs = {"open": log_open, "high": log_open + up, "low": log_open + down, "close": log_close}
    columns = {"volume": volume} | {name: _quoted(values) for name, values in logs.items()}
    return Table(symbol, origin, _sessions(n_bars), columns)


def _panel(market: Market, n_bars: int, seed: int, edge: float, n_assets: int) -> list[Table]:
    """One market factor, one factor a sector and each asset's own part; every asset has a random stream of its own.

    `edge` is about the expected net annual Sharpe ratio of holding every surging asset long against the others, with
    equal weights, no net position and sizes that add up to 1, all assets listed, paying COST_A_SIDE. With q the share
    of surge days, f the changes a day, h the variance of an asset's own part, N assets and the drift d after a surge,
    that portfolio earns d / (2 (1 - q)) a day, pays f COST_A_SIDE / (2 q (1 - q)), and has a variance of
    h / (4 N q (1 - q)); d is solved for. The drift of the other days makes the sum over all days zero.
    """

    def stream(k: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([seed, 1000 + list(PANELS).index(market.name), k]))

    market_wide, *sectors = (_noise(n_bars, stream(MAX_FACTORS + k), clusters=True) for k in range(1 + SECTORS))
    tables = []
    for k in range(n_assets):
        rng = stream(k)
        volume, beta = _volume(n_bars, rng), float(rng.uniform(0.7, 1.3))
        parts = [
            (beta * MARKET_PART, market_wide),
            (SECTOR_PART, sectors[k % SECTORS]),
            (1.0, _noise(n_bars, rng, clusters=True)),
        ]
        returns = _sum(parts)
        held = np.concatenate([[False], surges(volume)[:-1]])
        share = float(held.mean())
        if edge > 0.0 and 0.0 < share < 1.0:
            own = float(np.mean(parts[-1][1].sigma ** 2))
            both = share * (1.0 - share)
            cost = float(np.mean(held[1:] != held[:-1])) * COST_A_SIDE / (2.0 * both)
            spread = math.sqrt(own / (4.0 * n_assets * both))
            drift = 2.0 * (1.0 - share) * (edge / math.sqrt(BARS_A_YEAR) * spread + cost)
            calm = -drift * share / (1.0 - share)
            returns = _Returns(returns.overnight, returns.intraday + np.where(held, drift, calm), returns.sigma)
        table = _traded(f"{market.name}-{k + 1:03d}", market.address, returns, volume, rng)
        # The first two are there throughout, so that no session is empty.
        later, gone, start, stop = rng.random(4)
        first = int(n_bars * (0.05 + 0.45 * start)) if k > 1 and later < LISTED_LATER else 0
        last = int(n_bars * (0.55 + 0.40 * stop)) if k > 1 and gone < DELISTED else n_bars
        columns = {**table.columns, f"{FEATURE}sector": np.full(n_bars, float(k % SECTORS))}
        lived = {name: values[first:last] for name, values in columns.items()}
        tables.append(Table(table.symbol, table.origin, table.sessions[first:last], lived))
    return tables


def _sum(parts: list[tuple[float, _Returns]]) -> _Returns:
    """Independent parts, each scaled, with an expected simple return of zero for their sum."""
    night = day = variance = np.zeros(len(parts[0][1].sigma))
    for scale, part in parts:
        # Each part comes with its own -variance / 2, which does not scale as the return does.
        own = part.sigma**2
        night = night + scale * (part.overnight + OVERNIGHT_SHARE * own / 2.0)
        day = day + scale * (part.intraday + (1.0 - OVERNIGHT_SHARE) * own / 2.0)
        variance = variance + scale**2 * own
    return _Returns(
        overnight=night - OVERNIGHT_SHARE * variance / 2.0,
        intraday=day - (1.0 - OVERNIGHT_SHARE) * variance / 2.0,
        sigma=np.sqrt(variance),
    )


def _quoted(logs: FloatArray) -> FloatArray:
    prices: FloatArray = np.exp(logs)
    return prices.round(4)


def _sessions(n_bars: int) -> Sessions:
    last = np.datetime64(LAST_SESSION)
    days: Sessions = np.busday_offset(last, np.arange(1 - n_bars, 1), roll="backward")
    return days


def surges(volume: FloatArray) -> BoolArray:
    """(n,) True where volume is above SURGE_FACTOR x its SURGE_WINDOW-day average, that day included."""
    sums = np.cumsum(volume)
    sums[SURGE_WINDOW:] -= sums[:-SURGE_WINDOW].copy()
    found: BoolArray = volume > SURGE_FACTOR * sums / SURGE_WINDOW
    found[: SURGE_WINDOW - 1] = False
    return found


def _volume(n_bars: int, rng: np.random.Generator) -> FloatArray:
    """Calm days, spells of surge (one day in five, four days each, three times the volume), and a slow swell.

    Frequent, clear surges leave most averages between calm and surge, so that many ways to say "more volume than
    usual" find the planted edge, not the one window and factor alone that define it.
    """
    chance = rng.random(n_bars)
    swell_shocks, shocks = rng.standard_normal((2, n_bars))
    logs = np.empty(n_bars)
    surging, swell = False, 0.0
    for t in range(n_bars):
        surging = chance[t] >= 1 / 4 if surging else chance[t] < 1 / 15
        swell = 0.99 * swell + 0.02 * swell_shocks[t]
        logs[t] = swell + (math.log(3.0) if surging else 0.0)
    volume: FloatArray = np.round(1e6 * np.exp(logs + 0.1 * shocks))
    return volume


def _shocks(n_bars: int, rng: np.random.Generator, degrees: float) -> FloatArray:
    """(n,) Student t, scaled to variance 1."""
    shocks: FloatArray = rng.standard_t(degrees, n_bars) * math.sqrt((degrees - 2.0) / degrees)
    return shocks


def _noise(n_bars: int, rng: np.random.Generator, *, clusters: bool) -> _Returns:
    """Returns without any edge: expected simple return zero overnight and in the day, whatever came before."""
    night, day = _shocks(n_bars, rng, 6.0), _shocks(n_bars, rng, 6.0)
    night_part, day_part = math.sqrt(OVERNIGHT_SHARE), math.sqrt(1.0 - OVERNIGHT_SHARE)
    variance = np.full(n_bars, DAILY_VOLATILITY**2)
    if clusters:
        # GARCH(1,1), Bollerslev (1986), with figures usual for daily stock indices.
        for t in range(1, n_bars):
            shock = night_part * night[t - 1] + day_part * day[t - 1]
            variance[t] = 0.02 * DAILY_VOLATILITY**2 + (0.08 * shock**2 + 0.90) * variance[t - 1]
    sigma = np.sqrt(variance)
    return _Returns(
        overnight=sigma * night_part * night - OVERNIGHT_SHARE * variance / 2.0,
        intraday=sigma * day_part * day - (1.0 - OVERNIGHT_SHARE) * variance / 2.0,
        sigma=sigma,
    )


def _random_walk(n_bars: int, rng: np.random.Generator, surge: BoolArray, edge: float) -> _Returns:
    return _noise(n_bars, rng, clusters=False)


def _garch(n_bars: int, rng: np.random.Generator, surge: BoolArray, edge: float) -> _Returns:
    return _noise(n_bars, rng, clusters=True)


def _trend(n_bars: int, rng: np.random.Generator, surge: BoolArray, edge: float) -> _Returns:
    """A drift of a tenth of a standard deviation a day whose sign turns once in 120 days on average."""
    sign = np.where(np.cumsum(rng.random(n_bars) < 1 / 120) % 2 == 0, 1.0, -1.0) * rng.choice([-1.0, 1.0])
    noise = _noise(n_bars, rng, clusters=True)
    drift = 0.1 * DAILY_VOLATILITY * sign
    return _Returns(
        noise.overnight + OVERNIGHT_SHARE * drift, noise.intraday + (1.0 - OVERNIGHT_SHARE) * drift, noise.sigma
    )


def _reversion(n_bars: int, rng: np.random.Generator, surge: BoolArray, edge: float) -> _Returns:
    """0.15 of each close-to-close return is taken back in the next session, after its open."""
    noise = _noise(n_bars, rng, clusters=True)
    intraday = noise.intraday.copy()
    for t in range(1, n_bars):
        intraday[t] -= 0.15 * (noise.overnight[t - 1] + intraday[t - 1])
    return _Returns(noise.overnight, intraday, noise.sigma)


def _planted(n_bars: int, rng: np.random.Generator, surge: BoolArray, edge: float) -> _Returns:
    """After a surge the next session drifts up from its open to its close, otherwise slightly down.

    `edge` is the expected net annual Sharpe ratio of the ideal rule: all in while
    `volume > 1.5 * sma(volume, 20)`, decided at the close, filled at the next open, paying COST_A_SIDE. With q the
    share of surge days, k the cost a day, h the variance a day and d the drift, its daily mean is q d - k and its
    variance q h + q (1 - q) d^2; d is solved for. The drift of the other days makes the sum over all days zero.
    """
    noise = _noise(n_bars, rng, clusters=True)
    held = np.concatenate([[False], surge[:-1]])
    share = float(held.mean())
    if not 0.0 < share < 1.0:
        return noise
    trades = float(np.sum(held[1:] != held[:-1]))
    cost = trades * COST_A_SIDE / n_bars
    daily_edge = edge / math.sqrt(BARS_A_YEAR)
    variance = share * float(np.mean(noise.sigma[held] ** 2))
    drift = 0.0
    for _ in range(50):  # a contraction: its factor is about edge^2 / 252 / share
        drift = (cost + daily_edge * math.sqrt(variance + share * (1.0 - share) * drift**2)) / share
    calm = -drift * share / (1.0 - share)
    return _Returns(noise.overnight, noise.intraday + np.where(held, drift, calm), noise.sigma)


SYNTHETICS: dict[str, Callable[[int, np.random.Generator, BoolArray, float], _Returns]] = {
    "random-walk": _random_walk,
    "garch": _garch,
    "trend": _trend,
    "reversion": _reversion,
    "planted": _planted,
}
"""Name in the address, and what makes its returns. New markets go to the end: the place is part of the seed."""

PANELS: dict[str, float] = {"panel": 0.0, "planted-panel": 1.0}
"""Name in the address, and what the edge is multiplied by. New panels go to the end."""
MAX_FACTORS = 1000
"""Where the random streams of the factors begin, beyond those of any asset."""
