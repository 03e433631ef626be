"""Vocabulary: which functions and fields mean something on some bars, and the page of all functions as Markdown.

Whoever proposes, shows or draws expressions for a market asks here: nobody offers what `check_for_bars` refuses.
"""

import numpy as np

from agents.strategy.expression.nodes import Node, distinct_nodes
from agents.strategy.expression.parse import parse
from agents.strategy.functions.entry import Function
from agents.strategy.indicators import FIELD_ALIASES, FIELDS, FUNCTIONS, RANGE_FIELDS, SHORTHANDS
from backtesting.bars import Bars

TITLES = {
    "trend": "Trend",
    "change": "Change",
    "oscillator": "Oscillators",
    "statistics": "Statistics",
    "volatility": "Volatility",
    "channel": "Channels",
    "volume": "Volume",
    "calendar": "Calendar",
    "logic": "Logic",
    "arithmetic": "Arithmetic",
    "cross_section": "Cross-section",
}


GROUP = "group"
"""Name of the parameter of a function that takes a feature with groups."""


def absent_fields(bars: Bars) -> frozenset[str]:
    """The fields that these bars do not have, or have as copies of the close only."""
    return frozenset((*(() if bars.has_volume else ("volume",)), *(RANGE_FIELDS if bars.close_only else ())))


def groups_of(bars: Bars) -> tuple[str, ...]:
    """The features that say which group an asset is in: whole numbers, and some two assets share one; none otherwise.

    Empty for one asset. A feature that never has a value is none.
    """
    return tuple(name for name, values in bars.features.items() if bars.n_assets > 1 and _is_group(values))


def _is_group(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return len(known) > 0 and bool((known == np.floor(known)).all()) and len(np.unique(known)) < values.shape[1]


def available_functions(bars: Bars) -> tuple[Function, ...]:
    """The functions that mean something on these bars: what they read is there, and assets to compare with, and groups.

    One asset has no cross-section; a panel without a group feature has no groups to neutralise by.
    """
    absent, grouped = absent_fields(bars), bool(groups_of(bars))
    return tuple(
        entry
        for entry in FUNCTIONS.values()
        if not absent.intersection(entry.reads)
        and (entry.family != "cross_section" or bars.n_assets > 1)
        and (grouped or all(parameter.name != GROUP for parameter in entry.parameters))
    )


def bounds_in_words(entry: Function) -> str:
    """What the windows and numbers of a function may be, empty where it has none."""
    return "; ".join(
        f"{parameter.name} {parameter.low:g} to {parameter.high:g}{', whole' if parameter.whole else ''}"
        for parameter in entry.parameters
        if parameter.kind in ("window", "number")
    )


def values_in_words(entry: Function) -> str:
    """Least and largest value of a function that has them, else the empty string."""
    return "" if entry.lies_in is None else f"{entry.lies_in[0]:g} to {entry.lies_in[1]:g}"


def warmup_in_words(entry: Function) -> str:
    """How many leading bars the call in the example has no value for, its arguments left out."""
    node = parse(entry.example)
    calls = [part for part in distinct_nodes(node) if part.op == entry.name] if isinstance(node, Node) else []
    if not calls:
        return "none"
    own = calls[0].warmup - max((arg.warmup for arg in calls[0].args), default=0)
    return f"{own} bars, as in {calls[0].text}" if own else "none"


def vocabulary_page() -> str:
    """docs/functions.md."""
    families: dict[str, list[Function]] = {name: [] for name in TITLES}
    for entry in FUNCTIONS.values():
        families[entry.family].append(entry)
    lines = [
        "# Functions",
        "",
        f"The {len(FUNCTIONS)} functions of the strategy language. This page is printed by"
        " `touchstone functions --markdown`; a test holds it equal to the registry.",
        "",
        f"Fields: {', '.join(f'`{name}` ({kind})' for name, kind in FIELDS.items())}; `feature(name)` is a further"
        " series of the market, a ratio.",
        f"Short names: {', '.join(f'`{name}` is `{text}`' for name, text in SHORTHANDS.items())};"
        f" {', '.join(f'`{name}` is `{field}`' for name, field in FIELD_ALIASES.items())}.",
        "",
        "Dimensions: price, ratio, volume, value (price times volume), count, boolean. Parameters that say `same` share"
        " one dimension, and a result `same` has it too; `any` is any number. A window is a whole number of bars.",
    ]
    for family, entries in families.items():
        lines += ["", f"## {TITLES[family]}"]
        for entry in entries:
            lines += ["", f"### {entry.name}", "", f"`{entry.signature}`", "", f"{_sentence(entry.formula)}", ""]
            if told := bounds_in_words(entry):
                lines.append(f"- Bounds: {told}.")
            lines += [f"- Warm-up: {warmup_in_words(entry)}.", f"- Missing values: {entry.nan_rule}."]
            if entry.lies_in is not None:
                lines.append(f"- Values: {values_in_words(entry)}.")
            if entry.differs:
                lines.append(f"- Elsewhere: {entry.differs}.")
            lines.append(f"- Source: {entry.source}.")
            if entry.aliases:
                lines.append(f"- Also: {', '.join(f'`{alias}`' for alias in entry.aliases)}.")
            lines.append(f"- Example: `{entry.example}`")
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    # A formula may hold * and |, which Markdown would read as its own.
    return f"{text.replace('*', chr(92) + '*').replace('_', chr(92) + '_')}."
