"""Plots: things stand where their numbers say, and every drawing is well-formed."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from generator.interfaces.html import plots
from generator.interfaces.html.plots import Curve, Dot, Frame, shade

NUMBERS = st.floats(min_value=-1e6, max_value=1e6)


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)  # noqa: S314 - our own drawing


def test_corners_of_the_frame() -> None:
    frame = Frame((0.0, 10.0), (-1.0, 1.0), width=500.0, height=200.0)
    assert (frame.at_x(0.0), frame.at_x(10.0)) == (plots.LEFT, 500.0 - plots.RIGHT)
    # A higher value stands higher, which is a smaller y.
    assert (frame.at_y(1.0), frame.at_y(-1.0)) == (plots.TOP, 200.0 - plots.BOTTOM)
    assert frame.at_y(0.0) == pytest.approx((plots.TOP + 200.0 - plots.BOTTOM) / 2.0)


def test_stacked_bars_have_heights_in_proportion() -> None:
    made = drawn(
        plots.stacks(["0"], {"a": ("#111111", [1.0]), "b": ("#222222", [3.0])}, x_name="block", y_name="slots")
    )
    first, second = made.iter("rect")
    assert float(second.attrib["height"]) == pytest.approx(3.0 * float(first.attrib["height"]), abs=0.05)
    assert [element.text for element in made.iter("title")] == ["block 0: a 1", "block 0: b 3"]


def test_lying_bars_are_as_long_as_their_values() -> None:
    made = drawn(plots.bars([("a", 1.0, "#111111", "one"), ("b", 4.0, "#222222", "four")]))
    first, second = made.iter("rect")
    assert float(second.attrib["width"]) == pytest.approx(4.0 * float(first.attrib["width"]))


def test_lineage_draws_a_line_to_every_parent_that_is_shown() -> None:
    dots = [
        Dot("a", 0.0, 1.0, "#111111", "a", ("gone",)),
        Dot("b", 1.0, 2.0, "#111111", "b", ("a",), True),
        Dot("c", 2.0, 3.0, "#111111", "c", ("a", "b"), True),
    ]
    made = drawn(plots.lineage(dots, x_name="slot", y_name="t"))
    to_parents = [line for line in made.iter("line") if line.attrib["stroke-width"] in ("0.6", "1.4")]
    assert len(to_parents) == 3
    assert sum(line.attrib["stroke"] == plots.INK for line in to_parents) == 1  # only b to c: a is not strong
    assert len(list(made.iter("circle"))) == 3


def test_map_names_only_what_is_there() -> None:
    made = drawn(plots.grid(["c0", "c1"], ["r0"], {(1, 0): ("#123456", "7", "seven rules")}))
    assert len(list(made.iter("rect"))) == 2
    assert [element.text for element in made.iter("title")] == ["seven rules"]


def test_shade_says_good_bad_and_unknown() -> None:
    good, bad, unknown = shade(2.0, -1.0, 2.0), shade(-1.0, -1.0, 2.0), shade(None, -1.0, 2.0)
    assert good == "#2e8b57"
    assert bad == "#c45c50"
    assert unknown == shade(float("nan"), -1.0, 2.0) == "#d9d9d9"


@example([0.0, 5e-324])
@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_any_numbers_make_a_well_formed_drawing_without_nan(values: list[float]) -> None:
    low, high = [v - 1.0 for v in values], [v + 1.0 for v in values]
    made = plots.curves([Curve("<x>", "#111111", values, low, high)], x_name="x", y_name="y")
    dots = [Dot(str(i), float(i), v, "#111111", "t", (str(i - 1),)) for i, v in enumerate(values)]
    for markup in (made, plots.lineage(dots, x_name="x", y_name="y")):
        drawn(markup)
        assert not re.search(r"\b(nan|inf)\b", markup)
        assert "style=" not in markup
