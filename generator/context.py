"""Context: what a prompt is told, built from the open window and from nothing else.

The market has no name and no dates here, prices are never shown, and every figure is rounded to two digits: enough to
think with, too coarse to climb on. What a model or a file wrote goes in as data; the templates fence it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from math import fsum, isfinite, sqrt
from typing import Any

import numpy as np

from agents.strategy.expression.nodes import FEATURE, FIELD, Node, distinct_nodes
from agents.strategy.expression.parse import parse
from agents.strategy.incumbents import shipped_incumbent
from agents.strategy.indicators import FIELDS, FUNCTIONS
from agents.strategy.spec_error import SpecError
from agents.strategy.vocabulary import absent_fields, available_functions, groups_of
from agents.strategy.wire import to_wire
from backtesting.bars import Bars, FloatArray
from backtesting.costs import CostModel
from backtesting.errors import InvalidConfig
from backtesting.evaluation import market_returns
from backtesting.splits import Window
from backtesting.terms import CASH, Terms
from generator.config import CARD
from generator.outputs import OutputForm, form_of
from generator.selection import Chosen, Snapshot
from generator.templates import Prompt, render

MAX_TRIED = 15
# Where a market has one price a day, the breakout of highs that a form shows would not be legal.
EXAMPLE_OF_CLOSES = "golden_cross"
SPEC_FORM = "strategy-spec"
MAX_PARENTS = 3
PROPOSE_INPUTS = (
    "vocabulary",
    "schema_notes",
    "example",
    "costs",
    "warmup_limit",
    "n_tried",
    "market_card",
    "parents",
    "tried",
)
"""What a prompt that proposes may declare; it need not declare all."""
REPAIR_INPUTS = ("vocabulary", "schema_notes", "reply", "errors")
REPAIR = "repair"


@lru_cache(maxsize=2)
def vocabulary(bars: Bars) -> str:
    """The fields and functions that mean something on these bars, one a line, by family; kept as the market card is."""
    absent, functions = absent_fields(bars), available_functions(bars)
    names = {function.name for function in functions}

    def shown(text: str) -> str:
        """An example, unless it reads what the market does not have."""
        node = parse(text)
        parts = distinct_nodes(node) if isinstance(node, Node) else ()
        foreign = any(
            part.name not in bars.features if part.op == FEATURE else part.op in FUNCTIONS and part.op not in names
            for part in parts
        )
        reads = {name for part in parts for name in _reads(part)}
        return "" if foreign or absent.intersection(reads) else f" Example: {text}"

    lines = ["Fields: " + ", ".join(f"{name} ({kind})" for name, kind in FIELDS.items() if name not in absent)]
    if bars.features:
        groups = groups_of(bars)
        kinds = {name: "numbers of groups" if name in groups else "ratio" for name in bars.features}
        lines.append("Features: " + ", ".join(f"feature({name}) ({kind})" for name, kind in kinds.items()))
    family = ""
    for function in functions:
        if function.family != family:
            family = function.family
            lines.append(f"{family}:")
        lines.append(f"  {function.signature}: {function.formula}.{shown(function.example)}")
    lines.append("Operators: + - * /, comparisons < <= > >= == !=, and, or, not, parentheses.")
    return "\n".join(lines)


@lru_cache(maxsize=2)
def card_inputs(bars: Bars, window: Window) -> Mapping[str, Any]:
    """The inputs of the market card: what kind of market this is, from the open window alone, in two digits.

    Of a panel: means over the assets, and the largest fall is that of an equal position in all of them. Kept for the
    last two markets, since a run asks for each slot.
    """
    closes = bars.close[window.start : window.stop]
    own = [returns for k in range(bars.n_assets) if len(returns := _log_returns(closes[:, k])) > 2]
    path = closes[:, 0] if bars.n_assets == 1 else np.cumprod(1.0 + market_returns(bars, window))
    return {
        "n_assets": bars.n_assets,
        "days_a_year": round(bars.periods_per_year),
        "years": round(window.n_bars / bars.periods_per_year),
        "has_range": int(not bars.close_only),
        "has_volume": int(bars.has_volume),
        "volatility": _two(_mean(float(np.std(x, ddof=1)) * sqrt(bars.periods_per_year) for x in own)),
        "memory": _two(_mean(_correlation(x[1:], x[:-1]) for x in own)),
        "clustering": _two(_mean(_correlation(abs(x[1:]), abs(x[:-1])) for x in own)),
        "rising": _two(_mean(float(np.mean(x > 0)) for x in own)),
        "fall": _two(float(np.min(path / np.maximum.accumulate(path))) - 1.0),
        "together": _two(_togetherness(closes)),
        "groups": ", ".join(groups_of(bars)),
    }


@lru_cache(maxsize=2)
def market_card(card: Prompt, bars: Bars, window: Window) -> tuple[str, ...]:
    """The market card, a line an item."""
    text = render(card, card_inputs(bars, window))[-1].content
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def cost_words(costs: CostModel, terms: Terms = CASH) -> str:
    """The cost model in a few words, and what of the terms makes trading dearer.

    No multiplier and no size of a lot: they would name the contract.
    """
    side = costs.commission_bps + costs.half_spread_bps + costs.slippage_bps
    words = [f"{side:g} basis points a side, {costs.borrow_annual:.2%} a year on short positions"]
    if costs.commission_per_unit or costs.commission_minimum:
        words.append("commissions that weigh on small orders")
    if costs.impact:
        words.append("a price that moves against large orders")
    if costs.participation:
        words.append(f"no order that opens more than {costs.participation:.2%} of a usual bar's volume")
    if terms.roll_every or terms.roll is not None:
        words.append("both sides again whenever a held contract rolls")
    if terms.funding is not None:
        words.append("funding between longs and shorts at every close")
    if any(lot > 0.0 for lot in (terms.lot if isinstance(terms.lot, tuple) else (terms.lot,))):
        words.append("whole contracts only")
    if terms.fill == "close":
        words.append("fills at the close of the next bar")
    return ", ".join(words)


def terms_words(terms: Terms) -> str:
    """Every convention that is not that of a cash account in shares; for people, since it may name the contract."""
    usual = CASH.as_dict()
    return ", ".join(f"{name} {value}" for name, value in terms.as_dict().items() if value != usual[name])


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
def schema_notes(form: OutputForm) -> str:
    """A form's schema as an outline, one field a line; what the server enforces and what we check are one text."""
    return "\n".join(_outline(form.schema or {}, 0))


