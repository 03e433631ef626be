import numpy as np
import pytest

from agents.data_fetch.data_fetch import fetch_bars
from agents.data_fetch.quality import check_quality
from agents.data_fetch.sources.synthetic import SYNTHETICS, surges
from backtesting.bars import Bars, BoolArray, FloatArray
from backtesting.costs import LIQUID_INDEX
from backtesting.errors import UsageError

SEEDS = range(50)
A_SIDE = 3e-4  # 1 bp commission + 1 bp half spread + 1 bp slippage


def net_sharpe(bars: Bars, position: FloatArray | BoolArray) -> float:
    """Annual Sharpe of `position` decided at each close and held from the next open, marked at closes, 3 bp a side."""
    opens, closes = bars.open[:, 0], bars.close[:, 0]
    held = np.concatenate([[0.0], np.asarray(position, dtype=float)[:-1]])
    before = np.concatenate([[0.0], held[:-1]])
    night = np.concatenate([[0.0], opens[1:] / closes[:-1] - 1])
    day = closes / opens - 1
    returns = (1 + before * night) * (1 - np.abs(held - before) * A_SIDE) * (1 + held * day) - 1
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(252))


def mean_of(values: FloatArray, window: int) -> FloatArray:
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = np.full(len(values), np.nan)
    means[window - 1 :] = (sums[window:] - sums[:-window]) / window
    return means


def extreme(values: FloatArray, window: int, reducer) -> FloatArray:  # type: ignore[no-untyped-def]
    found = np.full(len(values), np.nan)
    found[window:] = reducer(np.lib.stride_tricks.sliding_window_view(values, window)[:-1], axis=1)
    return found


def ema(values: FloatArray, window: int) -> FloatArray:
    out, weight = values.copy(), 2 / (window + 1)
    for t in range(1, len(values)):
        out[t] = weight * values[t] + (1 - weight) * out[t - 1]
    return out


def price_only_rules(bars: Bars) -> dict[str, FloatArray | BoolArray]:
    """Eight classics; a comparison with NaN is False."""
    c, n = bars.close[:, 0], bars.n_bars
    change = np.concatenate([[0.0], np.diff(c)])
    rise, fall = mean_of(np.maximum(change, 0), 2), mean_of(np.maximum(-change, 0), 2)
    rsi2 = 100 * rise / np.maximum(rise + fall, 1e-12)
    moves = np.concatenate([[0.0], np.diff(np.log(c))])
    deviation = np.sqrt(np.maximum(mean_of(c**2, 20) - mean_of(c, 20) ** 2, 0))
    volatility = np.sqrt(mean_of(moves**2, 20) * 252)
    lagged, older = np.full(n, np.nan), np.full(n, np.nan)
    lagged[21:], older[252:] = c[:-21], c[:-252]
    macd = ema(c, 12) - ema(c, 26)
    trend = mean_of(c, 50) > mean_of(c, 200)
    return {
        "buy and hold": np.ones(n),
        "golden cross": trend,
        "momentum 12-1": lagged > older,
        "donchian 55": c > extreme(c, 55, np.max),
        "rsi(2) reversion": rsi2 < 10,
        "bollinger reversion": c < mean_of(c, 20) - 2 * deviation,
        "volatility-targeted trend": np.nan_to_num(np.where(trend, np.minimum(0.1 / volatility, 1.0), 0.0)),
        "macd": macd > ema(macd, 9),
    }


@pytest.mark.parametrize("name", SYNTHETICS)
def test_each_market_is_deterministic_whole_and_without_flags(name: str) -> None:
    one = fetch_bars(f"synthetic:{name}?seed=3")
    assert one.bars_id == fetch_bars(f"synthetic:{name}?seed=3&years=20").bars_id
    assert one.bars_id != fetch_bars(f"synthetic:{name}?seed=4").bars_id
    assert one.n_bars == 20 * 252
    assert str(one.sessions[-1]) == "2020-12-31"
    assert np.is_busday(one.sessions).all()
    assert one.has_volume
    assert not one.close_only
    assert check_quality(one).verdict == "usable"


def test_markets_with_one_seed_do_not_share_their_noise() -> None:
    closes = [fetch_bars(f"synthetic:{name}?years=4").close[:, 0] for name in SYNTHETICS]
    correlations = np.corrcoef(np.diff(np.log(closes), axis=1))
    off_diagonal = correlations[~np.eye(len(closes), dtype=bool)]
    # 1,007 returns: chance correlations have standard deviation 1 / sqrt(1007) = 0.032.
    assert np.abs(off_diagonal).max() < 4 * 0.032


def test_the_first_planted_prices_are_those_of_every_machine() -> None:
    bars = fetch_bars("synthetic:planted?years=1&seed=1")
    first = [float(getattr(bars, name)[0, 0]) for name in ("open", "high", "low", "close", "volume")]
    assert first == [98.9612, 99.3391, 97.9357, 99.0475, 1013653.0]


