import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from agents.archive.lock import hold_workspace
from generator.interfaces.cli.app import COMMANDS, root_command
from generator.interfaces.cli.prompts import BENCH

LEAVES = [
    ("demo",),
    ("evolve",),
    ("validate",),
    ("backtest",),
    ("functions",),
    ("review", "list"),
    ("review", "show"),
    ("review", "approve"),
    ("review", "reject"),
    ("review", "defer"),
    ("agents", "list"),
    ("agents", "show"),
    ("agents", "orders"),
    ("agents", "promote"),
    ("runs", "list"),
    ("runs", "show"),
    ("runs", "report"),
    ("runs", "replay"),
    ("prompts", "list"),
    ("prompts", "show"),
    ("prompts", "render"),
    ("prompts", "new"),
    ("prompts", "diff"),
    ("prompts", "lint"),
    ("prompts", "try"),
    ("prompts", "keep"),
    ("prompts", "watch"),
    ("prompts", "ab"),
    ("doctor",),
    ("audit", "look-ahead"),
    ("audit", "leakage"),
    ("calibrate",),
]
GROUPS = [("review",), ("agents",), ("runs",), ("prompts",), ("audit",)]
TOUCHSTONE = [sys.executable, "-c", "from generator.interfaces.cli.app import run; run()"]


def process(*argv: str, home: Path, code: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code] if code else TOUCHSTONE
    settings = {k: v for k, v in os.environ.items() if k not in ("OPENAI_API_KEY", "TOUCHSTONE_LLM")}
    return subprocess.run(
        [*command, *argv],
        env=settings | {"TOUCHSTONE_HOME": str(home)} | environ,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )


