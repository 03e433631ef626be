from collections.abc import Callable
from typing import Any

from agents.strategy.indicators import ALIASES, FIELDS, FUNCTIONS


def test_all_functions_and_fields_are_listed(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("functions")
    assert answer.code == 0
    assert all(field in answer.out.splitlines()[0] for field in FIELDS)
    events = touchstone("functions", "--json").events
    assert [event["name"] for event in events] == list(FUNCTIONS)


def test_an_alias_leads_to_its_function(touchstone: Callable[..., Any]) -> None:
    for alias in ("ma", "ref", "crossover"):
        assert touchstone("functions", alias, "--json").event("function")["name"] == ALIASES[alias]
    answer = touchstone("functions", "ma")
    assert "sma(close, 50)" in answer.out
    assert "also known as" in answer.out


def test_an_unknown_function_suggests_the_nearest(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("functions", "rsii")
    assert answer.code == 2
    assert answer.error.startswith('there is no function "rsii"; did you mean "rsi"?')


def test_a_narrow_screen_folds_and_loses_nothing(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("functions", COLUMNS="60")
    assert answer.code == 0
    table = answer.out.splitlines()[1:]
    assert max(map(len, table)) <= 60
    folded = "".join(answer.out.split())
    assert all(f.name in folded for f in FUNCTIONS.values())


def test_warm_up_bounds_and_what_differs_elsewhere_are_in_the_answer(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("functions", "macd")
    # The slow average of 26 bars is known from bar 25 on.
    assert "25 bars, as in macd(close, 12, 26)" in answer.out
    assert "fast 1 to 1000; slow 1 to 1000" in answer.out
    assert "TA-Lib starts the fast average where the slow one starts" in answer.out
    told = touchstone("functions", "natr", "--json").event("function")
    assert told["lies_in"] == [0, 1]
    assert told["warmup"] == "14 bars, as in natr(14)"


def test_a_name_of_another_library_is_answered_with_what_to_write(touchstone: Callable[..., Any]) -> None:
    for name, instead in (("tsf", "linear_fit(x, window) + slope(x, window)"), ("adv20", "write adv(20)")):
        answer = touchstone("functions", name)
        assert answer.code == 2
        assert instead in answer.error
