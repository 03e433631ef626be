"""An error is one sentence of three parts, and stays that on its way to another process."""

import pickle
import re
from pathlib import Path

import pytest

from backtesting.errors import CheckFailed, DataError, TouchstoneError
from generator.llm.client import CallFailed
from generator.llm.recorded import NotRecorded
from generator.templates import BrokenPrompt

ROOT = Path(__file__).parents[2]
# Those whose constructor asks for something of its own.
MADE = {
    CallFailed: lambda: CallFailed("no answer", failure="timeout", next_step="try again", attempts=3, status=504),
    NotRecorded: lambda: NotRecorded("no reply", failure="setup", next_step="record it"),
    BrokenPrompt: lambda: BrokenPrompt(Path("ask.md"), 7, "no name", rule="missing"),
}


def subclasses(kind: type[TouchstoneError]) -> list[type[TouchstoneError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in subclasses(sub))]


KINDS = subclasses(TouchstoneError)


def test_every_class_of_error_is_known_here() -> None:
    names = "|".join(kind.__name__ for kind in KINDS)
    written = {
        found
        for folder in ("backtesting", "agents", "generator")
        for path in (ROOT / folder).rglob("*.py")
        for found in re.findall(rf"^class (\w+)\((?:{names})\):", path.read_text(), re.MULTILINE)
    }
    assert written | {"TouchstoneError"} == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_arrives_in_another_process_as_it_was(kind: type[TouchstoneError]) -> None:
    sent = MADE[kind]() if kind in MADE else kind("it broke", kept="half of it", next_step="mend it")
    arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301
    assert type(arrived) is kind
    assert str(arrived) == str(sent) == f"{sent.what}; {sent.kept}; {sent.next_step}"
    assert vars(arrived) == vars(sent)


def test_the_three_parts_are_one_sentence_and_the_class_knows_its_exit_code() -> None:
    error = DataError("the file is empty", next_step="fetch it again")
    assert str(error) == "the file is empty; nothing was changed; fetch it again"
    assert (error.exit_code, CheckFailed.exit_code, TouchstoneError.exit_code) == (4, 8, 1)