def walk(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all commands that do something."""
    if path and path[0] in COMMANDS and len(path) == 1:
        command = get_command(COMMANDS[path[0]].load())
    children = getattr(command, "commands", {})
    return [path] if not children else [leaf for name in children for leaf in walk(children[name], (*path, name))]


def test_every_command_is_listed_here() -> None:
    assert sorted(walk(root_command())) == sorted(LEAVES)


@pytest.mark.parametrize("path", [*LEAVES, *GROUPS], ids=" ".join)
def test_help_has_an_example_that_calls_the_command(touchstone: Callable[..., Any], path: tuple[str, ...]) -> None:
    answer = touchstone(*path, "--help", COLUMNS="200")
    assert answer.code == 0
    _, _, example = answer.out.partition("Example")
    assert f"touchstone {' '.join(path)}" in example
    assert answer.err == ""


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_speaks_json(touchstone: Callable[..., Any], path: tuple[str, ...]) -> None:
    assert "--json" in touchstone(*path, "--help", COLUMNS="200").out


def test_root_help_names_every_command_and_how_to_begin(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("--help", COLUMNS="200")
    assert answer.code == 0
    for name, entry in COMMANDS.items():
        assert name in answer.out
        assert entry.summary in answer.out
    assert "touchstone demo" in answer.out


@pytest.mark.parametrize("argv", [(), ("review",), ("prompts",)])
def test_without_a_command_the_help_is_shown_and_the_call_is_wrong(
    touchstone: Callable[..., Any], argv: tuple[str, ...]
) -> None:
    answer = touchstone(*argv)
    assert answer.code == 2
    assert "Commands" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ("backtst", "golden_cross"),
            "no such command 'backtst'; did you mean 'backtest'?; nothing was changed; see touchstone --help",
        ),
        (("review", "shw"), "no such command 'shw'; did you mean 'show'?"),
        (
            ("backtest", "golden_cross", "--markt", "sample:sp500"),
            "no such option: --markt (Possible options: --market, --parts); nothing was changed;"
            " see touchstone backtest --help",
        ),
        (("backtest", "golden_cross"), "missing option '--market'"),
        (("validate",), "no spec is given"),
        (("evolve", "--slots", "many"), "invalid value for '--slots'"),
        (("evolve",), "evolve needs a market; nothing was changed; add --market sample:sp500"),
        (
            ("backtest", "golden_cross", "--market", "sampel:sp500"),
            "did you mean",
        ),
        (("backtest", "golden_cross", "--market", "sample:sp5000"), "sp500"),
        (("backtest", "golden_cross", "--market", "synthetic:planed"), "did you mean"),
        (("backtest", "golden_cross", "--market", "sample:sp500", "--costs", "cheap"), "unknown cost model 'cheap'"),
        (("backtest", "golden_cross", "--market", "sample:sp500", "--window", "sealed"), "choose open or all"),
        (("evolve", "--market", "sample:sp500", "--arms", "random"), "'random' is not NAME=SHARE"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_what_would_be_right(
    touchstone: Callable[..., Any], home: Path, argv: tuple[str, ...], sentence: str
) -> None:
    answer = touchstone(*argv)
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.error
    as_json = touchstone(*argv, "--json")
    assert as_json.code == 2
    assert as_json.event("error") == {"v": 1, "event": "error", "message": answer.error, "exit_code": 2}


def test_version_is_that_of_the_package(touchstone: Callable[..., Any]) -> None:
    from importlib.metadata import version

    assert touchstone("--version").out == f"touchstone {version('touchstone-agents')}\n"


def test_help_imports_none_of_the_heavy_packages(home: Path) -> None:
    heavy = ("numpy", "pandas", "numba", "scipy", "sqlalchemy", "pydantic", "openai", "langchain", "yfinance", "arch")
    code = (
        "import sys; from generator.interfaces.cli.app import run\n"
        "try:\n    run()\n"
        f"finally:\n    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    found = process("--help", home=home, code=code)
    assert found.returncode == 0
    assert found.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "argv", [("list",), ("show", "propose"), ("new", "mine"), ("render", "propose"), ("--help",)], ids=" ".join
)
def test_looking_at_prompts_does_not_wait_for_what_trades(home: Path, argv: tuple[str, ...]) -> None:
    heavy = ("pandas", "numba", "scipy", "openai", "langchain", "yfinance", "arch")
    code = (
        "import sys; from generator.interfaces.cli.app import run\n"
        "try:\n    run()\n"
        f"finally:\n    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    found = process("prompts", *argv, home=home, code=code)
    assert found.returncode == 0
    assert found.stderr.splitlines()[-1] == "[]"


def test_one_backtest_without_a_workspace_is_done_without_numba_and_database(home: Path) -> None:
    code = (
        "import sys; from generator.interfaces.cli.app import run\n"
        "try:\n    run()\n"
        "finally:\n    print([name in sys.modules for name in ('numba', 'scipy', 'sqlalchemy')], file=sys.stderr)"
    )
    found = process("backtest", "golden_cross", "--market", "sample:sp500", home=home, code=code)
    assert found.returncode == 0
    assert found.stderr.splitlines()[-1] == "[False, False, False]"


@pytest.mark.parametrize("name", BENCH)
def test_stub_of_the_bench_says_what_its_command_says(name: str) -> None:
    group: Any = get_command(COMMANDS["prompts"].load())
    command = BENCH[name][0]()
    assert inspect.cleandoc(command.__doc__ or "").splitlines()[0] == group.commands[name].help


@pytest.mark.parametrize("argv", [("functions",), ("functions", "--json")], ids=" ".join)
def test_a_reader_that_stops_early_is_no_error(home: Path, argv: tuple[str, ...]) -> None:
    # The reader is gone before the first byte, so that the first write fails for certain.
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [*TOUCHSTONE, *argv],
            stdout=write,
            stderr=subprocess.PIPE,
            env=os.environ | {"TOUCHSTONE_HOME": str(home)},
            timeout=180,
            check=False,
        )
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_terminal_that_is_not_utf8_gets_question_marks_and_no_error(home: Path) -> None:
    ended = process("--help", home=home, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "touchstone demo ? touchstone evolve" in " ".join(ended.stdout.split())


def test_colours_and_escapes_stay_out_of_pipes(home: Path) -> None:
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {}):
        ended = process("functions", "rsi", home=home, **environ)
        assert ended.returncode == 0, ended.stderr
        assert "\x1b" not in ended.stdout + ended.stderr


def test_colours_can_be_forced_and_no_color_wins_over_them(home: Path) -> None:
    # Rich keeps bold and dim under NO_COLOR, which asks for no colour: none of the codes 30 to 37 and 90 to 97.
    ended = process("validate", "golden_cross", home=home, FORCE_COLOR="1", TERM="xterm")
    assert "\x1b[32m" in ended.stdout
    ended = process("validate", "golden_cross", home=home, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")
    assert not re.search(r"\x1b\[[\d;]*[39][0-7]m", ended.stdout)


def test_exit_codes_leave_the_process(home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    for argv, code in (
        (("bogus",), 2),
        (("validate", str(empty)), 3),
        (("backtest", "golden_cross", "--market", f"csv:{empty}"), 4),
        (("runs", "list"), 7),
    ):
        ended = process(*argv, home=home)
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.startswith("error: ") or ended.stdout
        assert "Traceback" not in ended.stderr


def test_a_model_without_its_key_ends_with_5(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("evolve", "--market", "sample:sp500", "--slots", "4", "--llm", "openai:some-model")
    assert answer.code == 5
    assert "OPENAI_API_KEY is not set, and openai:some-model needs a key" in answer.error
    assert "--llm none" in answer.error


@pytest.mark.parametrize("argv", [("review", "list"), ("review", "show", "x"), ("runs", "list"), ("runs", "show")])
def test_without_a_workspace_reading_ends_with_7_and_makes_none(
    touchstone: Callable[..., Any], home: Path, argv: tuple[str, ...]
) -> None:
    answer = touchstone(*argv)
    assert (answer.code, answer.out) == (7, "")
    assert f"there is no workspace in {home}" in answer.error
    assert "touchstone evolve --market sample:sp500" in answer.error
    assert not home.exists()


def test_a_workspace_that_cannot_be_made_ends_with_7(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    answer = touchstone("evolve", "--market", "sample:sp500", TOUCHSTONE_HOME=str(file / "workspace"))
    assert answer.code == 7
    assert "cannot be made: Not a directory" in answer.error
    assert "TOUCHSTONE_HOME" in answer.error


def test_a_folder_that_refuses_writing_ends_with_7(
    touchstone: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An account that may do everything cannot be refused, so the operating system's answer is put in its place.
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    answer = touchstone("agents", "list")
    assert answer.code == 7
    assert f"the workspace {home} cannot be made: Permission denied" in answer.error


def test_a_workspace_held_by_another_run_ends_with_9(touchstone: Callable[..., Any], judged: Any, home: Path) -> None:
    with hold_workspace(home, "r-other"):
        answer = touchstone("evolve", "--market", "synthetic:trend?years=20&seed=1", "--slots", "2")
        assert answer.code == 9
        assert f"is held by run r-other (pid {os.getpid()}" in answer.error
        # Reading needs no lock.
        assert touchstone("review", "list").code == 0


def test_a_bug_is_one_sentence_with_code_1(home: Path) -> None:
    code = "from generator.interfaces.cli import app, functions\nfunctions.FUNCTIONS = None\napp.run()"
    ended = process("functions", home=home, code=code)
    assert ended.returncode == 1
    assert "this is a bug in Touchstone" in ended.stderr
    assert "TOUCHSTONE_DEBUG=1" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Traceback" in process("functions", home=home, code=code, TOUCHSTONE_DEBUG="1").stderr


def test_packages_of_somebody_else_are_refused(home: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / "agents"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").touch()
    # Ours is on the path once it is imported; the other one comes first when it is looked for.
    code = (
        "import sys; from generator.interfaces.cli import app\n"
        f"sys.path.insert(0, {str(foreign.parent)!r}); sys.modules.pop('agents', None)\n"
        "app.run()"
    )
    ended = process("--help", home=home, code=code)
    assert ended.returncode == 1
    assert "the package 'agents' that Python finds is not Touchstone's" in ended.stderr
    assert "virtual environment of its own" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_an_interrupted_run_says_so_and_can_be_continued(home: Path) -> None:
    # The run interrupts itself when it is about to judge: everything before that has to be there afterwards.
    code = (
        "import os, signal, generator.loop as loop\n"
        "from generator.interfaces.cli.progress import ProgressView\n"
        "show = ProgressView.__call__\n"
        "def shown(self, state):\n"
        "    show(self, state)\n"
        "    if state.done == 2: os.kill(os.getpid(), signal.SIGTERM)\n"
        "ProgressView.__call__ = shown\n"
        "from generator.interfaces.cli.app import run; run()"
    )
    ended = process("evolve", "--market", "synthetic:trend?years=20&seed=1", "--slots", "4", home=home, code=code)
    assert ended.returncode == 143, ended.stderr
    assert "of 4 slots done, all saved. Continue: touchstone evolve --resume" in ended.stderr
    resumed = process("evolve", "--resume", "--json", home=home)
    assert resumed.returncode == 0, resumed.stderr
    events = [json.loads(line) for line in resumed.stdout.splitlines()]
    assert next(event for event in events if event["event"] == "launch")["resumed"] is True
    assert [event["finished"] for event in events if event["event"] == "run"] == [True]
