"""SpecError: one thing that is wrong with a spec, for two readers, a person and the repair prompt.

It is a value, never raised: an illegal spec is an expected answer, and all that is wrong is wanted, not the first.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SpecError:
    """One error.

    Attributes:
        path: where in the spec, as `long.enter`; empty for the spec as a whole.
        rule: which rule was broken, a stable word for machines (`unknown_function`, `dimension`, ...).
        found: what stands there.
        allowed: what may stand there, in words.
        nearest: the nearest legal thing, empty if there is none.
        message: the sentence for a person, without the path.
        origin: which file or reply the spec came from, empty if there is only one.
    """

    path: str
    rule: str
    found: str
    allowed: str
    nearest: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.origin, self.path, self.message) if part)

    def as_dict(self) -> dict[str, str]:
        """What the repair prompt reads; the origin is no business of the model's."""
        return {
            "path": self.path,
            "rule": self.rule,
            "found": self.found,
            "allowed": self.allowed,
            "nearest": self.nearest,
            "message": self.message,
        }

    def at(self, path: str) -> "SpecError":
        """The same error, found at `path`."""
        return replace(self, path=path)

    def of(self, origin: str) -> "SpecError":
        """The same error, in the spec from `origin`."""
        return replace(self, origin=origin)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name that looks most like `word`, or the empty string."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def did_you_mean(suggestion: str) -> str:
    """The end of a sentence about an unknown name."""
    return f'; did you mean "{suggestion}"?' if suggestion else ""
