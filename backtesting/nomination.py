"""Nomination: all candidates of a run, frozen with everything the judgement depends on, before the sealed window opens.

Its content id is what an opening is booked under. It never holds a sealed number, and cannot be built from evidence
that is from other bars, another window or other costs than it says. It also says what is claimed: every nominee is
nominated to be added to the book, and where an incumbent is named, to take that incumbent's place as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from backtesting.backtest import Strategy
from backtesting.costs import CostModel
from backtesting.evaluation import CONSTANT_POSITION, Evaluation
from backtesting.hashing import content_id
from backtesting.replacement import Replacement
from backtesting.result import BacktestResult, log_growth
from backtesting.splits import Split
from backtesting.terms import CASH, Terms

COST_FACTOR = 2.0


class Route(StrEnum):
    """Which evidence about a nominee is clean, and so which test may judge it.

    BLIND: nobody who proposed it can have seen the sealed days. AFTER: its proposer may know the first of them, and is
    judged blindly on those after. OCCAM: its proposer may know them, so only a test that holds against any memory
    counts. FORWARD: nothing is known about what it knows; only data still to come counts.
    """

    BLIND = "blind"
    AFTER = "after"
    OCCAM = "occam"
    FORWARD = "forward"


@dataclass(frozen=True, eq=False)
class Nominee:
    """A candidate with its open-window evidence, frozen; the strategy is what will be run on the sealed window.

    Attributes:
        neighbours_t: t-statistics of the residual alpha of the same rule slightly changed, on the open window too
            (other windows, a later start); NaN for one that never moved. Empty where nobody looked.
        dropped_t: the same of the rule on the panel without one symbol, for each of those that earned most.
        doubtful: numbers of the open bars whose prices the quality report flags, judged by the open bars alone.
        route: which test its history allows; route_reason says why, in half a sentence.
        code_bits: length of the rule in bits, needed for the route OCCAM.
        blind_from: number of the first sealed bar that its proposers cannot know, needed for the route AFTER.
        replacement: what the open window says about it in the place of the incumbent that the nomination names.
    """

    open_evaluation: Evaluation
    open_doubled_costs: BacktestResult
    strategy: Strategy
    neighbours_t: tuple[float, ...] = ()
    dropped_t: tuple[tuple[str, float], ...] = ()
    doubtful: tuple[int, ...] = ()
    route: Route = Route.BLIND
    route_reason: str = ""
    code_bits: float = float("nan")
    blind_from: int | None = None
    replacement: Replacement | None = None

    def __post_init__(self) -> None:
        if self.route is Route.OCCAM and not self.code_bits > 0.0:
            raise ValueError(f"{self.name} is to be judged by its length, but has none")
        if (self.route is Route.AFTER) != (self.blind_from is not None):
            raise ValueError(f"{self.name} takes the route {self.route} with blind_from {self.blind_from}")

    @property
    def spec_id(self) -> str:
        """Id of the rule."""
        return self.open_evaluation.spec_id

    @property
    def name(self) -> str:
        """For people."""
        return self.open_evaluation.name

    @property
    def betas(self) -> Mapping[str, float]:
        """Hedge ratio by incumbent and to a constant position on the open window: evidence, not what the judge uses."""
        return self.open_evaluation.betas


@dataclass(frozen=True, eq=False)
class Nomination:
    """All candidates of a run with everything that the judgement depends on, settled before the sealed window opens.

    Attributes:
        bars_id, open_bars_id: of the whole history, and of the same bars cut at the end of the open window, which
            is where the nominees' evidence is from.
        incumbents: the strategies whose names the nominees' hedge ratios use.
        alpha: what this opening may spend, after `alpha_for_opening`; 0 if nobody is judged blindly.
        doubtful: numbers of the bars of the whole history whose prices the quality report flags.
        occam_alpha: what all rules of the language together may spend on the whole history, once and for all.
        costs, terms: what trading costs, and the conventions of the market.
        seed: of the bootstrap draws.
        n_trials: looks at the open window so far.
        replaces: the incumbent whose place each nominee claims as well, by name; empty for none.

    Raises:
        ValueError: no nominee, one twice, evidence from different bars, windows or costs, a hedge on other incumbents
            than these, a claim on the place of nobody or of somebody else, or days for the blind test that are not
            sealed.
    """

    nominees: tuple[Nominee, ...]
    incumbents: tuple[Strategy, ...]
    bars_id: str
    open_bars_id: str
    split: Split
    costs: CostModel
    alpha: float
    seed: int
    n_trials: int
    code_version: str
    occam_alpha: float = 0.05
    doubtful: tuple[int, ...] = ()
    replaces: str = ""
    terms: Terms = CASH

    def __post_init__(self) -> None:
        ids = [nominee.spec_id for nominee in self.nominees]
        if not ids or len(set(ids)) != len(ids):
            raise ValueError(f"a nomination needs at least one nominee and each only once, got {len(ids)}")
        known = sorted([CONSTANT_POSITION, *(incumbent.name for incumbent in self.incumbents)])
        if self.replaces and self.replaces not in known:
            raise ValueError(f"{self.replaces} is to be replaced and is none of the incumbents {known}")
        for nominee in self.nominees:
            claimed = "" if nominee.replacement is None else nominee.replacement.incumbent
            if claimed != self.replaces:
                raise ValueError(f"{nominee.name} claims the place of {claimed!r}, the nomination {self.replaces!r}")
            if (
                nominee.blind_from is not None
                and not self.split.sealed.start <= nominee.blind_from < self.split.sealed.stop
            ):
                raise ValueError(f"{nominee.name} is to be judged blindly from bar {nominee.blind_from}, not sealed")
            if sorted(nominee.betas) != known:
                raise ValueError(f"{nominee.name} is hedged with {sorted(nominee.betas)}, the incumbents are {known}")
            for result, costs in (
                (nominee.open_evaluation.result, self.costs),
                (nominee.open_doubled_costs, self.costs.times(COST_FACTOR)),
            ):
                found = (result.bars_id, result.window, result.costs, result.terms)
                if found != (self.open_bars_id, self.split.open, costs, self.terms):
                    raise ValueError(
                        f"{nominee.name} brings evidence from other bars, another window, other costs or other terms"
                    )

    @property
    def nomination_id(self) -> str:
        """Content id of the ids and numbers; the same whatever order the nominees are in."""
        return content_id(
            {
                "nominees": [
                    {
                        "evaluation": nominee.open_evaluation.as_dict(),
                        "route": str(nominee.route),
                        "code_bits": _number(nominee.code_bits),
                        "neighbours_t": [_number(t) for t in nominee.neighbours_t],
                        "dropped_t": [[symbol, _number(t)] for symbol, t in nominee.dropped_t],
                        "doubtful": list(nominee.doubtful),
                        "doubled_costs_growth": _number(log_growth(nominee.open_doubled_costs)),
                        "blind_from": nominee.blind_from,
                        "replacement": None if nominee.replacement is None else nominee.replacement.as_dict(),
                    }
                    for nominee in self.ordered
                ],
                "incumbents": sorted(incumbent.name for incumbent in self.incumbents),
                "bars_id": self.bars_id,
                "open_bars_id": self.open_bars_id,
                "doubtful": list(self.doubtful),
                "replaces": self.replaces,
                "split": self.split.as_dict(),
                "costs": self.costs.as_dict(),
                # Left out where nothing is special, so that the ids of such nominations stay what they were.
                **({} if self.terms == CASH else {"terms": self.terms.as_dict()}),
                "alpha": self.alpha,
                "occam_alpha": self.occam_alpha,
                "seed": self.seed,
                "n_trials": self.n_trials,
                "code_version": self.code_version,
            }
        )

    @property
    def n_hypotheses(self) -> int:
        """How many answers an opening gives: one a nominee, two where each also claims an incumbent's place."""
        return len(self.nominees) * (2 if self.replaces else 1)

    @property
    def ordered(self) -> tuple[Nominee, ...]:
        """The nominees by spec_id, the order in which they are judged and reported."""
        return tuple(sorted(self.nominees, key=lambda nominee: nominee.spec_id))


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
