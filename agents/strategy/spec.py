"""StrategySpec: a trading rule as data, and the only thing that a model or a person hands in.

It cannot run code and cannot name the future: everything it can say is said in expressions of the language and a few
numbers, all bounded. It holds its expressions in canonical form, so `spec_id` is the same for the same rule in other
words, another order, or under another name. What is not a legal spec comes back as a list of errors, never raised.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from agents.strategy.expression.canonical import rounded
from agents.strategy.expression.nodes import FEATURE, FIELD, Node, distinct_nodes
from agents.strategy.expression.parse import parse, parse_condition, parse_score, too_large
from agents.strategy.indicators import FUNCTIONS, RANGE_FIELDS
from agents.strategy.spec_error import SpecError, did_you_mean, nearest
from agents.strategy.spec_text import read_mapping, write_yaml
from backtesting.bars import Bars
from backtesting.hashing import content_id

# Part of every spec_id: raised when the meaning of the language changes, so that old ids stay what they were.
LANGUAGE = 2

MAX_PROSE = 600
# More than anybody reads; a hostile reply may hold thousands of unknown keys.
MAX_ERRORS = 40
NAME_PATTERN = "[a-z][a-z0-9_]{2,47}"
_NAME = re.compile(NAME_PATTERN)
_FEATURE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}


def _legal_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PydanticCustomError("name", "a name is 3 to 48 of a-z, 0-9 and _, and starts with a letter")
    if name in _RESERVED:
        raise PydanticCustomError("name", "this name is reserved on Windows")
    return name


def _legal_prose(text: str) -> str:
    # Line breaks are layout; other control and direction-changing characters make a reviewer read what is not there.
    text = " ".join(text.split())
    if len(text) > MAX_PROSE:
        raise PydanticCustomError("length", f"the text has {len(text)} characters, allowed are {MAX_PROSE}")
    if hidden := [mark for mark in text if unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Co", "Cn")]:
        raise PydanticCustomError("character", f"the text holds the invisible character {hidden[0]!a}")
    return text


def _as_text(value: Any) -> Any:
    # `enter: true` and `score: 1` are expressions that YAML has typed.
    if isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 1e15):
        return str(value)
    return value


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _canonical(reader: Callable[[str], Node | tuple[SpecError, ...]]) -> Callable[[str], str]:
    def check(text: str) -> str:
        node = reader(text)
        if isinstance(node, Node):
            return node.text
        raise PydanticCustomError("expression", "the expression is not legal", {"errors": node})

    return check


def _legal_feature(name: str) -> str:
    if not _FEATURE.fullmatch(name):
        raise PydanticCustomError("name", "a feature is named by up to 64 letters, digits and _")
    return name


Name = Annotated[str, AfterValidator(_legal_name)]
FeatureName = Annotated[str, AfterValidator(_legal_feature)]
Prose = Annotated[str, AfterValidator(_legal_prose)]
Condition = Annotated[str, BeforeValidator(_as_text), AfterValidator(_canonical(parse_condition))]
Score = Annotated[str, BeforeValidator(_as_text), AfterValidator(_canonical(parse_score))]
Number = Annotated[float, AfterValidator(rounded)]
# JSON has no whole numbers of its own: 2.0 is one.
Whole = Annotated[int, BeforeValidator(_as_whole)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Side(_Part):
    """One side of a rule: when to enter and when to leave. No exit: the position is left by protection or never."""

    enter: Condition
    exit: Condition | None = None

    @model_validator(mode="after")
    def _can_happen(self) -> Self:
        if self.enter == "False":
            raise PydanticCustomError("never", "the entry is never true, so nothing would ever be traded")
        return self


class Protect(_Part):
    """Exits that depend on the path: distances from the fill (stop, target) or from the best close since (trail).

    `*_atr` are multiples of atr(atr_window), `*_share` fractions of the close, both at the bar of the decision.
    """

    stop_atr: Annotated[Number, Field(ge=0.1, le=20)] | None = None
    stop_share: Annotated[Number, Field(ge=0.001, le=0.9)] | None = None
    trail_atr: Annotated[Number, Field(ge=0.1, le=20)] | None = None
    trail_share: Annotated[Number, Field(ge=0.001, le=0.9)] | None = None
    target_atr: Annotated[Number, Field(ge=0.1, le=50)] | None = None
    target_share: Annotated[Number, Field(ge=0.001, le=10)] | None = None
    max_bars: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    atr_window: Annotated[Whole, Field(ge=1, le=250)] = 20

    @model_validator(mode="after")
    def _one_distance_each(self) -> Self:
        for kind in ("stop", "trail", "target"):
            if getattr(self, f"{kind}_atr") is not None and getattr(self, f"{kind}_share") is not None:
                raise PydanticCustomError("contradiction", f"give {kind}_atr or {kind}_share, not both")
        return self

    @property
    def uses_atr(self) -> bool:
        """Whether any of the distances is a multiple of the atr."""
        return not (self.stop_atr is None and self.trail_atr is None and self.target_atr is None)

    def rule(self) -> dict[str, Any] | None:
        """The parts that do something, or None if none does."""
        given = self.model_dump(exclude_none=True, exclude=None if self.uses_atr else {"atr_window"})
        return given or None


class FractionSizing(_Part):
    """A fixed fraction of equity."""

    kind: Literal["fraction"]
    fraction: Annotated[Number, Field(ge=0.01, le=2)] = 1.0


class VolatilitySizing(_Part):
    """annual / volatility(window), at most `cap`: the position aims at that volatility a year."""

    kind: Literal["volatility"]
    annual: Annotated[Number, Field(ge=0.01, le=1)] = 0.10
    window: Annotated[Whole, Field(ge=2, le=250)] = 20
    cap: Annotated[Number, Field(ge=0.01, le=2)] = 1.0


class AtrRiskSizing(_Part):
    """risk * close / (multiple * atr(window)), at most `cap`: a move of `multiple` ATR against us loses `risk`."""

    kind: Literal["atr_risk"]
    risk: Annotated[Number, Field(ge=0.0001, le=0.1)] = 0.01
    multiple: Annotated[Number, Field(ge=0.1, le=20)] = 3.0
    window: Annotated[Whole, Field(ge=1, le=250)] = 20
    cap: Annotated[Number, Field(ge=0.01, le=2)] = 1.0


class KellySizing(_Part):
    """`share` of Kelly's fraction, mean / variance of what the rule earned on paper, 0 to `cap`.

    Over those of the last `window` bars on which it wanted a position; no entry until there are `LEAST_BARS` of them,
    so a selective rule needs a long window.
    """

    LEAST_BARS: ClassVar[int] = 20

    kind: Literal["kelly"]
    share: Annotated[Number, Field(ge=0.01, le=1)] = 0.5
    window: Annotated[Whole, Field(ge=LEAST_BARS, le=1000)] = 250
    cap: Annotated[Number, Field(ge=0.01, le=2)] = 1.0


Sizing = Annotated[FractionSizing | VolatilitySizing | AtrRiskSizing | KellySizing, Field(discriminator="kind")]


class Orders(_Part):
    """How entries become orders: at a limit, not again too soon, not too many at once.

    A limit order rests that far below the close of the decision (a short entry: above) for `limit_bars` bars, and is
    filled only when the price trades through it. With `whole_account` a size on a panel is a fraction of the account
    and not of the symbol's share of it: larger sizes come first, and what the account does not have is cut.
    """

    limit_atr: Annotated[Number, Field(ge=0, le=20)] | None = None
    limit_share: Annotated[Number, Field(ge=0, le=0.5)] | None = None
    limit_bars: Annotated[Whole, Field(ge=1, le=60)] = 1
    atr_window: Annotated[Whole, Field(ge=1, le=250)] = 20
    cooldown_bars: Annotated[Whole, Field(ge=1, le=250)] | None = None
    rearm: bool = False
    max_positions: Annotated[Whole, Field(ge=1, le=500)] | None = None
    whole_account: bool = False

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.limit_atr is not None and self.limit_share is not None:
            raise PydanticCustomError("contradiction", "give limit_atr or limit_share, not both")
        return self

    @property
    def rests(self) -> bool:
        """Whether entries are limit orders."""
        return not (self.limit_atr is None and self.limit_share is None)

    def rule(self) -> dict[str, Any] | None:
        """The parts that do something, or None if none does."""
        idle = {
            *(() if self.rests else ("limit_bars",)),
            *(() if self.limit_atr is not None else ("atr_window",)),
            *(() if self.rearm else ("rearm",)),
            *(() if self.whole_account else ("whole_account",)),
        }
        return self.model_dump(exclude_none=True, exclude=idle) or None


class Halt(_Part):
    """Leave everything once equity is further than `drawdown` below its peak, and stay out for `bars` bars.

    Without `bars` it never trades again. Then the account decides anew, with the equity of that day as its peak.
    """

    drawdown: Annotated[Number, Field(ge=0.01, le=0.9)]
    bars: Annotated[Whole, Field(ge=1, le=1000)] | None = None

    def rule(self) -> dict[str, Any]:
        """The parts that do something."""
        return self.model_dump(exclude_none=True)


class Limits(_Part):
    """Bounds on what is held, as fractions of the account's equity, kept whenever it trades; between trades it drifts.

    `weight` is the largest position in one symbol, `gross` the sum of the sizes of all, `net` the most by which longs
    may outweigh shorts, or shorts longs: with 0 the two sides are equal.
    """

    weight: Annotated[Number, Field(ge=0.001, le=4)] | None = None
    gross: Annotated[Number, Field(ge=0.01, le=4)] | None = None
    net: Annotated[Number, Field(ge=0, le=4)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.weight is None and self.gross is None and self.net is None:
            raise PydanticCustomError("limits", "limits bound nothing; give weight, gross or net")
        return self

    def rule(self) -> dict[str, Any]:
        """The parts that do something: longs outweigh shorts by no more than all sizes together."""
        idle = self.net is not None and self.gross is not None and self.net >= self.gross
        return self.model_dump(exclude_none=True, exclude={"net"} if idle else None)


class SignPosition(_Part):
    """Fully long above `deadband`, fully short below -`deadband`, flat between."""

    kind: Literal["sign"]
    deadband: Annotated[Number, Field(ge=0, le=1e6)] = 0.0


class LinearPosition(_Part):
    """score * scale, clipped to -1..1."""

    kind: Literal["linear"]
    scale: Annotated[Number, Field(gt=0, le=1e6)] = 1.0


Position = Annotated[SignPosition | LinearPosition, Field(discriminator="kind")]


class Rebalance(_Part):
    """Look every `every_bars` bars, and trade if the position is further than `band` of equity from its target."""

    every_bars: Annotated[Whole, Field(ge=1, le=250)] = 1
    band: Annotated[Number, Field(ge=0, le=0.5)] = 0.05


class CountSelection(_Part):
    """So many names a side, at most half of those that may be held where both sides are."""

    kind: Literal["count"]
    count: Annotated[Whole, Field(ge=1, le=500)] = 10


class ShareSelection(_Part):
    """This share of the names that may be held, on each side: at least one name, at most half where both sides are."""

    kind: Literal["share"]
    share: Annotated[Number, Field(ge=0.001, le=1)] = 0.1


Selection = Annotated[CountSelection | ShareSelection, Field(discriminator="kind")]


class EqualWeight(_Part):
    """The same for every selected name."""

    kind: Literal["equal"]


class ScoreWeight(_Part):
    """In proportion to the distance of the score from its mean over the names that may be held, on the right side."""

    kind: Literal["score"]


class InverseVolatilityWeight(_Part):
    """In proportion to 1 / volatility(window); a name without one is not held."""

    kind: Literal["inverse_volatility"]
    window: Annotated[Whole, Field(ge=2, le=250)] = 60


Weight = Annotated[EqualWeight | ScoreWeight | InverseVolatilityWeight, Field(discriminator="kind")]


class PortfolioRebalance(_Part):
    """Choose and weigh anew every `every_bars` bars, and trade a name further than `band` of equity from its target."""

    every_bars: Annotated[Whole, Field(ge=1, le=250)] = 21
    band: Annotated[Number, Field(ge=0, le=0.5)] = 0.0


class MeanFusion(_Part):
    """The weighted mean of what the members hold."""

    kind: Literal["mean"]


class VoteFusion(_Part):
    """Fully long or short where the members' weighted votes reach the threshold, else flat; a vote is a sign."""

    kind: Literal["vote"]
    threshold: Annotated[Number, Field(ge=0.01, le=1)] = 0.5


