"""Comparison: two prompts on the same pairs of slots, with intervals, and what a comparison of that size can show.

A pair is one question asked twice: same parents, market card, model, settings and repeat index, only the template
differs. So every statistic here is paired. Before anything is spent, `detectable` says how large a difference has to be
to be found four times in five; afterwards "no difference shown" is a normal answer, and it says how many pairs would
have been needed.

Sources: McNemar (1947), exact form; intervals for one proportion Wilson (1927), for the difference of two paired ones
Newcombe (1998), method 10; sample size for McNemar's test Connor (1987); Wilcoxon (1945) signed ranks with failures
ranked last; percentile bootstrap over clusters of pairs that share their parents (paired and clustered comparison:
Miller, arXiv 2411.00640). Under eight clusters there is no bootstrap interval: it would be far too narrow.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil, inf, isfinite, nan, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95
POWER = 0.80
BOOTSTRAP_REPS = 4_000
MIN_CLUSTERS = 8
TYPICAL_RATE = 0.8
"""Share of replies that are legal at first try, where nothing is known of the model yet."""
COST_RATIO = 1.25
"""From this ratio of tokens a slot on, the report says that the two prompts were not asked at equal cost."""

PRIMARY = ("valid", "novel", "score", "cost")

Z = float(ndtri(0.5 + LEVEL / 2))
Z_POWER = float(ndtri(POWER))


@dataclass(frozen=True)
class Outcome:
    """What one slot came to.

    Attributes:
        valid: legal at first try; legal: at first try or after repairs.
        novel: legal, and neither known before nor said before by the same prompt.
        score: the open-window ranking score of a novel candidate; NaN for everything else, which ranks last.
        tokens: read and written, repairs included.
        usd: None where the model is unpriced.
        ended: `evaluated`, or the code of the rejection.
    """

    valid: bool
    legal: bool
    novel: bool
    score: float
    tokens: int
    usd: float | None
    ended: str


@dataclass(frozen=True)
class Pair:
    """One question under both prompts; pairs with the same `cluster` share their parents."""

    cluster: str
    a: Outcome
    b: Outcome


@dataclass(frozen=True)
class Measure:
    """One figure of both prompts.

    Attributes:
        a, b: the figure of each; NaN where it is not defined.
        difference: B minus A; for the score the share of unequal pairs that B won, minus a half.
        low, high: 95 % interval of the difference; NaN where there is none.
        p: two-sided p-value where there is a test, else NaN.
        n_needed: pairs that would show a difference as large as this one; None where it is zero or undefined.
    """

    name: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    n_needed: int | None

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: by the test where there is one, else by the interval."""
        if isfinite(self.p):
            return self.p <= 1.0 - LEVEL
        return isfinite(self.low) and isfinite(self.high) and (self.low > 0.0 or self.high < 0.0)


@dataclass(frozen=True)
class Comparison:
    """All measures, and the verdict on the one that was named before.

    Attributes:
        n_pairs, n_clusters: pairs, and groups of them that share their parents.
        primary: the measure that decides; the others are reported.
        verdict: `a`, `b` or `no difference shown`.
        token_ratio: tokens of B over those of A; far from 1, the prompts were not asked at equal cost.
    """

    n_pairs: int
    n_clusters: int
    primary: str
    measures: tuple[Measure, ...]
    verdict: str
    sentence: str
    token_ratio: float

    def measure(self, name: str) -> Measure:
        """The measure of this name."""
        return next(measure for measure in self.measures if measure.name == name)

    def as_dict(self) -> dict[str, Any]:
        """JSON-like; NaN stays and becomes null where it is written."""
        return asdict(self)


@dataclass(frozen=True)
class Detectable:
    """What so many pairs can show, 4 times in 5 at 5 % two-sided.

    Attributes:
        rise, fall: the smallest change of the share of valid replies, from `base_rate`; NaN if none is large enough.
        share: the smallest share of unequal pairs won that the sign test finds.
        effect: the smallest paired difference of scores, in standard deviations of the difference.
    """

    n_pairs: int
    base_rate: float
    rise: float
    fall: float
    share: float
    effect: float

    def sentence(self) -> str:
        """For a person, before anything is spent."""
        rates = [
            f"a {word} of {100 * change:.0f} points or more" if isfinite(change) else f"no {word} however large"
            for word, change in (("rise", self.rise), ("fall", self.fall))
        ]
        won = f"a prompt that wins {100 * self.share:.0f} % of the pairs or more" if isfinite(self.share) else "nothing"
        return (
            f"{self.n_pairs} pairs find, 4 times in 5: in valid replies {', '.join(rates)}"
            f" (from {100 * self.base_rate:.0f} %); in score {won} (d = {self.effect:.2f})"
        )


