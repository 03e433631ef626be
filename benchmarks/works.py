"""The works that are timed, as plain data: prices in one .npz file, candidates as lists. Needs numpy alone.

Costs everywhere: commission 10 bp and slippage 5 bp a side, capital 1,000,000. A signal at the close of bar t is filled
at the open of bar t + 1, which on the close-only series equals the close of t, so that both conventions of the peers
name one price.
"""

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

CAPITAL, COMMISSION, SLIPPAGE = 1_000_000.0, 0.001, 0.0005
WORKS = {
    "a": "SMA 20/50 on 8,321 daily WTI closes, one strategy, full report",
    "b1000": "1,000 (fast, slow) SMA pairs on the same closes",
    "b10000": "10,000 (fast, slow) SMA pairs on the same closes",
    "c": "RSI entry, ATR(14) trailing stop, take profit, volatility-target size: 1,000 sets on S&P 500 OHLC bars",
    "d": "SMA 60/240 on 1,000,000 minute bars, one strategy, full report",
    "e": "100 SMA pairs on each of 500 symbols x 2,500 bars, every pair and symbol an account of its own",
    "x": "50 of 500 symbols by 126-bar momentum, equal weights, chosen anew every 5 bars, one shared account",
    "long": "10,000 (fast, slow) SMA pairs on 200,000 bars",
    "population": "10,000 JSON configurations x 5 folds on the WTI closes, from text to metrics",
    "loop": "the machine alone: 2 x 10^8 multiply-adds on 8 kB a thread; what two threads can gain here at all",
}