@lru_cache(maxsize=32)
def example(form: OutputForm, bars: Bars) -> str:
    """One reply of a form that is legal on these bars."""
    if form.id == SPEC_FORM and bars.close_only and bars.n_assets == 1:
        return _shipped_reply(EXAMPLE_OF_CLOSES)
    return json.dumps(form.example, ensure_ascii=False, indent=1)


def parents_wanted(prompt: Prompt) -> int:
    """How many parents a prompt can use."""
    declared = prompt.inputs.get("parents")
    return 0 if declared is None else min(declared.at_most or MAX_PARENTS, MAX_PARENTS)


def propose_inputs(
    prompt: Prompt,
    card: Prompt,
    bars: Bars,
    window: Window,
    costs: CostModel,
    snapshot: Snapshot,
    parents: Sequence[Chosen],
    *,
    max_warmup: int,
    n_tried: int,
    terms: Terms = CASH,
) -> dict[str, Any]:
    """The inputs of a prompt that proposes: those that it declares and no others.

    Raises InvalidConfig where it declares one that nobody can give.
    """
    form = form_of(prompt.output)
    unknown = [name for name in prompt.inputs if name not in PROPOSE_INPUTS]
    if unknown or form.rule is None:
        why = f"its input {unknown[0]!r} is not known there" if unknown else f"its output is {form.id!r}, no rule"
        raise InvalidConfig(
            f"the prompt {prompt.id!r} cannot propose a rule: {why}",
            next_step=f"a prompt that proposes may use {', '.join(PROPOSE_INPUTS)}",
        )
    return known_inputs(
        prompt, card, bars, window, costs, snapshot, parents, max_warmup=max_warmup, n_tried=n_tried, terms=terms
    )


