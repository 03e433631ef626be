"""Calibration: how often the blind test is wrong, and how often it finds what is there, by trying it on made-up runs.

A replication is one run whose truth is known: N streams on a market without any edge, or with one planted edge, cut in
an open and a sealed window as a real history is, hedged as real nominees are, and judged by the lines that judge real
ones (`blind_test`). A cell is one setting; its replications are numbered and each has its own random stream, so any of
them can be made again, in any order, by any number of processes, and an interrupted measurement goes on where it was.

What it leaves out: the open gates, the economic checks and the search. Those only ever say no, so the error rate of the
whole gate is at most the one measured here; its power is lower where they do say no.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import log, log2
from typing import Any

import numpy as np
from scipy.special import betaincinv

from backtesting.bars import FloatArray
from backtesting.blind_test import blind_test
from backtesting.evaluation import residual, residual_hedge
from backtesting.null_markets import (
    CENTRED,
    NO_NULL,
    NULL_MARKETS,
    expected_returns,
    factor_streams,
    plant,
    timing_streams,
)
from backtesting.occam import occam_test
from backtesting.replacement import risk_scale
from backtesting.splits import EMBARGO_BARS, OPEN_SHARE
from backtesting.statistics import hac_ts

# Which gate was measured; raised when a change of the test may change its error rates, so that no rate outlives it.
# 1 had hedge ratios frozen on the open window, 2 a regression within the sealed window, 3 holds the blind test to
# 85 % of its level.
GATE = 3
BARS_A_YEAR = 252
# What a run is given by default, and what its first opening may spend of it: 6 / pi^2, see `opening_price`.
ALPHA, FIRST_OPENING = 0.05, 0.0304
FAMILIES = ("factor", *NULL_MARKETS)
# The test by length: `candidates` sentences of as many bits as it takes to tell them apart, and somebody who remembers
# everything picks the best of them. As many as there is memory for can be drawn; for power only the planted one is.
OCCAM_FAMILIES = tuple(f"occam-{family}" for family in FAMILIES if family != NO_NULL)
MOST_SENTENCES = 8192
# Every candidate makes both claims, to join and to take the place of an incumbent that is worthless too.
REPLACE_FAMILIES = tuple(f"replace-{family}" for family in FAMILIES if family != NO_NULL)
# Rows that no report quotes: no null, or another test than a run makes by itself.
_UNQUOTED = (NO_NULL, *OCCAM_FAMILIES, *REPLACE_FAMILIES)


@dataclass(frozen=True, order=True)
class Cell:
    """One setting.

    Attributes:
        family: of the null market; see `FAMILIES`.
        candidates: judged together.
        years: of history, open and sealed.
        sharpe: annual, of the one planted edge; 0 for none.
        alpha: family-wise error rate that the test is asked to hold.
    """

    family: str
    candidates: int
    years: float
    sharpe: float = 0.0
    alpha: float = 0.05

    @property
    def key(self) -> str:
        """The cell's name in files."""
        return f"{self.family}:{self.candidates}:{self.years:g}:{self.sharpe:g}:{self.alpha:g}"

    @classmethod
    def of(cls, key: str) -> "Cell":
        """The cell that `key` names."""
        family, candidates, years, sharpe, alpha = key.split(":")
        return cls(family, int(candidates), float(years), float(sharpe), float(alpha))


@dataclass(frozen=True)
class Outcome:
    """What became of one replication: did a worthless candidate pass, did the planted one."""

    false_pass: bool
    true_pass: bool


@dataclass(frozen=True)
class Row:
    """A cell with its counts; rates are shares of `replications`. `gate` says which gate was measured."""

    cell: Cell
    replications: int
    false_passes: int
    true_passes: int
    gate: int = GATE

    @property
    def false_promotion(self) -> float:
        return self.false_passes / self.replications

    @property
    def power(self) -> float:
        return self.true_passes / self.replications

    def as_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return {**asdict(self.cell), **{k: v for k, v in asdict(self).items() if k != "cell"}}

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Row":
        """The row that `as_dict` wrote."""
        cell = Cell(
            data["family"], int(data["candidates"]), float(data["years"]), float(data["sharpe"]), float(data["alpha"])
        )
        replications, false_passes, true_passes = (
            int(data[name]) for name in ("replications", "false_passes", "true_passes")
        )
        return cls(cell, replications, false_passes, true_passes, int(data.get("gate", 1)))


