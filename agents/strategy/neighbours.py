"""Neighbours: the same rule with all its windows a little shorter or longer, for asking whether it is a lone peak.

All windows move together, so a rule has at most two neighbours and keeps its shape: a fast average stays faster than a
slow one. Thresholds are left alone. Like every rewriting it goes through the text of the canonical expression.
"""

import copy
from typing import Any

from agents.strategy.expression.nodes import NEGATE, NOT, NUMBER, Node
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.spec import Spec, load_spec

FACTORS = (0.8, 1.25)


def neighbours(spec: Spec) -> tuple[Spec, ...]:
    """Rules that differ from this one in their windows; those that are not legal or the same rule are left out."""
    found: dict[str, Spec] = {}
    for factor in FACTORS:
        config = _scaled(spec, factor)
        other = load_spec(config, origin="")
        if not isinstance(other, list) and other.spec_id != spec.spec_id:
            found[other.spec_id] = other
    return tuple(found.values())


def _scaled(spec: Spec, factor: float) -> dict[str, Any]:
    config = copy.deepcopy(spec.config())
    for path, node in spec.nodes.items():
        *way, last = path.split(".")
        part: Any = config
        for step in way:
            part = part[int(step)] if isinstance(part, list) else part[step]
        part[last] = _text(node, factor)
    members = [member["spec"] for member in config.get("members", ()) if "spec" in member]
    for rule in (config, *members):
        protect = rule.get("protect")
        if protect and "max_bars" in protect:
            protect["max_bars"] = _moved(protect["max_bars"], factor, 1, 1000)
    return config


def _text(node: Node, factor: float) -> str:
    """The expression with every window multiplied; other texts are kept as they are."""
    if not node.args:
        return node.text
    parts = [_text(arg, factor) for arg in node.args]
    if node.op in FUNCTIONS:
        for i, (parameter, arg) in enumerate(zip(FUNCTIONS[node.op].parameters, node.args, strict=True)):
            if parameter.kind == "window" and arg.op == NUMBER:
                parts[i] = str(_moved(int(arg.value), factor, int(parameter.low), int(parameter.high)))
        return f"{node.op}({', '.join(parts)})"
    if node.op == NOT:
        return f"not ({parts[0]})"
    if node.op == NEGATE:
        return f"-({parts[0]})"
    return f" {node.op} ".join(f"({part})" for part in parts)


def _moved(window: int, factor: float, low: int, high: int) -> int:
    moved = round(window * factor)
    if moved == window and window > 1:
        moved += 1 if factor > 1.0 else -1
    return max(low, min(high, moved))
