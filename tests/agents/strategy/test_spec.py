"""Specs: the same rule has the same id, every error is said at once, and no bytes can crash the reader."""

import copy
import json
import random
import time
from typing import Any

import numpy as np
import pytest

from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import RulesSpec, ScoreSpec, Spec, check_for_bars, load_spec, rule_text, to_yaml
from agents.strategy.spec_error import SpecError
from backtesting.bars import Bars

CROSS: dict[str, Any] = {
    "kind": "rules",
    "name": "my_cross",
    "hypothesis": "Trends persist.",
    "long": {
        "enter": "crosses_above(sma(close, 50), sma(close, 200))",
        "exit": "crosses_below(sma(close, 50), sma(close, 200))",
    },
    "protect": {"stop_atr": 3.0},
    "sizing": {"kind": "fraction", "fraction": 1.0},
}
SCORE: dict[str, Any] = {
    "kind": "score",
    "name": "my_score",
    "hypothesis": "Momentum.",
    "score": "roc(close, 20)",
    "position": {"kind": "linear", "scale": 5.0},
    "direction": "both",
    "sizing": {"kind": "volatility", "annual": 0.1, "window": 20, "cap": 1.5},
    "rebalance": {"every_bars": 5, "band": 0.05},
}


def loaded(config: Any) -> Spec:
    spec = load_spec(config, origin="")
    assert not isinstance(spec, list), [str(error) for error in spec]
    return spec


def said(config: Any, origin: str = "") -> list[str]:
    errors = load_spec(config, origin=origin)
    assert isinstance(errors, list), errors
    return [str(error) for error in errors]


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    *parents, last = path.split(".")
    part = config
    for step in parents:
        part = part.setdefault(step, {})
    part[last] = value
    return config


PORTFOLIO: dict[str, Any] = {
    "kind": "portfolio",
    "name": "my_portfolio",
    "hypothesis": "Winners go on winning.",
    "universe": "adv(60) > 0.5 * adv(250)",
    "score": "roc(lag(close, 21), 231)",
    "neutralise": "sector",
    "select": {"kind": "share", "share": 0.1},
    "weight": {"kind": "inverse_volatility", "window": 60},
    "direction": "both",
    "gross": 1.0,
    "cap": 0.05,
    "rebalance": {"every_bars": 21, "band": 0.002},
}
ENSEMBLE: dict[str, Any] = {
    "kind": "ensemble",
    "name": "my_ensemble",
    "hypothesis": "They lose at different times.",
    "members": [{"spec": CROSS, "weight": 2.0}, {"spec": SCORE, "weight": 1.0}, {"agent": "macd_trend", "weight": 1.0}],
    "fusion": {"kind": "vote", "threshold": 0.5},
    "weights": "given",
    "gross": 1.0,
    "rebalance": {"every_bars": 5, "band": 0.05},
}
PATIENT: dict[str, Any] = {
    **CROSS,
    "name": "patient_cross",
    "sizing": {"kind": "kelly", "share": 0.3, "window": 120, "cap": 1.5},
    "orders": {"limit_atr": 0.5, "limit_bars": 3, "atr_window": 14, "cooldown_bars": 5, "rearm": True},
    "halt": {"drawdown": 0.25, "bars": 60},
}
ALL = (CROSS, SCORE, PORTFOLIO, ENSEMBLE, PATIENT)

