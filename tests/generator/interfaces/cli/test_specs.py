"""Agents that an ensemble names are looked up wherever a command reads a spec."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.archive.store import Archive
from agents.strategy.incumbents import shipped_incumbent
from agents.strategy.spec import Spec, load_spec

MARKET = "synthetic:trend?years=20&seed=1"
OTHER = {"kind": "score", "name": "other_one", "hypothesis": "x", "score": "roc(close, 20)"}


def ensemble(name: str, agent: str) -> dict[str, Any]:
    return {"kind": "ensemble", "name": name, "hypothesis": "x", "members": [{"agent": agent}, {"spec": OTHER}]}


def written_out(agent: Spec) -> str:
    """The id of the rule with the agent written out."""
    members = {"members": [{"spec": agent.config()}, {"spec": OTHER}]}
    spec = load_spec(ensemble("two_of_us", "x") | members, origin="")
    assert not isinstance(spec, list)
    return spec.spec_id


@pytest.fixture
def by_name(tmp_path: Path) -> Path:
    file = tmp_path / "two.json"
    file.write_text(json.dumps(ensemble("two_of_us", "golden_cross")))
    return file


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (("validate",), "valid"),
        (("validate", "--market", MARKET), "valid"),
        (("backtest", "--market", MARKET), "backtest"),
        (("audit", "look-ahead", "--market", MARKET), "audit"),
    ],
)
def test_every_command_runs_the_rule_that_a_name_stands_for(
    touchstone: Callable[..., Any], by_name: Path, command: tuple[str, ...], event: str
) -> None:
    answer = touchstone(*command, by_name, "--json")
    assert answer.code == 0, answer.out
    assert answer.event(event)["spec_id"] == written_out(shipped_incumbent("golden_cross"))


def test_many_specs_and_orders_look_names_up_too(touchstone: Callable[..., Any], tmp_path: Path, by_name: Path) -> None:
    file = tmp_path / "many.jsonl"
    lines = [ensemble("two_of_us", "golden_cross"), OTHER, ensemble("not_there", "goldn_cross")]
    file.write_text("\n".join(map(json.dumps, lines)))
    answer = touchstone("backtest", file, "--market", MARKET, "--json")
    assert answer.code == 3
    ids = [event["spec_id"] for event in answer.events if event["event"] == "candidate"]
    assert ids[0] == written_out(shipped_incumbent("golden_cross"))
    assert len(ids) == 2
    assert 'there is no agent "goldn_cross"; did you mean "golden_cross"?' in answer.err
    assert touchstone("agents", "orders", by_name, "--market", MARKET).code == 0


def test_an_agent_of_the_workspace_goes_by_its_name_until_it_is_retired(
    touchstone: Callable[..., Any], tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "two.json"
    file.write_text(json.dumps(ensemble("two_of_us", "my_dips")))
    mine = load_spec(
        {"kind": "rules", "name": "my_dips", "hypothesis": "x", "long": {"enter": "rsi(close, 2) < 10"}}, origin=""
    )
    assert not isinstance(mine, list)
    nobody = touchstone("validate", file)
    assert nobody.code == 3
    assert 'two.json: members.0.agent: there is no agent "my_dips"' in nobody.out
    assert touchstone("agents", "list", "--market", MARKET).code == 0
    with Archive.open(home / "touchstone.db") as archive:
        archive.add_agent(
            "my_dips", mine.spec_id, mine.config(), origin="human", state="shadow", who="ann", reason="to see it trade"
        )
    assert touchstone("validate", file, "--json").event("valid")["spec_id"] == written_out(mine)
