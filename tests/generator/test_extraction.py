"""What counts as the one JSON object of a reply, and why everything else does not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.extraction import ExtractionError, extract, judge_completion, parse_strict
from generator.llm.client import Completion
from generator.llm.scripted import completion

OBJECT = {"kind": "rules", "long": {"enter": "close > sma(close, 20)"}}
TEXT = json.dumps(OBJECT)
PRETTY = json.dumps(OBJECT, indent=2)


@pytest.mark.parametrize(
    "reply",
    [
        TEXT,
        f"\n\n  {PRETTY}\n",
        f"\ufeff{TEXT}",
        f"Here it is:\n```json\n{PRETTY}\n```\nGood luck!",
        f"```\n{TEXT}\n```",
        f"  ```json\n{TEXT}\n  ```",
        f"Sure. {TEXT} Hope that helps.",
        f"{TEXT}\nThe rule buys strength.",
        f'The "best" idea (a trend): {TEXT}',
        # The same answer twice is one answer; equal as JSON, whatever the spelling.
        f"{TEXT}\n{TEXT}",
        f"{TEXT}\nor, in other words:\n{PRETTY}",
        f"```json\n{TEXT}\n```\nor\n```json\n{PRETTY}\n```",
        f"<think>maybe {{}} or {{1}} ```json\n{{}}\n```</think>\n{TEXT}",
    ],
)
def test_one_object_is_found(reply: str) -> None:
    assert extract(reply) == OBJECT


def test_braces_and_fences_inside_strings_are_text() -> None:
    value = {"hypothesis": 'a } b { c "quoted" \\ ``` d', "n": 1}
    assert extract(json.dumps(value)) == value
    assert extract(f"Answer: {json.dumps(value)}") == value


@pytest.mark.parametrize(
    ("reply", "code", "reason"),
    [
        ("", "empty_reply", "wrote nothing"),
        (" \n\ufeff ", "empty_reply", "wrote nothing"),
        ("<think>hm</think>", "empty_reply", "wrote nothing"),
        ("I would rather not.", "not_json", "holds no JSON object"),
        (f"{TEXT}\n{TEXT}\n{{}}", "not_json", "holds 3 objects that are not all the same"),
        # Equal numbers of another kind, and what is not legal twice, are not the same.
        ('{"a": 1} {"a": 1.0}', "not_json", "holds 2 objects that are not all the same"),
        ('{"a": NaN} {"a": NaN}', "not_json", "holds 2 objects that are not all the same"),
        (f"Use {{close}} here: {TEXT}", "not_json", "holds 2 objects"),
        (f"```json\n{TEXT}\n```\nor\n```json\n[]\n```", "not_json", "holds 2 objects that are not all the same"),
        ('{"a": {"b": 1}', "not_json", "never ends"),
        ('{"a": "b', "not_json", "never ends"),
        (f"[{TEXT}]", "not_json", "is a JSON list, an object is needed"),
        ("```json\n[1]\n```", "not_json", "is a JSON list"),
        ('```json\n"text"\n```', "not_json", "is a JSON string"),
        ("```json\n```", "not_json", "not JSON at line 1 column 1"),
        ("{'a': 1}", "not_json", "not JSON at line 1 column 2"),
        ('{"a": 1,}', "not_json", "not JSON at line 1"),
        ('{"a": 1 // why\n}', "not_json", "not JSON at line 1"),
        ('{"a": 1, "a": 2}', "not_json", 'the key "a" is given twice'),
        ('{"x": {"b": 1, "b": 1}}', "not_json", 'the key "b" is given twice'),
        ('{"a": NaN}', "not_json", "NaN is not a JSON number"),
        ('{"a": Infinity}', "not_json", "Infinity is not a JSON number"),
        ('{"a": -Infinity}', "not_json", "-Infinity is not a JSON number"),
        ('{"a": 1e400}', "not_json", "the number 1e400 is too large"),
        ('{"a": 9223372036854775808}', "not_json", "is too large"),
        (f'{{"a": {"9" * 5000}}}', "not_json", "is too large"),
        ('{"a": "\0"}', "not_json", "NUL"),
        ('{"a": "\\u0000"}', "not_json", "NUL or half of a surrogate pair"),
        ('{"\\ud800": 1}', "not_json", "half of a surrogate pair"),
        ('{"a": ["\\udc00"]}', "not_json", "half of a surrogate pair"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "not_json", "nested deeper than 32 levels"),
        ('{"a": ' + "[" * 50_000 + "]" * 50_000 + "}", "not_json", "nested deeper than 32 levels"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "not_json", "nested deeper than 32 levels|larger than"),
        ('{"a": "' + "x" * 256_000 + '"}', "not_json", "larger than 256,000 bytes"),
    ],
)
def test_anything_else_is_refused_with_a_reason(reply: str, code: str, reason: str) -> None:
    found = extract(reply)
    assert isinstance(found, ExtractionError)
    assert found.code == code
    assert any(part in found.reason for part in reason.split("|")), found.reason


def test_size_is_counted_in_bytes() -> None:
    # 100,000 characters of three bytes each.
    found = extract('{"a": "' + "€" * 100_000 + '"}')
    assert isinstance(found, ExtractionError)
    assert "larger" in found.reason


def test_limits_are_not_one_off() -> None:
    deep: Any = 1
    for _ in range(31):
        deep = [deep]
    assert extract(json.dumps({"a": deep})) == {"a": deep}  # 1 object and 31 lists are 32 levels
    assert isinstance(extract(json.dumps({"a": [deep]})), ExtractionError)
    assert extract('{"a": 9223372036854775807, "b": -9223372036854775807}') == {"a": 2**63 - 1, "b": -(2**63 - 1)}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (completion("{}", finish_reason="length"), "truncated"),
        (completion(None, refusal="no"), "refusal"),
        (completion(None, finish_reason="content_filter"), "content_filter"),
        (completion(""), "empty_reply"),
        (completion(" \n"), "empty_reply"),
        (completion(None), "empty_reply"),
        (completion(None, finish_reason="other"), "empty_reply"),
    ],
)
def test_finish_reason_decides_before_the_text_is_read(answer: Completion, code: str) -> None:
    found = judge_completion(answer)
    assert found is not None
    assert found.code == code
    assert found.reason


def test_finished_text_deserves_to_be_read() -> None:
    assert judge_completion(completion("anything")) is None
    assert judge_completion(completion("{}", finish_reason="other")) is None


def test_refusal_in_words_reaches_the_reviewer_short() -> None:
    found = judge_completion(completion(None, refusal="x" * 5_000))
    assert found is not None
    assert len(found.reason) < 600


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    # no surrogates and no NUL: those are refused on purpose
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc{}`\"'", max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc{}`\"'", max_size=4), JSON_VALUES, max_size=4)


@settings(max_examples=150, deadline=None)
@given(OBJECTS, st.sampled_from(["", "Here: ", "a 'quote and \"another: "]), st.sampled_from(["", " Done.", "\n```"]))
def test_any_object_is_found_among_words(value: dict[str, Any], before: str, after: str) -> None:
    assert extract(before + json.dumps(value) + after) == value


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('{}[]"\\:,`\n ae1-.<think>/\ud800\0')) | st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    found = extract(text)
    assert isinstance(found, dict | ExtractionError)
    parse_strict(text)