# --- identity


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "another_name"),
        ("hypothesis", "Something else."),
        ("source", "A book."),
        ("long.enter", "crossover(ma(close, window=50), mean(CLOSE, 200))"),
        ("long.exit", "crosses_above(sma(close, 200), sma(close, 50))"),
        ("short", None),
        ("protect.atr_window", 20),
        ("protect.stop_atr", 3),
        ("protect.stop_atr", 3.00000001),
        ("protect.max_bars", None),
        ("sizing", {"kind": "fraction"}),
    ],
)
def test_same_rule_in_other_words_has_the_same_id(path: str, value: Any) -> None:
    assert loaded(changed(CROSS, path, value)).spec_id == loaded(CROSS).spec_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("long.enter", "crosses_above(sma(close, 51), sma(close, 200))"),
        ("long.exit", None),
        ("short", {"enter": "close < open"}),
        ("protect", None),
        ("protect.stop_atr", 2.9),
        ("protect.atr_window", 21),
        ("protect.max_bars", 10),
        ("sizing.fraction", 0.5),
        ("sizing", {"kind": "atr_risk"}),
    ],
)
def test_a_different_rule_has_a_different_id(path: str, value: Any) -> None:
    assert loaded(changed(CROSS, path, value)).spec_id != loaded(CROSS).spec_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("score", "roc(close, 21)"),
        ("position", {"kind": "sign"}),
        ("position.scale", 4.0),
        ("direction", "long"),
        ("sizing.cap", 1.0),
        ("rebalance.every_bars", 1),
        ("rebalance.band", 0.0),
    ],
)
def test_every_number_of_a_score_is_part_of_its_id(path: str, value: Any) -> None:
    assert loaded(changed(SCORE, path, value)).spec_id != loaded(SCORE).spec_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("universe", None),
        ("universe", "adv(60) > 0.4 * adv(250)"),
        ("score", "roc(close, 231)"),
        ("neutralise", None),
        ("neutralise", "industry"),
        ("select.share", 0.2),
        ("select", {"kind": "count", "count": 10}),
        ("weight.window", 20),
        ("weight", {"kind": "equal"}),
        ("weight", {"kind": "score"}),
        ("direction", "long"),
        ("gross", 2.0),
        ("cap", 0.1),
        ("rebalance.every_bars", 5),
        ("rebalance.band", 0.0),
    ],
)
def test_everything_of_a_portfolio_is_part_of_its_id(path: str, value: Any) -> None:
    assert loaded(changed(PORTFOLIO, path, value)).spec_id != loaded(PORTFOLIO).spec_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("universe", "2 * adv(60) > dollar_volume(250)"),
        ("score", "lag(close, 21) / lag(lag(close, 21), 231) - 1 + roc(lag(close, 21), 231) * 0 + 0"),
        ("name", "another_name"),
        ("gross", 1),
    ],
)
def test_same_portfolio_in_other_words_has_the_same_id(path: str, value: Any) -> None:
    if path == "score":
        # A quotient of lags is another rule to us, though it means the same.
        assert loaded(changed(PORTFOLIO, path, value)).spec_id != loaded(PORTFOLIO).spec_id
    else:
        assert loaded(changed(PORTFOLIO, path, value)).spec_id == loaded(PORTFOLIO).spec_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("members", [{"spec": CROSS, "weight": 1.0}, *ENSEMBLE["members"][1:]]),
        ("members", ENSEMBLE["members"][:2]),
        ("fusion", {"kind": "mean"}),
        ("fusion.threshold", 0.6),
        ("gross", 0.5),
        ("rebalance.every_bars", 1),
    ],
)
def test_everything_of_an_ensemble_is_part_of_its_id(path: str, value: Any) -> None:
    assert loaded(changed(ENSEMBLE, path, value)).spec_id != loaded(ENSEMBLE).spec_id


def test_what_does_nothing_is_no_part_of_the_id() -> None:
    without = changed(CROSS, "protect", None)
    assert loaded(changed(CROSS, "protect", {"atr_window": 50})).spec_id == loaded(without).spec_id
    held = changed(changed(CROSS, "long.exit", None), "protect", {"stop_share": 0.1, "atr_window": 9})
    assert loaded(held).spec_id == loaded(changed(held, "protect.atr_window", 20)).spec_id
    assert loaded(changed(held, "long.exit", "False")).spec_id == loaded(held).spec_id


