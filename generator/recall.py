"""Recall: does a model recognise a market from what our prompts say about it?

The market card has no name, no date and no price. Here it is made of random halves of the open window and put to the
model with two questions of choice: which market, which years. Hits are held against chance. Nothing sealed is asked
about: a question would show it.

The surprising use of the answer: none, for the grade. A model that recognises nothing may still remember the days and
act on it, so a clean result proves nothing and changes nothing; a bad one says that hiding names has failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import bdtrc

from backtesting.bars import Bars
from backtesting.splits import Window
from generator.context import market_card
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.client import CompletionRequest, LLMClient, Message
from generator.templates import Prompt

DECOYS = (
    "S&P 500",
    "Nasdaq Composite",
    "WTI crude oil",
    "Gold",
    "EUR/USD",
    "10-year US Treasury note",
    "Nikkei 225",
    "Bitcoin",
)
# What the sample markets and usual symbols are called in the list above.
KNOWN_AS = {
    "sp500": "S&P 500",
    "^gspc": "S&P 500",
    "spy": "S&P 500",
    "nasdaq": "Nasdaq Composite",
    "^ixic": "Nasdaq Composite",
    "qqq": "Nasdaq Composite",
    "wti": "WTI crude oil",
    "cl=f": "WTI crude oil",
    "gc=f": "Gold",
    "gld": "Gold",
    "eurusd=x": "EUR/USD",
    "^n225": "Nikkei 225",
    "btc-usd": "Bitcoin",
}
N_PERIODS = 4
MAX_OUTPUT_TOKENS = 2_000
QUESTION = """Below is a description of a real market over some years, with its name and dates taken out.

{card}

Which market is it?
{assets}
Which years are described?
{periods}
Answer both even if you are not sure, with one JSON object and nothing else: \
{{"market": LETTER, "years": NUMBER}}."""


@dataclass(frozen=True)
class Question:
    """One question with its right answers."""

    text: str
    market: str
    years: int


@dataclass(frozen=True)
class Hits:
    """How often one of the two was named.

    Attributes:
        what: `market` or `years`.
        hits, asked: an unreadable reply is a miss, and counts as asked.
        chance: of one guess.
        p_value: chance that guessing hits at least so often.
    """

    what: str
    hits: int
    asked: int
    chance: float

    @property
    def limit(self) -> float:
        """Chance plus two standard errors, in hits."""
        return self.asked * self.chance + 2.0 * sqrt(self.asked * self.chance * (1.0 - self.chance))

    @property
    def recognised(self) -> bool:
        """Whether it was named more often than chance and two standard errors."""
        return self.hits > self.limit

    @property
    def p_value(self) -> float:
        return float(bdtrc(self.hits - 1, self.asked, self.chance)) if self.hits > 0 else 1.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return {
            "what": self.what,
            "hits": self.hits,
            "asked": self.asked,
            "chance": self.chance,
            "p_value": self.p_value,
            "recognised": self.recognised,
        }


@dataclass(frozen=True)
class Recall:
    """What a model recognised; `unreadable` replies are among the misses."""

    hits: tuple[Hits, Hits]
    unreadable: int
    tokens: int
    model: str

    @property
    def recognised(self) -> bool:
        return any(hits.recognised for hits in self.hits)


def questions(card: Prompt, bars: Bars, window: Window, n: int, rng: np.random.Generator) -> tuple[Question, ...]:
    """`n` questions about random halves of a window; letters, numbers and wrong answers are drawn anew for each."""
    span = window.n_bars // 2
    name = _name(bars)
    first_year, last_year = (int(str(bars.sessions[at])[:4]) for at in (window.start, window.stop - 1))
    asked = []
    for _ in range(n):
        start = int(rng.integers(window.start, window.stop - span + 1))
        part = Window(start, start + span)
        true = _years(bars, part)
        length = true[1] - true[0]
        # Wrong years lie outside the whole window, on either side, or a model that knows its years would be misled.
        outside = [y for y in range(1950, 2026 - length) if y + length < first_year or y > last_year]
        wrong = [(int(y), int(y) + length) for y in rng.choice(outside, size=N_PERIODS - 1, replace=False)]
        periods = [true, *wrong]
        order = rng.permutation(N_PERIODS)
        decoys = [decoy for decoy in DECOYS if decoy != name][: len(DECOYS) - 1]
        assets = [name, *decoys]
        ranks = rng.permutation(len(assets))
        letters = {assets[at]: chr(ord("A") + place) for place, at in enumerate(ranks)}
        text = QUESTION.format(
            card="\n".join(market_card(card, bars, part)),
            assets="\n".join(f"{letter}: {asset}" for asset, letter in sorted(letters.items(), key=lambda x: x[1])),
            periods="\n".join(f"{place}: {periods[at][0]} to {periods[at][1]}" for place, at in enumerate(order, 1)),
        )
        asked.append(Question(text, letters[name], int(np.flatnonzero(order == 0)[0]) + 1))
    return tuple(asked)


async def recall(client: LLMClient, asked: Sequence[Question]) -> Recall:
    """Put the questions to a model, one after the other.

    Raises:
        CallFailed: the model cannot be asked.
    """
    market, years, unreadable, tokens, model = 0, 0, 0, 0, ""
    for number, question in enumerate(asked):
        request = CompletionRequest(
            (Message("user", question.text),),
            max_output_tokens=MAX_OUTPUT_TOKENS,
            purpose="recall",
            repeat_index=number,
        )
        completion = await client.complete(request)
        model = completion.model
        tokens += completion.usage.total_tokens if completion.usage is not None else 0
        found = None if judge_completion(completion) is not None else extract(completion.text or "")
        if found is None or isinstance(found, ExtractionError):
            unreadable += 1
            continue
        market += str(found.get("market", "")).strip().upper() == question.market
        years += str(found.get("years", "")).strip() == str(question.years)
    n = len(asked)
    hits = (Hits("market", market, n, 1.0 / len(DECOYS)), Hits("years", years, n, 1.0 / N_PERIODS))
    return Recall(hits, unreadable, tokens, model)


def _name(bars: Bars) -> str:
    symbol = bars.symbols[0]
    return KNOWN_AS.get(symbol.lower(), symbol)


def _years(bars: Bars, window: Window) -> tuple[int, int]:
    first, last = (int(str(bars.sessions[at])[:4]) for at in (window.start, window.stop - 1))
    return first, last
