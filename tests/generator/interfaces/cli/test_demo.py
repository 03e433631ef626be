from collections.abc import Callable
from typing import Any

import pytest

from generator.interfaces.cli import demo


def test_it_runs_both_markets_and_names_the_next_commands(
    touchstone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The whole demo is run from the README; here it is its frame, with three slots a market.
    for name in ("REAL", "PLANTED"):
        monkeypatch.setattr(demo, name, getattr(demo, name).model_copy(update={"slots": 3}))
    answer = touchstone("demo")
    assert answer.code == 0
    assert answer.out.index("1. A real market") < answer.out.index("2. A synthetic market")
    following = answer.out.partition("Next:")[2]
    assert "touchstone review list" in following
    assert "touchstone review show" in following
    markets = [event["market"].partition("?")[0] for event in touchstone("runs", "list", "--json").events]
    assert markets == ["sample:sp500", "synthetic:planted"]
    # The second time shows what the first found.
    again = touchstone("demo", "--json")
    assert [event["finished"] for event in again.events if event["event"] == "launch"] == [True, True]
    assert isinstance(again.event("demo")["passed"], list)