def test_id_of_a_known_rule_does_not_change_by_accident() -> None:
    # Stored ids name rules for ever. A change here needs a new LANGUAGE number.
    assert loaded(CROSS).spec_id == "b2:1ffdc4860641121367fb536b3016f310"


@pytest.mark.parametrize("spec", [*shipped_incumbents(), *map(loaded, ALL)], ids=lambda spec: str(spec.name))
def test_yaml_and_json_of_a_spec_load_back(spec: Spec) -> None:
    for text in (to_yaml(spec), json.dumps(spec.config()), json.dumps(spec.config()).encode()):
        again = loaded(text)
        assert again.spec_id == spec.spec_id
        assert again.config() == spec.config()
        assert rule_text(again) == rule_text(spec)


def test_key_order_does_not_matter() -> None:
    assert loaded(dict(reversed(list(CROSS.items())))).spec_id == loaded(CROSS).spec_id


# --- errors


def test_every_error_is_reported_with_its_path() -> None:
    text = """
kind: rules
name: X
long: {enter: "emaa(close, 5) > close", exitt: "close > open"}
protect: {stop_atr: NO, stop_shar: 0.1, target_atr: 3, target_share: 0.1}
sizing: {kind: fracton}
rebalance: {}
"""
    assert said(text, origin="my.yaml") == [
        "my.yaml: name: a name is 3 to 48 of a-z, 0-9 and _, and starts with a letter",
        "my.yaml: hypothesis: is missing",
        'my.yaml: long.enter: unknown function "emaa" (column 1); did you mean "ema"?',
        'my.yaml: long: unknown key "exitt"; did you mean "exit"?',
        'my.yaml: protect.stop_atr: is "NO", but should be a number',
        'my.yaml: protect: unknown key "stop_shar"; did you mean "stop_share"?',
        'my.yaml: sizing: unknown kind "fracton"; allowed are fraction, volatility, atr_risk, kelly;'
        ' did you mean "fraction"?',
        'my.yaml: unknown key "rebalance"; known are name, hypothesis, source, kind, long, short, protect, sizing,'
        " orders, halt",
    ]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            changed(CROSS, "kind", "ruls"),
            'unknown kind "ruls"; allowed are rules, score, portfolio, ensemble; did you mean "rules"?',
        ),
        ({"name": "abc"}, "kind is missing; allowed are rules, score, portfolio, ensemble"),
        (changed(CROSS, "name", "con"), "name: this name is reserved on Windows"),
        (changed(CROSS, "name", "com1"), "name: this name is reserved on Windows"),
        (changed(CROSS, "name", "../x"), "name: a name is 3 to 48 of a-z, 0-9 and _, and starts with a letter"),
        (changed(CROSS, "hypothesis", "a" * 601), "hypothesis: the text has 601 characters, allowed are 600"),
        (
            changed(CROSS, "hypothesis", "up \u202e nwod"),
            "hypothesis: the text holds the invisible character '\\u202e'",
        ),
        (changed(CROSS, "hypothesis", "a\x1bb"), "hypothesis: the text holds the invisible character '\\x1b'"),
        (
            changed(CROSS, "long.enter", "close > open and close > 5"),
            "long.enter: close > 5 compares a price with a plain"
            " number; a level in currency means nothing on another market: compare with another price,"
            " e.g. sma(close, 100)",
        ),
        (changed(CROSS, "long.enter", "False"), "long: the entry is never true, so nothing would ever be traded"),
        (changed(CROSS, "long", None), "give long or short, or both"),
        (changed(CROSS, "protect.stop_atr", "3"), 'protect.stop_atr: is "3", but should be a number'),
        (changed(CROSS, "protect.stop_atr", True), "protect.stop_atr: is True, but should be a number"),
        (changed(CROSS, "protect.stop_atr", float("nan")), "protect.stop_atr: is nan, but should be a finite number"),
        (changed(CROSS, "protect.stop_atr", 99), "protect.stop_atr: is 99, but should be less than or equal to 20"),
        (changed(CROSS, "protect.max_bars", 2.5), "protect.max_bars: is 2.5, but should be a whole number"),
        (changed(CROSS, "protect.stop_share", 0.1), "protect: give stop_atr or stop_share, not both"),
        (changed(CROSS, "long", 3), "long: is 3, but should be a mapping"),
        (
            changed(SCORE, "score", "close > open"),
            'score: a plain number is wanted here, "close > open" is a condition;'
            " where(condition, 1, -1) makes a number of it",
        ),
        (changed(SCORE, "direction", "up"), "direction: is \"up\", but should be 'long', 'short' or 'both'"),
        (changed(PORTFOLIO, "universe", "False"), "the universe is always empty, so nothing would ever be traded"),
        (
            changed(PORTFOLIO, "universe", "close"),
            'universe: a condition is wanted here, "close" is a price; compare it',
        ),
        (changed(PORTFOLIO, "select.count", 3), 'select: unknown key "count"; known are kind, share'),
        (
            changed(PORTFOLIO, "select", {"kind": "cont"}),
            'select: unknown kind "cont"; allowed are count, share; did you mean "count"?',
        ),
        (changed(PORTFOLIO, "weight", {}), "weight: kind is missing; allowed are equal, score, inverse_volatility"),
        (changed(PORTFOLIO, "weight", {"kind": "score", "x": 1}), 'weight: unknown key "x"; known are kind'),
        (changed(PORTFOLIO, "neutralise", "a b"), "neutralise: a feature is named by up to 64 letters, digits and _"),
        (changed(PORTFOLIO, "cap", 0), "cap: is 0, but should be greater than or equal to 0.001"),
        (
            changed(ENSEMBLE, "members", [{"spec": CROSS}]),
            "members: an ensemble has 2 to 12 members, 1 are given",
        ),
        (changed(ENSEMBLE, "members", 3), "members: is 3, but should be tuple"),
        (
            changed(ENSEMBLE, "members", [{"spec": CROSS}, {"spec": SCORE}]),
            "weights are given, but not every member has one",
        ),
        (changed(ENSEMBLE, "weights", "equal"), "a member has a weight, but weights are equal"),
        (
            changed(changed(ENSEMBLE, "weights", "equal"), "members", [{"spec": CROSS}, {"spec": CROSS}]),
            "two members are the same rule; give one of them more weight instead",
        ),
        (
            changed(ENSEMBLE, "members", [{}, {"agent": "abc"}]),
            "members.0: give an agent's name or a spec, one of the two",
        ),
        (
            changed(ENSEMBLE, "members", [{"spec": changed(CROSS, "long.enter", "clos > open")}, {"agent": "abc"}]),
            'members.0.spec.long.enter: unknown name "clos" (column 1); did you mean "close"?',
        ),
        (
            changed(ENSEMBLE, "members", [{"agnt": "abc"}, {"agent": "abc"}]),
            'members.0: unknown key "agnt"; did you mean "agent"?',
        ),
        (
            changed(ENSEMBLE, "members", [{"spec": changed(SCORE, "sizing.kap", 1)}, {"agent": "abc"}]),
            'members.0.spec.sizing: unknown key "kap"; did you mean "cap"?',
        ),
        (
            changed(ENSEMBLE, "members", [{"spec": ENSEMBLE}, {"agent": "abc"}]),
            'members.0.spec: unknown kind "ensemble"; allowed are rules, score, portfolio',
        ),
        ("", "the text holds no mapping of names to values"),
        ("[1, 2]", "the text holds no mapping of names to values"),
        ('{"kind": "rules", "kind": "score"}', '"kind" is given twice'),
        ('{"a": NaN}', "NaN is not a number that a spec may hold"),
        ('{"a": 1e999}', "1e999 is too large a number"),
        ('{"a": 1', "the JSON is broken at line 1, column 8: Expecting ',' delimiter"),
        ("a: 1\na: 2", '"a" is given twice (line 2)'),
        ("a: &x 1\nb: *x", "YAML anchors and aliases are not allowed (line 1)"),
        ("a: !!python/object:os.system 1", "YAML tags are not allowed (line 1)"),
        (b"\xff\xfe", "the text is not UTF-8 (byte 0)"),
        ("a\0b", "the text holds a NUL character"),
        ("\ud800", "the text holds a lone surrogate, which no encoding can store"),
        ("{" + " " * 262144 + "}", "the text has 262146 bytes, allowed are 262144"),
        ("a: " + "b" * 40000, "the text has 40003 bytes, allowed are 16384"),
        ("[" * 5000, "the text is nested too deeply"),
        ('{"a":' * 100000, "the text has 500000 bytes, allowed are 262144"),
    ],
)
def test_error_sentence(config: Any, sentence: str) -> None:
    assert said(config)[0] == sentence