def replicate(
    cell: Cell, number: int, seed: int, history: FloatArray, alphas: Sequence[float] = ()
) -> tuple[Outcome, ...]:
    """Replication `number` of a cell, at its alpha or at each of `alphas`; same arguments, same outcome.

    Args:
        alphas: judge the same run at each of these levels instead; which ones changes nothing about the run.
        history: (n,) simple returns of a real market, for the families that keep some of it.

    Raises:
        ValueError: an unknown family, or a history too short to be cut in two.
    """
    if cell.family in OCCAM_FAMILIES:
        return _replicate_occam(cell, number, seed, history, tuple(alphas) or (cell.alpha,))
    if cell.family in REPLACE_FAMILIES:
        return _replicate_replace(cell, number, seed, history, tuple(alphas) or (cell.alpha,))
    if cell.family not in FAMILIES:
        known = ", ".join((*FAMILIES, *REPLACE_FAMILIES, *OCCAM_FAMILIES))
        raise ValueError(f"unknown null family {cell.family!r}; known: {known}")
    rng = np.random.default_rng([seed, number, *replace(cell, alpha=ALPHA).key.encode()])
    streams, market = _draw(cell.family, round(cell.years * BARS_A_YEAR), cell.candidates, rng, history)
    chosen = int(rng.integers(cell.candidates))
    if cell.sharpe > 0.0:
        streams = plant(streams, chosen, cell.sharpe, BARS_A_YEAR)
    levels = tuple(alphas) or (cell.alpha,)
    p_values = judge_streams(streams, market[:, None], enough=max(levels), rng=rng)
    planted = np.zeros(len(p_values), dtype=np.bool_)
    planted[chosen] = cell.sharpe > 0.0
    return tuple(
        Outcome(bool((p_values[~planted] <= alpha).any()), bool((p_values[planted] <= alpha).any())) for alpha in levels
    )


def _draw(
    family: str, n: int, count: int, rng: np.random.Generator, history: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(n, count) streams of worthless strategies, and (n,) the market that they trade."""
    if family == "factor":
        return factor_streams(n, count, rng)
    market = NULL_MARKETS[family](n, rng, history)
    expected = expected_returns(history) if family == CENTRED else None
    return timing_streams(market, count, rng, expected), market


def _replicate_replace(
    cell: Cell, number: int, seed: int, history: FloatArray, alphas: tuple[float, ...]
) -> tuple[Outcome, ...]:
    """Both claims of every candidate in one family; found is the planted edge in the incumbent's place."""
    rng = np.random.default_rng([seed, number, *replace(cell, alpha=ALPHA).key.encode()])
    family = cell.family.removeprefix("replace-")
    drawn, market = _draw(family, round(cell.years * BARS_A_YEAR), cell.candidates + 1, rng, history)
    incumbent, streams = drawn[:, 0].copy(), drawn[:, 1:]
    chosen = int(rng.integers(cell.candidates))
    planted = np.zeros(cell.candidates, dtype=np.bool_)
    if cell.sharpe > 0.0:
        streams, planted[chosen] = plant(streams, chosen, cell.sharpe, BARS_A_YEAR), True
    add, place = judge_claims(streams, incumbent, market, enough=max(alphas), rng=rng)
    worthless = np.concatenate([add[~planted], place[~planted]])
    return tuple(Outcome(bool((worthless <= alpha).any()), bool((place[planted] <= alpha).any())) for alpha in alphas)


def judge_claims(
    streams: FloatArray, incumbent: FloatArray, market: FloatArray, *, enough: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """(N,) p-values of the claims to join and of those on the incumbent's place, as `gates.judge` makes them."""
    n = len(streams)
    stop = int((n - EMBARGO_BARS) * OPEN_SHARE)
    opened, sealed = slice(0, stop), slice(stop + EMBARGO_BARS, n)
    scale = np.array([risk_scale(own, incumbent[opened]) for own in streams[opened].T])
    parts = []
    for part in (opened, sealed):
        own, other, book = streams[part], incumbent[part], np.column_stack([market[part], incumbent[part]])
        plain = scale * own - other[:, None]
        held = market[part][:, None]
        alone = residual(plain, held, residual_hedge(plain, held))
        parts.append(np.column_stack([residual(own, book, residual_hedge(own, book)), plain, alone]))
    count = streams.shape[1]
    open_t = hac_ts(parts[0])
    # The weaker stream speaks for the claim; one that is not positive is out, as it is at the open gates.
    open_t[count:] = np.tile(np.minimum(open_t[count : 2 * count], open_t[2 * count :]), 2)
    open_t[~(open_t > 0.0)] = np.nan
    test = blind_test(parts[1], open_t, open_bars=stop, periods_per_year=BARS_A_YEAR, rng=rng, enough=enough)
    add, plain_p, alone_p = (test.p_adjusted[at * count : (at + 1) * count] for at in range(3))
    return add, np.maximum(plain_p, alone_p)


def _replicate_occam(
    cell: Cell, number: int, seed: int, history: FloatArray, alphas: tuple[float, ...]
) -> tuple[Outcome, ...]:
    """The oracle's choice under the test by length, at each level; with an edge, whether its sentence passes.

    Raises:
        ValueError: more sentences without an edge than can be drawn.
    """
    planted = cell.sharpe > 0.0
    if not planted and not 2 <= cell.candidates <= MOST_SENTENCES:
        raise ValueError(f"an oracle over {cell.candidates} sentences cannot be drawn, 2 to {MOST_SENTENCES} can")
    rng = np.random.default_rng([seed, number, *replace(cell, alpha=ALPHA).key.encode()])
    n = round(cell.years * BARS_A_YEAR)
    family = cell.family.removeprefix("occam-")
    streams, market = _draw(family, n, 1 if planted else cell.candidates, rng, history)
    if planted:
        streams = plant(streams, 0, cell.sharpe, BARS_A_YEAR)
    book = market[:, None]
    left = streams - book @ residual_hedge(streams, book)
    bits = log2(cell.candidates)
    # One of the best few by a quick statistic is the best by the exact one; a worse one cannot pass where they fail.
    quick = np.nan_to_num(hac_ts(left), nan=-np.inf)
    best = np.argsort(-quick, kind="stable")[:20]
    tests = [occam_test(left[:, at].copy(), bits, alpha=max(alphas), periods_per_year=BARS_A_YEAR) for at in best]
    least = min(test.p_value for test in tests)
    found = [least <= alpha * 2.0**-bits for alpha in alphas]
    return tuple(Outcome(passed and not planted, passed and planted) for passed in found)


def judge_streams(streams: FloatArray, book: FloatArray, *, enough: float, rng: np.random.Generator) -> FloatArray:
    """(N,) p-values: cut, hedge each part by itself, test the sealed one, as `gates.judge` does.

    Those above `enough` may be lower bounds above it, see `statistics.max_t`. A stream whose open residual alpha is not
    positive is out, as it is at the open gates.
    """
    n = len(streams)
    stop = int((n - EMBARGO_BARS) * OPEN_SHARE)
    start = stop + EMBARGO_BARS
    hedge = residual_hedge(streams[:stop], book[:stop])
    open_t = hac_ts(streams[:stop] - book[:stop] @ hedge)
    open_t[~(open_t > 0.0)] = np.nan
    sealed = streams[start:] - book[start:] @ residual_hedge(streams[start:], book[start:])
    test = blind_test(sealed, open_t, open_bars=stop, periods_per_year=BARS_A_YEAR, rng=rng, enough=enough)
    return test.p_adjusted


def tally(cell: Cell, outcomes: Iterable[Outcome]) -> Row:
    """The counts of a cell."""
    made = list(outcomes)
    return Row(cell, len(made), sum(o.false_pass for o in made), sum(o.true_pass for o in made))


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a share (Clopper & Pearson 1934); 0 to 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    tail = (1.0 - level) / 2.0
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1.0, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1.0, trials - successes, 1.0 - tail))
    return low, high


