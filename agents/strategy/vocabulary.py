"""The page of all functions as Markdown, made from the registry and from nothing else."""

from agents.strategy.functions.entry import Function
from agents.strategy.indicators import FIELD_ALIASES, FIELDS, FUNCTIONS, SHORTHANDS

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
            lines += [f"- Missing values: {entry.nan_rule}.", f"- Source: {entry.source}."]
            if entry.aliases:
                lines.append(f"- Also: {', '.join(f'`{alias}`' for alias in entry.aliases)}.")
            lines.append(f"- Example: `{entry.example}`")
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    # A formula may hold * and |, which Markdown would read as its own.
    return f"{text.replace('*', chr(92) + '*').replace('_', chr(92) + '_')}."
