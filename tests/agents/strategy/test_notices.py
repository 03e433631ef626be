"""What is legal and probably not meant is told, with the number that was."""

import pytest

from agents.strategy.expression.nodes import Node
from agents.strategy.expression.parse import parse
from agents.strategy.notices import notices, notices_of, span
from agents.strategy.spec import load_spec


def tree(text: str) -> Node:
    node = parse(text)
    assert isinstance(node, Node), [str(error) for error in node]
    return node


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "percent_rank(close, 20) > 90",
            "rank(close, 20) > 90 is never true: rank(close, 20) is 0 to 1; did you mean 0.9?",
        ),
        ("natr(14) < 2", "natr(14) < 2 is always true: natr(14) is 0 to 1; did you mean 0.02?"),
        ("volatility(20) < 15", "volatility(20) < 15 is always true: volatility(20) is 0 to 10; did you mean 0.15?"),
        (
            "crosses_above(rank(close, 5), 90)",
            "crosses_above(rank(close, 5), 90) is never true: rank(close, 5) is 0 to 1; did you mean 0.9?",
        ),
        ("rsi(close, 2) > 100", "rsi(close, 2) > 100 is never true: rsi(close, 2) is 0 to 100"),
        ("month() == 13", "month() == 13 is never true: month() is 1 to 12"),
        ("williams_r(14) > 20", "williams_r(14) > 20 is never true: williams_r(14) is -100 to 0"),
        # 2 r - 5 > 300 is r > 152.5
        ("2 * rsi(close, 2) - 5 > 300", "rsi(close, 2) > 152.5 is never true: rsi(close, 2) is 0 to 100"),
        (
            "close == close",
            "0 * close == 0 has the same on both sides; whether x is known is asked with known(x)",
        ),
        (
            "close > open and close <= open",
            "close > open and open >= close is never true, for it holds a condition and its opposite",
        ),
    ],
)  # fmt: skip
def test_comparison_that_says_nothing_is_told(text: str, sentence: str) -> None:
    (notice,) = notices_of({"": tree(text)})
    assert str(notice) == sentence
    assert notice.rule == "constant"


@pytest.mark.parametrize(
    "text",
    ["rsi(close, 2) < 0.3", "100 * rank(close, 20) > 90", "rank(close, 20) >= 1", "natr(14) < 0.02", "close > open",
     "rank(close, 5) + rank(close, 9) > 1.9", "where(close > open, 1, -1) > 0"],
)  # fmt: skip
def test_comparison_that_may_go_either_way_is_left_alone(text: str) -> None:
    assert notices_of({"": tree(text)}) == []


def test_span_adds_up_what_the_functions_say() -> None:
    assert span(tree("2 * rank(close, 5) - rsi(close, 2) / 100")) == (-1.0, 2.0)
    assert span(tree("abs(cmo(close, 5))")) == (0.0, 100.0)
    assert span(tree("max(rsi(close, 2), 30)")) == (30.0, 100.0)
    assert span(tree("clip(zscore(close, 5), -2, 3)")) == (-2.0, 3.0)


def test_spec_with_a_short_kelly_window_is_told() -> None:
    config = {
        "kind": "rules",
        "name": "selective",
        "hypothesis": "h",
        "long": {"enter": "rsi(close, 2) < 3"},
        "sizing": {"kind": "kelly", "window": 20},
    }
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list)
    (notice,) = notices(spec)
    assert str(notice).startswith("sizing.window: kelly sizing over 20 bars enters nothing before")
    usual = load_spec(config | {"sizing": {"kind": "kelly"}}, origin="")
    assert not isinstance(usual, list)
    assert notices(usual) == []
