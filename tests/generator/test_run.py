"""Run: its identity, its plan, and what its seal may still be asked."""

from dataclasses import replace
from math import pi
from typing import Any

import pytest

from agents.archive.records import SealedOpening, Transition, Trial
from agents.archive.store import Archive
from backtesting.errors import DataError, InvalidConfig, StorageError
from generator.run import config_of, open_run, seal_of, unfinished_run


def opening(run: Any, n_nominees: int = 1, n_passed: int | None = 0, **more: Any) -> SealedOpening:
    first, last = run.sealed_sessions
    values: dict[str, Any] = {
        "run_id": None,
        "series": run.series,
        "first_session": first,
        "last_session": last,
        "bars_id": run.bars.bars_id,
        "nomination_id": f"b2:{n_nominees}{n_passed}{more}",
        "n_nominees": n_nominees,
        "n_passed": n_passed,
        "alpha": 0.01,
        "by": "somebody",
    }
    return SealedOpening(**(values | more))


def test_plan_is_stored_before_anything_is_proposed(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(slots=5), archive)
    assert set(archive.slot_states(run.run_id).values()) == {"planned"}
    assert len(archive.slots(run.run_id)) == 5
    assert not run.resumed
    assert not run.finished


def test_same_configuration_is_the_same_run_in_every_workspace(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    again = kit.open_(kit.settings(), archive)
    with Archive.in_memory() as other:
        elsewhere = kit.open_(kit.settings(), other)
    assert run.run_id == again.run_id == elsewhere.run_id
    assert again.resumed
    assert not elsewhere.resumed
    assert len(archive.runs()) == 1


def test_everything_that_decides_a_run_is_in_its_identity(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    others = [
        kit.open_(kit.settings(seed=6), archive),
        kit.open_(kit.settings(slots=9), archive),
        kit.open_(kit.settings(costs="free"), archive),
        kit.open_(kit.settings(), archive, kit.with_other_future(kit.market(), 1000)),
        kit.open_(kit.settings(llm="openai:x"), archive),
    ]
    archive.add_transition(Transition("golden_cross", "active", "retired", "enough", "somebody"))
    others.append(kit.open_(kit.settings(), archive))
    ids = [run.run_id, *(other.run_id for other in others)]
    assert len(set(ids)) == len(ids)


def test_incumbents_are_the_active_agents_by_name(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    names = [strategy.name for strategy in run.incumbents]
    assert names == sorted(names)
    assert len(names) == 8
    archive.add_transition(Transition("golden_cross", "active", "retired", "enough", "somebody"))
    assert "golden_cross" not in [strategy.name for strategy in kit.open_(kit.settings(), archive).incumbents]
    for name in names:
        if name != "golden_cross":
            archive.add_transition(Transition(name, "active", "retired", "enough", "somebody"))
    with pytest.raises(InvalidConfig, match="no agent is active, so a candidate has nothing to be compared with"):
        kit.open_(kit.settings(), archive)


def test_too_short_a_market_is_unusable_data(kit: Any, archive: Archive) -> None:
    with pytest.raises(DataError, match="an open and a sealed window need"):
        open_run(kit.settings(), archive, kit.market().upto(700), {})
    assert archive.runs() == ()


def test_unfinished_run_is_the_last_one_begun_that_has_no_end(kit: Any, archive: Archive) -> None:
    with pytest.raises(StorageError, match="no run in this workspace is unfinished"):
        unfinished_run(archive)
    first = kit.open_(kit.settings(seed=1), archive)
    second = kit.open_(kit.settings(seed=2), archive)
    assert unfinished_run(archive).run_id == second.run_id
    archive.append_run_event(second.run_id, "finished")
    assert unfinished_run(archive).run_id == first.run_id
    assert config_of(unfinished_run(archive)) == first.config


def test_changed_run_is_not_continued_and_the_sentence_names_what_changed(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    assert open_run(run.config, archive, run.bars, {}, continues=run.record).run_id == run.run_id
    other = kit.with_other_future(kit.market(), 1000)
    with pytest.raises(InvalidConfig) as refused:
        open_run(run.config, archive, other, {}, continues=run.record)
    changed = f"data (was {run.bars.bars_id[:11]}, is {other.bars_id[:11]})"
    assert refused.value.what == f"run {run.run_id} cannot go on: {changed} changed since it began"
    archive.add_transition(Transition("golden_cross", "active", "retired", "enough", "somebody"))
    with pytest.raises(InvalidConfig, match=r"incumbents \(golden_cross is gone\) changed since it began"):
        open_run(run.config, archive, run.bars, {}, continues=run.record)
    assert [record.run_id for record in archive.runs()] == [run.run_id], "a refused run is not planned"


# --- the seal --------------------------------------------------------------------------------------------------------


def test_first_opening_may_spend_six_over_pi_squared_of_alpha(kit: Any, archive: Archive) -> None:
    seal = seal_of(kit.open_(kit.settings(alpha=0.05), archive))
    assert (seal.n_earlier, seal.broken) == (0, "")
    assert seal.alpha == pytest.approx(0.05 * 6 / pi**2)  # 0.0304


def test_alpha_shrinks_with_every_opening_and_with_what_it_answered(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(alpha=0.5), archive)
    archive.record_opening(opening(run, n_nominees=40, n_passed=0))
    # Second opening, "none passed" before: 0.5 * 0.9 * 6 / (2 pi)^2
    assert seal_of(run).alpha == pytest.approx(0.5 * 0.9 * 6 / (4 * pi**2))
    archive.record_opening(opening(run, n_nominees=3, n_passed=1))
    # Third, and an answer with a pass among 3: 0.5 * 0.9 * 0.1 / 8 * 6 / (3 pi)^2 = 0.00038 < 1/2000: nothing is left.
    seal = seal_of(run)
    assert (seal.alpha, seal.n_earlier) == (0.0, 2)
    assert "the sealed window is spent: opening 3 would have 0.00038 of 0.5 left" in seal.broken


def test_opening_that_was_never_answered_is_charged_as_if_all_had_passed(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(alpha=0.5), archive)
    archive.record_opening(opening(run, n_nominees=2, n_passed=None))
    # 0.5 * 0.1 / 4 * 6 / (2 pi)^2 = 0.0019
    assert seal_of(run).alpha == pytest.approx(0.5 * 0.1 / 4 * 6 / (4 * pi**2))


def test_a_runs_own_opening_is_not_charged_to_it_again(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    before = seal_of(run)
    own = opening(run, n_passed=None, run_id=run.run_id, alpha=before.alpha, n_trials=17)
    archive.record_opening(own)
    assert seal_of(run) == replace(before, n_trials=17)
    # Nor does it pay for what came after it.
    archive.record_opening(opening(run, n_nominees=40, n_passed=1))
    archive.record_opening(opening(run, kind="shown", by="Ann", n_passed=None))
    assert seal_of(run) == replace(before, n_trials=17)


def test_days_that_do_not_overlap_cost_nothing(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    archive.record_opening(opening(run, first_session="1999-01-04", last_session="2005-12-30"))
    archive.record_opening(opening(run, series="ELSE", bars_id="b2:else"))
    assert seal_of(run).n_earlier == 0
    # The same prices under another name are the same days.
    archive.record_opening(opening(run, series="ELSE"))
    assert seal_of(run).n_earlier == 1


def test_numbers_that_were_shown_break_the_seal_even_by_the_same_run(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    archive.record_opening(opening(run, kind="shown", by="Ann", run_id=run.run_id, n_passed=None))
    seal = seal_of(run)
    assert seal.alpha == 0.0
    assert seal.broken.startswith("its numbers were shown to Ann on ")
    assert seal.broken.endswith(", so it is not sealed any more")


def test_looks_at_the_open_window_cost_no_alpha(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(), archive)
    before = seal_of(run)
    archive.add_trial(
        Trial("b2:x", run.bars.bars_id, run.series, 300, 657, "2016-01-01", "2017-09-01", "open", "a person", {})
    )
    assert seal_of(run) == before
