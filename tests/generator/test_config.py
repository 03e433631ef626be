"""RunConfig: what is refused, and which shares the arms get."""

from dataclasses import fields

import pytest
from pydantic import ValidationError

from backtesting.costs import FUTURES, LIQUID_INDEX, CostModel
from backtesting.terms import CASH, Terms
from generator.budget import Caps
from generator.config import RunConfig

NUMBERS = {
    "commission_bps": 1,
    "half_spread_bps": 2,
    "slippage_bps": 0,
    "borrow_annual": 0.01,
    "financing_annual": 0.0,
}


def test_usual_shares_with_and_without_a_model() -> None:
    assert RunConfig(market="m").shares == {"random": 0.5, "evolved": 0.5}
    with_model = {"llm": 0.6, "llm-independent": 0.15, "random": 0.1, "evolved": 0.15}
    assert RunConfig(market="m", llm="openai:x").shares == pytest.approx(with_model)


def test_shares_are_relative_and_an_arm_of_zero_takes_no_part() -> None:
    config = RunConfig(market="m", arms={"evolved": 6.0, "random": 2.0})
    assert config.shares == {"random": 0.25, "evolved": 0.75}
    assert list(config.shares) == ["random", "evolved"]  # always in the order of ARMS, whatever was written first
    assert RunConfig(market="m", arms={"random": 1.0, "evolved": 0.0}).shares == {"random": 1.0}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"arms": {"llm": 1.0}}, "the arm 'llm' needs a model"),
        ({"arms": {"rnadom": 1.0}}, "unknown arm 'rnadom'; known: llm, llm-independent, random, evolved"),
        ({"arms": {"llm-independent": 1.0}}, "the arm 'llm-independent' needs a model"),
        ({"reflect": True}, "reflect writes lessons for the arm 'llm', which has no slots in this run"),
        ({"arms": {"random": 0.0}}, "add up to nothing"),
        ({"arms": {"random": -1.0}}, "greater than or equal to 0"),
        ({"arms": {"random": float("inf")}}, "finite number"),
        ({"costs": "fre"}, "unknown cost model 'fre'; known: "),
        ({"costs": {"commission_bps": 1}}, "half_spread_bps, slippage_bps, borrow_annual, financing_annual is missing"),
        ({"costs": {**NUMBERS, "impct": 1}}, "unknown key 'impct'; did you mean 'impact'?"),
        ({"costs": {**NUMBERS, "impact": "much"}}, "impact is 'much', wanted is a number"),
        ({"costs": {**NUMBERS, "impact": -1}}, "costs.impact is -1.0, allowed is 0 to 10"),
        ({"terms": {"lots": 1}}, "unknown key 'lots'; did you mean 'lot'?"),
        ({"terms": {"fill": "noon"}}, "terms.fill is 'noon', allowed is open or close"),
        ({"terms": {"roll_every": 2.5}}, "roll_every is 2.5, wanted is a whole number"),
        ({"terms": {"haircut": [0.1, 0.2]}}, "haircut is one number, not a list"),
        ({"slots": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**63}, "less than 9223372036854775808"),
        ({"alpha": 0.0}, "greater than 0"),
        ({"alpha": 0.51}, "less than or equal to 0.5"),
        ({"open_share": 0.95}, "less than or equal to 0.9"),
        ({"llm_mode": "strict"}, "should match pattern"),
        ({"temprature": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_illegal_setting_is_named(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RunConfig.model_validate({"market": "m", **values})
    assert sentence in str(refused.value)


def test_config_comes_back_from_json_as_it_was() -> None:
    config = RunConfig(market="m", arms={"random": 1.0}, seed=2**62, temperature=0.0)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_costs_and_terms_are_kept_in_full_whatever_they_were_read_from() -> None:
    config = RunConfig(market="m", costs={**NUMBERS, "impact": 1}, terms={"lot": [1, 10], "fill": "close"})
    assert config.cost_model == CostModel(1.0, 2.0, 0.0, 0.01, 0.0, impact=1.0)
    assert config.market_terms == Terms(lot=(1.0, 10.0), fill="close")
    # What was left out is written down too: another default some day is another run.
    assert config.model_dump()["costs"]["participation"] == 0.0
    assert config.model_dump()["terms"]["delisted_after"] == 10
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert RunConfig(market="m").cost_model == LIQUID_INDEX
    assert RunConfig(market="m", costs="futures").cost_model == FUTURES
    # Terms that say nothing special are no terms, so that both are the same run.
    assert RunConfig(market="m", terms={"fill": "open"}) == RunConfig(market="m")
    assert RunConfig(market="m").market_terms == CASH


def test_limits_are_no_part_of_what_a_run_is() -> None:
    # Raising a budget or the concurrency must find the same run again.
    assert not {item.name for item in fields(Caps)} & set(RunConfig.model_fields)
    assert "concurrency" not in RunConfig.model_fields
