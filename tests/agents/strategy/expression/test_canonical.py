"""The canonical form: what it prints reads back as itself, whatever was read before, and means what was written."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from agents.strategy.expression.evaluate import EvaluationCache, truth
from agents.strategy.expression.nodes import Node, distinct_nodes
from agents.strategy.expression.parse import parse, read_afresh
from agents.strategy.indicators import FUNCTIONS
from agents.strategy.spec import load_spec, to_yaml
from agents.strategy.truth import FALSE, TRUE, UNKNOWN
from backtesting.bars import Bars


def tree(text: str) -> Node:
    node = read_afresh(text)
    assert isinstance(node, Node), [str(error) for error in node]
    return node


PRICES = ["close", "open", "high", "low", "sma(close, 20)", "atr(14)", "ema(close, 5)"]
RATIOS = ["rsi(close, 3)", "roc(close, 2)", "intraday()", "zscore(close, 5)", "gap()"]
NUMBERS = ["2", "3", "5", "7", "0.5", "1.5", "3.5", "0.1", "0.3", "10", "100", "1.2", "0.25", "252", "0.01", "14"]
# Those that six digits hold badly beside others.
UNEVEN = ["0.147155", "0.852845", "123456", "0.333333", "1e-7", "999999", "7e5", "1000003", "33.3333", "1e-12", "0.7"]


def price(rng: random.Random, depth: int) -> str:
    form = rng.random()
    if depth <= 0 or form < 0.25:
        return rng.choice(PRICES)
    inner = price(rng, depth - 1)
    if form < 0.5:
        return f"({inner} {rng.choice('+-')} {price(rng, depth - 1)})"
    if form < 0.62:
        return f"{rng.choice(NUMBERS)} * {inner}"
    if form < 0.74:
        return f"({inner}) / {rng.choice(NUMBERS)}"
    if form < 0.82:
        return f"({inner}) / ({ratio(rng, depth - 1)})"
    if form < 0.9:
        return f"({ratio(rng, depth - 1)}) * ({inner})"
    return f"-({inner})"


def ratio(rng: random.Random, depth: int) -> str:
    form = rng.random()
    if depth <= 0 or form < 0.25:
        return rng.choice(RATIOS)
    inner = ratio(rng, depth - 1)
    if form < 0.45:
        return f"({inner} {rng.choice('+-')} {rng.choice([ratio(rng, depth - 1), rng.choice(NUMBERS)])})"
    if form < 0.57:
        return f"{rng.choice(NUMBERS)} * ({inner})"
    if form < 0.69:
        return f"({inner}) / {rng.choice(NUMBERS)}"
    if form < 0.9:
        return f"({price(rng, depth - 1)}) / ({price(rng, depth - 1)})"
    return f"abs({inner})" if form < 0.95 else f"-({inner})"


def ordinary(rng: random.Random) -> str:
    depth, sign = rng.randint(1, 3), rng.choice([">", "<", ">=", "==", "!="])
    return rng.choice(
        [
            f"{price(rng, depth)} {sign} {price(rng, depth)}",
            f"{ratio(rng, depth)} {sign} {rng.choice([ratio(rng, depth), rng.choice(NUMBERS)])}",
            ratio(rng, depth + 1),
            f"crosses_above({price(rng, depth)}, {price(rng, depth)})",
            f"sma({price(rng, depth)}, 5) > {price(rng, depth - 1)}",
        ]
    )


@pytest.mark.parametrize("numbers", [NUMBERS, UNEVEN], ids=["usual", "uneven"])
def test_what_thousands_of_ordinary_rules_print_reads_back_as_themselves(
    numbers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "NUMBERS", numbers)
    rng = random.Random(20)
    texts = [text for text in (ordinary(rng) for _ in range(4000)) if len(text) <= 512]
    for text in texts:
        node = read_afresh(text)
        if isinstance(node, tuple):
            assert numbers is UNEVEN
            assert {error.rule for error in node} == {"number"}
            continue
        again = tree(node.text)
        assert again.text == node.text, text
        assert again.dimension is node.dimension
        assert again.warmup == node.warmup
        assert [part.text for part in distinct_nodes(again)] == [part.text for part in distinct_nodes(node)]


EVERYDAY = [
    ("(close - sma(close, 20)) / 3 > atr(14)", "close > 3 * atr(14) + sma(close, 20)"),
    ("(rsi(close, 14) - 50) / 30 > 1", "rsi(close, 14) > 80"),
    ("(rsi(close, 2) + rsi(close, 3)) / 3 < 25", "rsi(close, 2) + rsi(close, 3) < 75"),
    ("(close - open) / 0.3 > atr(14)", "close > 0.3 * atr(14) + open"),
    ("high > (open - low) / 0.3", "3 * high + 10 * low > 10 * open"),
    ("(close - low) / 7 > high - close", "close > 0.875 * high + 0.125 * low"),
    ("(close - lag(close, 12)) / 12 > 0.1 * atr(14)", "close > 1.2 * atr(14) + lag(close, 12)"),
    ("(zscore(close, 20) + zscore(close, 60)) / 3 > 0.7", "zscore(close, 20) + zscore(close, 60) > 2.1"),
    ("-(close - open) / 3 > atr(14)", "open > 3 * atr(14) + close"),
    ("-rsi(close, 2) > -10", "rsi(close, 2) < 10"),
    ("10 - rsi(close, 2) / 3 > 0", "rsi(close, 2) < 30"),
    ("-roc(close, 1) - roc(close, 2) > -0.1", "roc(close, 1) + roc(close, 2) < 0.1"),
    ("crosses_above(-3 * rsi(close, 2), -90)", "crosses_below(rsi(close, 2), 30)"),
    ("rank((rsi(close, 14) - 50) / 30, 9) > 0.5", "rank((rsi(close, 14) - 50) / 30, 9) > 0.5"),
    ("rank(2 * (close - 0.3 * open) * gap(), 9) > 0.5", "rank(2 * (close - 0.3 * open) * gap(), 9) > 0.5"),
    ("rank(2 / (7 * gap()), 9) > 0.5", "rank(2 / gap() / 7, 9) > 0.5"),
    (
        "rank((gap() - intraday() + 123456) / 0.852845, 9) > 0.5",
        "rank((200000 * gap() - 200000 * intraday()) / 170569 + 144758, 9) > 0.5",
    ),
]


@pytest.mark.parametrize(("written", "printed"), EVERYDAY)
def test_everyday_rules_are_printed_as_what_they_read_back_as(written: str, printed: str) -> None:
    assert str(tree(written)) == printed
    assert str(tree(printed)) == printed


def spec_of(enter: str) -> dict[str, object]:
    return {"kind": "rules", "name": "a_rule", "hypothesis": "h", "long": {"enter": enter}}


def test_id_survives_saving_and_does_not_depend_on_what_was_read_before() -> None:
    specs = [load_spec(spec_of(written), origin="") for written, _ in EVERYDAY if " > " in written]
    kept = [(spec.spec_id, to_yaml(spec)) for spec in specs if not isinstance(spec, list)]
    assert len(kept) == len(specs)
    code = (
        "import json, sys; from agents.strategy.spec import load_spec;"
        "print(*[load_spec(text, origin='').spec_id for text in json.load(sys.stdin)])"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([text for _, text in kept]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert fresh.stdout.split() == [spec_id for spec_id, _ in kept]


# --- extreme numbers

EXTREME = ["5e-324", "1e-320", "1e-300", "1e-30", "1e-12", "1e11", "1e12", "1e308", "0", "999999.5", "123456789.5"]
OPERATIONS = ["{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / {1}", "-{0} * {1} * {1}", "{0} / {1} / {1}"]
OPERANDS = ["rsi(close, 2)", "roc(close, 1)", "close / open", *EXTREME]


def test_no_operator_raises_on_an_extreme_number() -> None:
    rng = random.Random(7)
    for _ in range(3000):
        made = rng.choice(OPERATIONS).format(*(f"({rng.choice(OPERANDS)})" for _ in range(2)))
        other = rng.choice(OPERATIONS).format(*(f"({rng.choice(OPERANDS)})" for _ in range(2)))
        text = rng.choice(["{0} > {1}", "{0} == {1}", "crosses_above({0}, {1})", "min({0}, {1}) < 1"]).format(
            made, other
        )
        node = read_afresh(text)
        if isinstance(node, Node):
            assert str(tree(node.text)) == node.text, text
        else:
            assert all(error.message for error in node), text


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_no_function_raises_on_an_extreme_number(name: str) -> None:
    entry = FUNCTIONS[name]
    for extreme in EXTREME:
        texts = [
            f"{name}({', '.join(extreme if place == k else '5' for k, _ in enumerate(entry.parameters))})"
            for place in range(len(entry.parameters))
        ]
        texts.append(entry.example.replace("close", f"({extreme} * close)"))
        for text in texts:
            node = read_afresh(text)
            assert isinstance(node, Node) or all(error.message for error in node)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "1e-300 * close > 1e11 * open",
            "the number is nearer to 0 than 1e-30 (column 1); write 0",
        ),
        ("rsi(close, 2) > 1e308", "the number is beyond 1e+12 (column 17)"),
        ("rsi(close, 2) > 1e-999999999", "the number is nearer to 0 than 1e-30 (column 17); write 0"),
        (
            "roc(close, 1) * 1e11 * rsi(close, 2) * 1e11 > 1",
            "a number in roc(close, 1) * 1e11 * rsi(close, 2) * 1e11 comes out beyond 1e+12, or nearer to 0 than 1e-30"
            " (column 1)",
        ),
        (
            "rsi(close, 2) * 1e-20 * 1e-20 > 1e-30",
            "a number in rsi(close, 2) * 1e-20 * 1e-20 comes out beyond 1e+12, or nearer to 0 than 1e-30 (column 1)",
        ),
        ("1e-20 * rsi(close, 2) > 1", "a number comes out beyond 1e+12, or nearer to 0 than 1e-30"),
    ],
)
def test_extreme_number_is_an_error_with_a_sentence(text: str, sentence: str) -> None:
    errors = read_afresh(text)
    assert isinstance(errors, tuple)
    assert str(errors[0]) == sentence
    assert errors[0].rule == "number"
    refused = load_spec(spec_of(text), origin="")
    assert isinstance(refused, list)


# --- numbers


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("1000001 - 1000000 < rsi(close, 2)", "rsi(close, 2) > 1"),
        ("feature(expiry) > 20240115", "feature(expiry) > 20240115"),
        ("feature(expiry) - 20240115 > 1", "feature(expiry) > 20240116"),
        ("rsi(close, 2) > 1000000", "rsi(close, 2) > 1e+06"),
        ("rsi(close, 2) > 0.1 + 0.2", "rsi(close, 2) > 0.3"),
        ("rsi(close, 2) > 30.00000001", "rsi(close, 2) > 30"),
        ("rsi(close, 2) * 0.1 * 0.1 * 0.1 > 0.001", "rsi(close, 2) > 1"),
    ],
)
def test_whole_numbers_are_kept_and_others_are_folded_exactly(text: str, printed: str) -> None:
    assert str(tree(text)) == printed


# --- unknown stays unknown


def bars_with_a_gap() -> Bars:
    n = 12
    mood = np.arange(float(n))[:, None]
    mood[4] = np.nan
    close = 100.0 + np.arange(float(n))[:, None]
    return Bars(
        ("x",),
        np.datetime64("2020-01-01") + np.arange(n),
        open=close,
        high=close + 1,
        low=close - 1,
        close=close,
        volume=close,
        source="made-up",
        features={"mood": mood},
    )


@pytest.mark.parametrize(
    ("text", "elsewhere"),
    [
        ("feature(mood) == feature(mood)", TRUE),
        ("feature(mood) != feature(mood)", FALSE),
        ("feature(mood) >= feature(mood)", TRUE),
        ("feature(mood) - feature(mood) > 0", FALSE),
        ("0 * feature(mood) + close / open >= 1", TRUE),
        ("feature(mood) + close / open > feature(mood)", TRUE),
        ("0 / (feature(mood) + 1) == 0", TRUE),
        ("(0 * (feature(mood) - 1)) * (close / open) == 0", TRUE),
        ("-((feature(mood) + intraday() - intraday() - feature(mood)) / (close / open)) == 0", TRUE),
        ("-((0 * feature(mood) + 5) / (close / open)) < -4", TRUE),
    ],
)
def test_what_cancels_is_unknown_where_it_was_not_known(text: str, elsewhere: int) -> None:
    values = truth(tree(text), bars_with_a_gap(), EvaluationCache())[:, 0]
    assert values[4] == UNKNOWN
    assert set(np.delete(values, 4)) == {elsewhere}
    assert str(tree(str(tree(text)))) == str(tree(text))


def test_a_part_that_cancels_keeps_its_warm_up() -> None:
    assert tree("0 * sma(close, 200) + close > open").warmup == 199
    assert tree("zscore(close, 4) - zscore(close, 4) >= 0").warmup == 3
    assert tree("sma(close, 50) + open > sma(close, 50) + low").warmup == 49
    # The four prices of a bar are known together, so one that cancels beside another says nothing.
    assert str(tree("close + open > close + high")) == "open > high"
    assert str(tree("(high - close) - (close - low) > high - 2 * close")) == "low > 0"


# --- the same rule


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("close > open or (close > open and rsi(close, 2) < 5)", "close > open"),
        ("close > open and (close > open or rsi(close, 2) < 5)", "close > open"),
        (
            "(close > open or high > low) and (close > open or high > low or rsi(close, 2) < 5)",
            "close > open or high > low",
        ),
        ("holds_for(close > open, 1)", "close > open"),
        ("any_last(close > open, 1)", "close > open"),
        ("sma(close, 1) > open", "close > open"),
        ("highest(close, 1) > lowest(open, 1)", "close > open"),
        ("crosses_above(close, open) or crosses_below(close, open)", "crosses(close, open)"),
        (
            "crosses_above(2 * close, open) or high > low or crosses_above(open, 2 * close)",
            "crosses(2 * close, open) or high > low",
        ),
        ("crosses_above(rsi(close, 2), 30) or crosses_below(rsi(close, 2), 30)", "crosses(rsi(close, 2), 30)"),
    ],
)  # fmt: skip
def test_same_rule_with_dead_branches_is_the_same_node(one: str, other: str) -> None:
    assert str(tree(one)) == str(tree(other))


def test_memory_of_the_reader_changes_no_result() -> None:
    long_way = "(close - sma(close, 20)) / 3 > atr(14)"
    first = parse(long_way)
    assert isinstance(first, Node)
    assert parse(first.text) == read_afresh(first.text) == first
