import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_list_names_the_run_and_its_outcomes(touchstone: Callable[..., Any], judged: Any) -> None:
    run = touchstone("runs", "list", "--json").event("run")
    assert run["finished"] is True
    # Five slots: four rules that were judged and queued, and one reply that never became a rule.
    assert sum(run["outcomes"].values()) == 5
    assert run["run_id"] in touchstone("runs", "list").out


def test_show_takes_last_an_id_or_the_beginning_of_one(touchstone: Callable[..., Any], judged: Any) -> None:
    run_id = touchstone("runs", "list", "--json").event("run")["run_id"]
    shown = touchstone("runs", "show", "--json").out
    for name in ("last", run_id, run_id[:5]):
        assert touchstone("runs", "show", name, "--json").out == shown
    assert "surge_rule" in touchstone("runs", "show", run_id[:5]).out


def test_show_holds_every_slot_and_no_time_of_day(touchstone: Callable[..., Any], judged: Any) -> None:
    events = touchstone("runs", "show", "--json").events
    assert [event["event"] for event in events] == ["run", "validity", *["slot"] * 5]
    assert [event["slot_id"].rpartition("/")[2] for event in events[2:]] == [f"{i:04d}" for i in range(5)]
    assert "T" not in "".join(key for event in events for key in event)
    run_day = touchstone("runs", "list", "--json").event("run")["at"][:10]
    assert run_day not in touchstone("runs", "show", "--json").out


def test_a_reply_full_of_escapes_is_kept_and_shown_inert(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("runs", "show", "--json")
    rejected = answer.events[-1]
    assert rejected["state"] == "rejected"
    (found,) = [error["found"] for error in rejected["rejection"]["detail"]["errors"]]
    assert "\x1b[31mred \u202e" in found  # kept as it came
    assert answer.out.isascii()
    for shown in (answer.out, touchstone("runs", "show").out, judged.err, judged.out):
        assert not set(shown) & set("\x1b\x9b\u202e")


@pytest.mark.parametrize(("ref", "sentence"), [("r-zzzz", "'r-zzzz' names no run"), ("lst", "names no run")])
def test_an_unknown_run_ends_with_2(touchstone: Callable[..., Any], judged: Any, ref: str, sentence: str) -> None:
    answer = touchstone("runs", "show", ref)
    assert answer.code == 2
    assert sentence in answer.error
    assert "touchstone runs list" in answer.error


def test_a_beginning_of_two_runs_names_neither(touchstone: Callable[..., Any], judged: Any) -> None:
    assert touchstone("evolve", "--market", "synthetic:trend?years=20&seed=1", "--slots", "2").code == 0
    assert touchstone("runs", "show", "r-").error.startswith("'r-' names 2 runs")
    runs = touchstone("runs", "list", "--json").events
    assert [run["market"].partition("?")[0] for run in runs] == ["synthetic:planted", "synthetic:trend"]
    assert runs[1]["run_id"] in touchstone("runs", "show").out


def test_report_is_one_file_that_names_every_candidate(
    touchstone: Callable[..., Any], judged: Any, tmp_path: Path, home: Path
) -> None:
    out = tmp_path / "report.html"
    answer = touchstone("runs", "report", "last", "--out", out)
    assert answer.code == 0
    assert str(out) in answer.out
    page = out.read_text(encoding="utf-8")
    for name in ("surge_rule", "dip_rule", "cross_rule", "calm_rule"):
        assert name in page
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    # Without --out it goes into the workspace.
    event = touchstone("runs", "report", "--json").event("report")
    assert Path(event["file"]) == home / "reports" / f"{event['run_id']}.html"
    assert Path(event["file"]).stat().st_size == event["bytes"]


def test_report_that_cannot_be_written_ends_with_7(touchstone: Callable[..., Any], judged: Any, tmp_path: Path) -> None:
    answer = touchstone("runs", "report", "--out", tmp_path / "missing" / "report.html")
    assert answer.code == 7
    assert "choose another place with --out" in answer.error


def test_replay_says_identical(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("runs", "replay")
    assert answer.code == 0
    assert "identical: " in answer.out
    event = touchstone("runs", "replay", "last", "--json").event("replay")
    assert (event["identical"], event["slots"], event["difference"]) == (True, 5, None)
    # The replies of the script and of its two repairs, with the script itself gone or not.
    assert event["replies"] >= 6


def test_replay_of_an_edited_workspace_ends_with_8_and_names_the_place(
    touchstone: Callable[..., Any], judged: Any, home: Path
) -> None:
    with contextlib.closing(sqlite3.connect(home / "touchstone.db")) as database:
        database.execute("DROP TRIGGER candidates_no_update")
        database.execute("UPDATE candidates SET repairs = 2 WHERE slot_id LIKE '%/0001'")
        database.commit()
    answer = touchstone("runs", "replay")
    assert answer.code == 8
    assert "first difference: slot 1 (llm), candidate" in answer.error
    assert touchstone("runs", "replay", "--json").events[-2]["identical"] is False