def detectable(n_pairs: int, base_rate: float = TYPICAL_RATE) -> Detectable:
    """What `n_pairs` can show. Pairs are taken as independent within, which is the cautious side."""
    if n_pairs < 1 or not 0.0 < base_rate < 1.0:
        raise ValueError(f"{n_pairs} pairs at a base rate of {base_rate}: give 1 or more, and a rate between 0 and 1")

    def smallest(start: float, stop: float, needed: Callable[[float], int]) -> float:
        steps = (float(value) for value in np.linspace(start, stop, 2001)[1:])
        return next((value for value in steps if needed(value) <= n_pairs), nan)

    rise = smallest(base_rate, 1.0, lambda rate: pairs_for_rates(base_rate, rate)) - base_rate
    fall = base_rate - smallest(base_rate, 0.0, lambda rate: pairs_for_rates(base_rate, rate))
    share = smallest(0.5, 1.0, pairs_for_share)
    # Wilcoxon's test has 3/pi of the efficiency of the t-test on normal differences.
    effect = (Z + Z_POWER) / sqrt(n_pairs * 3.0 / np.pi)
    return Detectable(n_pairs, base_rate, rise, fall, share, float(effect))


def pairs_for_rates(rate_a: float, rate_b: float) -> int:
    """Pairs that McNemar's test needs to tell two rates apart, the two replies of a pair being independent."""
    return _pairs_for_discordance(rate_a * (1 - rate_b) + rate_b * (1 - rate_a), rate_b - rate_a)


def pairs_for_share(share: float) -> int:
    """Unequal pairs that the sign test needs to tell a share of wins from a half."""
    gap = abs(share - 0.5)
    if gap == 0.0:
        raise ValueError("a share of one half is no difference")
    return ceil(((Z * 0.5 + Z_POWER * sqrt(share * (1.0 - share))) / gap) ** 2)


