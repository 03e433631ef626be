from typing import Any

import pytest

from generator.changes import changes

BEFORE: dict[str, Any] = {
    "config": {"slots": 8, "costs": "free"},
    "data": "b2:0123456789abcdef",
    "prompts": {"propose": "propose@2:b2:aa", "repair": "repair@1:b2:bb"},
    "schemas": {"propose": "b2:cc"},
    "code": "b2:dd",
}


def test_the_same_identity_has_no_changes() -> None:
    assert changes(BEFORE, dict(BEFORE)) == ()


@pytest.mark.parametrize(
    ("part", "now", "words"),
    [
        ("config", {"slots": 9, "costs": "free"}, "config (slots was 8, is 9)"),
        ("data", "b2:fedcba9876543210", "data (was b2:01234567, is b2:fedcba98)"),
        ("prompts", {**BEFORE["prompts"], "propose": "propose@3:b2:ee"}, "prompts (was propose@2, is propose@3)"),
        # A writer who forgot to count the version up.
        ("prompts", {**BEFORE["prompts"], "repair": "repair@1:b2:ee"}, "prompts (repair@1 has another text)"),
        ("prompts", {"propose": "propose@2:b2:aa"}, "prompts (repair is gone)"),
        ("schemas", {"propose": "b2:ee"}, "schemas (the reply of propose)"),
        ("code", "b2:ee", "code (backtesting or agents)"),
    ],
)
def test_each_part_says_what_of_it_is_other_now(part: str, now: Any, words: str) -> None:
    assert changes(BEFORE, {**BEFORE, part: now}) == (words,)


def test_parts_are_named_in_their_order_and_a_new_one_last() -> None:
    now = {**BEFORE, "code": "b2:ee", "data": "b2:ffffffffffff", "forked_from": "r-1"}
    assert [phrase.partition(" ")[0] for phrase in changes(BEFORE, now)] == ["data", "code", "forked_from"]
