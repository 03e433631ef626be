"""Secret: a key that does not print itself, and `redact`, which takes keys out of text that others wrote.

A server may quote the key back in its error, and a URL may carry a password; both end up in messages and logs
unless every such text passes here.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

HIDDEN = "[redacted]"

_SHAPES = (
    re.compile(r"(?<![A-Za-z0-9])(?:sk|rk|pk)-[A-Za-z0-9_*.\-]{4,}"),
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9_.~+/=*\-]{4,}"),
    re.compile(r"(?i)(?<=://)[^/\s@\"'<>]+@"),
)


@dataclass(frozen=True, repr=False)
class Secret:
    """A key; only `reveal()` gives its text."""

    _text: str

    def reveal(self) -> str:
        """The key itself, for the one header that needs it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    __str__ = __repr__


def redact(text: str, secrets: Iterable[Secret] = ()) -> str:
    """`text` without the given secrets and without anything that looks like a key or a password in a URL."""
    for secret in secrets:
        if secret.reveal():
            text = text.replace(secret.reveal(), HIDDEN)
    text = _SHAPES[0].sub(HIDDEN, text)
    text = _SHAPES[1].sub(lambda match: f"{match.group(1)} {HIDDEN}", text)
    return _SHAPES[2].sub(f"{HIDDEN}@", text)


def one_line(text: str, secrets: Iterable[Secret] = (), *, limit: int = 300) -> str:
    """Foreign text made fit for an error sentence: redacted, without control characters, on one line, cut."""
    shown = "".join(" " if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else char for char in text)
    shown = " ".join(redact(shown, secrets).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