Fusion = Annotated[MeanFusion | VoteFusion, Field(discriminator="kind")]


class _Spec(_Part):
    name: Name
    hypothesis: Prose
    source: Prose | None = None

    @property
    def expressions(self) -> dict[str, str]:
        """Every expression by its path, the derived ones of sizing and protection excluded."""
        raise NotImplementedError

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The trees of the expressions by path."""
        trees = {path: parse(text) for path, text in self.expressions.items()}
        return {path: tree for path, tree in trees.items() if isinstance(tree, Node)}

    def rule(self) -> dict[str, Any]:
        """What the spec does, without name and prose, in canonical form."""
        raise NotImplementedError

    @cached_property
    def spec_id(self) -> str:
        """Content id of the rule."""
        return content_id({"language": LANGUAGE, **self.rule()})

    def config(self) -> dict[str, Any]:
        """The spec as a plain mapping that loads back; parts that are not used are left out."""
        prose = {"kind": self.kind, "name": self.name, "hypothesis": self.hypothesis, "source": self.source}  # type: ignore[attr-defined]
        return {key: value for key, value in (prose | self.rule()).items() if value is not None}

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if error := too_large(*self.nodes.values()):
            raise PydanticCustomError("expression", "the spec is too large", {"errors": (error,)})
        return self


def _halting(halt: Halt | None) -> dict[str, Any]:
    return {} if halt is None else {"halt": halt.rule()}


def _limiting(limits: Limits | None) -> dict[str, Any]:
    return {} if limits is None else {"limits": limits.rule()}


class RulesSpec(_Spec):
    """Entries and exits, long, short, or both."""

    kind: Literal["rules"]
    long: Side | None = None
    short: Side | None = None
    protect: Protect | None = None
    sizing: Sizing = Field(default_factory=lambda: FractionSizing(kind="fraction"))
    orders: Orders | None = None
    halt: Halt | None = None

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.long is None and self.short is None:
            raise PydanticCustomError("no_side", "give long or short, or both")
        return self

    @property
    def expressions(self) -> dict[str, str]:
        """Every expression by its path."""
        found = {}
        for word, side in (("long", self.long), ("short", self.short)):
            if side is not None:
                found[f"{word}.enter"] = side.enter
                if side.exit not in (None, "False"):
                    found[f"{word}.exit"] = str(side.exit)
        return found

    def rule(self) -> dict[str, Any]:
        """What the spec does, without name and prose, in canonical form."""
        rule: dict[str, Any] = {"kind": self.kind}
        texts = self.expressions
        for word in ("long", "short"):
            side = {step: texts[f"{word}.{step}"] for step in ("enter", "exit") if f"{word}.{step}" in texts}
            if side:
                rule[word] = side
        if self.protect is not None and (protect := self.protect.rule()) is not None:
            rule["protect"] = protect
        if self.orders is not None and (orders := self.orders.rule()) is not None:
            rule["orders"] = orders
        return rule | {"sizing": self.sizing.model_dump()} | _halting(self.halt)


class ScoreSpec(_Spec):
    """A number a bar, mapped to a target position."""

    kind: Literal["score"]
    score: Score
    position: Position = Field(default_factory=lambda: SignPosition(kind="sign"))
    direction: Literal["long", "short", "both"] = "both"
    sizing: Sizing = Field(default_factory=lambda: FractionSizing(kind="fraction"))
    rebalance: Rebalance = Field(default_factory=Rebalance)
    halt: Halt | None = None
    limits: Limits | None = None

    @property
    def expressions(self) -> dict[str, str]:
        """Every expression by its path."""
        return {"score": self.score}

    def rule(self) -> dict[str, Any]:
        """What the spec does, without name and prose, in canonical form."""
        return {
            "kind": self.kind,
            "score": self.score,
            "position": self.position.model_dump(),
            "direction": self.direction,
            "sizing": self.sizing.model_dump(),
            "rebalance": self.rebalance.model_dump(),
            **_halting(self.halt),
            **_limiting(self.limits),
        }


class PortfolioSpec(_Spec):
    """The best or worst names of a panel, chosen anew every so many bars: filter, score, select, weigh.

    Names without a price, outside the universe or without a score are not held. With both sides each gets half of
    `gross`. What `cap` cuts off a name goes to the others of its side, and to cash where all are capped.
    """

    kind: Literal["portfolio"]
    universe: Condition | None = None
    score: Score
    neutralise: FeatureName | None = None
    select: Selection
    weight: Weight = Field(default_factory=lambda: EqualWeight(kind="equal"))
    direction: Literal["long", "short", "both"] = "long"
    gross: Annotated[Number, Field(ge=0.01, le=4)] = 1.0
    cap: Annotated[Number, Field(ge=0.001, le=4)] = 1.0
    rebalance: PortfolioRebalance = Field(default_factory=PortfolioRebalance)
    halt: Halt | None = None
    limits: Limits | None = None

    @model_validator(mode="after")
    def _can_happen(self) -> Self:
        if self.universe == "False":
            raise PydanticCustomError("never", "the universe is always empty, so nothing would ever be traded")
        return self

    @property
    def expressions(self) -> dict[str, str]:
        """Every expression by its path."""
        universe = {} if self.universe in (None, "True") else {"universe": str(self.universe)}
        return universe | {"score": self.score}

    def rule(self) -> dict[str, Any]:
        """What the spec does, without name and prose, in canonical form."""
        neutral = {} if self.neutralise is None else {"neutralise": self.neutralise}
        return {
            "kind": self.kind,
            **self.expressions,
            **neutral,
            "select": self.select.model_dump(),
            "weight": self.weight.model_dump(),
            "direction": self.direction,
            "gross": self.gross,
            "cap": self.cap,
            "rebalance": self.rebalance.model_dump(),
            **_halting(self.halt),
            **_limiting(self.limits),
        }


class Member(_Part):
    """One member of an ensemble: a spec written out, or the name of an agent that is looked up before anything runs."""

    agent: Name | None = None
    spec: Annotated[RulesSpec | ScoreSpec | PortfolioSpec, Field(discriminator="kind")] | None = None
    weight: Annotated[Number, Field(ge=0.001, le=1000)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.agent is None) is (self.spec is None):
            raise PydanticCustomError("member", "give an agent's name or a spec, one of the two")
        found = (
            []
            if self.spec is None
            else [part for part in ("orders", "halt", "limits") if getattr(self.spec, part, None)]
        )
        if found:
            raise PydanticCustomError("member", f"a member is followed on paper, where {found[0]} mean nothing")
        return self

    def rule(self) -> dict[str, Any]:
        """What the member does; an agent that is not looked up yet is known by its name only."""
        return {"agent": self.agent} if self.spec is None else self.spec.rule()


MAX_MEMBERS = 12


def _few(members: Any) -> Any:
    # Counted before any is read: a hostile reply may hold thousands.
    if isinstance(members, list | tuple) and not 2 <= len(members) <= MAX_MEMBERS:
        raise PydanticCustomError("members", f"an ensemble has 2 to {MAX_MEMBERS} members, {len(members)} are given")
    return members


class EnsembleSpec(_Spec):
    """Several strategies as one: each is followed on paper, and what they hold is averaged or put to the vote.

    Members are no ensembles themselves. With `inverse_volatility` a member weighs 1 / the volatility of its own paper
    returns over `window` bars, all the same until every member has one.
    """

    kind: Literal["ensemble"]
    members: Annotated[
        tuple[Member, ...],
        BeforeValidator(_few),
        Field(strict=False, json_schema_extra={"minItems": 2, "maxItems": MAX_MEMBERS}),
    ]
    fusion: Fusion = Field(default_factory=lambda: MeanFusion(kind="mean"))
    weights: Literal["equal", "given", "inverse_volatility"] = "equal"
    window: Annotated[Whole, Field(ge=20, le=1000)] = 250
    gross: Annotated[Number, Field(ge=0.01, le=4)] = 1.0
    rebalance: Rebalance = Field(default_factory=Rebalance)
    halt: Halt | None = None
    limits: Limits | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [member.weight is not None for member in self.members]
        if self.weights == "given" and not all(given):
            raise PydanticCustomError("contradiction", "weights are given, but not every member has one")
        if self.weights != "given" and any(given):
            raise PydanticCustomError("contradiction", f"a member has a weight, but weights are {self.weights}")
        rules = [content_id(member.rule()) for member in self.members]
        if len(set(rules)) < len(rules):
            raise PydanticCustomError("twice", "two members are the same rule; give one of them more weight instead")
        return self

    @property
    def expressions(self) -> dict[str, str]:
        """Every expression of every member by its path."""
        return {
            f"members.{place}.spec.{path}": text
            for place, member in enumerate(self.members)
            if member.spec is not None
            for path, text in member.spec.expressions.items()
        }

    @cached_property
    def in_order(self) -> tuple[tuple[Member, float], ...]:
        """The members with their shares of the whole, in the order in which they are added up."""
        total = math.fsum(member.weight or 1.0 for member in self.members)
        shares = [(member, rounded((member.weight or 1.0) / total)) for member in self.members]
        return tuple(sorted(shares, key=lambda pair: content_id(pair[0].rule())))

    def rule(self) -> dict[str, Any]:
        """What the spec does, without name and prose, in canonical form."""
        uneven = len({share for _, share in self.in_order}) > 1
        weights = self.weights if self.weights != "given" or uneven else "equal"
        return {
            "kind": self.kind,
            "members": [
                {"rule": member.rule()} | ({"weight": share} if weights == "given" else {})
                for member, share in self.in_order
            ],
            "fusion": self.fusion.model_dump(),
            "weights": weights,
            **({"window": self.window} if weights == "inverse_volatility" else {}),
            "gross": self.gross,
            "rebalance": self.rebalance.model_dump(),
            **_halting(self.halt),
            **_limiting(self.limits),
        }

    def config(self) -> dict[str, Any]:
        """The spec as a plain mapping that loads back, members with their own names and prose."""
        members = [
            {"agent": member.agent, "spec": None if member.spec is None else member.spec.config()}
            | {"weight": member.weight}
            for member in self.members
        ]
        mine = super().config() | {"weights": self.weights}
        mine["members"] = [{key: value for key, value in member.items() if value is not None} for member in members]
        return mine

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Names of agents that have not been looked up."""
        return tuple(str(member.agent) for member in self.members if member.spec is None)


