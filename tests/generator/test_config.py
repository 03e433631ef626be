"""RunConfig: what is refused, and which shares the arms get."""

from dataclasses import fields

import pytest
from pydantic import ValidationError

from generator.budget import Caps
from generator.config import RunConfig


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


def test_limits_are_no_part_of_what_a_run_is() -> None:
    # Raising a budget or the concurrency must find the same run again.
    assert not {item.name for item in fields(Caps)} & set(RunConfig.model_fields)
    assert "concurrency" not in RunConfig.model_fields
