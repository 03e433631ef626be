"""Leakage: what a proposer may already know about the days that are to judge it, as a grade.

    A  blind: no model or person in its lineage, or all sealed days come 90 days after the last of their cutoffs.
    B  may know: a model with a published cutoff, or a person, on days they may have read about.
    C  unknown: a model whose cutoff nobody publishes. Nothing on known history is clean.

The grade of a candidate is the worst of everything in its lineage: a variation of a model's rule carries what the model
knew. Hiding names and dates in the prompt lowers what is recalled and proves nothing, so it changes no grade. Made-up
markets are in nobody's memory: there everybody is blind.

A grade-B candidate is blind on the days 90 days after the last cutoff in its lineage. A run that asks for it judges it
there (`blind_after`), if enough days are left; a person has no cutoff and is judged by length.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path

from backtesting.errors import InvalidConfig
from backtesting.nomination import Route

MODELS = Path(__file__).parent / "llm" / "models.toml"
MARGIN = timedelta(days=90)


class Grade(StrEnum):
    """See the head of the module."""

    A = "A"
    B = "B"
    C = "C"


ROUTES = {Grade.A: Route.BLIND, Grade.B: Route.OCCAM, Grade.C: Route.FORWARD}


@dataclass(frozen=True)
class KnownModel:
    """One entry of models.toml. `cutoff` is None where the vendor publishes none."""

    id: str
    cutoff: date | None
    source: str
    read: date


@dataclass(frozen=True)
class Leakage:
    """A grade and half a sentence that says why.

    Attributes:
        blind_after: of grade B, the last day that anybody in the lineage may know; None where there is no such day.
    """

    grade: Grade
    reason: str
    blind_after: date | None = None

    @property
    def route(self) -> Route:
        """The test that this grade allows."""
        return ROUTES[self.grade]


def load_models(path: Path = MODELS) -> tuple[KnownModel, ...]:
    """The table of cutoffs.

    Raises:
        InvalidConfig: the file is not TOML, or an entry lacks its id, its source or the day it was read.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
        return tuple(
            KnownModel(str(entry["id"]), entry.get("cutoff"), str(entry["source"]), entry["read"]) for entry in entries
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidConfig(
            f"{path.name} cannot be read: {type(error).__name__}: {error}",
            next_step="give every [[model]] an id, a source and the day it was read; cutoff where one is published",
        ) from None


def find_model(name: str, models: Sequence[KnownModel]) -> KnownModel | None:
    """The entry with the longest id that the name begins with, a vendor in front left out; None if there is none."""
    plain = name.lower().rpartition("/")[2]
    return max((m for m in models if plain.startswith(m.id)), key=lambda m: len(m.id), default=None)


def grade_model(name: str, first_sealed: date, models: Sequence[KnownModel]) -> Leakage:
    """What a model may know about days from `first_sealed` on."""
    known = find_model(name, models)
    if known is None or known.cutoff is None:
        why = "is not in the table of cutoffs" if known is None else "has no published cutoff"
        return Leakage(Grade.C, f"its model {name} {why}")
    if first_sealed > known.cutoff + MARGIN:
        return Leakage(Grade.A, f"all sealed days come after what its model {name} can know ({known.cutoff})")
    reason = f"its model {name} may know these days (cutoff {known.cutoff})"
    return Leakage(Grade.B, reason, known.cutoff + MARGIN)


def worst_of(found: Iterable[Leakage]) -> Leakage:
    """The worst grade of several, the first of equals, blind only after the last day that any of them may know."""
    several = list(found)
    worst = max(several, key=lambda leakage: leakage.grade)
    if worst.grade is not Grade.B:
        return worst
    known = [leakage.blind_after for leakage in several if leakage.grade is Grade.B]
    days = [day for day in known if day is not None]
    return replace(worst, blind_after=max(days) if len(days) == len(known) else None)


def grade_lineage(
    origin: str,
    model: str | None,
    parents: Iterable[Leakage],
    *,
    first_sealed: date,
    synthetic: bool,
    models: Sequence[KnownModel],
) -> Leakage:
    """The grade of a candidate: the worst of its own origin and its parents.

    Args:
        origin: see `records.ORIGINS`; model: name of the model that proposed it, None without one.
        synthetic: the market is made up.
    """
    if synthetic:
        return Leakage(Grade.A, "nobody can remember a made-up market")
    if model is not None:
        own = grade_model(model, first_sealed, models)
    elif origin in ("random", "evolved"):
        own = Leakage(Grade.A, "no model and no person proposed it")
    else:
        own = Leakage(Grade.B, "a person may remember these days")
    return worst_of([own, *parents])


def grade_all(
    lineages: Mapping[str, tuple[str, str | None, Sequence[str]]],
    *,
    first_sealed: date,
    synthetic: bool,
    models: Sequence[KnownModel],
) -> dict[str, Leakage]:
    """The grade of every candidate, by its reference.

    Args:
        lineages: by reference (slot id or agent name): origin, model, and the references of its parents. A parent that
            is not among them is a shipped rule: published long ago, known to everybody, and no secret of these days.
    """
    graded: dict[str, Leakage] = {}

    def grade(ref: str, under: frozenset[str]) -> Leakage:
        if ref not in graded:
            origin, model, parents = lineages[ref]
            above = [grade(p, under | {ref}) for p in parents if p in lineages and p not in under and p != ref]
            graded[ref] = grade_lineage(
                origin, model, above, first_sealed=first_sealed, synthetic=synthetic, models=models
            )
        return graded[ref]

    for ref in lineages:
        grade(ref, frozenset())
    return graded
