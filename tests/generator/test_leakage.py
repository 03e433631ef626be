"""Leakage: who may know the days that judge, and which test that leaves."""

from datetime import date

import pytest

from backtesting.errors import InvalidConfig
from backtesting.nomination import Route
from generator.leakage import Grade, KnownModel, grade_all, grade_lineage, grade_model, load_models, worst_of

READ = date(2026, 1, 1)
MODELS = (
    KnownModel("known", date(2020, 6, 30), "made up", READ),
    KnownModel("known-2", date(2024, 6, 30), "made up", READ),
    KnownModel("silent", None, "publishes none", READ),
)


def grade(origin, model, parents=(), first=date(2015, 1, 1), synthetic=False):
    return grade_lineage(origin, model, parents, first_sealed=first, synthetic=synthetic, models=MODELS)


def test_a_model_is_blind_90_days_after_its_cutoff_and_not_a_day_before():
    # 30 June 2020 and 90 days is 28 September 2020; the first sealed day has to come after it.
    assert grade_model("known-mini", date(2020, 9, 29), MODELS).grade is Grade.A
    assert grade_model("known-mini", date(2020, 9, 28), MODELS).grade is Grade.B


def test_the_longest_matching_entry_counts_and_a_vendor_in_front_does_not_matter():
    assert grade_model("vendor/Known-2-turbo", date(2021, 1, 1), MODELS).grade is Grade.B
    assert grade_model("vendor/known-1", date(2021, 1, 1), MODELS).grade is Grade.A


@pytest.mark.parametrize(("model", "why"), [("silent-7b", "has no published cutoff"), ("new", "is not in the table")])
def test_an_unknown_cutoff_leaves_forward_data_only(model, why):
    leakage = grade("llm", model)
    assert (leakage.grade, leakage.route) == (Grade.C, Route.FORWARD)
    assert why in leakage.reason


def test_draws_are_blind_people_and_models_are_not():
    assert grade("random", None).route is Route.BLIND
    assert grade("evolved", None).route is Route.BLIND
    assert grade("human", None).route is Route.OCCAM
    assert grade("llm", "known").route is Route.OCCAM


def test_nobody_remembers_a_made_up_market():
    assert grade("llm", "silent", synthetic=True).grade is Grade.A


def test_a_variation_carries_what_its_ancestors_knew():
    graded = grade_all(
        {
            "seed": ("llm", "silent", ()),
            "child": ("evolved", None, ("seed", "golden_cross")),
            "grandchild": ("evolved", None, ("child",)),
            "stranger": ("random", None, ("golden_cross",)),
            "circle": ("evolved", None, ("circle", "stranger")),
        },
        first_sealed=date(2015, 1, 1),
        synthetic=False,
        models=MODELS,
    )
    assert {ref: leakage.grade.value for ref, leakage in graded.items()} == {
        "seed": "C", "child": "C", "grandchild": "C", "stranger": "A", "circle": "A",
    }  # fmt: skip


def test_a_model_that_may_know_is_blind_90_days_after_its_cutoff():
    assert grade("llm", "known").blind_after == date(2020, 9, 28)
    assert grade("random", None).blind_after is None
    assert grade("llm", "silent").blind_after is None


def test_the_last_cutoff_of_a_lineage_counts_and_a_person_has_none():
    older, newer = grade("llm", "known"), grade("llm", "known-2")
    assert worst_of([older, newer]).blind_after == worst_of([newer, older]).blind_after == date(2024, 9, 28)
    # The reason is that of the first, the day that of the last.
    assert worst_of([older, newer]).reason == older.reason
    assert grade("evolved", None, [older]).blind_after == date(2020, 9, 28)
    person = grade("human", None)
    assert (person.grade, person.blind_after) == (Grade.B, None)
    assert worst_of([older, person]).blind_after is None
    assert worst_of([older, grade("llm", "silent")]).grade is Grade.C


def test_the_shipped_table_names_source_and_day_of_every_entry():
    models = load_models()
    assert {"gpt-5.5", "qwen3"} <= {model.id for model in models}
    for model in models:
        assert model.source
        assert isinstance(model.read, date)
        assert model.cutoff is None or model.cutoff < model.read
        assert model.id == model.id.lower()


@pytest.mark.parametrize("text", ["[[model]]\nid = 'x'\n", "not toml", "model = 3"])
def test_a_broken_table_is_refused_in_one_sentence(tmp_path, text):
    file = tmp_path / "models.toml"
    file.write_text(text)
    with pytest.raises(InvalidConfig, match=r"models\.toml cannot be read.*give every \[\[model\]\]"):
        load_models(file)
