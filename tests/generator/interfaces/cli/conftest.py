"""Fixtures of the command line's tests: `touchstone` in this process, and one small judged run to review."""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from generator.interfaces.cli.app import run

MARKET = "synthetic:planted?years=20&seed=1"
HOSTILE_MARKUP = "Buyers [red]push[/red] </b><script>alert(1)</script> [link=https://example.org]prices[/link]"
ESCAPES = "\x1b[31mred \u202e not json \x1b[2J"


def _propose(name: str, hypothesis: str, enter: str, leave: str) -> dict[str, Any]:
    rule = {"kind": "rules", "name": name, "hypothesis": hypothesis, "long": {"enter": enter, "exit": leave}}
    return {"purpose": "propose", "reply": rule | {"sizing": {"kind": "fraction", "fraction": 1.0}}}


# The first rule is the one that the market was made for; the next three know nothing of it; the last is an attack.
SCRIPT = (
    _propose("surge_rule", HOSTILE_MARKUP, "volume > 1.5 * sma(volume, 20)", "volume <= 1.5 * sma(volume, 20)"),
    _propose("dip_rule", "Dips recover.", "rsi(close, 2) < 10", "rsi(close, 2) > 60"),
    _propose("cross_rule", "Trends last.", "close > sma(close, 20)", "close < sma(close, 20)"),
    _propose("calm_rule", "Calm days pay.", "atr(14) / close < 0.01", "atr(14) / close > 0.02"),
    _propose("\x1b[31mred", f"up {ESCAPES}", f"closee > {ESCAPES}", "\u202eclose < 1"),
    {"purpose": "repair", "text": ESCAPES},
    {"purpose": "repair", "text": ESCAPES},
)


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every line of stdout as the JSON object that it has to be; NaN is no JSON."""
        records = [json.loads(line, parse_constant=_no_constant) for line in self.out.splitlines()]
        assert all(record["v"] == 1 and isinstance(record["event"], str) for record in records)
        return records

    def event(self, kind: str) -> dict[str, Any]:
        """The only event of this kind."""
        (found,) = [record for record in self.events if record["event"] == kind]
        return found

    @property
    def error(self) -> str:
        """The error sentence: one line, with its three parts."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        what, kept, *next_step = line.removeprefix("error: ").split("; ")
        assert what
        assert kept
        assert next_step
        return line.removeprefix("error: ")


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def call(*argv: str | Path, home: Path, **environ: str) -> Answer:
    """`touchstone ARGV` in this process: the real entry point, with its exit code and both streams."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with (
        patch.dict(os.environ, {"TOUCHSTONE_HOME": str(home), "TOUCHSTONE_REVIEWER": "ann"} | environ),
        patch.object(sys, "argv", ["touchstone", *map(str, argv)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for name in ("OPENAI_API_KEY", "TOUCHSTONE_LLM", "TOUCHSTONE_DEBUG", "COLUMNS"):
            if name not in environ:
                os.environ.pop(name, None)
        try:
            with pytest.raises(SystemExit) as end:
                run()
        finally:
            signal.signal(signal.SIGTERM, before)
    answer = Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())
    assert "Traceback" not in answer.err
    assert answer.code != 1, answer.err
    return answer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the workspace of this test would be; there is none yet."""
    return tmp_path / "workspace"


@pytest.fixture
def touchstone(home: Path) -> Callable[..., Answer]:
    """`touchstone(*argv, **environ)` on this test's own workspace."""

    def bound(*argv: str | Path, **environ: str) -> Answer:
        return call(*argv, home=home, **environ)

    return bound


@pytest.fixture(scope="session")
def _judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    folder = tmp_path_factory.mktemp("judged")
    script = folder / "script.jsonl"
    script.write_text("\n".join(json.dumps(line) for line in SCRIPT), encoding="utf-8")
    argv = ("evolve", "--market", MARKET, "--slots", "5", "--seed", "7", "--llm", f"scripted:{script}")
    answer = call(*argv, "--arms", "llm=1", "--json", home=folder / "workspace")
    assert answer.code == 0, answer.err
    return folder / "workspace", answer


@pytest.fixture
def judged(_judged: tuple[Path, Answer], home: Path) -> Answer:
    """A workspace with one finished run of five scripted proposals, this test's own copy; gives what evolve said."""
    shutil.copytree(_judged[0], home)
    return _judged[1]


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    """A legal spec in a file."""
    file = tmp_path / "my_rule.yaml"
    file.write_text(
        'kind: rules\nname: my_rule\nhypothesis: Trends last.\nlong: {enter: "close > sma(close, 50)"}\n'
        "sizing: {kind: fraction, fraction: 1.0}\n",
        encoding="utf-8",
    )
    return file


@pytest.fixture
def price_file(tmp_path: Path) -> Callable[..., Path]:
    """`price_file(closes)` writes a small csv, a row a weekday; without a volume column unless asked for."""

    def write(closes: list[float], *, volume: bool = True) -> Path:
        import numpy as np

        days = np.busday_offset(np.datetime64("2010-01-04"), np.arange(len(closes)))
        head = "Date,Open,High,Low,Close" + (",Volume" if volume else "")
        rows = [f"{day},{c},{c},{c},{c}" + (",1000" if volume else "") for day, c in zip(days, closes, strict=True)]
        file = tmp_path / "prices.csv"
        file.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
        return file

    return write
