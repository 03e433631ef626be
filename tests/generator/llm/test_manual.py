"""The person as a model: prompt files out, reply files in."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator.llm.address import parse_address
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message
from generator.llm.clients import Settings, open_client
from generator.llm.manual import ManualClient, prompt_text

ASKED = CompletionRequest((Message("system", "You propose.\n"), Message("user", "One rule.")), max_output_tokens=50)


class Person:
    """Does the next thing of a list whenever the client looks away; time passes only then."""

    def __init__(self, *deeds: Callable[[], Any]) -> None:
        self.deeds = list(deeds)
        self.now = 0.0
        self.screen: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.deeds:
            self.deeds.pop(0)()
        await asyncio.sleep(0)

    def client(self, folder: Path, **more: Any) -> ManualClient:
        return ManualClient(folder, show=self.screen.append, clock=lambda: self.now, sleep=self.sleep, **more)


def reply_file(folder: Path) -> Path:
    (prompt,) = folder.glob("*.prompt.md")
    return prompt.with_name(prompt.name.replace(".prompt.", ".reply."))


def nothing() -> None:
    """The person thinks."""


def ask(client: ManualClient, asked: CompletionRequest = ASKED) -> Completion:
    return asyncio.run(client.complete(asked))


def test_reply_that_a_person_saves_is_the_answer_and_costs_nothing(tmp_path: Path) -> None:
    person = Person(nothing, lambda: reply_file(tmp_path).write_text('{"a": "é"}', encoding="utf-8"))
    answer = ask(person.client(tmp_path))
    assert (answer.text, answer.finish_reason, answer.usage, answer.free) == ('{"a": "é"}', "stop", None, True)
    # Looked at 0, 1, 2 (written), 3 (the same again).
    assert answer.latency_seconds == 3.0


def test_prompt_file_is_exactly_what_to_paste_and_the_screen_shows_it_with_the_file_to_save(tmp_path: Path) -> None:
    person = Person(lambda: reply_file(tmp_path).write_text("x"))
    ask(person.client(tmp_path))
    (prompt,) = tmp_path.glob("*.prompt.md")
    assert prompt.read_text() == "You propose.\n\nOne rule.\n"
    assert len(person.screen) == 1
    assert "You propose.\n\nOne rule.\n" in person.screen[0]
    assert str(reply_file(tmp_path)) in person.screen[0]


def test_file_that_still_grows_is_not_read(tmp_path: Path) -> None:
    person = Person(
        lambda: reply_file(tmp_path).write_text('{"a"'),
        lambda: reply_file(tmp_path).write_text('{"a": 1'),
        lambda: reply_file(tmp_path).write_text('{"a": 12}'),
    )
    assert ask(person.client(tmp_path)).text == '{"a": 12}'


def test_reply_saved_while_nothing_ran_is_read_at_once_and_nothing_is_shown(tmp_path: Path) -> None:
    interrupted = Person()

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    interrupted.deeds = [ctrl_c]
    with pytest.raises(KeyboardInterrupt):
        ask(interrupted.client(tmp_path))
    reply_file(tmp_path).write_text("later")
    resumed = Person()
    assert ask(resumed.client(tmp_path)).text == "later"
    assert resumed.screen == []
    assert resumed.now == 0.0


def test_file_that_is_no_text_is_said_and_waited_for(tmp_path: Path) -> None:
    person = Person(
        lambda: reply_file(tmp_path).write_bytes(b"\xff\xfe\x00"),
        nothing,
        nothing,
        lambda: reply_file(tmp_path).write_text("better"),
    )
    assert ask(person.client(tmp_path)).text == "better"
    assert [text for text in person.screen if "is not UTF-8 text" in text] == person.screen[1:]
    assert len(person.screen) == 2


def test_oversized_file_is_not_read(tmp_path: Path) -> None:
    person = Person(
        lambda: reply_file(tmp_path).write_text("x" * 256_001), nothing, lambda: reply_file(tmp_path).write_text("y")
    )
    assert ask(person.client(tmp_path)).text == "y"


def test_waiting_ends_and_says_where_the_prompt_is(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match=r"no reply was saved as .* within 0\.01 hours; the prompt is in") as caught:
        ask(Person().client(tmp_path, wait_seconds=36.0))
    assert (caught.value.failure, caught.value.charged, caught.value.stops_run) == ("timeout", False, True)


def test_questions_wait_in_their_files_and_are_shown_one_at_a_time(tmp_path: Path) -> None:
    person = Person()
    client = person.client(tmp_path)
    shown_when_first_was_answered: list[int] = []

    def answer_both() -> None:
        # Both prompts are files already, though only one was shown.
        shown_when_first_was_answered.append(len(person.screen))
        for prompt in sorted(tmp_path.glob("*.prompt.md")):
            prompt.with_name(prompt.name.replace(".prompt.", ".reply.")).write_text(prompt.read_text())

    person.deeds = [nothing, answer_both]

    async def calls() -> list[str | None]:
        asked = [CompletionRequest((Message("user", word),), 10) for word in ("one", "two")]
        return [answer.text for answer in await asyncio.gather(*(client.complete(one) for one in asked))]

    assert asyncio.run(calls()) == ["one\n", "two\n"]
    assert shown_when_first_was_answered == [1]
    assert len(list(tmp_path.glob("*.prompt.md"))) == 2


def test_longer_conversations_say_who_wrote_what() -> None:
    messages = (Message("system", "S"), Message("user", "U"), Message("assistant", "A"), Message("user", "V"))
    text = prompt_text(CompletionRequest(messages, 10))
    assert text == "[Instructions]\nS\n\n[We wrote]\nU\n\n[You wrote]\nA\n\n[We wrote]\nV\n\n[Write your next answer]\n"


def test_id_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    ids = {ManualClient(tmp_path / name, show=print).payload_id(ASKED) for name in ("a", "b")}
    assert len(ids) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Exception, match="the prompt cannot be written"):
        ask(Person().client(tmp_path / "x"))


def test_manual_address_is_opened_on_its_folder(tmp_path: Path) -> None:
    seen: list[str] = []
    settings = Settings(environ={}, rng=np.random.default_rng(1), show=seen.append)
    client = open_client(parse_address(f"manual:{tmp_path}"), settings)

    async def call() -> str | None:
        task = asyncio.create_task(client.complete(ASKED))
        while not seen:
            await asyncio.sleep(0.01)
        reply_file(tmp_path).write_text("over to you")
        return (await task).text

    assert asyncio.run(call()) == "over to you"
