"""ELSEWHERE: names of other libraries and of papers that are no alias here, and what to write instead.

An alias means what the literature's function of that name means, or it does not exist. These come near a function of
ours and differ by a bar, a sign or a series; a rule that was pasted with one of them says so instead of trading.
"""

import re

from agents.strategy.functions.entry import Function

ELSEWHERE: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("ts_argmax", "ts_arg_max", "idxmax"),
        ("it counts from the oldest bar of the window and argmax from this one: write window - argmax(x, window), e.g."
         " 10 - argmax(close, 10)", "10 - argmax(close, 10)"),
    ),
    **dict.fromkeys(
        ("ts_argmin", "ts_arg_min", "idxmin"),
        ("it counts from the oldest bar of the window and argmin from this one: write window - argmin(x, window), e.g."
         " 10 - argmin(close, 10)", "10 - argmin(close, 10)"),
    ),
    "tsf": (
        "it is the line one bar further: write linear_fit(x, window) + slope(x, window)",
        "linear_fit(close, 14) + slope(close, 14)",
    ),
    "rsv": (
        "it takes the window's high and low: write stochastic_k(window) / 100; of one series it is"
        " range_position(x, window)", "stochastic_k(9) / 100",
    ),
    "greater": ("write max(x, y), or x > y for a condition", "max"),
    "less": ("write min(x, y), or x < y for a condition", "min"),
    "hl2": ("write (high + low) / 2", "(high + low) / 2"),
    "hlcc4": ("write (high + low + 2 * close) / 4", "(high + low + 2 * close) / 4"),
    "ohlc4": ("write (open + high + low + close) / 4", "(open + high + low + close) / 4"),
    "cap": ("write feature(cap), if the market has it", "feature(cap)"),
}  # fmt: skip
"""By the name in small letters: what to say, and what to write."""

BESIDE: dict[str, str] = {
    "rank": "among the assets of a bar it is cs_rank(x)",
    "zscore": "among the assets of a bar it is cs_zscore(x)",
}
"""What a function with too few arguments may have been meant as."""

_NAME_AND_WINDOW = re.compile(r"([a-z_]+?)_?([1-9][0-9]{0,3})", re.ASCII)


def spelt_out(name: str, functions: dict[str, Function], aliases: dict[str, str]) -> str:
    """`sma20` as sma(close, 20) and `adv20` as adv(20); the empty string for what is no function with a window."""
    found = _NAME_AND_WINDOW.fullmatch(name)
    entry = functions.get(aliases.get(found[1], found[1])) if found else None
    if found is None or entry is None:
        return ""
    needed = [parameter for parameter in entry.parameters if parameter.kind in ("series", "value")]
    if len(needed) > 1 or len(needed) == len(entry.parameters) or entry.parameters[len(needed)].kind != "window":
        return ""
    return f"{entry.name}({'close, ' * len(needed)}{found[2]})"
