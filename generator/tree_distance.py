"""Tree distance: how far two rules are apart as texts, before anything is simulated.

A top-down alignment (Selkow 1977): nodes are compared from the root, and where the operators differ the whole subtrees
differ. That is coarser than the edit distance of Zhang and Shasha and takes time in proportion to the smaller tree,
which matters when every proposal is compared with everything that was tried. Two numbers are apart by their relative
difference, so that 20 and 21 bars are nearly the same and 20 and 200 are not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any

from agents.strategy.expression.nodes import NUMBER, Node
from agents.strategy.spec import Spec

NEARLY = 0.05
"""Two numbers this close in logarithm are the same number: 20 and 21, but not 14 and 15."""


@dataclass(frozen=True)
class Shape:
    """A rule with its numbers taken out, and the numbers in the order of the rule."""

    text: str
    numbers: tuple[float, ...]

    def nearly(self, other: "Shape") -> bool:
        """The same rule, but for numbers that are nearly the same."""
        return self.text == other.text and all(
            _nearly(mine, theirs) for mine, theirs in zip(self.numbers, other.numbers, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Tree:
    """A rule as it is compared: its expressions and its settings by path, and how many things that are.

    Whoever keeps it with its rule compares it with the same other one only once.
    """

    nodes: Mapping[str, Node]
    settings: Mapping[str, Any]
    size: int


def tree_of(spec: Spec) -> Tree:
    """The rule of a spec; made once where it is compared with many."""
    settings = _settings(spec)
    return Tree(spec.nodes, settings, sum(size(node) for node in spec.nodes.values()) + len(settings))


@lru_cache(maxsize=16_384)
def tree_distance(first: Tree, second: Tree) -> float:
    """0 for the same rule, 1 for rules that share nothing."""
    here, there = first.nodes, second.nodes
    apart = 0.0
    for path in here.keys() | there.keys():
        a, b = here.get(path), there.get(path)
        apart += node_distance(a, b) if a and b else size(a or b)
    mine, theirs = first.settings, second.settings
    for path in mine.keys() | theirs.keys():
        apart += _apart(mine.get(path), theirs.get(path))
    return min(1.0, apart / max(first.size, second.size))


def node_distance(a: Node, b: Node) -> float:
    """Nodes of the larger tree that are not in the other one, numbers by their relative difference."""
    if a.text == b.text:
        return 0.0
    if a.op == NUMBER and b.op == NUMBER:
        return _apart(a.value, b.value)
    for outer, inner in ((a, b), (b, a)):
        # A condition that was added or dropped costs itself, not the rule that it stands beside.
        if any(arg == inner for arg in outer.args):
            return float(size(outer) - size(inner))
    if (a.op, a.name) != (b.op, b.name):
        return float(max(size(a), size(b)))
    common = sum(node_distance(x, y) for x, y in zip(a.args, b.args, strict=False))
    rest = a.args[len(b.args) :] or b.args[len(a.args) :]
    return common + sum(size(arg) for arg in rest)


@lru_cache(maxsize=8192)
def size(node: Node | None) -> int:
    """Nodes of a tree, repeated ones counted each time."""
    return 0 if node is None else 1 + sum(size(arg) for arg in node.args)


def shape_of(spec: Spec) -> Shape:
    """The rule without its numbers."""
    numbers: list[float] = []

    def blank(node: Node) -> str:
        if node.op == NUMBER:
            numbers.append(node.value)
            return "#"
        return f"{node.op}:{node.name}({','.join(blank(arg) for arg in node.args)})"

    parts = [f"{path}={blank(node)}" for path, node in sorted(spec.nodes.items())]
    for path, value in sorted(_settings(spec).items()):
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if numeric:
            numbers.append(float(value))
        parts.append(f"{path}={'#' if numeric else value}")
    return Shape(";".join(parts), tuple(numbers))


def _settings(spec: Spec) -> dict[str, Any]:
    """Everything of the rule that is no expression, by path."""
    return {path: value for path, value in _leaves(spec.rule(), "") if path not in spec.nodes}


def _leaves(value: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        path = f"{above}.{key}" if above else key
        if isinstance(part, Mapping):
            yield from _leaves(part, path)
        else:
            yield path, part


def _apart(a: Any, b: Any) -> float:
    if a == b:
        return 0.0
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return 1.0
    return min(1.0, float(abs(a - b) / max(abs(a), abs(b))))


def _nearly(a: float, b: float) -> bool:
    return a == b or (a * b > 0.0 and abs(log(a / b)) <= NEARLY)
