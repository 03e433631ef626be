"""Changes: what is not as it was when a run began, in words that say where to look.

A run's identity is plain data by part; two identities are compared part by part. The words name the part first, then
what of it is other now, so that somebody can put it back, or knows why a fork is needed.
"""

from collections.abc import Mapping
from typing import Any

SHOWN_ID = 11
"""Characters of a content id that are shown: the tag and eight digits."""

_ANSWERS = {
    "code": "backtesting or agents",
    "proposer": "generator",
}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """One phrase for each part that differs, in the order of the parts; empty where nothing does."""
    return tuple(
        f"{part} ({_words(part, before.get(part), now.get(part))})"
        for part in {**before, **now}
        if before.get(part) != now.get(part)
    )


def _words(part: str, before: Any, now: Any) -> str:
    if part in _ANSWERS:
        return _ANSWERS[part]
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
        return ", ".join(_inner(part, name, before.get(name), now.get(name)) for name in names)
    return f"was {_shown(before)}, is {_shown(now)}"


def _inner(part: str, name: str, before: Any, now: Any) -> str:
    if before is None or now is None:
        return f"{name} is {'new' if before is None else 'gone'}"
    if part == "schemas":
        return f"the reply of {name}"
    if part == "prompts":
        old, new = (str(template).partition(":")[0] for template in (before, now))
        return f"{old} has another text" if old == new else f"was {old}, is {new}"
    return f"{name} was {_shown(before)}, is {_shown(now)}"


def _shown(value: Any) -> str:
    text = str(value)
    return text[:SHOWN_ID] if text.startswith("b2:") else text[:60]
