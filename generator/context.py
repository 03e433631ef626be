"""Context: what a prompt is told, built from the open window and from nothing else.

The market has no name and no dates here, prices are never shown, and every figure is rounded to two digits: enough to
think with, too coarse to climb on. What a model or a file wrote goes in as data; the templates fence it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import isfinite, sqrt
from typing import Any

import numpy as np

from agents.strategy.incumbents import shipped_incumbent
from agents.strategy.indicators import FIELDS, FUNCTIONS, RANGE_FIELDS
from agents.strategy.spec_error import SpecError
from agents.strategy.wire import WIRE_SCHEMA, to_wire
from backtesting.bars import Bars
from backtesting.costs import CostModel
from backtesting.splits import Window
from generator.selection import Chosen, Snapshot

MAX_TRIED = 15
EXAMPLE = "donchian_breakout"


def vocabulary(bars: Bars) -> str:
    """The fields and functions that mean something on these bars, one a line, by family."""
    absent = {*(() if bars.has_volume else ("volume",)), *(RANGE_FIELDS if bars.close_only else ())}
    lines = ["Fields: " + ", ".join(f"{name} ({kind})" for name, kind in FIELDS.items() if name not in absent)]
    family = ""
    for function in FUNCTIONS.values():
        if absent.intersection(function.reads):
            continue
        if function.family != family:
            family = function.family
            lines.append(f"{family}:")
        lines.append(f"  {function.signature}: {function.formula}. Example: {function.example}")
    lines.append("Operators: + - * /, comparisons < <= > >= == !=, and, or, not, parentheses.")
    return "\n".join(lines)


def market_card(bars: Bars, window: Window) -> list[str]:
    """What kind of market this is, from the open window."""
    closes = bars.close[window.start : window.stop, 0]
    returns = np.diff(np.log(closes[np.isfinite(closes)]))
    volatility = float(np.std(returns, ddof=1)) * sqrt(bars.periods_per_year)
    peak = np.maximum.accumulate(closes)
    lines = [
        f"one asset, {'365' if bars.periods_per_year > 300 else 'exchange'} trading days a year",
        f"{round(window.n_bars / bars.periods_per_year)} years of daily bars to look at",
        "open, high, low, close"
        if not bars.close_only
        else "one price a day, the close; there is no open, high or low",
        "with volume" if bars.has_volume else "no volume",
        f"volatility about {_two(volatility)} a year",
        f"lag-one autocorrelation of daily returns about {_two(_correlation(returns[1:], returns[:-1]))}",
        f"lag-one autocorrelation of absolute returns about {_two(_correlation(abs(returns[1:]), abs(returns[:-1])))}",
        f"share of days that rose: {_two(float(np.mean(returns > 0)))}",
        f"largest fall from a peak: {_two(float(np.min(closes / peak)) - 1.0)}",
    ]
    return lines


def cost_words(costs: CostModel) -> str:
    """The cost model in a few words."""
    side = costs.commission_bps + costs.half_spread_bps + costs.slippage_bps
    return f"{side:g} basis points a side, {costs.borrow_annual:.2%} a year on short positions"


def parent_records(parents: Sequence[Chosen]) -> list[dict[str, Any]]:
    """The parents, worst first, with coarse open-window figures."""
    ordered = sorted(parents, key=lambda chosen: (isfinite(chosen.entry.alpha_t), chosen.entry.alpha_t))
    return [
        {
            "label": f"P{number}",
            # In the form of the reply, so that the model sees one shape; its predecessors' prose is left out.
            "spec": {"name": chosen.entry.spec.name, "rule": to_wire(chosen.entry.spec)["rule"]},
            "summary": figures(chosen.entry.summary, chosen.entry.alpha_t),
        }
        for number, chosen in enumerate(ordered, start=1)
    ]


@cache
def schema_notes() -> str:
    """The wire schema as an outline, one field a line; what the server enforces and what we check are one text."""
    return "\n".join(_outline(WIRE_SCHEMA, 0))


@cache
def example() -> str:
    """One legal reply."""
    return json.dumps(to_wire(shipped_incumbent(EXAMPLE)), ensure_ascii=False, indent=1)


def propose_inputs(
    bars: Bars,
    window: Window,
    costs: CostModel,
    snapshot: Snapshot,
    parents: Sequence[Chosen],
    *,
    max_warmup: int,
    n_tried: int,
) -> dict[str, Any]:
    """The inputs of the prompt that proposes."""
    return {
        "vocabulary": vocabulary(bars),
        "schema_notes": schema_notes(),
        "example": example(),
        "costs": cost_words(costs),
        "warmup_limit": max_warmup,
        "n_tried": n_tried,
        "market_card": market_card(bars, window),
        "parents": parent_records(parents),
        "tried": list(snapshot.failures[-MAX_TRIED:]),
    }


def repair_inputs(bars: Bars, reply: str, errors: Sequence[SpecError]) -> dict[str, Any]:
    """The inputs of the prompt that repairs."""
    return {
        "vocabulary": vocabulary(bars),
        "schema_notes": schema_notes(),
        "reply": reply,
        "errors": [{**error.as_dict(), "nearest": error.nearest or None} for error in errors],
    }


def figures(metrics: Mapping[str, float], alpha_t: float | None = None) -> str:
    """Open-window metrics in words, two digits each; `alpha_t` None leaves its part out."""
    parts = [
        f"Sharpe {_two(metrics.get('sharpe_ratio'))} after costs",
        f"in the market {_two(metrics.get('exposure'))} of the time",
        f"turnover {_two(metrics.get('turnover_annual'))} times equity a year",
    ]
    if alpha_t is not None:
        parts.append(f"t-statistic of what it adds to the ordinary rules {_two(alpha_t)}")
    return ", ".join(parts)


def _two(value: float | None) -> str:
    return f"{value:.2g}" if value is not None and isfinite(value) else "undefined"


def _correlation(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.std(x) > 0 and np.std(y) > 0 else float("nan")


def _outline(schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    """The properties of an object schema; the alternatives of a union follow one another."""
    for name, part in schema.get("properties", {}).items():
        options = part.get("anyOf", [part])
        kinds = [_kind(option) for option in options]
        words = f": {part['description']}" if "description" in part else ""
        words = words or next((f": {option['description']}" for option in options if "description" in option), "")
        shapes = [option for option in options if option.get("type") == "object"]
        several = len(shapes) > 1
        yield f"{'  ' * depth}{name} ({'one of the following objects' if several else ' or '.join(kinds)}){words}"
        for number, option in enumerate(shapes, start=1):
            if several:
                yield f"{'  ' * (depth + 1)}object {number}"
            yield from _outline(option, depth + 1 + several)


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(word) for word in schema["enum"])
    return str(schema.get("type", "object"))
