"""Verdicts: one opening for all, by length where the seal is broken or spent; and a queue without sealed numbers."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from agents.archive.records import SealedOpening, Transition, Trial
from agents.archive.store import Archive
from backtesting.errors import CheckFailed, DataError, UsageError
from backtesting.gates import GateReport, Judgement, Verdict
from backtesting.nomination import Route
from generator import verdicts
from generator.leakage import Grade, KnownModel, Leakage
from generator.loop import spec_of
from generator.run import seal_of
from generator.verdicts import check_after_cutoff, queue

# Twenty years: 1403 open and 3274 sealed bars, enough for the planted edge of Sharpe 3 to show.
LONG = "synthetic:planted"


def planted_run(kit: Any, server: Any, archive: Archive, seed: int = 1) -> Any:
    """A run whose only proposal is the rule that was planted."""
    server.always(server.says(json.dumps(kit.wire(*kit.PLANTED, name=f"planted_{seed}"))))
    return kit.open_(kit.settings(server, market=LONG, slots=1, seed=seed), archive)


def ended(archive: Archive, run: Any) -> dict[str, Any]:
    (event,) = [event for event in archive.events(run.run_id) if event.kind == "finished"]
    return dict(event.data)


def openings(archive: Archive, run: Any) -> list[SealedOpening]:
    return list(archive.earlier_openings(run.series, *run.sealed_sessions))


def test_planted_edge_passes_and_the_opening_is_written_down_with_its_price(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    run = kit.go(planted_run(kit, chat_server, archive))
    (opened,) = openings(archive, run)
    assert (opened.kind, opened.n_nominees, opened.n_passed, opened.run_id) == ("judge", 1, 1, run.run_id)
    assert opened.alpha == pytest.approx(0.05 * 6 / 3.141592653589793**2)
    (report,) = archive.gate_reports(run.run_id)
    assert report.verdict == "pass"
    assert (ended(archive, run)["opened"], ended(archive, run)["not_opened"]) == (True, "")
    assert archive.audit_rows()[-1].action == "opening.judge"
    # The public report of a candidate holds no sealed statistic.
    sealed = [gate for gate in report.report["results"] if gate["uses_sealed"]]
    assert sealed
    assert all(gate["statistic"] is gate["threshold"] is gate["margin"] is None for gate in sealed)


def test_opening_is_on_disk_before_anything_sealed_is_read(
    kit: Any, chat_server: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planted_run(kit, chat_server, archive)
    seen: list[list[SealedOpening]] = []

    def breaks(*args: Any, **more: Any) -> Judgement:
        seen.append(openings(archive, run))
        raise ZeroDivisionError("the process died here")

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "judge", breaks)
        with pytest.raises(ZeroDivisionError):
            kit.go(run)
    assert [(opened.kind, opened.n_passed) for opened in seen[0]] == [("judge", None)]
    assert not run.finished
    # Judged again, with the same alpha; it is the same opening, answered now.
    kit.go(kit.reopened(run))
    (opened,) = openings(archive, run)
    assert opened.n_passed == 1
    assert opened.opening_id == seen[0][0].opening_id


def sentences(archive: Archive, run: Any) -> list[str]:
    return [str(stored.report["sentence"]) for stored in archive.gate_reports(run.run_id)]


def test_window_that_was_shown_judges_nobody_blindly_again_and_length_judges_instead(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    first = kit.go(planted_run(kit, chat_server, archive))
    archive.unseal_numbers(f"{first.run_id}/0000", who="Ann", reason="curious")
    second = kit.go(planted_run(kit, chat_server, archive, seed=2))
    end = ended(archive, second)
    assert (end["opened"], end["alpha"]) == (False, 0.0)
    assert end["not_opened"].startswith("its numbers were shown to Ann on ")
    # An edge of Sharpe 3 on 20 years, t = 13, holds against any memory.
    (said,) = sentences(archive, second)
    assert said.startswith("pass: every gate holds, and its residual alpha on the whole history is more than a rule of")
    # The refusal is in the audit trail, and what the test by length reads is an opening without alpha.
    assert archive.audit_rows(openings(archive, second)[-1].nomination_id)[0].action == "opening.refused"
    assert [(opened.kind, opened.alpha > 0) for opened in openings(archive, second)] == [
        ("judge", True),
        ("shown", False),
        ("judge", False),
    ]


def test_window_that_is_spent_judges_by_length(kit: Any, chat_server: Any, archive: Archive) -> None:
    first = kit.go(planted_run(kit, chat_server, archive))
    # A pass of one among one: 0.05 * 0.1 / 2 * 6 / (2 pi)^2 = 0.00038, less than 1999 resamples can show.
    second = planted_run(kit, chat_server, archive, seed=2)
    seal = seal_of(second)
    assert (seal.alpha, seal.again) == (0.0, "273 more bars will have sealed a new window")
    kit.go(second)
    assert "the sealed window is spent" in ended(archive, second)["not_opened"]
    assert "on the whole history is more than a rule of" in sentences(archive, second)[0]
    assert archive.gate_reports(first.run_id)[0].verdict == "pass"


def test_days_that_a_run_with_a_longer_open_window_has_seen_are_not_sealed_for_another(
    kit: Any, archive: Archive
) -> None:
    before = kit.open_(kit.settings(seed=1, slots=4), archive)
    whole = seal_of(before).window
    wider = kit.go(kit.open_(kit.settings(seed=2, slots=4, open_share=0.5), archive))
    seal = seal_of(before)
    # Its open window ended at bar 300 + 0.5 * 1191 = 895; sealed days begin after it and an embargo of 21.
    assert wider.split.open.stop == 895
    assert (seal.window.start, seal.window.stop) == (895 + 21, whole.stop)
    assert seal.window.start > whole.start
    assert f"looked at by {archive.trials(wider.run_id)[0].by}" in seal.later
    # The opening of the wider run is on the same days, and is paid for.
    assert seal.n_earlier == 1
    kit.go(before)
    opened = openings(archive, before)[-1]
    assert opened.first_session == str(before.bars.sessions[916])


def test_a_backtest_of_the_whole_series_leaves_nothing_sealed(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(slots=4), archive)
    sessions = run.bars.sessions
    look = Trial(
        spec_id="b2:somebodys",
        bars_id="b2:other-prices",
        series=run.series,
        window_start=300,
        window_stop=len(sessions),
        first_session=str(sessions[300]),
        last_session=str(sessions[-1]),
        purpose="backtest",
        by="ann",
        metrics={},
    )
    archive.add_trial(replace(look, series="ELSE"))
    assert seal_of(run).alpha > 0.0
    # A look at a panel is a look at each of its symbols.
    archive.add_trial(replace(look, series=f"ELSE,{run.series}"))
    seal = seal_of(run)
    assert seal.alpha == 0.0
    assert seal.broken.startswith(f"its days up to {sessions[-1]} were looked at by ann on ")
    kit.go(run)
    assert all("pass" not in stored.verdict for stored in archive.gate_reports(run.run_id))


def test_a_look_between_a_killed_opening_and_its_resume_changes_nothing(
    kit: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kit.open_(kit.settings(seed=1, slots=6), archive)

    def dies(*args: Any, **more: Any) -> Judgement:
        raise ZeroDivisionError("the process died here")

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "judge", dies)
        with pytest.raises(ZeroDivisionError):
            kit.go(run)
    (signed,) = openings(archive, run)
    # Another run looks, opens the same days and is answered; somebody is even shown them.
    other = kit.go(kit.open_(kit.settings(seed=2, slots=6), archive))
    archive.unseal_numbers(archive.gate_reports(other.run_id)[0].slot_id, who="Ann", reason="curious")
    kit.go(kit.reopened(run))
    mine = [opened for opened in openings(archive, run) if opened.run_id == run.run_id and opened.kind == "judge"]
    assert [opened.nomination_id for opened in mine] == [signed.nomination_id]
    report = archive.gate_reports(run.run_id)[0].report
    assert (report["alpha"], report["n_trials"]) == (signed.alpha, signed.n_trials)
    assert ended(archive, run)["opened"]


def test_a_nomination_that_changed_after_it_was_signed_is_refused_and_recorded(
    kit: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kit.open_(kit.settings(seed=1, slots=4), archive)

    def dies(*args: Any, **more: Any) -> Judgement:
        raise ZeroDivisionError("the process died here")

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "judge", dies)
        with pytest.raises(ZeroDivisionError):
            kit.go(run)
    whole = verdicts.nominate

    def one_less(*args: Any) -> Any:
        signed = whole(*args)
        return replace(signed, nominees=signed.nominees[1:])

    monkeypatch.setattr(verdicts, "nominate", one_less)
    with pytest.raises(CheckFailed, match="opened its window with another nomination than it has now"):
        kit.go(kit.reopened(run))
    assert archive.audit_rows()[-1].action == "opening.refused"
    assert not run.finished


def test_a_ledger_that_was_edited_by_hand_is_refused_and_recorded(kit: Any, archive: Archive) -> None:
    kit.go(kit.open_(kit.settings(seed=1, slots=4), archive))
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER trials_no_delete")
        connection.exec_driver_sql("DELETE FROM trials WHERE purpose = 'open'")
    with pytest.raises(CheckFailed, match="its look is missing from the ledger of trials: the database was changed"):
        kit.go(kit.open_(kit.settings(seed=2, slots=4), archive))
    assert archive.audit_rows()[-1].action == "opening.refused"


def test_trials_moved_to_another_series_by_hand_are_noticed(kit: Any, archive: Archive) -> None:
    kit.go(kit.open_(kit.settings(seed=1, slots=4), archive))
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER trials_no_update")
        connection.exec_driver_sql("UPDATE trials SET series = 'ELSE'")
    with pytest.raises(CheckFailed, match="not what it was when a sealed window was last opened"):
        kit.go(kit.open_(kit.settings(seed=2, slots=4), archive))


def test_a_rule_that_two_arms_found_is_judged_by_the_strictest_of_their_routes(kit: Any, archive: Archive) -> None:
    run = kit.go(kit.open_(kit.settings(seed=1, slots=4), archive))
    looks = {slot.slot_id: look for slot, look in zip(archive.slots(run.run_id), _two_of_one(kit, run), strict=False)}
    first, second = looks
    for order in ((Grade.A, Grade.B), (Grade.B, Grade.A)):
        graded = dict(zip((first, second), (Leakage(grade, f"grade {grade}") for grade in order), strict=True))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(verdicts, "grades", lambda *args, graded=graded: graded)
            (nominee,) = verdicts.nominate(run, looks, seal_of(run)).nominees
        assert (nominee.route, nominee.route_reason) == (Route.OCCAM, "grade B")


def _two_of_one(kit: Any, run: Any) -> list[Any]:
    """The same rule, looked at for two slots."""
    slot_id, stored = next(iter(run.archive.evaluations(run.run_id).items()))
    spec = spec_of(run.archive.candidate(slot_id))
    return [run.open.nominee(spec, stored) for _ in range(2)]


def test_second_run_on_the_same_days_is_judged_at_less(kit: Any, archive: Archive) -> None:
    runs = [kit.go(kit.open_(kit.settings(seed=seed, slots=4, alpha=0.5), archive)) for seed in (1, 2)]
    ends = [ended(archive, run) for run in runs]
    assert [end["n_passed"] for end in ends] == [0, 0]
    # 6 / pi^2, then 0.9 * 6 / (4 pi^2): less than a quarter of the first.
    assert ends[1]["alpha"] / ends[0]["alpha"] == pytest.approx(0.9 / 4)
    trials = [archive.gate_reports(run.run_id)[0].report["n_trials"] for run in runs]
    assert trials[1] > trials[0]


def test_trials_of_an_earlier_run_are_counted_in_a_later_one(kit: Any, archive: Archive) -> None:
    first = kit.go(kit.open_(kit.settings(seed=1, slots=4), archive))
    n_before = archive.count_trials(first.series)
    second = kit.go(kit.open_(kit.settings(seed=2, slots=4), archive))
    counts = sorted(found["n_trials"] for found in archive.evaluations(second.run_id).values())
    assert counts[0] > n_before
    assert archive.count_trials(first.series) > n_before


class _Look:
    """As much of a nominee as the queue reads."""

    def __init__(self, spec_id: str, alpha_t: float) -> None:
        self.spec_id = spec_id
        self.open_evaluation = self
        self.alpha_t = alpha_t


def _report(spec_id: str, verdict: Verdict) -> GateReport:
    return GateReport(spec_id, spec_id, verdict, (), 1, 1, 0.05, 1.0, 1.0, "")


def test_queue_is_by_verdict_then_by_open_score_and_undefined_last() -> None:
    rows = {
        "s0": ("fail", 9.0),
        "s1": ("pass", 0.1),
        "s2": ("underpowered", 1.0),
        "s3": ("pass", 2.0),
        "s4": ("underpowered", float("nan")),
        "s5": ("underpowered", 3.0),
    }
    looks: Any = {slot: _Look(slot, score) for slot, (_, score) in rows.items()}
    reports = tuple(_report(slot, Verdict(verdict)) for slot, (verdict, _) in rows.items())
    # Sealed numbers that would turn the order round have no say.
    numbers = {slot: {"statistic": -score} for slot, (_, score) in rows.items()}
    judgement = Judgement("b2:n", reports, 0.05, 2, numbers)
    assert queue(looks, judgement, 5) == ("s3", "s1", "s5", "s2", "s4")
    assert queue(looks, judgement, 1) == ("s3",)
    assert queue(looks, replace(judgement, sealed_numbers={}), 5) == queue(looks, judgement, 5)


def test_only_as_many_as_the_queue_holds_go_to_review(kit: Any, archive: Archive) -> None:
    run = kit.go(kit.open_(kit.settings(slots=8, queue=2), archive))
    states = list(archive.slot_states(run.run_id).values())
    assert states.count("in_review") == 2
    assert len(archive.gate_reports(run.run_id)) == states.count("in_review") + states.count("gated")
    assert len(archive.review_queue()) == 2


# --- Who may know the first sealed days ---------------------------------------------------------------------------

# 20 years of the S&P, 1999 to 2018; about 1200 bars open, the sealed ones begin in 2005.
REAL = "sample:sp500"


def known_models(monkeypatch: pytest.MonkeyPatch, cutoff: date) -> None:
    monkeypatch.setattr(verdicts, "load_models", lambda: (KnownModel("tiny", cutoff, "made up", date(2026, 1, 1)),))


def judged_after(kit: Any, server: Any, archive: Archive, **more: Any) -> Any:
    server.always(server.says(json.dumps(kit.wire(*kit.PLANTED, name="remembered"))))
    return kit.go(kit.open_(kit.settings(server, market=REAL, slots=1, **more), archive))


def test_a_models_rule_is_judged_on_the_days_after_its_cutoff_if_the_run_asks_for_it(
    kit: Any, chat_server: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_models(monkeypatch, date(2012, 6, 30))
    run = judged_after(kit, chat_server, archive, after_cutoff=True)
    (stored,) = archive.gate_reports(run.run_id)
    # 28 September 2012 is the 90th day; the next session is Monday, 1 October.
    assert (stored.report["route"], stored.report["judged_from"]) == ("after", "2012-10-01")
    assert "is judged on the days after 2012-09-28" in stored.report["route_reason"]
    # It is the only one, so its family has all of the opening's alpha.
    assert stored.report["alpha"] == pytest.approx(0.05 * 6 / 3.141592653589793**2)


def test_without_being_asked_for_or_with_too_few_days_length_judges(
    kit: Any, chat_server: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_models(monkeypatch, date(2012, 6, 30))
    first = judged_after(kit, chat_server, archive)
    assert archive.gate_reports(first.run_id)[0].report["route"] == "occam"
    known_models(monkeypatch, date(2017, 12, 31))
    second = judged_after(kit, chat_server, archive, after_cutoff=True, seed=6)
    report = archive.gate_reports(second.run_id)[0].report
    assert report["route"] == "occam"
    assert "more bars are needed for a blind test after it" in report["route_reason"]


def test_too_few_days_after_the_cutoff_are_refused_before_anything_is_asked(
    kit: Any, chat_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_models(monkeypatch, date(2018, 6, 30))
    bars = kit.market(REAL)
    config = kit.settings(chat_server, market=REAL, after_cutoff=True)
    # The sample ends on 31 December 2018: 23 + 21 + 19 = 63 sessions after 28 September, 189 are missing.
    with pytest.raises(
        DataError, match=r"has 63 sealed bars after 2018-09-28, .* a blind test needs 252, 189 more"
    ) as no:
        check_after_cutoff(config, bars)
    assert no.value.exit_code == 4
    known_models(monkeypatch, date(2012, 6, 30))
    check_after_cutoff(config, bars)
    check_after_cutoff(config.model_copy(update={"market": "synthetic:planted"}), bars)


# --- In an incumbent's place --------------------------------------------------------------------------------------


def test_every_candidate_claims_the_place_too_and_pays_for_two_answers(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    server = chat_server
    server.always(server.says(json.dumps(kit.wire(*kit.PLANTED, name="planted"))))
    run = kit.go(kit.open_(kit.settings(server, market=LONG, slots=1, replace="golden_cross"), archive))
    (opened,) = openings(archive, run)
    assert opened.n_nominees == 2
    (stored,) = archive.gate_reports(run.run_id)
    assert [(claim["claim"], claim["incumbent"]) for claim in stored.report["claims"]] == [
        ("add", ""),
        ("replace", "golden_cross"),
    ]
    assert stored.verdict == "pass"
    # Its neighbours were looked at once, for both claims.
    neighbours = [trial for trial in archive.trials(run.run_id) if trial.purpose == "neighbour"]
    replaced = next(gate for gate in stored.report["claims"][1]["results"] if gate["name"] == "replace-neighbours")
    assert neighbours
    assert "slightly changed, its difference to golden_cross has t = " in replaced["reason"]


def test_a_place_that_nobody_holds_is_refused_before_the_run_is_planned(kit: Any, archive: Archive) -> None:
    with pytest.raises(UsageError, match="there is no agent 'golden_cros'; did you mean 'golden_cross'"):
        kit.open_(kit.settings(replace="golden_cros"), archive)
    archive.add_transition(Transition("macd_trend", "active", "retired", "decayed", "ann"))
    with pytest.raises(UsageError, match="macd_trend cannot be replaced, it is in state 'retired'"):
        kit.open_(kit.settings(replace="macd_trend"), archive)
    for agent in archive.agents("active"):
        if agent.agent_id != "golden_cross":
            archive.add_transition(Transition(agent.agent_id, "active", "retired", "decayed", "ann"))
    with pytest.raises(CheckFailed, match="golden_cross is the only active agent"):
        kit.open_(kit.settings(replace="golden_cross"), archive)
    assert archive.runs() == ()
