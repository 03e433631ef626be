"""The 101 alphas and the 158 features: they parse, they are causal, and they equal plain pandas on a panel."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from agents.strategy.expression.evaluate import EvaluationCache, evaluate
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse, read_afresh
from agents.strategy.expression.types import Dimension
from agents.strategy.spec import check_for_bars, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import Bars
from backtesting.look_ahead import audit_signals

# Test files are imported by path, so a neighbour has to be, too.
_SPEC = importlib.util.spec_from_file_location("touchstone_alpha101", Path(__file__).parent / "alpha101.py")
assert _SPEC is not None
assert _SPEC.loader is not None
alpha101: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["touchstone_alpha101"] = alpha101
_SPEC.loader.exec_module(alpha101)

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ALPHAS: dict[str, str] = yaml.safe_load((EXAMPLES / "alpha101.yaml").read_text())
FEATURES: dict[str, str] = yaml.safe_load((EXAMPLES / "alpha158.yaml").read_text())

N_BARS, N_ASSETS = 420, 9


def panel() -> Bars:
    rng = np.random.default_rng(11)
    shape = (N_BARS, N_ASSETS)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(opened, close) * np.exp(rng.uniform(0.001, 0.01, shape))
    low = np.minimum(opened, close) * np.exp(-rng.uniform(0.001, 0.01, shape))
    volume = np.exp(rng.normal(13, 0.5, shape))
    for values in (opened, high, low, close, volume):
        values[:60, 8] = np.nan  # listed later
        values[330, 3] = np.nan
    groups = {"sector": [0, 0, 0, 0, 1, 1, 1, 1, 1], "industry": [0, 0, 1, 1, 2, 2, 3, 3, 3]}
    groups["subindustry"] = [0, 0, 1, 1, 2, 2, 3, 3, 4]
    features = {name: np.tile(np.array(codes, dtype=float), (N_BARS, 1)) for name, codes in groups.items()}
    sessions = np.busday_offset("2001-01-01", np.arange(N_BARS), roll="forward")
    return Bars(
        tuple(f"asset{k}" for k in range(N_ASSETS)), sessions, opened, high, low, close, volume, "panel",
        features=features | {"cap": close * 1e6},
    )  # fmt: skip


BARS = panel()
CACHE = EvaluationCache()


def tree(text: str) -> Node:
    node = parse(text)
    assert isinstance(node, Node), [str(error) for error in node]
    return node


def values(text: str) -> np.ndarray:
    return evaluate(tree(text), BARS, CACHE).astype(float)


def frames() -> Any:
    fields = {name: pd.DataFrame(getattr(BARS, name)) for name in ("open", "high", "low", "close", "volume")}
    return alpha101.Panel(**fields, **{name: pd.DataFrame(BARS.features[name]) for name in BARS.features})


FORMULAS = alpha101.formulas(frames())


def test_all_are_there() -> None:
    assert list(ALPHAS) == [f"alpha{k:03d}" for k in range(1, 102)]
    assert len(FEATURES) == 158
    assert list(FORMULAS) == list(range(1, 102))


# Correlations, covariances and averages of ranks take few values, so assets are often exactly equal, and rounding
# decides which of the equals is said to be larger. These agree on that share of the cells in which either has a value.
TIED = dict.fromkeys((31, 34, 45, 50, 68, 71, 72, 75, 76, 78, 81, 85, 88, 92, 94, 97), 0.98)
TIED |= {13: 0.94, 15: 0.8, 16: 0.94, 98: 0.94}
# A correlation over three bars of ranks over a few bars is mostly undefined, and so is every window over it.
NEVER_KNOWN = {96}


@pytest.mark.parametrize("number", FORMULAS)
def test_alpha_equals_pandas(number: int) -> None:
    found = values(ALPHAS[f"alpha{number:03d}"])
    # Where pandas says infinite, a division by zero, we say NaN.
    expected = FORMULAS[number]().replace([np.inf, -np.inf], np.nan).to_numpy(dtype=float)
    same = np.isclose(found, expected, rtol=1e-6, atol=1e-9, equal_nan=True)
    known = np.isfinite(found) | np.isfinite(expected)
    if number in NEVER_KNOWN:
        assert not known.any()
        return
    assert np.isfinite(found).sum() > 300
    assert same[known].mean() >= TIED.get(number, 1.0), (same[known].mean(), np.argwhere(~same)[:5].tolist())


@pytest.mark.parametrize("name", [*ALPHAS, *FEATURES])
def test_example_is_causal_and_prints_back(name: str) -> None:
    node = tree(ALPHAS.get(name) or FEATURES[name])
    again = read_afresh(node.text)
    assert again == node
    assert node.dimension is not Dimension.BOOLEAN
    whole = evaluate(node, BARS, CACHE)
    for n_bars in (1, 90, 331):
        # To the last bit, but for the sign of a NaN, which is that of whichever instruction made it and means nothing.
        assert np.array_equal(evaluate(node, BARS.upto(n_bars), EvaluationCache()), whole[:n_bars], equal_nan=True)


def rolled(x: pd.DataFrame, d: int, f: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    return alpha101.windows(x, d, f)


def line(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, r squared and last residual of each window on time."""
    n = part.shape[1]
    time = np.arange(n) - (n - 1) / 2
    apart = part - part.mean(axis=1, keepdims=True)
    slope = apart @ time / (time @ time)
    r2 = slope**2 * (time @ time) / (apart**2).sum(axis=1)
    return slope, r2, apart[:, -1] - slope * time[-1]