# A further kind (a fitted model) joins this union and `KINDS`.
Spec = RulesSpec | ScoreSpec | PortfolioSpec | EnsembleSpec
KINDS: dict[str, type[Spec]] = {
    "rules": RulesSpec,
    "score": ScoreSpec,
    "portfolio": PortfolioSpec,
    "ensemble": EnsembleSpec,
}

SPEC_ADAPTER: TypeAdapter[Spec] = TypeAdapter(Annotated[Spec, Field(discriminator="kind")])


def with_members(spec: Spec, agents: Mapping[str, Spec]) -> Spec | list[SpecError]:
    """The spec with every agent that an ensemble names replaced by the spec of that name in `agents`.

    What the name stands for is thereby part of the rule and of its id, whatever becomes of the agent later. A spec
    that names nobody comes back as it is.
    """
    if not isinstance(spec, EnsembleSpec) or not spec.unresolved:
        return spec
    errors, members = [], []
    for place, member in enumerate(spec.members):
        path, name = f"members.{place}.agent", str(member.agent)
        found = member.spec or agents.get(name)
        if found is None:
            near = nearest(name, agents)
            sentence = f'there is no agent "{name}"{did_you_mean(near)}'
            errors.append(SpecError(path, "unknown_agent", name, "the name of an agent", near, sentence))
        elif isinstance(found, EnsembleSpec):
            sentence = f'"{name}" is an ensemble, and an ensemble has no ensembles as members; name its members'
            errors.append(SpecError(path, "nesting", name, "rules, score or portfolio", "", sentence))
        else:
            members.append({"spec": found.config(), "weight": member.weight})
    if errors:
        return errors
    return load_spec(spec.config() | {"members": [_without_none(member) for member in members]}, origin="")


