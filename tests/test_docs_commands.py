"""What the documents tell a reader to type works, and what they point to is there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Context

from generator.interfaces.cli.app import root_command

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PLACEHOLDER = re.compile(r"(?<![a-z0-9_])[A-Z]{3,}(?![a-z])")
INLINE = re.compile(r"`(touchstone [^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def named(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def fenced_lines(document: Path) -> list[str]:
    """The lines of all fenced blocks, continued lines joined, prompts (`$ `) taken off."""
    blocks = re.findall(r"^[ ]*```[a-z]*\n(.*?)^[ ]*```", document.read_text(encoding="utf-8"), re.M | re.S)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip().removeprefix("$ ") for line in text.splitlines()]


def words_of(line: str) -> list[str]:
    """The arguments of a command line, without comments and without what its output is piped into."""
    words = shlex.split(line, comments=True)
    ends = [i for i, word in enumerate(words) if word in ("|", ">", ">>", "2>", "&&", ";")]
    return words[: ends[0]] if ends else words


def commands_of(document: Path, program: str) -> list[list[str]]:
    return [words_of(line) for line in fenced_lines(document) if line.startswith(f"{program} ")]


def needs_something(words: list[str]) -> bool:
    """A placeholder that a reader fills in, a key, the network, or a person who ends it with Ctrl-C."""
    return words[1:3] == ["prompts", "watch"] or any(
        PLACEHOLDER.search(word) or word.startswith(("openai:", "yahoo:")) for word in words
    )


def check_options(words: list[str]) -> None:
    """Every command and option of the line exists."""
    command: Any = root_command()
    context = Context(command, info_name="touchstone")
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        _, command, rest = command.resolve_command(context, rest)
        context = Context(command, info_name=rest[0] if rest else "", parent=context)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert used <= {*known, "--help"}, (words, used - known)


COMMANDS = {named(document): commands_of(document, "touchstone") for document in DOCUMENTS}
RUN = {
    name: runs for name, lines in COMMANDS.items() if (runs := [line for line in lines if not needs_something(line)])
}


# Its commands use files that the page has the reader write; test_write_a_prompt.py writes them and runs it all.
RUN.pop("docs/how-to/write-a-prompt.md")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_commands_of_a_document_run_in_order(name: str, tmp_path: Path) -> None:
    # A reader stands in a checkout; the workspace begins empty with each document.
    shutil.copytree(ROOT / "agents" / "strategy" / "incumbents", tmp_path / "agents" / "strategy" / "incumbents")
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    shutil.copy(ROOT / "config.example.json", tmp_path)
    environ = {k: v for k, v in os.environ.items() if k not in ("OPENAI_API_KEY", "TOUCHSTONE_LLM")}
    environ["TOUCHSTONE_HOME"] = str(tmp_path / ".touchstone")
    for words in RUN[name]:
        done = subprocess.run(
            [sys.executable, "-c", "from generator.interfaces.cli.app import run; run()", *words[1:]],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_options_in_documents_exist(name: str) -> None:
    for words in COMMANDS[name]:
        check_options(words)
    for text in INLINE.findall((ROOT / name).read_text(encoding="utf-8")):
        check_options(words_of(text))


def test_the_check_of_options_can_fail() -> None:
    check_options(["touchstone", "review", "approve", "NAME", "--reason", "x", "--waive"])
    with pytest.raises(AssertionError):
        check_options(["touchstone", "review", "approve", "NAME", "--because", "x"])
    with pytest.raises(Exception, match="No such command"):
        check_options(["touchstone", "review", "aprove"])


def test_the_readme_has_commands_to_run() -> None:
    assert len(RUN["README.md"]) >= 3
    assert ["make", "demo"] in commands_of(ROOT / "README.md", "make")


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(phony.split()) == targets
    for document in DOCUMENTS:
        for words in commands_of(document, "make"):
            assert {word for word in words[1:] if "=" not in word} <= targets, (document, words)
        for target in re.findall(r"`make ([a-z-]+)`", document.read_text(encoding="utf-8")):
            assert target in targets, (document, target)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_inside_the_project_lead_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_exit_codes_in_the_document_are_those_of_the_errors() -> None:
    from backtesting import errors

    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.TouchstoneError)
    ]
    assert {0, *(error.exit_code for error in classes)} == documented
