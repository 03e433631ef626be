from dataclasses import replace

import pytest

from backtesting.errors import EndpointError
from generator.llm.client import CallFailed, CompletionRequest, Message, Usage, payload_id_of

ASKED = CompletionRequest((Message("user", "hé"),), max_output_tokens=10, temperature=0.5, schema={"type": "object"})


def test_payload_is_the_wire_body() -> None:
    assert ASKED.payload("m") == {
        "model": "m",
        "messages": [{"role": "user", "content": "hé"}],
        "max_completion_tokens": 10,
        "temperature": 0.5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": {"type": "object"}},
        },
    }
    assert ASKED.payload("m", mode="json")["response_format"] == {"type": "json_object"}
    assert "response_format" not in ASKED.payload("m", mode="text")
    assert ASKED.payload("m", cap_field="max_tokens")["max_tokens"] == 10


def test_payload_id_changes_with_what_is_sent_and_with_nothing_else() -> None:
    def made(request: CompletionRequest, address: str = "a", model: str = "m") -> str:
        return payload_id_of(request.payload(model), address=address, repeat_index=request.repeat_index)

    same = [ASKED, replace(ASKED, purpose="repair")]
    other = [
        replace(ASKED, temperature=0.6),
        replace(ASKED, seed=1),
        replace(ASKED, schema=None),
        replace(ASKED, repeat_index=1),
        replace(ASKED, max_output_tokens=11),
        replace(ASKED, messages=(Message("system", "hé"),)),
    ]
    assert len({made(request) for request in same}) == 1
    ids = {made(request) for request in [ASKED, *other]} | {made(ASKED, address="b"), made(ASKED, model="n")}
    assert len(ids) == 9


def test_prompt_bytes_count_text_and_schema() -> None:
    # "hé" is 3 bytes in UTF-8, {"type":"object"} is 17.
    assert ASKED.prompt_bytes == 20
    assert replace(ASKED, schema=None).prompt_bytes == 3


def test_total_tokens_hold_cached_and_reasoning_once() -> None:
    assert Usage(100, 20, reasoning_tokens=5, cached_tokens=60).total_tokens == 120


@pytest.mark.parametrize(
    ("failure", "stops", "charged"),
    [
        ("auth", True, False),
        ("not_found", True, False),
        ("quota", True, False),
        ("bad_request", True, False),
        ("rate_limited", False, False),
        ("timeout", False, True),
        ("server", False, True),
        ("protocol", False, True),
        ("transport", False, True),
        ("too_large", False, True),
    ],
)
def test_failure_says_whether_to_go_on_and_whether_money_may_be_gone(failure: str, stops: bool, charged: bool) -> None:
    error = CallFailed("it failed", failure=failure, next_step="wait")  # type: ignore[arg-type]
    assert isinstance(error, EndpointError)
    assert error.exit_code == 5
    assert (error.stops_run, error.charged) == (stops, charged)
