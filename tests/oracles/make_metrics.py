"""Writes metrics.json: what quantstats and empyrical-reloaded make of two streams of returns.

They bring a plotting stack along, so they are no dependency of the tests; the numbers are kept instead. Run it in an
environment of its own: pip install quantstats==0.0.86 empyrical-reloaded==0.7.1, then python make_metrics.py.
"""

import json
import warnings
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import quantstats

HERE = Path(__file__).parent
N_BARS = 1500


def streams() -> tuple[np.ndarray, np.ndarray]:
    """Returns with fat tails, and a benchmark they follow half-way; PCG64 and its normals are stable over versions."""
    rng = np.random.default_rng(20240229)
    benchmark = rng.standard_normal(N_BARS) * 0.01 + 0.0003
    own = rng.standard_normal(N_BARS) * 0.008 * (1.0 + (rng.random(N_BARS) < 0.05) * 3.0)
    return np.round(0.5 * benchmark + own + 0.0002, 6), np.round(benchmark, 6)


def main() -> None:
    returns, benchmark = streams()
    days = pd.bdate_range("2015-01-01", periods=N_BARS)
    ours, theirs = pd.Series(returns, days), pd.Series(benchmark, days)
    stats = quantstats.stats
    warnings.simplefilter("ignore")
    runs = stats.drawdown_details(stats.to_drawdown_series(ours))
    greeks = stats.greeks(ours, theirs, periods=252)
    found = {
        "returns": returns.tolist(),
        "benchmark": benchmark.tolist(),
        "empyrical": {
            "annual_return": empyrical.annual_return(ours),
            "annual_volatility": empyrical.annual_volatility(ours),
            "sharpe_ratio": empyrical.sharpe_ratio(ours),
            "sortino_ratio": empyrical.sortino_ratio(ours),
            "calmar_ratio": empyrical.calmar_ratio(ours),
            "omega_ratio": empyrical.omega_ratio(ours),
            "max_drawdown": empyrical.max_drawdown(ours),
            "value_at_risk": empyrical.value_at_risk(ours),
            "conditional_value_at_risk": empyrical.conditional_value_at_risk(ours),
            "tail_ratio": empyrical.tail_ratio(ours),
            "alpha": empyrical.alpha(ours, theirs),
            "beta": empyrical.beta(ours, theirs),
            "excess_sharpe": empyrical.excess_sharpe(ours, theirs),
            "up_capture": empyrical.up_capture(ours, theirs),
            "down_capture": empyrical.down_capture(ours, theirs),
        },
        "quantstats": {
            "cagr": stats.cagr(ours, periods=252),
            "volatility": stats.volatility(ours, periods=252),
            "sharpe": stats.sharpe(ours, periods=252),
            "sortino": stats.sortino(ours, periods=252),
            "omega": stats.omega(ours, periods=252),
            "max_drawdown": stats.max_drawdown(ours),
            "ulcer_index": stats.ulcer_index(ours),
            "value_at_risk": stats.value_at_risk(ours),
            "cvar": stats.cvar(ours),
            "tail_ratio": stats.tail_ratio(ours),
            "skew": stats.skew(ours),
            "kurtosis": stats.kurtosis(ours),
            "best": stats.best(ours),
            "worst": stats.worst(ours),
            "alpha": greeks["alpha"],
            "beta": greeks["beta"],
            "information_ratio": stats.information_ratio(ours, theirs),
            "average_drawdown_percent": float(runs["max drawdown"].mean()),
            "n_drawdowns": len(runs),
        },
    }
    for name in ("empyrical", "quantstats"):
        found[name] = {key: float(value) for key, value in found[name].items()}
    (HERE / "metrics.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