def test_yaml_words_stay_words() -> None:
    text = "kind: rules\nname: NO\nhypothesis: 12:30:45\nsource: 2001-01-01\nlong: {enter: True, exit: off}\n"
    errors = said(text)
    assert errors[0].startswith("name: a name is 3 to 48")  # "NO", not False
    assert not any(error.startswith(("hypothesis", "source", "long.enter")) for error in errors)
    assert any(error.startswith('long.exit: unknown name "off"') for error in errors)


def test_an_error_serves_the_repair_prompt_as_json() -> None:
    (error,) = load_spec(changed(CROSS, "long.enter", "emaa(close, 5) > close"), origin="slot 3")  # type: ignore[misc]
    assert isinstance(error, SpecError)
    as_json = json.loads(json.dumps(error.as_dict()))
    assert as_json["path"] == "long.enter"
    assert as_json["rule"] == "unknown_function"
    assert as_json["found"] == "emaa"
    assert as_json["nearest"] == "ema"
    assert "origin" not in as_json


def test_an_expression_may_be_typed_by_yaml() -> None:
    spec = loaded(changed(changed(CROSS, "long.enter", True), "long.exit", None))
    assert isinstance(spec, RulesSpec)
    assert spec.long is not None
    assert spec.long.enter == "True"


SLOWEST = 0.05
N_FUZZ = 10_000