def features() -> dict[str, pd.DataFrame]:
    p = frames()
    o, h, low, c, v = p.open, p.high, p.low, p.close, p.volume
    top, bottom = np.maximum(o, c), np.minimum(o, c)
    found = {
        "KMID": (c - o) / o, "KLEN": (h - low) / o, "KMID2": (c - o) / (h - low), "KUP": (h - top) / o,
        "KUP2": (h - top) / (h - low), "KLOW": (bottom - low) / o, "KLOW2": (bottom - low) / (h - low),
        "KSFT": (2 * c - h - low) / o, "KSFT2": (2 * c - h - low) / (h - low),
        "OPEN0": o / c, "HIGH0": h / c, "LOW0": low / c, "VWAP0": (h + low + c) / 3 / c,
    }  # fmt: skip
    step, volume_step = c.diff(), v.diff()
    moved = (c / c.shift(1) - 1).abs() * v
    up, down = (c > c.shift(1)).astype(float).where(step.notna()), (c < c.shift(1)).astype(float).where(step.notna())
    for d in (5, 10, 20, 30, 60):

        def mean(x: pd.DataFrame, d: int = d) -> pd.DataFrame:
            return rolled(x, d, lambda w: w.mean(axis=1))

        total, std = alpha101.ts_sum, alpha101.stddev
        top_age, low_age = alpha101.ts_argmax(h, d), alpha101.ts_argmin(low, d)
        gains, losses = total(step.clip(lower=0), d), total((-step).clip(lower=0), d)
        more, fewer = total(volume_step.clip(lower=0), d), total((-volume_step).clip(lower=0), d)
        found |= {
            f"ROC{d}": c.shift(d) / c, f"MA{d}": mean(c) / c, f"STD{d}": std(c, d) / c,
            f"BETA{d}": rolled(c, d, lambda w: line(w)[0]) / c, f"RSQR{d}": rolled(c, d, lambda w: line(w)[1]),
            f"RESI{d}": rolled(c, d, lambda w: line(w)[2]) / c, f"MAX{d}": alpha101.ts_max(h, d) / c,
            f"MIN{d}": alpha101.ts_min(low, d) / c,
            f"QTLU{d}": rolled(c, d, lambda w: np.quantile(w, 0.8, axis=1)) / c,
            f"QTLD{d}": rolled(c, d, lambda w: np.quantile(w, 0.2, axis=1)) / c,
            f"RANK{d}": alpha101.ts_rank(c, d),
            f"RSV{d}": (c - alpha101.ts_min(low, d)) / (alpha101.ts_max(h, d) - alpha101.ts_min(low, d)),
            f"IMAX{d}": top_age / d, f"IMIN{d}": low_age / d, f"IMXD{d}": (top_age - low_age) / d,
            f"CORR{d}": alpha101.correlation(c, np.log(v + 1), d),
            f"CORD{d}": alpha101.correlation(c / c.shift(1), np.log(v / v.shift(1) + 1), d),
            f"CNTP{d}": mean(up), f"CNTN{d}": mean(down), f"CNTD{d}": mean(up) - mean(down),
            f"SUMP{d}": gains / (gains + losses), f"SUMN{d}": losses / (gains + losses),
            f"SUMD{d}": (gains - losses) / (gains + losses), f"VMA{d}": mean(v) / v, f"VSTD{d}": std(v, d) / v,
            f"WVMA{d}": std(moved, d) / mean(moved), f"VSUMP{d}": more / (more + fewer),
            f"VSUMN{d}": fewer / (more + fewer), f"VSUMD{d}": (more - fewer) / (more + fewer),
        }  # fmt: skip
    return found


PANDAS_FEATURES = features()


@pytest.mark.parametrize("name", FEATURES)
def test_feature_equals_pandas(name: str) -> None:
    expected = PANDAS_FEATURES[name].to_numpy(dtype=float)
    np.testing.assert_allclose(values(FEATURES[name]), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("file", ["patient_dips", "sector_neutral_momentum"])
def test_a_spec_among_the_examples_is_legal_on_a_panel(file: str) -> None:
    spec = load_spec((EXAMPLES / f"{file}.yaml").read_bytes(), origin=file)
    assert not isinstance(spec, list), [str(error) for error in spec]
    assert spec.name == file
    assert check_for_bars(spec, BARS, max_warmup=300) == []
    assert audit_signals(TradingStrategy(spec), BARS, (100, 331, 419)) == ()