def compare(pairs: Sequence[Pair], *, primary: str, rng: np.random.Generator) -> Comparison:
    """Both prompts on the same pairs. `rng` draws the bootstrap; the same one gives the same intervals.

    Raises ValueError for no pairs, or for a primary measure that does not exist.
    """
    if not pairs or primary not in PRIMARY:
        raise ValueError(f"{len(pairs)} pairs, primary {primary!r}; wanted are pairs and one of {', '.join(PRIMARY)}")
    clusters = sorted({pair.cluster for pair in pairs})
    draws = _draws(pairs, clusters, rng)
    measures = (
        _rates("valid", [pair.a.valid for pair in pairs], [pair.b.valid for pair in pairs]),
        _rates("legal", [pair.a.legal for pair in pairs], [pair.b.legal for pair in pairs]),
        _ratio("novel", pairs, draws, lambda one: 1000.0 * one.novel, lambda one: one.tokens),
        _score(pairs),
        _cost(pairs, draws),
    )
    deciding = next(measure for measure in measures if measure.name == primary)
    verdict, sentence = _verdict(deciding, len(pairs))
    tokens = [sum(getattr(pair, side).tokens for pair in pairs) for side in ("a", "b")]
    ratio = tokens[1] / tokens[0] if tokens[0] else nan
    return Comparison(len(pairs), len(clusters), primary, measures, verdict, sentence, ratio)


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion k/n."""
    rate, z2 = k / n, Z * Z
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return middle - half, middle + half


def _verdict(measure: Measure, n_pairs: int) -> tuple[str, str]:
    better_is_less = measure.name == "cost"
    if measure.shown:
        winner = "b" if (measure.difference > 0) != better_is_less else "a"
        return winner, f"{winner.upper()} is better in {_WORDS[measure.name]}"
    needed = measure.n_needed
    if needed is None:
        why = "none was seen" if measure.difference == 0 else "it is not defined on these pairs"
    elif needed > n_pairs:
        why = f"n too small: needs about {needed}"
    else:
        why = "the interval holds zero"
    return "no difference shown", f"no difference shown in {_WORDS[measure.name]} ({why})"


_WORDS = {
    "valid": "valid replies at first try",
    "legal": "legal candidates after repair",
    "novel": "new candidates a 1,000 tokens",
    "score": "open-window score",
    "cost": "cost of a legal candidate",
}


def _rates(name: str, a: Sequence[bool], b: Sequence[bool]) -> Measure:
    n = len(a)
    both = sum(x and y for x, y in zip(a, b, strict=True))
    only_a, only_b = sum(a) - both, sum(b) - both
    neither = n - both - only_a - only_b
    rate_a, rate_b = sum(a) / n, sum(b) / n
    difference = rate_b - rate_a
    from scipy.stats import binomtest

    p = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    low, high = _newcombe(both, only_a, only_b, neither)
    needed = _pairs_for_discordance((only_a + only_b) / n, difference) if difference else None
    return Measure(name, rate_a, rate_b, difference, low, high, p, needed)


def _newcombe(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    n = both + only_a + only_b + neither
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n)
    low_b, high_b = wilson(both + only_b, n)
    product = (both + only_a) * (both + only_b) * (neither + only_b) * (neither + only_a)
    phi = (both * neither - only_a * only_b) / sqrt(product) if product else 0.0
    below = (rate_b - low_b) ** 2 - 2 * phi * (rate_b - low_b) * (high_a - rate_a) + (high_a - rate_a) ** 2
    above = (high_b - rate_b) ** 2 - 2 * phi * (high_b - rate_b) * (rate_a - low_a) + (rate_a - low_a) ** 2
    difference = rate_b - rate_a
    return difference - sqrt(max(below, 0.0)), difference + sqrt(max(above, 0.0))


def _score(pairs: Sequence[Pair]) -> Measure:
    from scipy.stats import binomtest, rankdata, wilcoxon

    scores = np.array([[pair.a.score, pair.b.score] for pair in pairs])
    # Failures have no score; they rank last together, and two failures are equal.
    ranks = rankdata(np.where(np.isfinite(scores), scores, -inf)).reshape(scores.shape)
    gaps = ranks[:, 1] - ranks[:, 0]
    wins, losses = int(np.sum(gaps > 0)), int(np.sum(gaps < 0))
    a, b = (float(np.mean(column[np.isfinite(column)])) if np.isfinite(column).any() else nan for column in scores.T)
    if wins + losses == 0:
        return Measure("score", a, b, 0.0, nan, nan, 1.0, None)
    share = wins / (wins + losses)
    interval = binomtest(wins, wins + losses).proportion_ci(LEVEL, method="exact")
    p = float(wilcoxon(gaps[gaps != 0], method="auto").pvalue)
    unequal = (wins + losses) / len(pairs)
    needed = ceil(pairs_for_share(share) / unequal) if share != 0.5 else None
    return Measure("score", a, b, share - 0.5, float(interval.low) - 0.5, float(interval.high) - 0.5, p, needed)


def _cost(pairs: Sequence[Pair], draws: "np.ndarray[Any, Any]") -> Measure:
    if any(one.usd is None for pair in pairs for one in (pair.a, pair.b)):
        return Measure("cost", nan, nan, nan, nan, nan, nan, None)
    return _ratio("cost", pairs, draws, lambda one: one.usd or 0.0, lambda one: float(one.legal))


def _ratio(
    name: str,
    pairs: Sequence[Pair],
    draws: "np.ndarray[Any, Any]",
    above: Callable[[Outcome], float],
    below: Callable[[Outcome], float],
) -> Measure:
    """A ratio of sums, with a percentile interval of the difference over the draws (reps, n_pairs) of weights."""
    sums = np.array([[above(pair.a), below(pair.a), above(pair.b), below(pair.b)] for pair in pairs], dtype=float)
    a, b = (float(value) for value in _ratios(sums.sum(axis=0)))
    drawn = _ratios(draws @ sums)
    # Where a draw has no candidate the ratio is not defined, and then neither is the interval.
    gaps = drawn[:, 1] - drawn[:, 0]
    if not (isfinite(a) and isfinite(b)):
        return Measure(name, a, b, nan, nan, nan, nan, None)
    low, high = nan, nan
    clusters = len({pair.cluster for pair in pairs})
    if np.isfinite(gaps).all() and clusters >= MIN_CLUSTERS:
        low, high = (float(np.quantile(gaps, q)) for q in (0.5 - LEVEL / 2, 0.5 + LEVEL / 2))
    spread = float(np.std(gaps[np.isfinite(gaps)], ddof=1)) if np.isfinite(gaps).sum() > 1 else nan
    known = isfinite(spread) and spread > 0 and a != b
    needed = ceil(len(pairs) * ((Z + Z_POWER) * spread / abs(b - a)) ** 2) if known else None
    return Measure(name, a, b, b - a, low, high, nan, needed)


def _ratios(sums: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """(..., 4) sums above and below of A, then of B, to (..., 2) ratios; NaN over nothing."""
    above, below = sums[..., 0::2], sums[..., 1::2]
    ratios: np.ndarray[Any, Any] = np.divide(above, below, out=np.full(above.shape, nan), where=below > 0)
    return ratios


def _draws(pairs: Sequence[Pair], clusters: Sequence[str], rng: np.random.Generator) -> "np.ndarray[Any, Any]":
    """(reps, n_pairs) how often each pair is in each bootstrap sample; pairs of a cluster come and go together."""
    number = {cluster: at for at, cluster in enumerate(clusters)}
    of_pair = np.array([number[pair.cluster] for pair in pairs])
    shares = np.full(len(clusters), 1.0 / len(clusters))
    counts = rng.multinomial(len(clusters), shares, size=BOOTSTRAP_REPS)
    return np.asarray(counts[:, of_pair], dtype=float)


def _pairs_for_discordance(discordant: float, difference: float) -> int:
    """Connor's formula: pairs for McNemar's test at a share of unequal pairs and a difference of the rates."""
    inner = max(discordant - difference * difference, 0.0)
    return ceil(((Z * sqrt(discordant) + Z_POWER * sqrt(inner)) / abs(difference)) ** 2)
