"""Arms without a model: they propose at no cost, under the same filters, and are what a model has to beat.

`random` draws from the grammar. `evolved` changes or crosses the incumbents and its own earlier candidates. Both redraw
inside a slot until the rule is legal and new, so a slot is never spent on a repetition that costs nothing to avoid.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.archive.records import Rejection
from agents.strategy.spec import Spec, check_for_bars, load_spec
from generator.grammar import Grammar
from generator.selection import Chosen, Snapshot, choose_parents
from generator.variation import cross, mutate

MAX_DRAWS = 50
CROSSOVER_SHARE = 0.3


@dataclass(frozen=True)
class Drawn:
    """A spec that an arm came to, the parents it used (with their probabilities) and how."""

    spec: Spec
    parents: tuple[Chosen, ...]
    operator: str


Arm = Callable[[str, Snapshot, Grammar, np.random.Generator, Collection[str]], Drawn | Rejection]


def draw_random(
    name: str, snapshot: Snapshot, grammar: Grammar, rng: np.random.Generator, known: Collection[str]
) -> Drawn | Rejection:
    """A new rule from the grammar; `known` are the spec ids that would be a repetition."""
    for _ in range(MAX_DRAWS):
        spec = _legal(grammar.spec(rng, name), grammar)
        if spec is not None and spec.spec_id not in known:
            return Drawn(spec, (), "grammar")
    return _exhausted("the grammar")


def draw_evolved(
    name: str, snapshot: Snapshot, grammar: Grammar, rng: np.random.Generator, known: Collection[str]
) -> Drawn | Rejection:
    """A variation of incumbents and of this arm's own candidates."""
    for _ in range(MAX_DRAWS):
        # A variation needs something to vary, so the share of "nobody" is not for this arm.
        parents = choose_parents(snapshot, "evolved", rng, n_parents=2, none_share=0.0)
        if not parents:
            return _exhausted("an empty archive")
        first = parents[0].entry.spec.config()
        crossed = len(parents) == 2 and rng.random() < CROSSOVER_SHARE
        if crossed:
            child = cross(first, parents[1].entry.spec.config(), rng)
            varied = None if child is None else ("cross", child)
        else:
            varied = mutate(first, grammar, rng)
        if varied is None:
            continue
        operator, config = varied
        spec = _legal(_renamed(config, name, operator), grammar)
        if spec is not None and spec.spec_id not in known:
            return Drawn(spec, parents if crossed else parents[:1], operator)
    return _exhausted("its parents")


# The arm `llm` needs a model and time; it is a workflow (generator/workflows).
ARMS: dict[str, Arm] = {"random": draw_random, "evolved": draw_evolved}


def _renamed(config: dict[str, Any], name: str, operator: str) -> dict[str, Any]:
    child = {key: value for key, value in config.items() if key != "source"}
    return {**child, "name": name, "hypothesis": f"A variation ({operator}) without a hypothesis of its own."}


def _legal(config: dict[str, Any], grammar: Grammar) -> Spec | None:
    spec = load_spec(config, origin="")
    if isinstance(spec, list) or check_for_bars(spec, grammar.bars, max_warmup=grammar.max_warmup):
        return None
    return spec


def _exhausted(source: str) -> Rejection:
    return Rejection("propose", "duplicate_exact", f"{MAX_DRAWS} draws from {source} gave nothing legal and new")
