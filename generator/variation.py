"""Variation: a known rule changed a little, or two crossed. The evolutionary arm is made of these operators.

An operator takes configurations (plain data) and returns a new one; whether the result is legal is asked of the
language afterwards, like for any proposal. Every change is a change of the text of an expression or of a field of the
configuration.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from agents.strategy.expression.nodes import AND, COMPARISONS, NEGATE, NOT, NUMBER, OR, PRODUCT, QUOTIENT, SUM, Node
from agents.strategy.expression.parse import parse
from agents.strategy.expression.types import Dimension
from agents.strategy.indicators import FUNCTIONS
from generator.grammar import ATR_MULTIPLES, HOLDING_BARS, Grammar, texts_of

Config = dict[str, Any]
Path = tuple[int, ...]

STEPS = (0.5, 0.8, 0.9, 1.1, 1.25, 2.0)


def mutate(parent: Mapping[str, Any], grammar: Grammar, rng: np.random.Generator) -> tuple[str, Config] | None:
    """One random operator on a copy of the parent: its name and the child, or None if it did not apply."""
    operators = operators_for(parent, grammar)
    names = list(operators)
    name = names[int(rng.integers(len(names)))]
    child = operators[name](copy.deepcopy(dict(parent)), grammar, rng)
    return None if child is None else (name, child)


def operators_for(parent: Mapping[str, Any], grammar: Grammar) -> "dict[str, Operator]":
    """The operators for a parent of this kind on this market."""
    if parent.get("kind") == "portfolio":
        return PORTFOLIO_OPERATORS
    return {**OPERATORS, **PANEL_OPERATORS} if grammar.panel else OPERATORS


def cross(first: Mapping[str, Any], second: Mapping[str, Any], rng: np.random.Generator) -> Config | None:
    """The first parent with one condition joined to, or replaced by, one of the second; None for other kinds.

    Of two portfolios: the first one's way to choose and weigh, with the second one's ranking.
    """
    child = copy.deepcopy(dict(first))
    if child.get("kind") == "portfolio" and second.get("kind") == "portfolio":
        return {**child, "score": second["score"]}
    here, there = _conditions(child), _conditions(second)
    if not here or not there:
        return None
    path = _pick(rng, sorted(here))
    other = there[_pick(rng, sorted(there))]
    child[path[0]][path[1]] = f"({here[path]}) and ({other})" if rng.random() < 0.5 else other
    return child


def retune(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Change one number of one expression: a window to a neighbour on its grid, anything else by a step."""
    texts = texts_of(child)
    places = [
        (where, path, node)
        for where, text in sorted(texts.items())
        for path, node in _places(parse(text))
        if node.op == NUMBER and node.value != 0.0
    ]
    if not places:
        return None
    where, path, node = _pick(rng, places)
    root = parse(texts[where])
    if not isinstance(root, Node):
        return None
    owner = _at(root, path[:-1]) if path else None
    if owner is not None and owner.op in FUNCTIONS and FUNCTIONS[owner.op].parameters[path[-1]].grid:
        grid = sorted(FUNCTIONS[owner.op].parameters[path[-1]].grid)
        nearest = min(range(len(grid)), key=lambda i: abs(grid[i] - node.value))
        moved = grid[max(0, min(len(grid) - 1, nearest + int(_pick(rng, (-1, 1)))))]
        value = moved if moved != node.value else node.value * float(_pick(rng, STEPS))
        if FUNCTIONS[owner.op].parameters[path[-1]].kind == "window":
            value = float(max(1, round(value)))
    else:
        value = node.value * float(_pick(rng, STEPS))
    return _with_text(child, where, _render(root, path, f"{value:.3g}"))


