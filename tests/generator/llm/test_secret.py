import pytest

from generator.llm.secret import Secret, one_line, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-proj-abcDEF_123 rejected", "key [redacted] rejected"),
        ("provided: sk-abc***xyz.", "provided: [redacted]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted]"),
        ("at https://me:pw@example.com/v1", "at https://[redacted]@example.com/v1"),
        ("risk-adjusted return", "risk-adjusted return"),
        ("the task-specific mask-aware model", "the task-specific mask-aware model"),
        ("own value plain-key here", "own value [redacted] here"),
    ],
)
def test_keys_are_taken_out_and_words_stay(text: str, shown: str) -> None:
    assert redact(text, [Secret("plain-key")]) == shown


def test_secret_does_not_print_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:}"
    assert secret.reveal() == "hunter2"


def test_empty_secret_hides_nothing() -> None:
    assert redact("abc", [Secret("")]) == "abc"


def test_one_line_is_short_and_shows_no_control_characters() -> None:
    assert one_line("a\n\x1b[31mb\u202ec\td") == "a [31mb c d"
    assert one_line("x" * 400) == "x" * 299 + "…"


def test_key_that_is_broken_by_a_control_character_is_still_hidden() -> None:
    assert "sk-abcdef" not in one_line("sk-abcdef\x00ghi")