def quickly(text: str | bytes) -> Spec | list[SpecError]:
    """`load_spec`, and the time that this process needed for it (another one may hold the machine meanwhile)."""
    start = time.process_time()
    answer = load_spec(text, origin="")
    if time.process_time() - start >= SLOWEST:
        # Once more: a pause of the collector is no fault of the text.
        start = time.process_time()
        answer = load_spec(text, origin="")
        assert time.process_time() - start < SLOWEST, text[:200]
    assert not isinstance(answer, list) or (answer and all(error.message for error in answer))
    return answer


def test_random_bytes_never_raise_and_are_refused_quickly() -> None:
    rng = random.Random(1)
    for _ in range(N_FUZZ):
        assert isinstance(quickly(rng.randbytes(rng.randint(0, 80))), list)


def test_mutated_specs_never_raise_and_are_read_quickly() -> None:
    rng = random.Random(2)
    texts = [to_yaml(loaded(config)) for config in (*ALL, *(spec.config() for spec in shipped_incumbents()))]
    texts += [json.dumps(config) for config in ALL]
    legal = 0
    for _ in range(N_FUZZ):
        text = list(rng.choice(texts))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(text))
            match rng.randrange(4):
                case 0:
                    del text[at]
                case 1:
                    text.insert(at, chr(rng.randrange(1, 0x250)))
                case 2:
                    text[at] = rng.choice("()[]{}\"':,&*!|>%@#-+.0123456789abcdef\n\t ")
                case _:
                    text[at:at] = text[at : at + rng.randrange(30)]
        legal += not isinstance(quickly("".join(text)), list)
    assert N_FUZZ // 40 < legal < N_FUZZ * 0.95


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 199 + "\n",
        "\n".join(f"k{number}: {number}" for number in range(1500)),
        "- " * 5000,
        "? " * 5000,
        "a: |\n" + " x\n" * 5000,
        "a: '" + "x" * 16000,
        "a" * 16000,
        "#" * 16000,
        "\n" * 16000,
        "{" + ",".join(f'"k{number}": {number}' for number in range(20000)) + "}",
        '{"kind": "rules", "long": ' + json.dumps({f"k{number}": "x" * 3000 for number in range(80)}) + "}",
        json.dumps(CROSS | {"x" * 200_000: 1}),
        json.dumps(CROSS | {"long": {"enter": "close > " + "x" * 200_000}}),
        json.dumps(CROSS | {"long": {"enter": "(" * 512}}),
        json.dumps(CROSS | {"long": {"enter": "-" * 511 + "1"}}),
        json.dumps(CROSS | {"long": {"enter": " or ".join(["clos>open"] * 36)}}),
        json.dumps(CROSS | {"long": {"enter": "min(" * 60 + "close" + ",open)" * 60 + ">1"}}),
        json.dumps(CROSS | {"long": {"enter": "zzzzzzz(" * 60 + "close" + ")" * 32}}),
        json.dumps(ENSEMBLE | {"members": [{"spec": CROSS}] * 5000}),
        json.dumps(ENSEMBLE | {"members": list(range(30000))}),
        json.dumps(CROSS | {"hypothesis": "x" * 250_000}),
    ],
    ids=range(21),
)
def test_large_and_hostile_texts_are_refused_quickly(text: str) -> None:
    assert isinstance(quickly(text), list)


