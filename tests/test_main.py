"""`main.py`, the simple interface: settings in, one selected agent and its paper orders out."""

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "config.example.json"


@pytest.fixture(scope="module")
def main() -> Any:
    """The module `main`, from its file: it belongs to no package."""
    spec = importlib.util.spec_from_file_location("touchstone_main", ROOT / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Path]:
    """`settings(section={key: value})`: the example with something changed, in a file."""

    def write(**sections: dict[str, Any]) -> Path:
        config = json.loads(EXAMPLE.read_text(encoding="utf-8"))
        for name, values in sections.items():
            config[name] = config.get(name, {}) | values
        file = tmp_path / "my.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        return file

    return write


def test_as_a_script_it_selects_an_agent_and_says_what_it_would_trade(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--config", str(EXAMPLE)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for part in ("INFO Agent golden_cross achieved sharpe_ratio", "INFO Selected agent: ", "INFO Signal: "):
        assert part in done.stderr
    assert "order" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_generated_candidate_takes_part(
    main: Any,
    settings: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TOUCHSTONE_LLM", raising=False)
    caplog.set_level(logging.INFO)
    assert main.main(["--config", str(settings(generator={"add_candidate": True}))]) == 0
    assert "New agent evolved_1 added" in caplog.text


def test_metric_and_costs_are_read(main: Any, settings: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert main.main(["--config", str(settings(manager={"metric": "cagr", "costs": "free"}))]) == 0
    assert "achieved cagr" in caplog.text


@pytest.mark.parametrize(
    ("sections", "code", "sentence"),
    [
        ({"data": {"symbol": "sample:sp5000"}}, 4, "No prices, so nothing was evaluated"),
        ({"manager": {"metric": "sharp_ratio"}}, 3, "did you mean 'sharpe_ratio'"),
        ({"manager": {"costs": "cheap"}}, 3, "manager.costs is 'cheap'"),
        ({"mangler": {"costs": "free"}}, 3, "unknown setting 'mangler'"),
    ],
)
def test_wrong_settings_end_with_a_sentence_and_a_code(
    main: Any,
    settings: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    sections: dict[str, Any],
    code: int,
    sentence: str,
) -> None:
    assert main.main(["--config", str(settings(**sections))]) == code
    assert sentence in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_holds_no_settings_ends_with_3(
    main: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    file = tmp_path / "my.json"
    file.write_bytes(content)
    assert main.main(["--config", str(file)]) == 3
    assert "my.json" in caplog.text
    assert main.main(["--config", str(tmp_path / "no.json")]) == 3


def test_the_example_runs_the_full_command_too() -> None:
    from generator.config import RunConfig

    config = RunConfig.model_validate(json.loads(EXAMPLE.read_text(encoding="utf-8"))["evolve"])
    assert config.market == "sample:sp500"


def test_on_a_panel_portfolios_take_part_and_orders_are_for_every_symbol(
    main: Any, settings: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = settings(
        data={"symbol": "synthetic:panel?assets=4&years=8", "days": 2000}, execution={"held_units": {"panel-002": 3.0}}
    )
    assert main.main(["--config", str(file)]) == 0
    assert "Agent panel_momentum achieved sharpe_ratio" in caplog.text
    signals = [message for message in caplog.messages if message.startswith("Signal: ")]
    assert len(signals) == 4
    assert "panel-004" in signals[-1]


def test_held_units_of_a_symbol_that_is_not_there_are_refused(
    main: Any, settings: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert main.main(["--config", str(settings(execution={"held_units": {"XYZ": 3.0}}))]) == 2
    assert "'XYZ' is held, but the market has no such symbol" in caplog.text
