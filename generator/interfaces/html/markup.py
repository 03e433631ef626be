"""Markup: HTML and SVG as nested calls in which every text and every attribute is escaped.

There is no way to put markup in by a string: a child is text, and is escaped, or was made here. Text of unknown origin
loses its control and direction-changing characters first, so that a name cannot turn a line around.
"""

import base64
import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable

_TAG = re.compile(r"[a-z][a-zA-Z0-9]*\Z")
_VOID = ("br", "meta", "line", "rect", "circle", "path", "polyline", "polygon")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Markup


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """One element. In names of attributes a trailing underscore is dropped and others become `-`; None is left out."""
    if not _TAG.match(name):
        raise ValueError(f"{name!r} is no tag")
    parts = [
        f' {key.removesuffix("_").replace("_", "-") if key != "viewBox" else key}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    head = f"<{name}{''.join(parts)}>"
    if name in _VOID and not children:
        return Markup(head if name in ("br", "meta") else f"{head[:-1]}/>")
    return Markup(f"{head}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other, escaped where they are text."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children))


def text(value: str, limit: int = 600) -> Markup:
    """Text of unknown origin: no control, format or private characters, bounded, escaped."""
    kept = "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return Markup(html.escape(kept if len(kept) <= limit else kept[: limit - 1] + "…"))


def page(title: str, css: str, *body: Child) -> str:
    """A whole document that may load nothing and run nothing; its one style sheet is allowed by its hash."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        Markup(f"<style>{css}</style>"),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"


def table(columns: Iterable[str], rows: Iterable[Iterable[Child]]) -> Markup:
    """A table; columns ending in `>` are numbers and stand right."""
    names = list(columns)
    sides = ["n" if name.endswith(">") else None for name in names]
    head = tag("tr", *(tag("th", name.removesuffix(">"), class_=side) for name, side in zip(names, sides, strict=True)))
    body = (tag("tr", *(tag("td", cell, class_=side) for cell, side in zip(row, sides, strict=True))) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return text(value, 10_000_000)
    return f"{value:.2f}".rstrip("0").rstrip(".")
