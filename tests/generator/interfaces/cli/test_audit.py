"""`touchstone audit leakage`: what it prints, keeps and refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.archive.store import Archive
from generator.interfaces.cli import workspace


def test_a_model_that_says_nothing_is_not_shown_to_know_and_the_answer_is_kept(
    touchstone: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    script = tmp_path / "replies.jsonl"
    script.write_text('{"text": "I do not know"}\n' * 5)
    arguments = ("--market", "sample:sp500", "--questions", "5")
    result = touchstone("audit", "leakage", "--llm", f"scripted:{script}", *arguments)
    assert result.code == 0, result.err
    assert "5 replies could not be read and count as misses" in result.out
    with Archive.open(home / workspace.DATABASE) as archive:
        row = archive.audit_rows()[-1]
    assert (row.action, row.subject) == ("audit.leakage", f"scripted:{script}")
    assert [hits["asked"] for hits in row.data["hits"]] == [5, 5]


def test_made_up_markets_are_refused(touchstone: Callable[..., Any]) -> None:
    result = touchstone("audit", "leakage", "--llm", "scripted:x", "--market", "synthetic:planted", "--json")
    assert result.code == 2
    assert "nobody can remember a made-up market" in result.out + result.err
