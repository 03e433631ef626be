"""RunPage: everything of a run on one page that loads nothing, runs nothing, and says no sealed number."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from agents.archive.records import RunRecord, Spend
from backtesting.costs import CostModel
from backtesting.terms import CASH
from generator.history import History, SlotRow
from generator.interfaces.html.run_page import run_page
from generator.uplift import uplifts

HOSTILE = '</td><script>alert(1)</script><img src="https://example.org/x" onerror=alert(1)>\u202e\x1b[31m'
NOW = "2030-01-02T03:04:05.000000+00:00"


class Reader(HTMLParser):
    """What a browser would see: tags, their attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def row(index: int, arm: str, **more: Any) -> SlotRow:
    values: dict[str, Any] = {
        "slot_id": f"r-x/{index:04d}",
        "index": index,
        "block": index // 4,
        "arm": arm,
        "state": "gated",
        "code": "",
        "reason": "",
        "origin": "llm" if arm.startswith("llm") else arm,
        "name": f"rule_{index}",
        "repairs": 0,
        "parents": (f"r-x/{index - 1:04d}",) if index else (),
        "evaluated": True,
        "alpha_t": float(index % 5) - 1.0,
        "sharpe": 0.25,
        "cell": (1, index % 4, 2, 2, "trend"),
        "verdict": "fail",
        "n_asked": 1,
        "usd": 0.01,
        "tokens": 1000,
    }
    return SlotRow(**(values | more))


def refused(index: int, arm: str, code: str) -> SlotRow:
    gone = {"evaluated": False, "alpha_t": None, "sharpe": None, "cell": None, "verdict": "", "state": "rejected"}
    return row(index, arm, code=code, origin="" if code == "not_json" else arm, **gone)


def a_run(**more: Any) -> History:
    rows = [row(index, arm) for index, arm in enumerate(["llm", "llm-independent", "random", "evolved"] * 5)]
    rows += [refused(20, "llm", "duplicate_exact"), refused(21, "llm", "not_json"), row(22, "llm", name=HOSTILE)]
    rows += [row(23, "llm", verdict="pass", repairs=1, origin="repaired")]
    spend = Spend(0.24, 24_000, 24, 0)
    record = RunRecord("r-x", {"config": {"llm": HOSTILE}}, HOSTILE, "b2:x", {}, 1, "b2:y", NOW)
    values: dict[str, Any] = {
        "record": record,
        "ending": {"not_opened": ""},
        "rows": tuple(rows),
        "spend": spend,
        "by_purpose": {"propose": Spend(0.2, 20_000, 20, 0), "repair": Spend(0.04, 4000, 4, 0)},
        "failed": {"propose": 0, "repair": 1},
        "lessons": ((0, HOSTILE, ("r-x/0003",)),),
        "forked_from": "r-parent",
    }
    return History(**(values | more))


def made(history: History) -> str:
    return run_page(history, uplifts(history, np.random.default_rng(1)), now=NOW)


def test_it_has_every_section() -> None:
    page = made(a_run())
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "What the model added",
        "From slot to verdict",
        "Best so far",
        "Map of what was found",
        "Lineage",
        "Repetitions over time",
        "Cost by purpose",
        "Candidates and verdicts",
        "Lessons that the model wrote",
    ]
    assert page.count("<svg") == 9
    assert "forked from" in page


def test_it_says_how_the_model_was_asked_and_what_may_be_memory() -> None:
    config = {"llm": "openai:m", "workflow": "one-shot", "costs": "liquid-index"}
    prompts = {"propose": "propose@2:b2:aa", "repair": "repair@1:b2:bb", "card": "market-card@3:b2:cc"}
    record = RunRecord("r-x", {"config": config, "prompts": prompts}, "m", "b2:x", {}, 1, "b2:y", NOW)
    history = a_run(record=record)
    page = run_page(history, uplifts(history, np.random.default_rng(1)), now=NOW, memory="It may be memory.")
    assert "market-card@3, propose@2, repair@1" in page
    assert "one-shot" in page
    assert page.index("What the model added") < page.index("It may be memory.") < page.index("From slot to verdict")


def test_it_says_what_trading_costs_and_what_is_claimed() -> None:
    costs = CostModel(2.0, 3.0, 1.0, 0.01, 0.05).as_dict()
    terms = replace(CASH, roll_every=21).as_dict()
    config = {"llm": "none", "costs": costs, "terms": terms, "replace": "golden_cross"}
    record = RunRecord("r-x", {"config": config}, "m", "b2:x", {}, 1, "b2:y", NOW)
    page = made(a_run(record=record))
    assert "6 basis points a side, 1.00% a year on short positions, both sides again whenever" in page
    assert "roll_every 21" in page
    assert "to add to the book, and to take the place of golden_cross" in page
    assert "to take the place of" not in made(a_run())


def test_hostile_text_is_text_and_nothing_is_loaded() -> None:
    page = read(made(a_run()))
    assert not set(page.tags) & {"script", "img", "link", "iframe", "object", "embed", "form", "a", "base"}
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "href", "style", "srcset"})
    assert not set("".join(page.words)) & set("\u202e\x1b")
    assert "<script>alert(1)</script>" in "".join(page.words)


def test_funnel_by_hand() -> None:
    page = made(a_run())
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", page)]
    by_arm = {line[0]: line[1:] for line in cells if len(line) == 8 and line[0] in ("llm", "random")}
    # llm: 9 slots; not_json never became legal, one became so by a repair; one repeated, 7 evaluated; 1 passed.
    assert by_arm["llm"] == ["9", "7 (78%)", "8 (89%)", "1", "7", "7", "1"]
    assert by_arm["random"] == ["5", "–", "5 (100%)", "0", "5", "5", "0"]


def test_uplift_is_said_in_words_and_a_fallback_is_not_the_models() -> None:
    assert "none shown" in made(a_run())
    history = a_run()
    fallback = replace(history.rows[0], origin="random")
    page = made(replace(history, rows=(fallback, *history.rows[1:])))
    assert "1 evaluated candidates of the model&#x27;s arms were not made by it and are left out." in page


def test_run_in_which_nothing_happened_has_a_page_too() -> None:
    empty = a_run(rows=(refused(0, "random", "duplicate_exact"),), by_purpose={}, spend=Spend(0.0, 0, 0, 0), lessons=())
    page = made(replace(empty, ending=None))
    assert "The run is not finished." in page
    assert "No model was asked; nothing was spent." in page
    assert "Nothing has been evaluated." in page
    assert read(made(a_run(rows=(), by_purpose={}, lessons=()))).tags[0] == "html"


def test_same_run_same_bytes() -> None:
    assert made(a_run()) == made(a_run())


def test_long_run_stays_a_small_file() -> None:
    arms = ["llm", "random", "evolved", "llm-independent"]
    rows = tuple(row(index, arms[index % 4]) for index in range(1000))
    page = made(a_run(rows=rows))
    assert len(page) < 1_500_000
    assert "The first 200 of 1000." in page