def pairs(n: int) -> list[tuple[int, int]]:
    """`n` pairs of windows, fast below slow; few distinct windows, as in a grid search."""
    side = {1: 1, 100: 10, 1_000: 20, 10_000: 100}[n]
    fast = range(5, 5 + side)
    slow = range(110, 110 + 2 * (n // side), 2)
    return [(i, j) for i in fast for j in slow] if n > 1 else [(20, 50)]


def sets_c() -> list[dict[str, float]]:
    """1,000 sets of work c."""
    return [
        {"window": window, "level": level, "trail": trail, "target": target}
        for window in range(5, 25)
        for level in (25.0, 30.0, 35.0, 40.0, 45.0)
        for trail in (1.5, 2.0, 2.5, 3.0, 4.0)
        for target in (0.03, 0.06)
    ]


def some(candidates: list[Any], n: int) -> list[Any]:
    """`n` of them at equal distances, for a peer that takes its time."""
    return candidates[:: len(candidates) // n]


def config_c(work: dict[str, float]) -> dict[str, Any]:
    return {
        "kind": "rules", "name": "work_c", "hypothesis": "A benchmark.",
        "long": {"enter": f"rsi(close, {work['window']:g}) < {work['level']:g}"},
        "protect": {"trail_atr": work["trail"], "target_share": work["target"], "atr_window": 14},
        "sizing": {"kind": "volatility", "annual": 0.15, "window": 20, "cap": 1.0},
    }  # fmt: skip


def config_c_fixed(work: dict[str, float]) -> dict[str, Any]:
    """What raptorbt can say of c: a stop that does not trail, an exit by signal, all of equity."""
    return {
        "kind": "rules", "name": "work_c_fixed", "hypothesis": "A benchmark.",
        "long": {
            "enter": f"rsi(close, {work['window']:g}) < {work['level']:g}",
            "exit": f"rsi(close, {work['window']:g}) > 70",
        },
        "protect": {"stop_atr": work["trail"], "target_share": work["target"], "atr_window": 14},
        "sizing": {"kind": "fraction", "fraction": 1.0},
    }  # fmt: skip


def config_x(window: int) -> dict[str, Any]:
    return {
        "kind": "portfolio", "name": "work_x", "hypothesis": "Winners win.", "score": f"roc(close, {window})",
        "select": {"kind": "count", "count": 50}, "weight": {"kind": "equal"}, "direction": "long", "gross": 1.0,
        "rebalance": {"every_bars": 5, "band": 0.0},
    }  # fmt: skip


def config_sma(fast: int, slow: int) -> dict[str, Any]:
    return {
        "kind": "rules", "name": "work_b", "hypothesis": "A benchmark.",
        "long": {
            "enter": f"sma(close, {fast}) > sma(close, {slow})", "exit": f"sma(close, {fast}) <= sma(close, {slow})",
        },
        "sizing": {"kind": "fraction", "fraction": 1.0},
    }  # fmt: skip


def population(n: int = 10_000, seed: int = 1) -> list[dict[str, Any]]:
    """Configurations as a model writes them: 1 to 3 comparisons, half of them with an exit, most with protection."""
    rng = np.random.default_rng(seed)
    windows = (3, 5, 8, 10, 14, 20, 30, 50, 80, 100, 150, 200)
    atoms = [f"close {sign} sma(close, {w})" for sign in "<>" for w in windows]
    atoms += [f"ema(close, {i}) {sign} ema(close, {j})" for sign in "<>" for i in windows[:6] for j in windows[6:]]
    atoms += [f"rsi(close, {w}) < {level}" for w in windows[:8] for level in range(15, 50, 5)]
    atoms += [f"rsi(close, {w}) > {level}" for w in windows[:8] for level in range(50, 90, 5)]
    atoms += [
        f"roc(close, {w}) {sign} {level}" for w in windows for sign in "<>" for level in (-0.05, -0.02, 0, 0.02, 0.05)
    ]
    atoms += [f"zscore(close, {w}) {sign} {level}" for w in windows[3:] for sign in "<>" for level in (-2, -1, 0, 1, 2)]

    def condition() -> str:
        chosen = rng.choice(len(atoms), int(rng.integers(1, 4)), replace=False)
        return f" {'and' if rng.random() < 0.8 else 'or'} ".join(atoms[i] for i in chosen)

    made = []
    for i in range(n):
        long: dict[str, Any] = {"enter": condition()}
        if rng.random() < 0.5:
            long["exit"] = condition()
        made.append(
            {
                "kind": "rules", "name": f"candidate_{i}", "hypothesis": "Momentum persists.", "long": long,
                "protect": {
                    "trail_atr": float(rng.choice([1.5, 2.0, 2.5, 3.0, 4.0])), "atr_window": 14,
                    "target_share": float(rng.choice([0.02, 0.04, 0.08])),
                },
                "sizing": {
                    "kind": "volatility", "annual": float(rng.choice([0.1, 0.15, 0.2])), "window": 20, "cap": 1.0,
                },
            }
        )  # fmt: skip
    return made


def folds(n_bars: int) -> list[tuple[int, int]]:
    cuts = np.linspace(300, n_bars, 6).astype(int)
    return [(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


def make(folder: Path, sp500: dict[str, np.ndarray], wti: np.ndarray) -> Path:
    """Write the prices that all sides read."""
    rng = np.random.default_rng(11)
    minute = np.round(100 * np.exp(np.cumsum(rng.normal(0, 2e-4, 1_000_000))), 2)
    panel = np.round(50 * np.exp(np.cumsum(rng.normal(2e-4, 0.02, (2_500, 500)), axis=0)), 2)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prices.npz"
    np.savez(path, wti=wti, minute=minute, panel=panel, **{f"sp500_{name}": values for name, values in sp500.items()})
    return path


def opens(close: np.ndarray) -> np.ndarray:
    """The open of a close-only series: the close of the bar before."""
    return np.concatenate((close[:1], close[:-1]))


def ties(close: np.ndarray, pairs: list[tuple[int, int]]) -> list[int]:
    """How many bars of each pair have two averages that are equal in exact arithmetic, in whole hundredths."""
    hundredths = np.round(100 * close).astype(np.int64)
    if not np.array_equal(hundredths / 100, close):
        raise ValueError("the prices have more than two decimals, so equality is not decided by whole hundredths")
    sums = np.concatenate(([0], np.cumsum(hundredths)))
    total = {w: sums[w:] - sums[:-w] for w in {window for pair in pairs for window in pair}}
    # fast sum / fast = slow sum / slow, with whole numbers only; the windows end on the same bar.
    return [int((total[i][j - i :] * j == total[j] * i).sum()) for i, j in pairs]


def load() -> Mapping[str, np.ndarray]:
    """The prices, each read when a work asks for it, so that a side needs no memory for works that it is not given."""
    prices: Mapping[str, np.ndarray] = np.load(sys.argv[1])
    return prices
