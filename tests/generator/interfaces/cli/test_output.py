import json
import math
from typing import Any

import pytest

from generator.interfaces.cli.output import Output, jsonable, number, percent, plain


def test_nan_and_infinity_are_null_wherever_they_are() -> None:
    value = {"a": math.nan, "b": [1.5, math.inf, {"c": (-math.inf, 2)}], 3: "x"}
    assert jsonable(value) == {"a": None, "b": [1.5, None, {"c": [None, 2]}], "3": "x"}


def test_text_of_a_stranger_cannot_move_the_cursor_or_turn_the_line() -> None:
    hostile = "a\x1b[2Jb\x07c\u202ed\u200be\x9bf\ue000g\r"
    shown = plain(hostile)
    assert shown == "a\ufffd[2Jb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg\ufffd"
    assert plain("two\nlines\tand a tab") == "two\nlines\tand a tab"


def test_long_text_is_cut_with_a_mark() -> None:
    assert plain("x" * 601) == "x" * 599 + "…"
    assert plain("x" * 600) == "x" * 600


def test_undefined_numbers_are_a_dash() -> None:
    assert [number(None), number(math.nan), number(math.inf), number(1.005, 1)] == ["–", "–", "–", "1.0"]
    assert [percent(None), percent(-math.inf), percent(0.1234)] == ["–", "–", "12.3%"]


def test_json_lines_are_ascii_so_that_no_reply_turns_a_terminal_around(capsys: pytest.CaptureFixture[str]) -> None:
    Output.from_environment(json_lines=True).event("x", text="\u202e\x9b é", value=math.nan)
    line = capsys.readouterr().out
    assert line.isascii()
    assert json.loads(line) == {"v": 1, "event": "x", "text": "\u202e\x9b é", "value": None}


def test_markup_in_cells_and_lines_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output.from_environment(json_lines=False)
    output.table("Title", ("a", "b>"), [("[red]x[/red]", "[bold]1")])
    output.line("[link=https://example.org]y[/link] [/nothing]")
    out = capsys.readouterr().out
    for text in ("[red]x[/red]", "[bold]1", "[link=https://example.org]y[/link] [/nothing]"):
        assert text in out


@pytest.mark.parametrize("json_lines", [True, False])
def test_stdout_holds_results_for_people_or_for_machines_not_both(
    capsys: pytest.CaptureFixture[str], json_lines: bool
) -> None:
    output = Output.from_environment(json_lines=json_lines)
    output.event("x", a=1)
    output.line("for people")
    output.note("progress")
    shown: Any = capsys.readouterr()
    assert shown.out == ('{"v": 1, "event": "x", "a": 1}\n' if json_lines else "for people\n")
    assert shown.err == "progress\n"


def test_names_stay_in_one_piece_on_a_narrow_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "a_name_of_twenty_five_chars"
    Output.from_environment(json_lines=False).table("T", ("name", "what it is"), [(name, "many words " * 10)])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(name) for line in lines)
    assert max(map(len, lines)) <= 40
