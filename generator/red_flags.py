"""Red flags: what a text of a model or a stranger holds that a description of a trading rule has no use for.

Such text is inert wherever it is shown. The flags are for the person who reads it: a claim that addresses the reviewer,
or that would do something in another program, says something about where it came from. They decide nothing.
"""

import re
import unicodedata

_SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("markup", re.compile(r"</?[a-zA-Z!][^>]{0,200}>|\bon\w+\s*=|javascript:", re.IGNORECASE)),
    ("a terminal sequence", re.compile("\x1b|\x9b|\x9d")),
    ("a spreadsheet formula", re.compile(r"^\s*[=+@]\s*[A-Za-z(]|^\s*-\s*[A-Za-z]+\(", re.MULTILINE)),
    ("an address", re.compile(r"\b(?:https?|ftp|file|data):|\bwww\.", re.IGNORECASE)),
    (
        "words to the reviewer",
        re.compile(
            r"\b(?:approve|promote|waive|sign off|accept)\b.{0,40}\b(?:this|me|it|agent|candidate|strategy|rule)\b"
            r"|\b(?:reviewer|dear reader)\b"
            r"|\b(?:already|was|been|is) (?:approved|reviewed|validated|audited)\b",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
    (
        "words to a model",
        re.compile(
            r"\b(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|rule|above|previous)|\bsystem prompt\b"
            r"|<\|?(?:system|im_start|assistant)",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
)
_ORDINARY = "\n\r\t"


def red_flags(text: str) -> tuple[str, ...]:
    """What is wrong with a text, in a few words each; empty for nearly every honest one."""
    found = [name for name, sign in _SIGNS if sign.search(text)]
    if any(unicodedata.category(char) in ("Cc", "Cf", "Co", "Cn") and char not in _ORDINARY for char in text):
        found.append("characters that do not show")
    return tuple(found)