def test_years_and_dates_of_the_address_are_obeyed() -> None:
    assert fetch_bars("synthetic:garch?years=1.5").n_bars == 378
    part = fetch_bars("synthetic:garch?from=2020-01-01&to=2020-06-30")
    whole = fetch_bars("synthetic:garch")
    assert part.close[0, 0] == whole.close[whole.sessions >= np.datetime64("2020-01-01")][0, 0]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("synthetic:plantd", 'did you mean "planted"?'),
        ("synthetic:garch?edge=1", "has no edge to set"),
        ("synthetic:planted?years=0", "years is 0, allowed is 1 to 60"),
        ("synthetic:planted?edge=-1", "edge is -1, allowed is 0 to 4"),
        ("synthetic:planted?seed=-1", "seed is -1"),
        ("synthetic:planted?seed=1.5", "seed is not a whole number"),
    ],
)
def test_a_market_that_cannot_be_made_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        fetch_bars(address)
    assert sentence in str(caught.value)


def test_a_surge_is_volume_above_one_and_a_half_times_its_average_of_twenty_days() -> None:
    volume = np.full(40, 100.0)
    volume[5], volume[25], volume[35] = 1000.0, 156.0, 153.0
    # Bar 5 is in the warm-up. Bar 25: the average of bars 6 to 25 is (19 x 100 + 156) / 20 = 102.8; x 1.5 = 154.2.
    # Bar 35: the average of bars 16 to 35 is (18 x 100 + 156 + 153) / 20 = 105.45; x 1.5 = 158.2.
    assert np.flatnonzero(surges(volume)).tolist() == [25]


def test_the_cost_in_the_planted_edge_is_that_of_a_liquid_index() -> None:
    assert pytest.approx(A_SIDE) == LIQUID_INDEX.commission + LIQUID_INDEX.adverse


@pytest.mark.parametrize("edge", [1.0, 2.0, 3.0])
def test_the_ideal_rule_earns_the_planted_edge_after_costs(edge: float) -> None:
    sharpes = []
    for seed in SEEDS:
        bars = fetch_bars(f"synthetic:planted?seed={seed}&edge={edge}")
        volume = bars.volume[:, 0]
        sharpes.append(net_sharpe(bars, volume > 1.5 * mean_of(volume, 20)))
    # One market of 20 years has standard error sqrt(1/20) = 0.22, the mean of 50 has 0.03.
    assert np.mean(sharpes) == pytest.approx(edge, rel=0.15)


def test_other_ways_to_say_more_volume_than_usual_find_most_of_the_edge() -> None:
    found = []
    for seed in SEEDS:
        bars = fetch_bars(f"synthetic:planted?seed={seed}")
        volume = bars.volume[:, 0]
        found.append([net_sharpe(bars, volume > mean_of(volume, n)) for n in (20, 50, 200)])
    assert (np.mean(found, axis=0) > 1.0).all()


def test_rules_on_price_alone_earn_next_to_nothing_of_the_planted_edge() -> None:
    sharpes: dict[str, list[float]] = {}
    for seed in SEEDS:
        bars = fetch_bars(f"synthetic:planted?seed={seed}")
        for name, position in price_only_rules(bars).items():
            sharpes.setdefault(name, []).append(net_sharpe(bars, position))
    means = {name: float(np.mean(values)) for name, values in sharpes.items()}
    # The standard error is 0.03. Surges come in spells, so their drift shows in prices too, but hardly: no rule gets a
    # tenth of the edge of 3, and after costs the eight together lose.
    assert max(means.values()) < 0.20, means
    assert np.mean(list(means.values())) < 0.0
    assert means["buy and hold"] == pytest.approx(0.0, abs=0.10)


@pytest.mark.parametrize("name", ["random-walk", "garch"])
def test_a_null_market_has_no_drift_and_volume_says_nothing(name: str) -> None:
    held, surged = [], []
    for seed in SEEDS:
        bars = fetch_bars(f"synthetic:{name}?seed={seed}")
        held.append(net_sharpe(bars, np.ones(bars.n_bars)))
        surged.append(net_sharpe(bars, surges(bars.volume[:, 0])))
    assert np.mean(held) == pytest.approx(0.0, abs=0.10)
    # Some 15 entries a year at 6 bp the round trip cost 0.9 %; the volatility is 16 % x sqrt(0.16) = 6.4 %: -0.14.
    assert np.mean(surged) == pytest.approx(-0.14, abs=0.10)


def test_garch_clusters_volatility_and_the_random_walk_does_not() -> None:
    def clustering(name: str) -> float:
        found = []
        for seed in range(10):
            squares = np.diff(np.log(fetch_bars(f"synthetic:{name}?seed={seed}").close[:, 0])) ** 2
            squares = np.minimum(squares, np.quantile(squares, 0.99))
            found.append(np.corrcoef(squares[1:], squares[:-1])[0, 1])
        return float(np.mean(found))

    assert clustering("garch") > 0.08
    assert abs(clustering("random-walk")) < 0.03


def test_trend_pays_the_follower_and_reversion_pays_the_contrarian() -> None:
    followed, faded = [], []
    for seed in range(20):
        bars = fetch_bars(f"synthetic:trend?seed={seed}")
        followed.append(net_sharpe(bars, np.sign(np.nan_to_num(bars.close[:, 0] - mean_of(bars.close[:, 0], 60)))))
        bars = fetch_bars(f"synthetic:reversion?seed={seed}")
        change = np.concatenate([[0.0], np.diff(bars.close[:, 0])])
        faded.append(net_sharpe(bars, change < 0))
    assert np.mean(followed) > 0.3
    assert np.mean(faded) > 0.5
