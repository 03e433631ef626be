"""Repair: reading a reply, naming its errors, and when to stop asking."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.archive.records import Rejection
from agents.strategy.spec import RulesSpec
from agents.strategy.spec_error import SpecError
from generator.llm.scripted import completion
from generator.repair import MAX_REPAIRS, Illegal, read_reply, worth_another_try


def read(kit: Any, text: str | None, **more: Any) -> Any:
    return read_reply(completion(text, **more), kit.market(), max_warmup=300)


def illegal(n_errors: int) -> Illegal:
    return Illegal("", tuple(SpecError("rule", "type", "", "", "", "wrong") for _ in range(n_errors)))


def test_legal_reply_is_a_spec(kit: Any) -> None:
    assert isinstance(read(kit, kit.reply(0)), RulesSpec)
    assert isinstance(read(kit, f"Here it is:\n```json\n{kit.reply(0)}\n```"), RulesSpec)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"refusal": "no"}, "refusal"),
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter"}, "content_filter"),
    ],
)
def test_final_replies_are_not_read_even_if_they_are_legal(more: dict[str, Any], code: str, kit: Any) -> None:
    answer = read(kit, kit.reply(0), **more)
    assert isinstance(answer, Rejection)
    assert (answer.stage, answer.code) == ("reply", code)


def test_classes_say_how_far_a_reply_got(kit: Any) -> None:
    no_json = read(kit, "Buy low.")
    assert no_json.code == "not_json"
    schema = read(kit, json.dumps({**kit.wire("close > 1", None), "name": 7}))
    assert schema.code == "schema"
    semantics = read(kit, kit.illegal(0))
    assert semantics.code == "semantics"
    assert semantics.text == kit.illegal(0)
    both = json.dumps({**kit.wire("close > smaa(close, 5)", None), "name": 7})
    assert read(kit, both).code == "schema"


def test_rule_that_the_market_cannot_answer_is_illegal_here(kit: Any) -> None:
    silent = replace(kit.market(), volume=np.full_like(kit.market().volume, np.nan))
    answer = read_reply(completion(json.dumps(kit.wire("volume > sma(volume, 20)", None))), silent, max_warmup=300)
    assert isinstance(answer, Illegal)
    assert "has no volume" in str(answer.errors[0])
    slow = read_reply(completion(json.dumps(kit.wire("close > sma(close, 302)", None))), kit.market(), max_warmup=300)
    assert isinstance(slow, Illegal)
    # A window of 302 needs 301 bars before its first value, one too many.
    assert isinstance(read(kit, json.dumps(kit.wire("close > sma(close, 301)", None))), RulesSpec)


def test_rejection_has_the_first_error_in_words_and_all_as_data(kit: Any) -> None:
    broken = read(kit, json.dumps(kit.wire("close > smaa(close, 5)", "close < emaa(close, 5)")))
    rejection = broken.rejection(2)
    assert rejection.code == "semantics"
    assert "smaa" in rejection.reason
    assert rejection.reason.endswith("(and 1 more)")
    assert rejection.detail["repairs"] == 2
    assert [error["path"] for error in rejection.detail["errors"]] == ["long.enter", "long.exit"]


def test_errors_go_back_twice_at_most_and_only_while_they_get_fewer() -> None:
    assert worth_another_try(illegal(9), None, 0)
    assert worth_another_try(illegal(2), illegal(3), 1)
    assert not worth_another_try(illegal(3), illegal(3), 1)
    assert not worth_another_try(illegal(4), illegal(3), 1)
    assert not worth_another_try(illegal(1), illegal(2), MAX_REPAIRS)