def known_inputs(
    prompt: Prompt,
    card: Prompt,
    bars: Bars,
    window: Window,
    costs: CostModel,
    snapshot: Snapshot,
    parents: Sequence[Chosen],
    *,
    max_warmup: int,
    n_tried: int,
    terms: Terms = CASH,
) -> dict[str, Any]:
    """Those of PROPOSE_INPUTS that a prompt declares; what else it declares, the workflow that uses it gives."""
    givers: dict[str, Callable[[], Any]] = {
        **_market_givers(prompt, card, bars, window),
        "costs": lambda: cost_words(costs, terms),
        "warmup_limit": lambda: max_warmup,
        "n_tried": lambda: n_tried,
        "parents": lambda: parent_records(parents[: parents_wanted(prompt)]),
        "tried": lambda: list(snapshot.failures[-MAX_TRIED:]),
    }
    return {name: givers[name]() for name in prompt.inputs if name in givers}


def inputs_by_role(
    prompts: Mapping[str, Prompt],
    bars: Bars,
    window: Window,
    costs: CostModel,
    snapshot: Snapshot,
    parents: Sequence[Chosen],
    *,
    max_warmup: int,
    n_tried: int,
    terms: Terms = CASH,
) -> dict[str, dict[str, Any]]:
    """What the loop gives to each role of a workflow; `prompts` by role, and the market card under CARD.

    Raises InvalidConfig where the prompt of the role `propose`, which nobody adds anything to, wants more than that.
    """
    return {
        role: (propose_inputs if role == "propose" else known_inputs)(
            prompt,
            prompts[CARD],
            bars,
            window,
            costs,
            snapshot,
            parents,
            max_warmup=max_warmup,
            n_tried=n_tried,
            terms=terms,
        )
        for role, prompt in prompts.items()
        if role not in (CARD, REPAIR)
    }


def real_inputs(prompt: Prompt, card: Prompt, bars: Bars, window: Window) -> dict[str, Any]:
    """Those inputs of a prompt, of whatever kind, that a market alone decides; its samples stand for the rest."""
    givers = _market_givers(prompt, card, bars, window)
    return {name: givers[name]() for name in prompt.inputs if name in givers}


def _market_givers(prompt: Prompt, card: Prompt, bars: Bars, window: Window) -> dict[str, Callable[[], Any]]:
    form = form_of(prompt.output, panel=bars.n_assets > 1)
    return {
        "vocabulary": lambda: vocabulary(bars),
        "schema_notes": lambda: schema_notes(form),
        "example": lambda: example(form, bars),
        "market_card": lambda: market_card(card, bars, window),
    }


def repair_inputs(bars: Bars, reply: str, errors: Sequence[SpecError]) -> dict[str, Any]:
    """The inputs of the prompt that repairs."""
    return {
        "vocabulary": vocabulary(bars),
        "schema_notes": schema_notes(form_of(SPEC_FORM, panel=bars.n_assets > 1)),
        "reply": reply,
        "errors": [{**error.as_dict(), "nearest": error.nearest or None} for error in errors],
    }


@cache
def _shipped_reply(name: str) -> str:
    # Every prompt of a run shows it, and reading it means reading all shipped files.
    return json.dumps(to_wire(shipped_incumbent(name)), ensure_ascii=False, indent=1)


def _reads(node: Node) -> tuple[str, ...]:
    if node.op == FIELD:
        return (node.name,)
    return FUNCTIONS[node.op].reads if node.op in FUNCTIONS else ()


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


def _log_returns(closes: FloatArray) -> FloatArray:
    """Between the closes that are known."""
    returns: FloatArray = np.diff(np.log(closes[np.isfinite(closes)]))
    return returns


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fsum(found) / len(found) if found else float("nan")


def _togetherness(closes: FloatArray) -> float:
    """Mean correlation of the daily returns of two assets, on the days that both have; NaN for one asset."""
    moves = closes[1:] / closes[:-1] - 1.0
    known = np.isfinite(moves)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, moves - np.where(known, moves, 0.0).sum(axis=0) / count, 0.0)
    both = known.T.astype(np.float64) @ known
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    pairs = np.triu(both > 1, 1) & (np.outer(spread, spread) > 0.0)
    found = (centred.T @ centred)[pairs] / both[pairs] / np.outer(spread, spread)[pairs]
    return float(found.mean()) if len(found) else float("nan")


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