def test_broken_yaml_says_where() -> None:
    assert said("a: [1")[0].startswith("the YAML is broken at line ")
    assert said("a: 1\n---\nb: 2")[0] == "the YAML holds a second document (line 2)"


def test_nested_mappings_never_raise() -> None:
    deep: Any = "close > open"
    for _ in range(3000):
        deep = {"enter": deep}
    assert said(changed(CROSS, "long", deep))


# --- what it says of itself


def test_rule_text_is_made_from_the_rule_and_not_from_the_prose() -> None:
    assert rule_text(loaded(CROSS)).splitlines() == [
        "Enter long when crosses_above(sma(close, 50), sma(close, 200)).",
        "Leave long when crosses_above(sma(close, 200), sma(close, 50)).",
        "Stop at 3 * atr(20).",
        "Size: 1 of equity.",
    ]
    assert rule_text(loaded(SCORE)).splitlines() == [
        "Score: roc(close, 20).",
        "Position: 5 times the score, at most fully long or short.",
        "Size: 0.1 / volatility(20) of equity, at most 1.5.",
        "Looked at every 5 bars, counted from the first bar of the data,"
        " traded if further than 0.05 of equity from the target.",
    ]


def test_rule_text_of_a_portfolio_and_an_ensemble() -> None:
    assert rule_text(loaded(PORTFOLIO)).splitlines() == [
        "Among the assets with adv(60) > 0.5 * adv(250), score: roc(lag(close, 21), 231), less the mean of its group in"
        " sector.",
        "Hold the 10 % of the names with the highest score, and short as many with the lowest.",
        "Size: 1 of equity in all, weights by 1 / volatility(60), at most 0.05 of equity a name.",
        "Chosen anew every 21 bars, counted from the first bar of the data,"
        " traded if further than 0.002 of equity from the target.",
    ]
    lines = rule_text(loaded(ENSEMBLE)).splitlines()
    assert lines[:3] == [
        "3 members, members by their shares.",
        "Member (2):",
        "  Enter long when crosses_above(sma(close, 50), sma(close, 200)).",
    ]
    assert lines[-4:] == [
        "Member (1): the agent macd_trend.",
        "Fully long or short where at least 0.5 of the votes say so, else flat.",
        "Size: 1 times that.",
        "Looked at every 5 bars, counted from the first bar of the data,"
        " traded if further than 0.05 of equity from the target.",
    ]


