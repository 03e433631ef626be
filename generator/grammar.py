"""Grammar: random rules of the strategy language, drawn from the registry of functions and typed by it.

It is the control that a model has to beat, so it is built to propose sensible things: every family of functions is
equally likely, thresholds are quantiles of the expression itself on the *open* bars, and levels are compared with
levels. It knows no market idea and nothing outside the open window. A new function in the registry is drawn the moment
it exists. On a panel it also draws comparisons between the assets, and portfolios.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from agents.strategy.expression.evaluate import EvaluationCache, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FIELDS, FUNCTIONS, Function, Parameter
from agents.strategy.vocabulary import GROUP, available_functions, groups_of
from backtesting.bars import Bars, FloatArray

FAMILIES = ("trend", "change", "statistics", "volatility", "oscillator", "channel", "volume", "calendar")
PANEL_FAMILIES = ("cross_section",)
# What is compared between assets: a change, a level of activity, a place in a range; never a raw price.
COMPARED = ("change", "statistics", "volatility", "oscillator", "volume")
PORTFOLIO_SHARE, NEUTRAL_SHARE, UNIVERSE_SHARE = 0.5, 0.3, 0.15
QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
HOLDING_BARS = (1, 2, 3, 5, 10, 20, 60)
ATR_MULTIPLES = (1.5, 2.0, 3.0, 4.0)
MAX_TRIES = 200
CLOSE_SHARE, VOLUME_SHARE = 0.6, 0.2


@dataclass(frozen=True, eq=False)
class Grammar:
    """Random expressions and specs for one open window.

    Attributes:
        bars: the open bars; thresholds are taken from them.
        cache: values of expressions on these bars.
        max_warmup: expressions that need more leading bars are not drawn.
    """

    bars: Bars
    cache: EvaluationCache
    max_warmup: int

    def functions(self, family: str) -> tuple[Function, ...]:
        """The functions of a family that mean something on these bars."""
        return self._by_family.get(family, ())

    @cached_property
    def _by_family(self) -> dict[str, tuple[Function, ...]]:
        found: dict[str, tuple[Function, ...]] = {}
        for entry in available_functions(self.bars):
            found[entry.family] = (*found.get(entry.family, ()), entry)
        return found

    @cached_property
    def families(self) -> tuple[str, ...]:
        known = (*FAMILIES, *(PANEL_FAMILIES if self.panel else ()))
        return tuple(name for name in known if self.functions(name) and (name != "volume" or self.bars.has_volume))

    @property
    def panel(self) -> bool:
        """Whether there are several assets."""
        return self.bars.n_assets > 1

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The features of groups."""
        return groups_of(self.bars)

    def spec(self, rng: np.random.Generator, name: str) -> dict[str, Any]:
        """A random configuration; legal by construction up to the bounds, which the caller checks like any other's."""
        sizing = (
            {"kind": "fraction", "fraction": 1.0}
            if rng.random() < 0.7
            else {"kind": "volatility", "annual": _pick(rng, (0.10, 0.15, 0.20)), "window": 20, "cap": 1.0}
        )
        spec: dict[str, Any] = {
            "name": name,
            "hypothesis": "Drawn at random from the grammar; nobody believes anything.",
        }
        if self.panel and rng.random() < PORTFOLIO_SHARE:
            return {**spec, **self.portfolio(rng)}
        if rng.random() < 0.15:
            return {
                **spec,
                "kind": "score",
                "score": self.ratio(rng),
                "position": {"kind": "sign", "deadband": 0.0},
                "direction": _pick(rng, ("long", "both")),
                "sizing": sizing,
                "rebalance": {"every_bars": _pick(rng, (1, 5, 21)), "band": 0.05},
            }
        sides = _pick(rng, (("long",), ("long",), ("long",), ("short",), ("long", "short")))
        protect: dict[str, Any] = {}
        for side in sides:
            spec[side] = {"enter": self.condition(rng), "exit": None}
            way = rng.random()
            if way < 0.4:
                spec[side]["exit"] = f"not ({spec[side]['enter']})"
            elif way < 0.6:
                spec[side]["exit"] = self.condition(rng)
            else:
                protect["max_bars"] = _pick(rng, HOLDING_BARS)
        return {**spec, "kind": "rules", "protect": {**protect, **self.stops(rng)}, "sizing": sizing}

    def portfolio(self, rng: np.random.Generator) -> dict[str, Any]:
        """A random choice among the assets of a panel, without name and prose."""
        drawn: dict[str, Any] = {"kind": "portfolio", "score": self.ranking(rng)}
        if rng.random() < UNIVERSE_SHARE:
            drawn["universe"] = self.condition(rng, 0)
        if self.groups and rng.random() < NEUTRAL_SHARE:
            drawn["neutralise"] = _pick(rng, self.groups)
        return {**drawn, **self.construction(rng)}

    def construction(self, rng: np.random.Generator) -> dict[str, Any]:
        """How many names are chosen, on which sides, with which weights, and how often."""
        weights = ({"kind": "equal"}, {"kind": "equal"}, {"kind": "inverse_volatility", "window": 60})
        return {
            "select": {"kind": "share", "share": _pick(rng, (0.1, 0.2, 0.3))},
            "weight": _pick(rng, weights),
            "direction": _pick(rng, ("long", "both", "both")),
            "gross": 1.0,
            "cap": 1.0,
            "rebalance": {"every_bars": _pick(rng, (1, 5, 21)), "band": 0.0},
        }

    def ranking(self, rng: np.random.Generator) -> str:
        """A random number that means the same for every asset, to rank them by."""
        for _ in range(MAX_TRIES):
            text = self._call(rng, _pick(rng, self.functions(_pick(rng, self.families))), depth=1)
            node = self._parsed(text)
            if node is None or node.dimension not in (Dimension.RATIO, Dimension.COUNT, Dimension.PRICE):
                continue
            if node.dimension is Dimension.PRICE:
                text = f"({text}) / close"
            # What is equal for all assets, as a weekday is, ranks nobody.
            scored = self._parsed(text)
            if scored is not None and self._tells_apart(scored):
                return text if rng.random() < 0.5 else f"-({text})"
        raise RuntimeError("the grammar found no ranking that tells the assets apart")

    def stops(self, rng: np.random.Generator) -> dict[str, float]:
        """Random protective exits; mostly none. They need a range, so a market of closes has none."""
        if self.bars.close_only:
            return {}
        chances = {"stop_atr": 0.25, "trail_atr": 0.15, "target_atr": 0.15}
        return {name: _pick(rng, ATR_MULTIPLES) for name, chance in chances.items() if rng.random() < chance}

    def condition(self, rng: np.random.Generator, depth: int = 2) -> str:
        """A random condition."""
        shape = rng.random()
        if depth > 0 and shape < 0.25:
            joint = "and" if rng.random() < 0.75 else "or"
            return f"({self.condition(rng, depth - 1)}) {joint} ({self.condition(rng, 0)})"
        if depth > 0 and shape < 0.30:
            return f"holds_for({self.condition(rng, 0)}, {_pick(rng, (2, 3, 5))})"
        for _ in range(MAX_TRIES):
            text = self._atom(rng)
            # A threshold in the unit of a squared volume may be a number beyond the language's bounds.
            if text is not None and isinstance(parse(text), Node):
                return text
        raise RuntimeError("the grammar found no condition with a value on these bars")

    def ratio(self, rng: np.random.Generator) -> str:
        """A random number without a unit that takes both signs: a score."""
        for _ in range(MAX_TRIES):
            text = self._call(rng, _pick(rng, self.functions(_pick(rng, self.families))), depth=1)
            node = self._parsed(text)
            if node is None or node.dimension not in (Dimension.RATIO, Dimension.COUNT, Dimension.PRICE):
                continue
            if node.dimension is Dimension.PRICE:
                text = f"({text}) / close" if self._moves_around_zero(node) else f"close / ({text}) - 1"
            else:
                middle = self._quantile(node, 0.5)
                text = text if self._moves_around_zero(node) else f"({text}) - {middle:.2g}"
            scored = self._parsed(text)
            if scored is not None and self._moves_around_zero(scored):
                return text if rng.random() < 0.6 else f"-({text})"
        raise RuntimeError("the grammar found no score with a value on these bars")

    def window_grid(self, function: str, position: int) -> Sequence[float]:
        """Typical values of a window or number of a function, for whoever tunes one."""
        return FUNCTIONS[function].parameters[position].grid

    def _atom(self, rng: np.random.Generator) -> str | None:
        function = _pick(rng, self.functions(_pick(rng, self.families)))
        text = self._call(rng, function, depth=1)
        node = self._parsed(text)
        if node is None:
            return None
        if node.dimension is Dimension.BOOLEAN:
            return text
        values = self._values(node)
        if len(values) < 60 or float(np.ptp(values)) == 0.0:
            return None
        if function.family == "calendar":
            return f"{text} {_pick(rng, ('==', '<=', '>='))} {_pick(rng, sorted(set(values.tolist()))):g}"
        sign = _pick(rng, (">", "<"))
        if node.dimension is Dimension.PRICE and self._is_level(node):
            if rng.random() < 0.3:
                return f"crosses_{'above' if sign == '>' else 'below'}(close, {text})"
            return f"close {sign} {text}"
        if node.dimension in (Dimension.RATIO, Dimension.COUNT):
            return f"{text} {sign} {self._threshold(rng, node)}"
        if self._moves_around_zero(node):
            return f"{text} {sign} 0"
        # A volume, or a spread of prices: compared with its own average, so that it means the same in every year.
        average = f"sma({text}, {_pick(rng, (10, 20, 50))})"
        relative = self._parsed(f"{text} / {average}")
        if relative is None:
            return None
        return f"{text} {sign} {self._threshold(rng, relative)} * {average}"

    def _call(self, rng: np.random.Generator, function: Function, *, depth: int) -> str:
        if function.family in PANEL_FAMILIES:
            return f"{function.name}({', '.join(self._compared(rng, part) for part in function.parameters)})"
        return (
            f"{function.name}({', '.join(self._argument(rng, parameter, depth) for parameter in function.parameters)})"
        )

    def _compared(self, rng: np.random.Generator, parameter: Parameter) -> str:
        """An argument of a function that compares assets."""
        if parameter.name == GROUP:
            return f"feature({_pick(rng, self.groups)})"
        if parameter.kind == "number":
            return f"{_pick(rng, parameter.grid):g}"
        inner = [f for name in COMPARED for f in self.functions(name) if f.result is not Dimension.BOOLEAN]
        return self._call(rng, _pick(rng, inner), depth=0)

    def _argument(self, rng: np.random.Generator, parameter: Parameter, depth: int) -> str:
        if parameter.kind in ("window", "number"):
            return f"{_pick(rng, parameter.grid):g}"
        if parameter.rule is Dimension.BOOLEAN:
            return self.condition(rng, 0)
        if parameter.rule is Dimension.RATIO:
            # No field is a plain number; what a field did over some bars is.
            plain = [f for f in self.functions("change") if f.parameters and f.parameters[0].rule == "any"]
            return self._call(rng, _pick(rng, plain), depth=0)
        if depth > 0 and rng.random() < 0.15:
            inner = [f for f in self.functions(_pick(rng, ("trend", "change"))) if f.parameters]
            return self._call(rng, _pick(rng, inner), depth=0)
        return self._field(rng)

    def _field(self, rng: np.random.Generator) -> str:
        """A field: mostly the close; volume, the one that is no price, as often as the other prices together."""
        shape = rng.random()
        if self.bars.has_volume and shape < VOLUME_SHARE:
            return "volume"
        if self.bars.close_only or shape < VOLUME_SHARE + CLOSE_SHARE:
            return "close"
        return str(_pick(rng, [name for name in FIELDS if name not in ("close", "volume")]))

    def _threshold(self, rng: np.random.Generator, node: Node) -> str:
        return f"{self._quantile(node, _pick(rng, QUANTILES)):.2g}"

    def _quantile(self, node: Node, share: float) -> float:
        values = self._values(node)
        return float(np.quantile(values, share)) if len(values) else 0.0

    def _values(self, node: Node) -> FloatArray:
        values = numbers(node, self.bars, self.cache)
        return values[np.isfinite(values)]

    def _moves_around_zero(self, node: Node) -> bool:
        values = self._values(node)
        return len(values) > 60 and float(np.quantile(values, 0.1)) < 0.0 < float(np.quantile(values, 0.9))

    def _tells_apart(self, node: Node) -> bool:
        """Whether assets differ in it, on most bars on which two of them have a value."""
        values = numbers(node, self.bars, self.cache)
        known = np.isfinite(values)
        high = np.where(known, values, -np.inf).max(axis=1)
        low = np.where(known, values, np.inf).min(axis=1)
        several = known.sum(axis=1) > 1
        return int(several.sum()) > 60 and float((high > low)[several].mean()) > 0.5

    def _is_level(self, node: Node) -> bool:
        """Whether a price-valued expression is a level of the market, and not a spread or a volatility in prices."""
        values = numbers(node, self.bars, self.cache)
        with np.errstate(invalid="ignore"):
            relative = values / self.bars.close
        usable = relative[np.isfinite(relative)]
        return len(usable) > 0 and 0.5 < float(np.median(usable)) < 2.0

    def _parsed(self, text: str) -> Node | None:
        node = parse(text)
        return node if isinstance(node, Node) and node.warmup <= self.max_warmup else None


def texts_of(spec: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Every expression of a configuration by its path."""
    found: dict[tuple[str, ...], str] = {
        (side, way): spec[side].get(way) for side in ("long", "short") if spec.get(side) for way in ("enter", "exit")
    }
    for word in ("score", "universe"):
        if spec.get(word):
            found[(word,)] = spec[word]
    return {path: text for path, text in found.items() if text}


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]
