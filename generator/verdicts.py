"""Verdicts: the end of a run. All candidates are nominated, the sealed window is opened once, the best few go to
review.

The opening is written down, with the alpha it spends, before anything sealed is read. A process killed in between
judges again: the nomination is the same, so the verdicts are, and the opening is counted once. Nothing of what is
learnt here goes back into proposing.
"""

from collections.abc import Mapping
from math import isfinite

from agents.archive.records import SealedOpening
from backtesting.costs import COSTS
from backtesting.gates import GateReport, Judgement, Nomination, Nominee, Verdict, decline, judge
from generator.run import Run, Seal, seal_of

_ORDER = {Verdict.PASS: 0, Verdict.UNDERPOWERED: 1, Verdict.FAIL: 2}


def judge_run(run: Run, looks: Mapping[str, Nominee]) -> None:
    """Judge the evaluated candidates of a run (by slot id) and end it; one transaction after the judgement."""
    archive = run.archive
    if not looks:
        archive.append_run_event(run.run_id, "finished", {"n_candidates": 0, "n_passed": 0})
        return
    seal = seal_of(run)
    nomination = nominate(run, looks, seal)
    if seal.broken:
        opening = None
        judgement = decline(nomination, seal.broken)
    else:
        first, last = run.sealed_sessions
        opening = archive.record_opening(
            SealedOpening(
                run_id=run.run_id,
                series=run.series,
                first_session=first,
                last_session=last,
                bars_id=run.bars.bars_id,
                nomination_id=nomination.nomination_id,
                n_nominees=len(nomination.nominees),
                alpha=seal.alpha,
                by=run.run_id,
            )
        )
        judgement = judge(nomination, run.bars, edge_of_interest=run.config.edge_of_interest)
    with archive.transaction():
        if opening is not None and opening.n_passed is None:
            archive.answer_opening(opening.opening_id, judgement.n_passed)
        _store(run, looks, judgement)
        for slot_id in queue(looks, judgement, run.config.queue):
            archive.append_event(slot_id, "in_review")
        archive.append_run_event(
            run.run_id,
            "finished",
            {
                "n_candidates": len(looks),
                "n_passed": judgement.n_passed,
                "nomination_id": judgement.nomination_id,
                "alpha": judgement.alpha,
                "opened": opening is not None,
                "not_opened": seal.broken,
            },
        )


def nominate(run: Run, looks: Mapping[str, Nominee], seal: Seal) -> Nomination:
    """All evaluated candidates of the run, frozen. A rule that two arms came to is judged once, for both."""
    by_rule = {look.spec_id: look for look in reversed(list(looks.values()))}
    return Nomination(
        nominees=tuple(look for look in looks.values() if by_rule[look.spec_id] is look),
        incumbents=run.incumbents,
        bars_id=run.bars.bars_id,
        open_bars_id=run.open.bars.bars_id,
        split=run.split,
        costs=COSTS[run.config.costs],
        alpha=seal.alpha,
        seed=run.config.seed,
        n_trials=run.archive.count_trials(run.series),
        code_version=run.record.engine_version,
    )


def queue(looks: Mapping[str, Nominee], judgement: Judgement, size: int) -> tuple[str, ...]:
    """The slots to review: by verdict, then by what they added in the open window. Sealed numbers have no say.

    A rule that two arms came to is reviewed once, under the slot that came first.
    """
    reports = {report.spec_id: report for report in judgement.reports}

    def rank(item: tuple[str, Nominee]) -> tuple[int, float, str]:
        slot_id, look = item
        score = look.open_evaluation.alpha_t
        return (_ORDER[reports[look.spec_id].verdict], -score if isfinite(score) else float("inf"), slot_id)

    first = {look.spec_id: slot_id for slot_id, look in reversed(list(looks.items()))}
    ranked = sorted(looks.items(), key=rank)
    return tuple([slot_id for slot_id, look in ranked if first[look.spec_id] == slot_id][:size])


def _store(run: Run, looks: Mapping[str, Nominee], judgement: Judgement) -> None:
    reports: dict[str, GateReport] = {report.spec_id: report for report in judgement.reports}
    for slot_id, look in looks.items():
        report = reports[look.spec_id]
        run.archive.put_gate_report(
            slot_id,
            nomination_id=judgement.nomination_id,
            report=report.as_dict(),
            sealed_numbers=judgement.sealed_numbers.get(look.spec_id),
        )
        run.archive.append_event(slot_id, "gated", data={"verdict": str(report.verdict)})
