"""Node: one vertex of an expression. Its identity is its canonical text, and the text parses back to the same node.

So structurally equal nodes are equal whoever built them, a cache keyed by (bars, text) shares every common
sub-expression over a whole population, and no table of nodes has to be kept alive.
Nodes are made by the constructors in canonical.py only; those decide the text.
"""

from dataclasses import dataclass

from agents.strategy.expression.types import Dimension

NUMBER = "number"
BOOLEAN = "boolean"
FIELD = "field"
FEATURE = "feature"

SUM, PRODUCT, QUOTIENT, NEGATE = "+", "*", "/", "neg"
GREATER, AT_LEAST, EQUAL, UNEQUAL = ">", ">=", "==", "!="
AND, OR, NOT = "and", "or", "not"

COMPARISONS = (GREATER, AT_LEAST, EQUAL, UNEQUAL)

# How tightly an operator binds in the text; everything else is an atom.
_LEVELS = {OR: 1, AND: 2, NOT: 3, **dict.fromkeys(COMPARISONS, 4), SUM: 5, PRODUCT: 6, QUOTIENT: 6, NEGATE: 7}
_ATOM = 8


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One vertex of an expression.

    Attributes:
        op: one of the words above, or the name of a function in `FUNCTIONS`.
        args: the operands; windows and numbers of a function are NUMBER nodes, in the order of its parameters.
        value: the number of a NUMBER, 1.0 or 0.0 of a BOOLEAN, else 0.0.
        name: the name of a FIELD or a FEATURE, else empty.
        dimension: what kind of quantity it is.
        text: canonical text, and the identity.
        warmup: leading bars at which the value cannot be known yet.
        depth: longest way to a leaf; a leaf has 1.
        work: operations a bar of this node alone, roughly.
        size, effort, largest: an upper bound on the distinct parts and on their work together (a part that occurs
            twice is counted twice), and the largest number in it; so that bounds are mostly checked without a walk.
    """

    op: str
    args: tuple["Node", ...]
    value: float
    name: str
    dimension: Dimension
    text: str
    warmup: int
    depth: int
    work: int
    size: int = 1
    effort: int = 0
    largest: float = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    @property
    def level(self) -> int:
        """How tightly the outermost operator binds."""
        return _LEVELS.get(self.op, _ATOM)

    @property
    def is_number(self) -> bool:
        """Whether this is a literal number."""
        return self.op == NUMBER


def distinct_nodes(*roots: Node) -> list[Node]:
    """Every node under the roots once, children before their parents."""
    found: dict[str, Node] = {}

    def walk(node: Node) -> None:
        if node.text not in found:
            for arg in node.args:
                walk(arg)
            found[node.text] = node

    for root in roots:
        walk(root)
    return list(found.values())