def regrow(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Replace one condition inside an expression by a new random one, or a whole score."""
    texts = texts_of(child)
    if ("score",) in texts:
        drawn = grammar.ranking(rng) if child.get("kind") == "portfolio" else grammar.ratio(rng)
        return _with_text(child, ("score",), drawn)
    places = [
        (where, path)
        for where, text in sorted(texts.items())
        for path, node in _places(parse(text))
        if node.dimension is Dimension.BOOLEAN
    ]
    if not places:
        return None
    where, path = _pick(rng, places)
    root = parse(texts[where])
    if not isinstance(root, Node):
        return None
    return _with_text(child, where, _render(root, path, f"({grammar.condition(rng, 0)})"))


def narrow(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Ask for one more condition at an entry."""
    entries = {path: text for path, text in _conditions(child).items() if path[1] == "enter"}
    if not entries:
        return None
    path = _pick(rng, sorted(entries))
    return _with_text(child, path, f"({entries[path]}) and ({grammar.condition(rng, 0)})")


def widen(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Drop one of several joined conditions."""
    texts = texts_of(child)
    joints = [
        (where, path, node)
        for where, text in sorted(texts.items())
        for path, node in _places(parse(text))
        if node.op in (AND, OR)
    ]
    if not joints:
        return None
    where, path, node = _pick(rng, joints)
    root = parse(texts[where])
    if not isinstance(root, Node):
        return None
    dropped = int(rng.integers(len(node.args)))
    kept = [arg.text for i, arg in enumerate(node.args) if i != dropped]
    return _with_text(child, where, _render(root, path, "(" + f" {node.op} ".join(f"({text})" for text in kept) + ")"))


def reexit(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Other ways out: holding time, stops, or an exit when the entry no longer holds."""
    if child.get("kind") != "rules":
        return None
    way = rng.random()
    if way < 0.4:
        child["protect"] = {**(child.get("protect") or {}), "max_bars": _pick(rng, HOLDING_BARS)}
    elif way < 0.7 and not grammar.bars.close_only:
        name = _pick(rng, ("stop_atr", "trail_atr", "target_atr"))
        protect = dict(child.get("protect") or {})
        protect[name] = None if protect.get(name) is not None else _pick(rng, ATR_MULTIPLES)
        child["protect"] = protect
    else:
        sides = [side for side in ("long", "short") if child.get(side)]
        side = _pick(rng, sides)
        child[side]["exit"] = f"not ({child[side]['enter']})"
    return child


def flip(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Turn one comparison round, or a score's sign."""
    texts = texts_of(child)
    if ("score",) in texts:
        return _with_text(child, ("score",), f"-({texts[('score',)]})")
    places = [
        (where, path, node)
        for where, text in sorted(texts.items())
        for path, node in _places(parse(text))
        if node.op in COMPARISONS
    ]
    if not places:
        return None
    where, path, node = _pick(rng, places)
    root = parse(texts[where])
    return _with_text(child, where, _render(root, path, f"(not ({node.text}))")) if isinstance(root, Node) else None


def rank(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Make a portfolio of a score: what it was traded on becomes what the assets are ranked by."""
    if child.get("kind") != "score":
        return None
    return {
        **{key: child[key] for key in ("name", "hypothesis", "source") if key in child},
        "kind": "portfolio",
        "score": child["score"],
        **grammar.construction(rng),
    }


def reconstruct(child: Config, grammar: Grammar, rng: np.random.Generator) -> Config | None:
    """Change one thing in how a portfolio is made of its ranking."""
    drawn = grammar.construction(rng)
    part = _pick(rng, ("select", "weight", "direction", "rebalance", "neutralise"))
    if part == "neutralise":
        if not grammar.groups:
            return None
        child[part] = None if child.get(part) else _pick(rng, grammar.groups)
        return child
    return None if child.get(part) == drawn[part] else {**child, part: drawn[part]}


Operator = Callable[[Config, Grammar, np.random.Generator], Config | None]

OPERATORS: dict[str, Operator] = {
    "retune": retune,
    "regrow": regrow,
    "narrow": narrow,
    "widen": widen,
    "reexit": reexit,
    "flip": flip,
}


PANEL_OPERATORS: dict[str, Operator] = {"rank": rank}
"""On a panel there are these too, for rules and scores."""
PORTFOLIO_OPERATORS: dict[str, Operator] = {
    "retune": retune,
    "regrow": regrow,
    "flip": flip,
    "reconstruct": reconstruct,
}


def _conditions(config: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    return {path: text for path, text in texts_of(config).items() if len(path) == 2}


def _places(root: object) -> list[tuple[Path, Node]]:
    """Every node of a tree with the way to it."""
    if not isinstance(root, Node):
        return []
    return [((), root), *(((i, *path), node) for i, arg in enumerate(root.args) for path, node in _places(arg))]


def _at(root: Node, path: Path) -> Node:
    for step in path:
        root = root.args[step]
    return root


def _render(node: Node, path: Path, text: str) -> str:
    """The text of a tree in which the node at `path` is replaced by `text`."""
    if not path:
        return text
    args = [_render(arg, path[1:], text) if i == path[0] else arg.text for i, arg in enumerate(node.args)]
    if node.op in FUNCTIONS:
        return f"{node.op}({', '.join(args)})"
    if node.op == NOT:
        return f"not ({args[0]})"
    if node.op == NEGATE:
        return f"-({args[0]})"
    if node.op in (AND, OR, SUM, PRODUCT, QUOTIENT, *COMPARISONS):
        return f" {node.op} ".join(f"({arg})" for arg in args)
    raise ValueError(f"a node {node.op!r} has no parts to replace")


def _with_text(config: Config, where: tuple[str, ...], text: str) -> Config:
    if len(where) == 1:
        return {**config, where[0]: text}
    config[where[0]] = {**config[where[0]], where[1]: text}
    return config


def _pick(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]
