"""Uplift: counted at equal slots and at equal cost, with an interval, and "none shown" as a normal answer."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from agents.archive.records import RunRecord, Spend
from generator.history import History, SlotRow
from generator.leakage import KnownModel
from generator.uplift import memory_note, uplifts

RNG_SEED = 1


def row(index: int, arm: str, alpha_t: float | None, **more: Any) -> SlotRow:
    values: dict[str, Any] = {
        "slot_id": f"r-x/{index:04d}",
        "index": index,
        "block": index // 10,
        "arm": arm,
        "state": "gated",
        "code": "",
        "reason": "",
        "origin": "llm" if arm.startswith("llm") else arm,
        "name": f"rule_{index}",
        "repairs": 0,
        "parents": (),
        "evaluated": True,
        "alpha_t": alpha_t,
        "sharpe": 0.5,
        "cell": None,
        "verdict": "fail",
        "n_asked": 1,
        "usd": 0.0,
        "tokens": 0,
    }
    return SlotRow(**(values | more))


def history(**scores: list[float | None]) -> History:
    """A run with these scores by arm (`_` for `-`), the arms one after the other."""
    rows: list[SlotRow] = []
    for name, values in scores.items():
        arm = name.replace("_", "-")
        usd = 1.0 if arm.startswith("llm") else 0.0
        rows += [row(len(rows) + i, arm, value, usd=usd) for i, value in enumerate(values)]
    record = RunRecord("r-x", {}, "m", "b2:x", {}, 1, "b2:y", "2030-01-01T00:00:00+00:00")
    return History(record, None, tuple(rows), Spend(0.0, 0, 0, 0), {}, {}, (), "")


def compared(found: History) -> tuple[Any, Any]:
    slots, cost = uplifts(found, np.random.default_rng(RNG_SEED))
    return slots, cost


def test_equal_slots_by_hand() -> None:
    llm = [5.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    random, evolved = [2.0, 0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0]
    slots, _ = compared(history(llm=llm, random=random, evolved=evolved))
    # The first five of each; a fifth of five is one: 5 against the better control's 3.
    assert (slots.best_control, slots.uplift, slots.top) == ("evolved", 2.0, 1)
    assert slots.slots == {"llm": 5, "random": 5, "evolved": 5}


def test_arms_that_cost_nothing_keep_all_their_slots_at_equal_cost() -> None:
    found = history(llm=[1.0] * 10, llm_independent=[1.0] * 5, random=[0.0] * 9 + [7.0])
    _, cost = compared(found)
    # The independent arm cost 5 dollars in all, so the model's arm is cut after 5; random was free.
    assert cost.slots == {"llm": 5, "llm-independent": 5, "random": 10}
    assert (cost.best_control, cost.uplift) == ("random", 1.0 - 7.0)
    assert not cost.shown


def test_unpriced_calls_are_counted_in_tokens_and_that_is_said() -> None:
    found = history(llm=[1.0] * 6, llm_independent=[1.0] * 6)
    rows = tuple(replace(r, usd=None, tokens=100 if r.arm == "llm" else 50) for r in found.rows)
    _, cost = compared(replace(found, rows=rows))
    # 300 tokens in all for the cheaper arm: three slots of the other.
    assert cost.slots == {"llm": 3, "llm-independent": 6}
    assert "Calls are unpriced, so cost is counted in tokens." in cost.sentence


def test_clear_advantage_is_shown_and_noise_is_not() -> None:
    rng = np.random.default_rng(5)
    noise = {arm: rng.normal(0.0, 1.0, 60).tolist() for arm in ("llm", "random", "evolved")}
    slots, _ = compared(history(**noise))
    assert not slots.shown
    assert slots.low < slots.uplift < slots.high
    assert slots.sentence.endswith("none shown.")
    clear = noise | {"llm": (np.array(noise["llm"]) + 5.0).tolist()}
    slots, cost = compared(history(**clear))
    assert slots.shown
    assert cost.shown
    assert slots.sentence.endswith("more.")


def test_false_claims_are_rare_when_the_arms_are_the_same() -> None:
    rng = np.random.default_rng(7)
    claims = 0
    for _ in range(60):
        arms = {arm: rng.normal(0.0, 1.0, 30).tolist() for arm in ("llm", "random", "evolved")}
        claims += compared(history(**arms))[0].shown
    # A one-sided 2.5 % test against the better of two controls: 1.5 expected at most, 6 has a chance of 0.4 %.
    assert claims < 6


def test_undefined_score_adds_nothing_and_is_not_left_out() -> None:
    slots, _ = compared(history(llm=[None] * 5, random=[-1.0, -1.0, -1.0, -1.0, -1.0]))
    assert slots.uplift == 1.0


def test_what_a_fallback_made_is_not_credited_to_the_model() -> None:
    found = history(llm=[1.0] * 5 + [9.0], random=[0.0] * 5)
    rows = (*found.rows[:5], replace(found.rows[5], origin="random"), *found.rows[6:])
    _, cost = compared(replace(found, rows=rows))
    assert cost.slots["llm"] == 5
    assert cost.uplift == 1.0


def test_too_few_slots_are_said_and_not_compared() -> None:
    slots, cost = compared(history(llm=[1.0] * 9, random=[0.0, 0.0]))
    assert (
        slots.sentence
        == "At equal evaluated slots: cannot be said, the arm random has 2 evaluated slots and 3 are needed."
    )
    assert not slots.shown
    assert not cost.shown


def test_run_without_the_model_or_without_a_control_has_nothing_to_compare() -> None:
    assert uplifts(history(random=[1.0] * 9, evolved=[1.0] * 9), np.random.default_rng(1)) == ()
    assert uplifts(history(llm=[1.0] * 9), np.random.default_rng(1)) == ()


def test_same_history_and_seed_give_the_same_answer() -> None:
    found = history(llm=[1.0, 2.0, 3.0, 4.0], random=[0.0, 1.0, 2.0, 3.0])
    assert compared(found) == compared(found)


MODELS = (
    KnownModel("old", date(2020, 1, 31), "a page", date(2026, 1, 1)),
    KnownModel("new", date(2024, 6, 30), "a page", date(2026, 1, 1)),
    KnownModel("silent", None, "publishes none", date(2026, 1, 1)),
)


@pytest.mark.parametrize(
    ("first", "last", "names", "words"),
    [
        # 90 days after the later cutoff is 2024-09-28.
        (date(2000, 1, 3), date(2024, 9, 28), {"old", "new"}, "It may be memory: the days compared"),
        (date(2024, 9, 29), date(2025, 9, 29), {"old", "new"}, "It is no memory: the days compared"),
        # 30 of 100 days come after 2020-04-30.
        (date(2020, 2, 20), date(2020, 5, 30), {"old-mini"}, "30% lie after what the model can know (2020-04-30)"),
        (date(2025, 1, 1), date(2025, 2, 1), {"old", "silent-7b"}, "known to silent-7b, whose cutoff is not published"),
        (date(2025, 1, 1), date(2025, 2, 1), {"nobody-knows"}, "known to nobody-knows, whose cutoff is not published"),
    ],
)
def test_an_uplift_says_whether_it_may_be_memory(first: date, last: date, names: set[str], words: str) -> None:
    assert words in memory_note(first, last, names, MODELS)