def _without_none(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def load_spec(text_or_mapping: str | bytes | Mapping[str, Any], *, origin: str) -> Spec | list[SpecError]:
    """A spec from JSON or YAML text or a mapping, or the full list of what is wrong with it.

    `origin` says where it came from (a file, a slot); it starts every sentence, unless it is empty.
    Never raises, whatever the bytes.
    """
    config: Any = text_or_mapping
    if isinstance(text_or_mapping, str | bytes):
        config = read_mapping(text_or_mapping)
        if isinstance(config, str):
            return [SpecError("", "unreadable", "", "one JSON object or YAML mapping", "", config, origin)]
    try:
        return SPEC_ADAPTER.validate_python(dict(config))
    except ValidationError as refused:
        details = refused.errors(include_url=False)[:MAX_ERRORS]
        found = [error for detail in details for error in _spec_errors(detail)]
        return [error.of(origin) for error in found]
    except RecursionError:
        return [SpecError("", "unreadable", "", "a flat mapping", "", "the spec is nested too deeply", origin)]


def rule_text(spec: Spec) -> str:
    """What the spec does, in words made from the rule and never from its prose; for reviewers."""
    if isinstance(spec, RulesSpec):
        lines = _rules_text(spec)
    elif isinstance(spec, ScoreSpec):
        lines = _score_text(spec)
    else:
        lines = _portfolio_text(spec) if isinstance(spec, PortfolioSpec) else _ensemble_text(spec)
    limits = None if isinstance(spec, RulesSpec) else spec.limits
    if limits is not None:
        lines.append(_limits_text(limits))
    if spec.halt is not None:
        again = f"decides again {spec.halt.bars} bars later" if spec.halt.bars is not None else "never trades again"
        lines.append(f"At a drawdown of more than {100 * spec.halt.drawdown:g} % it leaves everything, and {again}.")
    return "\n".join(lines)


def _limits_text(limits: Limits) -> str:
    said = [f"no symbol above {100 * limits.weight:g} %"] if limits.weight is not None else []
    said += [f"all sizes together at most {100 * limits.gross:g} %"] if limits.gross is not None else []
    if limits.net is not None:
        apart = f"at most {100 * limits.net:g} % apart" if limits.net > 0.0 else "equal"
        said.append(f"longs and shorts {apart}")
    return f"Whenever it trades: {', '.join(said)}, of equity."


def _rules_text(spec: RulesSpec) -> list[str]:
    lines = []
    for word, side in (("long", spec.long), ("short", spec.short)):
        if side is None:
            continue
        lines.append(f"Enter {word} when {side.enter}.")
        leave = side.exit if side.exit not in (None, "False") else None
        lines.append(f"Leave {word} when {leave}." if leave else f"Leave {word} on no signal of its own.")
    return [*lines, *_protect_text(spec.protect), *_orders_text(spec.orders), f"Size: {_sizing_text(spec.sizing)}."]


def _orders_text(orders: Orders | None) -> list[str]:
    if orders is None:
        return []
    lines = []
    if orders.rests:
        away = f"{orders.limit_atr:g} * atr({orders.atr_window})"
        if orders.limit_share is not None:
            away = f"{100 * orders.limit_share:g} %"
        lines.append(f"Entries rest as limit orders {away} away from the close, for {orders.limit_bars} bar(s).")
    if orders.cooldown_bars is not None:
        lines.append(f"No entry in the {orders.cooldown_bars} bar(s) after an exit.")
    if orders.rearm:
        lines.append("An entry counts again only after its condition was false.")
    if orders.max_positions is not None:
        lines.append(f"At most {orders.max_positions} position(s) at once, the largest first.")
    if orders.whole_account:
        lines.append("On several symbols a size is one of the whole account, which they share: the largest first.")
    return lines


def _score_text(spec: ScoreSpec) -> list[str]:
    lines = [f"Score: {spec.score}."]
    if isinstance(spec.position, SignPosition):
        lines.append(
            f"Position: fully long above {spec.position.deadband:g},"
            f" fully short below {-spec.position.deadband + 0.0:g}."
        )
    else:
        lines.append(f"Position: {spec.position.scale:g} times the score, at most fully long or short.")
    if spec.direction != "both":
        lines.append(f"Only {spec.direction}; flat instead of the other side.")
    lines.append(f"Size: {_sizing_text(spec.sizing)}.")
    lines.append(_rebalance_text("Looked at", spec.rebalance))
    return lines


def _rebalance_text(verb: str, rebalance: Rebalance | PortfolioRebalance) -> str:
    often = (
        "every bar"
        if rebalance.every_bars == 1
        else (f"every {rebalance.every_bars} bars, counted from the first bar of the data")
    )
    return f"{verb} {often}, traded if further than {rebalance.band:g} of equity from the target."


def _portfolio_text(spec: PortfolioSpec) -> list[str]:
    texts = spec.expressions
    among = f"the assets with {texts['universe']}" if "universe" in texts else "all assets"
    neutral = f", less the mean of its group in {spec.neutralise}" if spec.neutralise else ""
    if isinstance(spec.select, CountSelection):
        many = f"{spec.select.count} name(s)"
    else:
        many = f"{100 * spec.select.share:g} % of the names"
    sides = {
        "long": f"Hold the {many} with the highest score.",
        "short": f"Hold short the {many} with the lowest score.",
        "both": f"Hold the {many} with the highest score, and short as many with the lowest.",
    }
    weights = {
        "equal": "equal weights",
        "score": "weights by the distance of the score from its mean",
        "inverse_volatility": f"weights by 1 / volatility({getattr(spec.weight, 'window', 0)})",
    }
    return [
        f"Among {among}, score: {spec.score}{neutral}.",
        sides[spec.direction],
        f"Size: {spec.gross:g} of equity in all, {weights[spec.weight.kind]}, at most {spec.cap:g} of equity a name.",
        _rebalance_text("Chosen anew", spec.rebalance),
    ]


def _ensemble_text(spec: EnsembleSpec) -> list[str]:
    shares = {
        "equal": "all members alike",
        "given": "members by their shares",
        "inverse_volatility": f"members by 1 / the volatility of their own returns over {spec.window} bars",
    }
    lines = [f"{len(spec.members)} members, {shares[spec.weights]}."]
    for member in spec.members:
        share = f" ({member.weight:g})" if member.weight is not None else ""
        if member.spec is None:
            lines.append(f"Member{share}: the agent {member.agent}.")
        else:
            lines.append(f"Member{share}:")
            lines.extend(f"  {line}" for line in rule_text(member.spec).splitlines())
    if isinstance(spec.fusion, VoteFusion):
        lines.append(f"Fully long or short where at least {spec.fusion.threshold:g} of the votes say so, else flat.")
    else:
        lines.append("Holds the weighted mean of what the members hold.")
    lines.append(f"Size: {spec.gross:g} times that.")
    lines.append(_rebalance_text("Looked at", spec.rebalance))
    return lines


def to_yaml(spec: Spec) -> str:
    """The spec as YAML that loads back to the same spec; parts that are not used are left out."""
    return write_yaml(spec.config())


def check_for_bars(spec: Spec, bars: Bars, *, max_warmup: int) -> list[SpecError]:
    """What keeps this spec from being judged on these bars: missing features or volume, too long a warm-up.

    Functions of high and low on a market with one price a day are an error too: they would mean something else.
    """
    errors = _panel_errors(spec, bars, "") + check_nodes_for_bars(derived_nodes(spec), bars, max_warmup=max_warmup)
    if (needed := warmup_bars(spec)) > max_warmup and all(error.rule != "warmup" for error in errors):
        path, own = ("window", "its window") if isinstance(spec, EnsembleSpec) else ("sizing", "its sizing")
        errors.append(_too_long(path, needed, max_warmup, f"{own} included"))
    return errors


def warmup_bars(spec: Spec) -> int:
    """Leading bars at which some part of the rule cannot be known yet, its sizing and its weights included."""
    if isinstance(spec, EnsembleSpec):
        members = max((warmup_bars(member.spec) for member in spec.members if member.spec is not None), default=0)
        return members + (spec.window if spec.weights == "inverse_volatility" else 0)
    expressions = max((node.warmup for node in derived_nodes(spec).values()), default=0)
    # What is decided at a close earns from two closes later.
    kelly = isinstance(getattr(spec, "sizing", None), KellySizing)
    return expressions + (KellySizing.LEAST_BARS + 2 if kelly else 0)


def check_nodes_for_bars(nodes: Mapping[str, Node], bars: Bars, *, max_warmup: int) -> list[SpecError]:
    """The same for expressions by their paths."""
    errors = []
    for path, root in nodes.items():
        for node in distinct_nodes(root):
            if node.op == FEATURE and node.name not in bars.features:
                errors.append(_unknown_feature(path, node.name, bars))
            if bars.n_assets == 1 and node.op in FUNCTIONS and FUNCTIONS[node.op].family == "cross_section":
                errors.append(_unavailable(path, node, "all assets of a panel", f"{bars.source} has one asset"))
            reads = FUNCTIONS[node.op].reads if node.op in FUNCTIONS else (node.name,) if node.op == FIELD else ()
            if "volume" in reads and not bars.has_volume:
                errors.append(_unavailable(path, node, "volume", f"{bars.source} has no volume"))
            if bars.close_only and any(name in RANGE_FIELDS for name in reads):
                errors.append(
                    _unavailable(path, node, "open, high or low", f"{bars.source} has one price a day, the close")
                )
        if root.warmup > max_warmup:
            errors.append(_too_long(path, root.warmup, max_warmup))
    return errors


def _too_long(path: str, needed: int, allowed: int, what: str = "") -> SpecError:
    said = f" ({what})" if what else ""
    sentence = f"needs {needed} bars of warm-up{said}, allowed are {allowed}; use shorter windows"
    return SpecError(path, "warmup", str(needed), f"at most {allowed}", str(allowed), sentence)


def derived_nodes(spec: Spec) -> dict[str, Node]:
    """The trees of all expressions by path, those that sizing, weights and protection stand for included."""
    if isinstance(spec, EnsembleSpec):
        return {
            f"members.{place}.spec.{path}": node
            for place, member in enumerate(spec.members)
            if member.spec is not None
            for path, node in derived_nodes(member.spec).items()
        }
    texts = {}
    if isinstance(spec, PortfolioSpec):
        if isinstance(spec.weight, InverseVolatilityWeight):
            texts["weight"] = f"volatility({spec.weight.window})"
    elif isinstance(spec.sizing, VolatilitySizing):
        texts["sizing"] = f"volatility({spec.sizing.window})"
    elif isinstance(spec.sizing, AtrRiskSizing):
        texts["sizing"] = f"atr({spec.sizing.window})"
    if isinstance(spec, RulesSpec) and spec.protect is not None and spec.protect.uses_atr:
        texts["protect"] = f"atr({spec.protect.atr_window})"
    if isinstance(spec, RulesSpec) and spec.orders is not None and spec.orders.limit_atr is not None:
        texts["orders"] = f"atr({spec.orders.atr_window})"
    derived = {path: node for path, text in texts.items() if isinstance(node := parse(text), Node)}
    return spec.nodes | derived


def _panel_errors(spec: Spec, bars: Bars, path: str) -> list[SpecError]:
    if isinstance(spec, EnsembleSpec):
        errors = []
        for place, member in enumerate(spec.members):
            where = f"members.{place}"
            if member.spec is None:
                sentence = f'the agent "{member.agent}" has not been looked up'
                errors.append(SpecError(f"{where}.agent", "unknown_agent", str(member.agent), "a spec", "", sentence))
            else:
                errors.extend(_panel_errors(member.spec, bars, f"{where}.spec"))
        return errors
    errors = []
    if isinstance(spec, PortfolioSpec):
        if bars.n_assets == 1:
            sentence = f"a portfolio chooses among several assets, {bars.source} has one"
            errors.append(SpecError(path, "unavailable", "portfolio", "rules or score", "", sentence))
        if spec.neutralise is not None and spec.neutralise not in bars.features:
            where = f"{path}.neutralise".lstrip(".")
            errors.append(_unknown_feature(where, spec.neutralise, bars))
    return errors


def _unknown_feature(path: str, name: str, bars: Bars) -> SpecError:
    near = nearest(name, bars.features)
    known = ", ".join(bars.features) or "no features"
    sentence = f'{bars.source} has no feature "{name}"; it has {known}{did_you_mean(near)}'
    return SpecError(path, "unknown_feature", name, known, near, sentence)


def _unavailable(path: str, node: Node, what: str, why: str) -> SpecError:
    sentence = f"{node.text} reads {what}, but {why}"
    return SpecError(path, "unavailable", node.text, "functions of what the market has", "", sentence)


def _sizing_text(sizing: FractionSizing | VolatilitySizing | AtrRiskSizing | KellySizing) -> str:
    if isinstance(sizing, FractionSizing):
        return f"{sizing.fraction:g} of equity"
    if isinstance(sizing, KellySizing):
        return (
            f"{sizing.share:g} of mean / variance of what it earned on paper over {sizing.window} bars,"
            f" 0 to {sizing.cap:g} of equity; no entry before it has wanted a position on {sizing.LEAST_BARS} of them"
        )
    if isinstance(sizing, VolatilitySizing):
        return f"{sizing.annual:g} / volatility({sizing.window}) of equity, at most {sizing.cap:g}"
    return (
        f"so that {sizing.multiple:g} * atr({sizing.window}) against the position loses {sizing.risk:g} of equity,"
        f" at most {sizing.cap:g}"
    )


def _protect_text(protect: Protect | None) -> list[str]:
    if protect is None:
        return []
    lines = []
    for word, title in (("stop", "Stop"), ("trail", "Trailing stop"), ("target", "Profit target")):
        multiple, share = getattr(protect, f"{word}_atr"), getattr(protect, f"{word}_share")
        if multiple is not None:
            lines.append(f"{title} at {multiple:g} * atr({protect.atr_window}).")
        if share is not None:
            lines.append(f"{title} at {share:g} of the price.")
    if protect.max_bars is not None:
        lines.append(f"Leave after {protect.max_bars} bars.")
    return lines


# --- pydantic's errors in our words -----------------------------------------------------------------------------------

# Fields that hold one of several shapes: pydantic adds the kind to the path after them, which is no part of the spec.
_UNIONS: dict[str, tuple[str, ...]] = {
    "": tuple(KINDS),
    "spec": ("rules", "score", "portfolio"),
    "sizing": ("fraction", "volatility", "atr_risk", "kelly"),
    "position": ("sign", "linear"),
    "select": ("count", "share"),
    "weight": ("equal", "score", "inverse_volatility"),
    "fusion": ("mean", "vote"),
}


def _steps(loc: tuple[int | str, ...]) -> list[str]:
    words = ["", *map(str, loc)]
    return [step for before, step in itertools.pairwise(words) if step not in _UNIONS.get(before, ())]


def _spec_errors(detail: ErrorDetails) -> list[SpecError]:
    loc = detail["loc"]
    steps = _steps(loc)
    path = ".".join(steps)
    context = detail.get("ctx", {})
    kind, value = detail["type"], detail["input"]
    if kind == "expression":
        return [error.at(path) for error in context["errors"]]
    found = _shown(value)
    if kind == "extra_forbidden":
        known = _known_keys(loc)
        near = nearest(steps[-1][:40], known)
        sentence = f'unknown key "{steps[-1][:40]}"{did_you_mean(near) or "; known are " + ", ".join(known)}'
        return [SpecError(".".join(steps[:-1]), "unknown_key", steps[-1][:40], ", ".join(known), near, sentence)]
    if kind == "missing":
        return [SpecError(path, "missing", "nothing", "a value", "", "is missing")]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        allowed = str(context.get("expected_tags", "")).replace("'", "") or ", ".join(_tags(steps))
        given = value.get("kind") if isinstance(value, Mapping) else None
        near = nearest(str(given), allowed.split(", ")) if given is not None else ""
        said = "kind is missing" if given is None else f"unknown kind {_shown(given)}"
        sentence = f"{said}; allowed are {allowed}{did_you_mean(near)}"
        return [SpecError(path, "kind", _shown(given), allowed, near, sentence)]
    message = detail["msg"][0].lower() + detail["msg"][1:]
    allowed = message.removeprefix("input should be ").removeprefix("a valid ")
    allowed = _IN_OUR_WORDS.get(kind, allowed)
    if message.startswith("input should be"):
        message = f"is {found}, but should be {allowed}"
    # The bound itself is the nearest legal number, where it is one.
    bound = context.get("ge", context.get("le"))
    return [SpecError(path, kind, found, allowed, "" if bound is None else f"{bound:g}", message)]


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else "a mapping" if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tags(steps: list[str]) -> tuple[str, ...]:
    return _UNIONS.get(steps[-1] if steps else "", ())


_IN_OUR_WORDS = {
    "model_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
}

_PARTS: dict[str, type[_Part]] = {
    **KINDS,
    "long": Side,
    "short": Side,
    "protect": Protect,
    "fraction": FractionSizing,
    "volatility": VolatilitySizing,
    "atr_risk": AtrRiskSizing,
    "kelly": KellySizing,
    "orders": Orders,
    "halt": Halt,
    "limits": Limits,
    "sign": SignPosition,
    "linear": LinearPosition,
    "rebalance": Rebalance,
    "count": CountSelection,
    "share": ShareSelection,
    "equal": EqualWeight,
    "inverse_volatility": InverseVolatilityWeight,
    "mean": MeanFusion,
    "vote": VoteFusion,
}


def _known_keys(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    parent = loc[-2] if len(loc) > 1 else ""
    part = Member if isinstance(parent, int) else _PARTS.get(parent)
    if parent == "score" and loc[-3:-2] == ("weight",):
        part = ScoreWeight
    return tuple(part.model_fields) if part is not None else tuple(KINDS)
