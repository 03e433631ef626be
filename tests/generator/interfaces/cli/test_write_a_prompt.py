"""The how-to for writers of prompts: every command in it works as printed, every table in it is true."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generator.context import PROPOSE_INPUTS
from generator.interfaces.cli import prompt_bench
from generator.outputs import OUTPUTS
from generator.prompt_lint import RULES, Bench, lint
from generator.replies import bench_window
from generator.templates import load_prompt, prompt_folders, prompt_names

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "write-a-prompt.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.S | re.M) for line in block.splitlines()]
# What does not end with 0, and why.
ENDS = {"touchstone prompts watch breakout": 130}


def reply(number: int) -> dict[str, Any]:
    rule = {
        "kind": "rules",
        "long": {"enter": f"close > highest(lag(high, 1), {20 + number})", "exit": "close < lowest(lag(low, 1), 10)"},
        "sizing": {"kind": "fraction", "fraction": 1.0},
    }
    return {"hypothesis": "Breakouts last.", "name": f"breakout_{number}", "source": None, "rule": rule}


@pytest.mark.slow
def test_every_command_works_as_printed(
    touchstone: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prompt_bench.time, "sleep", interrupt)
    monkeypatch.chdir(tmp_path)
    Path("reply.txt").write_text(json.dumps(reply(0)), encoding="utf-8")
    lines = [json.dumps({"reply": reply(number)}) for number in range(6)]
    Path("replies.jsonl").write_text("\n".join(lines), encoding="utf-8")
    # `keep 1` stands on the page before anything was asked; a call has to be there.
    market = ("--market", "synthetic:planted?years=6&seed=1")
    touchstone("evolve", *market, "--llm", "scripted:replies.jsonl", "--slots", "2", "--arms", "llm=1")
    assert len(COMMANDS) >= 18
    for line in COMMANDS:
        name, *argv = shlex.split(line)
        assert name == "touchstone", line
        answer = touchstone(*argv)
        assert answer.code == ENDS.get(line, 0), (line, answer.err)


def test_the_tables_are_true() -> None:
    for rule, words in RULES.items():
        assert f"| `{rule}` | {words} |" in TEXT
    for name in prompt_names(prompt_folders()):
        assert f"| `{name}` |" in TEXT
    assert f"strategy-spec{', '.join(OUTPUTS).removeprefix('strategy-spec')}" in TEXT
    for name in PROPOSE_INPUTS:
        assert f"`{name}`" in TEXT


def test_the_file_on_the_page_is_a_clean_prompt() -> None:
    (text,) = re.findall(r"^```markdown\n(.*?)^```", TEXT, re.S | re.M)
    card = load_prompt("market-card", prompt_folders())
    assert [str(finding) for finding in lint(Path("breakout.md"), text, Bench(bench_window(), card))] == []