def test_specs_are_frozen() -> None:
    spec = loaded(SCORE)
    assert isinstance(spec, ScoreSpec)
    with pytest.raises(Exception, match="frozen"):
        spec.score = "1"  # type: ignore[misc]


# --- against a market


def test_check_for_bars_names_what_the_market_lacks(bars: Bars) -> None:
    spec = loaded(changed(CROSS, "long.exit", "feature(newz) > 0 and mfi(14) > 50"))
    close_only = Bars(
        bars.symbols,
        bars.sessions,
        bars.close,
        bars.close,
        bars.close,
        bars.close,
        np.full(bars.close.shape, np.nan),
        "sample:wti",
        close_only=True,
        features=bars.features,
    )
    assert [str(error) for error in check_for_bars(spec, close_only, max_warmup=100)] == [
        "long.enter: needs 200 bars of warm-up, allowed are 100; use shorter windows",
        'long.exit: sample:wti has no feature "newz"; it has news, sector; did you mean "news"?',
        "long.exit: mfi(14) reads volume, but sample:wti has no volume",
        "long.exit: mfi(14) reads open, high or low, but sample:wti has one price a day, the close",
        "protect: atr(20) reads open, high or low, but sample:wti has one price a day, the close",
    ]
    assert check_for_bars(loaded(CROSS), bars, max_warmup=200) == []


def test_check_for_bars_knows_what_a_panel_needs(bars: Bars) -> None:
    one = Bars(
        ("x",), bars.sessions, *(getattr(bars, name)[:, :1] for name in ("open", "high", "low", "close", "volume")),
        "one",
    )  # fmt: skip
    spec = loaded(changed(PORTFOLIO, "score", "cs_rank(close / open)"))
    assert [str(error) for error in check_for_bars(spec, one, max_warmup=100)] == [
        "a portfolio chooses among several assets, one has one",
        'neutralise: one has no feature "sector"; it has no features',
        "universe: needs 249 bars of warm-up, allowed are 100; use shorter windows",
        "score: cs_rank(close / open) reads all assets of a panel, but one has one asset",
    ]
    assert check_for_bars(spec, bars, max_warmup=300) == []
    assert [str(error) for error in check_for_bars(loaded(ENSEMBLE), bars, max_warmup=300)] == [
        'members.2.agent: the agent "macd_trend" has not been looked up'
    ]


def test_yaml_in_braces_is_yaml_and_json_stays_json() -> None:
    flow = "{kind: rules, name: in_braces, hypothesis: h, long: {enter: close > open}}"
    spec = load_spec(flow, origin="")
    assert not isinstance(spec, list)
    assert spec.rule()["long"] == {"enter": "close > open"}
    (error,) = load_spec('{"kind": "rules", "name": in_braces}', origin="")  # type: ignore[misc]
    assert str(error).startswith("the JSON is broken at line 1, column 27")
    (error,) = load_spec("{kind: rules, name: [}", origin="")  # type: ignore[misc]
    assert str(error).startswith("the YAML is broken at line 1")


def test_bound_of_a_number_is_the_nearest_legal_one() -> None:
    config = {"kind": "rules", "name": "a_rule", "hypothesis": "h", "long": {"enter": "close > open"}}
    (error,) = load_spec(config | {"protect": {"stop_atr": 99}}, origin="")  # type: ignore[misc]
    assert (error.path, error.nearest) == ("protect.stop_atr", "20")
    (error,) = load_spec(config | {"sizing": {"kind": "fraction", "fraction": 0}}, origin="")  # type: ignore[misc]
    assert (error.path, error.nearest) == ("sizing.fraction", "0.01")
