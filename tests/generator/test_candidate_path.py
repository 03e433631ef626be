"""The path of one candidate from the command line to the registry; the same bytes twice; and runs beside each other."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agents.archive.code import code_version
from agents.archive.store import Archive
from agents.manager.registry import Registry
from agents.manager.review import decide
from backtesting.errors import CheckFailed, TouchstoneError
from generator.interfaces.cli.app import root_command

MARKET = "synthetic:planted?years=6&seed=1"


def cli(*argv: str) -> int:
    """The exit code of a command in this process."""
    try:
        root_command()(list(argv), standalone_mode=False)
    except TouchstoneError as error:
        return error.exit_code
    return 0


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    """`runs show --json` of the last run, as it is."""
    capsys.readouterr()
    assert cli("runs", "show", "--json") == 0
    return capsys.readouterr().out


def process(folder: Path, *argv: str) -> subprocess.Popen[str]:
    """A real `touchstone` in a workspace of its own or a shared one."""
    code = "from generator.interfaces.cli.app import run; run()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        env={**os.environ, "TOUCHSTONE_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_candidate_from_a_reply_to_the_registry(kit: Any, chat_server: Any, archive: Archive) -> None:
    planted = json.dumps(kit.wire(*kit.PLANTED, name="volume_drift"))
    chat_server.add(chat_server.says(planted.replace("sma(", "smaa(")), chat_server.says(planted))
    run = kit.go(kit.open_(kit.settings(chat_server, market="synthetic:planted", slots=1), archive))
    (item,) = archive.review_queue()
    assert (item.candidate.name, item.candidate.origin, item.report.verdict) == ("volume_drift", "repaired", "pass")
    registry = Registry(archive)
    version = code_version()
    with pytest.raises(CheckFailed):
        registry.promote("volume_drift", who="Ann", code_version=version)  # not before a person has said yes
    decide(archive, "volume_drift", "approve", reviewer="Ann", reason="the drift was planted", code_version=version)
    agent = registry.promote("volume_drift", who="Ann", code_version=version)
    assert (agent.state, agent.origin, agent.slot_id) == ("shadow", "repaired", f"{run.run_id}/0000")
    assert archive.verify_audit() is None
    # From the agent back to the words it came from.
    assert [proposal.reply for proposal in archive.proposals(agent.slot_id or "")][-1] == planted


def test_same_seed_and_data_give_the_same_bytes_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path / name))
        assert cli("evolve", "--market", MARKET, "--slots", "10", "--seed", "7") == 0
        found.append(shown(capsys))
    assert found[0] == found[1]
    lines = [json.loads(line) for line in found[0].splitlines()]
    assert [line["event"] for line in lines] == ["run"] + ["slot"] * 10
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path / "three"))
    assert cli("evolve", "--market", MARKET, "--slots", "10", "--seed", "8") == 0
    assert shown(capsys) != found[0]


def test_same_replies_give_the_same_bytes_with_a_model(
    kit: Any, chat_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.answer_by_content(chat_server)
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path / name))
        llm = f"openai:tiny@{chat_server.base_url}"
        assert cli("evolve", "--market", MARKET, "--slots", "10", "--seed", "7", "--llm", llm) == 0
        found.append(shown(capsys))
    assert found[0] == found[1]
    assert '"origin": "llm"' in found[0]


def test_limit_on_calls_ends_with_its_exit_code_and_resume_completes(
    kit: Any, chat_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.answer_by_content(chat_server)
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    llm = f"openai:tiny@{chat_server.base_url}"
    start = ("evolve", "--market", MARKET, "--slots", "6", "--arms", "llm=1", "--llm", llm)
    assert cli(*start, "--max-calls", "2") == 6
    assert "Continue: touchstone evolve --resume" in capsys.readouterr().err
    assert len(chat_server.requests) == 2
    assert cli("evolve", "--resume") == 0
    with kit.archive_at(tmp_path) as archive:
        (run,) = archive.runs()
        statuses = [call.status for call in archive.calls(run.run_id)]
        assert statuses == ["settled"] * len(chat_server.requests)
        assert kit.terminal_events(archive, run.run_id) == [1] * 6


def test_second_run_in_a_workspace_is_refused_and_another_workspace_is_free(
    kit: Any, chat_server: Any, tmp_path: Path
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def holds(handler: Any) -> None:
        asked.set()
        go_on.wait(300)
        chat_server.says(kit.reply(0))(handler)

    chat_server.always(holds)
    first, second = tmp_path / "first", tmp_path / "second"
    evolve = ("evolve", "--market", MARKET, "--slots", "2")
    llm = ("--llm", f"openai:tiny@{chat_server.base_url}", "--arms", "llm=1")
    with process(first, *evolve, *llm) as holder:
        try:
            assert asked.wait(300)
            with process(first, *evolve) as refused, process(second, *evolve) as free:
                out, err = refused.communicate(timeout=300)
                assert refused.returncode == 9
                assert f"pid {holder.pid} on" in err
                assert "set TOUCHSTONE_HOME to another workspace" in err
                assert "Traceback" not in err
                assert out == ""
                _, err = free.communicate(timeout=300)
                assert free.returncode == 0, err
            assert holder.poll() is None
        finally:
            go_on.set()
        _, err = holder.communicate(timeout=300)
        assert holder.returncode == 0, err
    for folder, n_runs in ((first, 1), (second, 1)):
        with kit.archive_at(folder) as archive:
            assert len(archive.runs()) == n_runs
            assert archive.verify_audit() is None
            assert kit.terminal_events(archive, archive.runs()[0].run_id) == [1, 1]
