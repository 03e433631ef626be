"""Markup: everything is escaped, and the page may load and run nothing."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.interfaces.html.markup import Markup, join, page, table, tag, text


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text(max_size=80))
def test_no_text_becomes_markup(value: str) -> None:
    found = read(tag("p", value, title=value))
    assert found.tags == ["p"]
    assert "<" not in text(value)


def test_only_what_was_made_here_is_markup() -> None:
    assert tag("p", "<b>x</b>") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"
    assert tag("p", tag("b", "x")) == "<p><b>x</b></p>"
    assert join(["a&b", Markup("<br>")]) == "a&amp;b<br>"


def test_names_of_attributes_and_numbers() -> None:
    made = tag("text", "x", text_anchor="end", x=1.0, y=2.345, class_="n", title=None)
    assert made == '<text text-anchor="end" x="1" y="2.35" class="n">x</text>'
    assert tag("svg", viewBox="0 0 1 1") == '<svg viewBox="0 0 1 1"></svg>'
    assert tag("rect", x=0.0) == '<rect x="0"/>'


def test_a_tag_is_never_made_of_text() -> None:
    with pytest.raises(ValueError, match="is no tag"):
        tag("script src=x")


def test_control_and_direction_characters_are_shown_as_replaced_and_long_text_is_cut() -> None:
    assert text("a\x1b[31m\u202eb\nc") == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b\nc"
    assert len(text("x" * 5000)) == 600


def test_policy_allows_the_one_style_sheet_and_nothing_else() -> None:
    css = "p{color:red}"
    made = page("A <title>", css, tag("p", "x"))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', made)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy.replace("&#x27;", "'") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert made.index("Content-Security-Policy") < made.index("<style>") < made.index("<body>")
    assert "A &lt;title&gt;" in made


def test_numbers_stand_right_in_a_table() -> None:
    made = table(("name", "t>"), [("<i>", "1.5")])
    assert '<th class="n">t</th>' in made
    assert '<td>&lt;i&gt;</td><td class="n">1.5</td>' in made
