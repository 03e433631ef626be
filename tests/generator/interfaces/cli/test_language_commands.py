"""`touchstone validate` and `touchstone functions`: every error for a person and for a machine, schemas, the page."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.strategy.indicators import FUNCTIONS
from agents.strategy.schema import spec_schema
from agents.strategy.vocabulary import vocabulary_page
from generator.interfaces.cli import functions, validate

WRONG = """
kind: rules
name: tried
hypothesis: x
long: {enter: "emaa(close, 5) > 100", exit: "close > volume"}
"""
ENSEMBLE = """
kind: ensemble
name: two_agents
hypothesis: x
members: [{agent: golden_cross}, {agent: AGENT}]
"""


def run(app: Any, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.stdout


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_error_is_said_to_a_person(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    code, said = run(validate.app, str(file))
    assert code == 3
    assert 'long.enter: unknown function "emaa" (column 1); did you mean "ema"?' in said
    assert "long.exit: close > volume compares a price with a volume" in said
    assert "2 errors; nothing was run" in said


def test_every_error_is_said_to_a_machine(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    code, said = run(validate.app, str(file), "--json")
    (event,) = events(said)
    assert code == 3
    assert event["event"] == "invalid"
    assert [(error["path"], error["rule"], error["nearest"]) for error in event["errors"]] == [
        ("long.enter", "unknown_function", "ema"),
        ("long.exit", "dimension", ""),
    ]


def test_what_is_legal_and_hardly_meant_is_a_notice(tmp_path: Path) -> None:
    file = tmp_path / "percent.yaml"
    file.write_text(WRONG.replace("emaa(close, 5) > 100", "percent_rank(close, 20) > 90").replace("volume", "open"))
    code, said = run(validate.app, str(file))
    assert code == 0
    assert "Notice: long.enter: rank(close, 20) > 90 is never true" in said
    assert "did you mean 0.9?" in said
    code, said = run(validate.app, str(file), "--json")
    assert code == 0
    assert [event["nearest"] for event in events(said) if event["event"] == "notice"] == ["0.9"]


@pytest.mark.parametrize(("agent", "code"), [("macd_trend", 0), ("nobody_here", 3)])
def test_members_of_an_ensemble_are_looked_up(tmp_path: Path, agent: str, code: int) -> None:
    file = tmp_path / "ensemble.yaml"
    file.write_text(ENSEMBLE.replace("AGENT", agent))
    found, said = run(validate.app, str(file))
    assert found == code
    assert ("Member:" in said) is (code == 0)
    assert ('members.1.agent: there is no agent "nobody_here"' in said) is (code == 3)


def test_schemas_are_printed() -> None:
    code, said = run(validate.app, "--schema", "json")
    assert code == 0
    assert json.loads(said) == spec_schema()
    code, said = run(validate.app, "--schema", "yaml", "--json")
    assert code == 0
    assert events(said)[0]["schema"]["$schema"].startswith("http://json-schema.org/draft-07")


def test_the_page_and_one_function_are_printed() -> None:
    assert run(functions.app, "--markdown") == (0, vocabulary_page())
    code, said = run(functions.app, "std", "--json")
    (event,) = events(said)
    assert code == 0
    assert event["name"] == "stdev"
    assert [parameter["name"] for parameter in event["parameters"]] == ["x", "window"]
    assert len(events(run(functions.app, "--json")[1])) == len(FUNCTIONS)
