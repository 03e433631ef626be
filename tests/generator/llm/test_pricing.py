import json
from datetime import date
from pathlib import Path

import pytest

from backtesting.errors import InvalidConfig
from generator.llm.client import Usage
from generator.llm.pricing import Price, cost, load_prices, price_of

PRICE = Price(input=2.0, cached=0.5, output=8.0, date="2026-01-01", source="a test")


def test_cost_charges_cached_tokens_at_their_own_rate() -> None:
    # 400 fresh * 2 + 600 cached * 0.5 + 100 out * 8 = 800 + 300 + 800 = 1900 millionths
    assert cost(Usage(1000, 100, reasoning_tokens=50, cached_tokens=600), PRICE) == pytest.approx(0.0019, abs=1e-15)


def test_more_cached_than_sent_is_charged_as_all_cached() -> None:
    assert cost(Usage(100, 0, cached_tokens=500), PRICE) == pytest.approx(100 * 0.5 / 1e6)


def test_shipped_prices_are_dated_and_sourced() -> None:
    prices = load_prices()
    assert prices
    for address, price in prices.items():
        assert address.startswith("openai:")
        assert "@" not in address
        assert date.fromisoformat(price.date)
        assert price.source
        assert 0 < price.cached <= price.input <= price.output


def test_price_belongs_to_the_address_not_to_the_name() -> None:
    prices = load_prices()
    assert price_of("openai:gpt-4o-mini", prices) is not None
    assert price_of("openai:gpt-4o-mini@http://localhost:8000/v1", prices) is None
    assert price_of("openai:no-such-model", prices) is None


def test_dated_snapshot_costs_what_its_model_costs() -> None:
    prices = load_prices()
    assert price_of("openai:gpt-4o-2024-08-06", prices) == prices["openai:gpt-4o"]
    assert price_of("openai:gpt-4o-latest", prices) is None


def test_override_wins(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"openai:m@http://localhost:1/v1": PRICE.as_dict(), "openai:gpt-4o": PRICE.as_dict()}))
    prices = load_prices(file)
    assert price_of("openai:m@http://localhost:1/v1", prices) == PRICE
    assert prices["openai:gpt-4o"] == PRICE
    assert load_prices()["openai:gpt-4o"] != PRICE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read"),
        ("[]", "not a JSON object"),
        ('{"openai:m": 3}', "openai:m: the entry has not the fields of a price"),
        ('{"openai:m": {"input": 1}}', "has not the fields"),
        (json.dumps({"openai:m": {**PRICE.as_dict(), "input": -1}}), "input is -1, allowed is 0 to"),
        (json.dumps({"openai:m": {**PRICE.as_dict(), "output": float("nan")}}), "output is nan"),
        (json.dumps({"openai:m": {**PRICE.as_dict(), "output": True}}), "output is True"),
        (json.dumps({"openai:m": {**PRICE.as_dict(), "source": ""}}), "source is missing"),
    ],
)
def test_bad_price_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(InvalidConfig, match=sentence):
        load_prices(file)
