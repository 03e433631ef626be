import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_list_names_the_shipped_prompts(touchstone: Callable[..., Any]) -> None:
    events = touchstone("prompts", "list", "--json").events
    assert [event["id"] for event in events] == [
        "critique",
        "crossover",
        "market-card",
        "mutate",
        "propose",
        "reflect",
        "regime-aware",
        "repair",
        "tune",
    ]
    assert all(Path(event["path"]).is_file() for event in events)
    assert "propose" in touchstone("prompts", "list").out


def test_the_workspace_has_the_first_word(touchstone: Callable[..., Any], home: Path) -> None:
    text = touchstone("prompts", "show", "propose", "--json").event("prompt")["text"]
    (home / "prompts").mkdir(parents=True)
    (home / "prompts" / "propose.md").write_text(text.replace("version: 2", "version: 7", 1), encoding="utf-8")
    assert [e["version"] for e in touchstone("prompts", "list", "--json").events if e["id"] == "propose"] == [7]


def test_show_is_the_file_as_it_is(touchstone: Callable[..., Any]) -> None:
    event = touchstone("prompts", "show", "propose", "--json").event("prompt")
    listed = next(e for e in touchstone("prompts", "list", "--json").events if e["id"] == "propose")
    assert event["text"] == Path(listed["path"]).read_text(encoding="utf-8")
    assert touchstone("prompts", "show", "propose").out.startswith("---\nid: propose")


def test_render_fills_in_the_samples(touchstone: Callable[..., Any]) -> None:
    events = touchstone("prompts", "render", "propose", "--json").events
    assert [event["role"] for event in events] == ["system", "user"]
    answer = touchstone("prompts", "render", "propose")
    assert "--- system" in answer.out
    assert "tokens (est.)" in answer.err


def test_render_with_a_market_shows_neither_its_name_nor_its_dates(touchstone: Callable[..., Any]) -> None:
    with_market = touchstone("prompts", "render", "propose", "--market", "sample:sp500", "--json")
    assert with_market.code == 0
    text = "\n".join(event["content"] for event in with_market.events)
    assert text != "\n".join(e["content"] for e in touchstone("prompts", "render", "propose", "--json").events)
    for name in ("sp500", "S&P", "SPX", *map(str, range(1999, 2019))):
        assert name not in text


def test_render_takes_inputs_from_a_file(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps({"n_tried": 987654}), encoding="utf-8")
    answer = touchstone("prompts", "render", "propose", "--inputs", file)
    assert answer.code == 0
    assert "987654" in answer.out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "cannot be read as JSON"),
        (b"[1]", "holds no JSON object"),
        (b"\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"n_tired": 1}', "n_tired"),
        (b'{"n_tried": "many"}', "n_tried"),
    ],
)
def test_unusable_inputs_end_with_3(
    touchstone: Callable[..., Any], tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "inputs.json"
    file.write_bytes(content)
    answer = touchstone("prompts", "render", "propose", "--inputs", file)
    assert answer.code == 3
    assert sentence in answer.error


@pytest.mark.parametrize("command", ["show", "render"])
@pytest.mark.parametrize("name", ["propse", "../propose", "/etc/passwd", ""])
def test_an_unknown_prompt_ends_with_3_and_suggests_the_nearest(
    touchstone: Callable[..., Any], command: str, name: str
) -> None:
    answer = touchstone("prompts", command, name)
    assert answer.code == 3
    if name == "propse":
        assert "did you mean 'propose'?" in answer.error.replace('"', "'")


def test_a_broken_prompt_of_the_workspace_ends_with_3_and_names_the_file(
    touchstone: Callable[..., Any], home: Path
) -> None:
    (home / "prompts").mkdir(parents=True)
    (home / "prompts" / "propose.md").write_text("---\nid: propose\n---\n## user\n\n{{ nothing }}\n", encoding="utf-8")
    for argv in (("show", "propose"), ("render", "propose"), ("list",)):
        answer = touchstone("prompts", *argv)
        assert answer.code == 3, argv
        assert "propose.md" in answer.error