def nearest(rows: Sequence[Row], *, candidates: int, years: float, alpha: float = 0.05) -> Row | None:
    """The row without an edge that is most like a run: nearest in candidates, years and alpha, the worst of families.

    None without such a row. Rows of an earlier gate say nothing about this one and are passed over, and so is the
    family that is no null.
    """
    nulls = [
        row
        for row in rows
        if row.cell.sharpe == 0.0 and row.replications > 0 and row.gate == GATE
        if row.cell.family not in _UNQUOTED
    ]
    if not nulls:
        return None

    def distance(row: Row) -> float:
        return (
            abs(log(row.cell.candidates / candidates))
            + abs(log(row.cell.years / years))
            + abs(log(row.cell.alpha / alpha))
        )

    closest = min(distance(row) for row in nulls)
    return max((row for row in nulls if distance(row) <= closest + 1e-12), key=lambda row: row.false_promotion)


def power_beside(rows: Sequence[Row], row: Row, *, alpha: float = 0.05) -> tuple[Row, ...]:
    """The rows with a planted edge at the same number of candidates and years, weakest edge first.

    Of each edge the row whose level is nearest to `alpha`: power at a level that a run may not spend is not its power.
    """
    best: dict[float, Row] = {}
    for other in rows:
        same = (other.cell.candidates, other.cell.years) == (row.cell.candidates, row.cell.years)
        if not (other.cell.sharpe > 0.0 and other.gate == GATE and same) or other.cell.family in _UNQUOTED:
            continue
        held = best.get(other.cell.sharpe)
        if held is None or abs(log(other.cell.alpha / alpha)) < abs(log(held.cell.alpha / alpha)):
            best[other.cell.sharpe] = other
    return tuple(best[sharpe] for sharpe in sorted(best))
