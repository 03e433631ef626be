"""Verdicts: one opening for all, declined where the seal is broken or spent; and a queue without sealed numbers."""

import json
from dataclasses import replace
from typing import Any

import pytest

from agents.archive.records import SealedOpening
from agents.archive.store import Archive
from backtesting.gates import GateReport, Judgement, Verdict
from generator import verdicts
from generator.run import seal_of
from generator.verdicts import queue

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


def test_window_that_was_shown_is_never_opened_again_and_nothing_passes(
    kit: Any, chat_server: Any, archive: Archive
) -> None:
    first = kit.go(planted_run(kit, chat_server, archive))
    archive.unseal_numbers(f"{first.run_id}/0000", who="Ann", reason="curious")
    second = planted_run(kit, chat_server, archive, seed=2)
    kit.go(second)
    # The same rule again would have passed; it has no window left to pass on.
    (report,) = archive.gate_reports(second.run_id)
    assert report.verdict == "underpowered"
    assert "its numbers were shown to Ann" in report.report["sentence"]
    end = ended(archive, second)
    assert (end["opened"], end["n_passed"], end["alpha"]) == (False, 0, 0.0)
    assert [opened.kind for opened in openings(archive, second)] == ["judge", "shown"]
    assert archive.slot_states(second.run_id) == {f"{second.run_id}/0000": "in_review"}


def test_window_that_is_spent_is_declined(kit: Any, chat_server: Any, archive: Archive) -> None:
    first = kit.go(planted_run(kit, chat_server, archive))
    # A pass of one among one: 0.05 * 0.1 / 2 * 6 / (2 pi)^2 = 0.00038, less than 1999 resamples can show.
    second = planted_run(kit, chat_server, archive, seed=2)
    assert seal_of(second).alpha == 0.0
    kit.go(second)
    assert "the sealed window is spent" in ended(archive, second)["not_opened"]
    assert len(openings(archive, second)) == 1
    assert archive.gate_reports(second.run_id)[0].verdict == "underpowered"
    assert archive.gate_reports(first.run_id)[0].verdict == "pass"


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
