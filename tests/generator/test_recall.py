"""Recall: chance, what is shown, and what counts as recognising."""

import asyncio
import json
import re
from typing import Any

import numpy as np
import pytest

from agents.data_fetch.data_fetch import fetch_bars
from backtesting.splits import plan_split
from generator.llm.client import CompletionRequest
from generator.llm.scripted import ScriptedClient
from generator.recall import DECOYS, Hits, questions, recall
from generator.templates import load_prompt, prompt_folders

BARS = fetch_bars("sample:sp500")
SPLIT = plan_split(BARS)
CARD = load_prompt("market-card", prompt_folders())


def drawn(n: int = 40, seed: int = 1) -> Any:
    return questions(CARD, BARS.upto(SPLIT.open.stop), SPLIT.open, n, np.random.default_rng(seed))


def options(text: str, pattern: str) -> dict[str, str]:
    return dict(re.findall(pattern, text, flags=re.MULTILINE))


def test_the_right_answers_are_among_the_options_once_and_anywhere() -> None:
    markets, places = [], []
    for question in drawn():
        assets = options(question.text, r"^([A-H]): (.+)$")
        assert sorted(assets.values()) == sorted(DECOYS)
        assert assets[question.market] == "S&P 500"
        years = options(question.text, r"^(\d): (\d{4} to \d{4})$")
        assert len(set(years.values())) == len(years) == 4
        # The open window of this sample lies in 2000 to 2005; the wrong years lie outside.
        inside = [number for number, text in years.items() if "2000" <= text[:4] <= "2005"]
        assert inside == [str(question.years)]
        markets.append(question.market)
        places.append(question.years)
    assert len(set(markets)) == 8
    assert len(set(places)) == 4


def test_a_question_holds_no_name_no_price_and_nothing_sealed() -> None:
    for question in drawn(10):
        card = question.text.partition("Which market")[0]
        assert "SP500" not in question.text
        assert not re.search(r"\d{4}", card)
    changed = BARS.upto(SPLIT.open.stop)
    assert drawn(5) == questions(CARD, changed, SPLIT.open, 5, np.random.default_rng(1))


def answering(asked: Any, right: int) -> ScriptedClient:
    def reply(request: CompletionRequest) -> str:
        question = asked[request.repeat_index]
        if request.repeat_index < right:
            return json.dumps({"market": question.market.lower(), "years": question.years})
        return "I cannot tell."

    return ScriptedClient([reply] * len(asked))


def test_a_model_that_knows_is_recognised_and_one_that_does_not_answer_is_not() -> None:
    asked = drawn(20)
    knows = asyncio.run(recall(answering(asked, 20), asked))
    assert [(hits.hits, hits.recognised) for hits in knows.hits] == [(20, True), (20, True)]
    silent = asyncio.run(recall(answering(asked, 0), asked))
    assert (silent.recognised, silent.unreadable) == (False, 20)
    assert [hits.p_value for hits in silent.hits] == [1.0, 1.0]


def test_the_limit_is_chance_and_two_standard_errors() -> None:
    # 20 guesses among 4: 5, and 2 sqrt(20 * 0.25 * 0.75) = 3.87.
    assert Hits("years", 8, 20, 0.25).limit == pytest.approx(8.873, abs=1e-3)
    assert not Hits("years", 8, 20, 0.25).recognised
    assert Hits("years", 9, 20, 0.25).recognised
    # P(X >= 1) = 1 - 0.75^2
    assert Hits("years", 1, 2, 0.25).p_value == pytest.approx(0.4375)
