from collections.abc import Callable
from typing import Any

from numba import njit

from agents.strategy.warm import WARMED
from generator.interfaces.cli.compiling import SENTENCE, said_once
from generator.interfaces.cli.output import Output


class Heard(Output):
    """Keeps what is said."""

    said: list[str] = []  # noqa: RUF012 - emptied by the test

    def note(self, text: str) -> None:
        self.said.append(text)


def test_it_is_said_once_and_only_while_something_is_compiled() -> None:
    plain = Output.from_environment(json_lines=False)
    output = Heard(plain.out, plain.err, json_lines=False)
    Heard.said.clear()

    @njit
    def one(x: float) -> float:
        return x + 1.0

    @njit
    def two(x: float) -> float:
        return x + 2.0

    with said_once(output):
        assert Heard.said == []
        one(1.0)
        two(1.0)
    assert Heard.said == [SENTENCE]
    with said_once(output):
        one(1.0)  # compiled before
    assert Heard.said == [SENTENCE]
    one(1)  # compiled for whole numbers, but nobody listens any more
    assert Heard.said == [SENTENCE]


def test_doctor_warms_every_part(touchstone: Callable[..., Any], home: Any) -> None:
    answer = touchstone("doctor", "--warm", "--json")
    assert answer.code == 0
    assert [event["name"] for event in answer.events] == list(WARMED)
    assert {event["name"]: event["count"] for event in answer.events}["indicators"] > 150
    assert not home.exists()
