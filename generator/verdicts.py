"""Verdicts: the end of a run. All candidates are nominated, the sealed window is opened once, the best few go to
review.

The opening is written down, with the alpha it spends, before anything sealed is read. A process killed in between
judges again with what it had written down (days, alpha, number of looks), whatever others did meanwhile: the nomination
is the same, so the verdicts are, and the opening is counted and paid once. Nothing of what is learnt here goes back
into proposing.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from math import isfinite

import numpy as np

from agents.archive.records import SealedOpening, Trial, series_key
from agents.data_fetch.quality import doubtful_bars
from agents.strategy.code_length import code_bits
from backtesting.bars import Bars
from backtesting.errors import CheckFailed, DataError
from backtesting.gates import GateReport, Judgement, Verdict, judge
from backtesting.nomination import Nomination, Nominee, Route
from backtesting.open_gates import OF_ITS_ALPHA, open_gates, replacement_gates
from backtesting.replacement import with_neighbours
from backtesting.result import BacktestResult
from backtesting.splits import MIN_WINDOW_BARS, plan_split
from generator.config import RunConfig
from generator.leakage import Grade, Leakage, grade_all, grade_model, load_models, worst_of
from generator.llm.address import parse_address
from generator.run import Run, Seal, blind_bars, seal_of

_ORDER = {Verdict.PASS: 0, Verdict.UNDERPOWERED: 1, Verdict.FAIL: 2}


def judge_run(run: Run, looks: Mapping[str, Nominee]) -> None:
    """Judge the evaluated candidates of a run (by slot id) and end it; one transaction after the judgement."""
    archive = run.archive
    if not looks:
        archive.append_run_event(run.run_id, "finished", {"n_candidates": 0, "n_passed": 0})
        return
    seal = seal_of(run)
    nomination = nominate(run, looks, seal)
    opening = _opened(run, nomination, seal)
    judgement = judge(nomination, run.bars, edge_of_interest=run.config.edge_of_interest)
    with archive.transaction():
        if opening.n_passed is None:
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
                "opened": not seal.broken,
                "not_opened": seal.broken,
            },
        )


def _opened(run: Run, nomination: Nomination, seal: Seal) -> SealedOpening:
    """The opening of this nomination, written down before anything sealed is read.

    Raises:
        CheckFailed: the ledger was changed by hand, or the run opened the window before, with another nomination; the
            attempt is in the audit trail.
    """
    archive, sessions, window = run.archive, run.bars.sessions, seal.window
    try:
        archive.check_ledger()
        signed = archive.opening_of_run(run.run_id)
        if signed is not None and signed.nomination_id != nomination.nomination_id:
            raise CheckFailed(
                f"run {run.run_id} opened its window with another nomination than it has now: a rule, the data, the"
                " code or the database was changed after it was signed",
                kept="the first opening stands, nothing was judged",
                next_step="restore what changed, or start a new run",
            )
    except CheckFailed as refused:
        archive.add_audit(run.run_id, "opening.refused", nomination.nomination_id, {"why": refused.what})
        raise
    if seal.broken and signed is None:
        archive.add_audit(run.run_id, "opening.refused", nomination.nomination_id, {"why": seal.broken})
    return archive.record_opening(
        SealedOpening(
            run_id=run.run_id,
            series=run.series,
            first_session=str(sessions[window.start]),
            last_session=str(sessions[window.stop - 1]),
            bars_id=run.bars.bars_id,
            nomination_id=nomination.nomination_id,
            n_nominees=nomination.n_hypotheses,
            alpha=seal.alpha,
            by=run.run_id,
            n_trials=nomination.n_trials,
            ledger_id=archive.ledger_id(),
        )
    )


def nominate(run: Run, looks: Mapping[str, Nominee], seal: Seal) -> Nomination:
    """All evaluated candidates of the run, frozen, each with its neighbours and the test that its lineage allows.

    A rule that two arms came to is judged once, for both, by the strictest of the tests that their lineages allow: what
    a model may have known is not undone by somebody else's finding it too.
    """
    graded = grades(run, looks, seal)
    finders: dict[str, list[str]] = {}
    for slot_id, look in looks.items():
        finders.setdefault(look.spec_id, []).append(slot_id)
    strictest = {slots[0]: worst_of(graded[slot_id] for slot_id in slots) for slots in finders.values()}
    nominees = tuple(_completed(run, slot_id, looks[slot_id], grade, seal) for slot_id, grade in strictest.items())
    return Nomination(
        nominees=nominees,
        incumbents=run.incumbents,
        bars_id=run.bars.bars_id,
        open_bars_id=run.open.bars.bars_id,
        split=replace(run.split, sealed=seal.window),
        costs=run.config.cost_model,
        terms=run.config.market_terms,
        alpha=seal.alpha,
        occam_alpha=run.config.alpha,
        seed=run.config.seed,
        n_trials=run.archive.count_trials(run.series) if seal.n_trials is None else seal.n_trials,
        code_version=run.record.engine_version,
        doubtful=tuple(np.flatnonzero(doubtful_bars(run.bars)).tolist()),
        replaces=run.config.replace,
    )


def grades(run: Run, looks: Mapping[str, Nominee], seal: Seal) -> dict[str, Leakage]:
    """What each candidate's lineage may know of the sealed days, by slot id."""
    archive = run.archive
    lineages: dict[str, tuple[str, str | None, tuple[str, ...]]] = {}
    agents = {agent.agent_id: agent for agent in archive.agents()}
    waiting = list(looks)
    while waiting:
        ref = waiting.pop()
        if ref in lineages:
            continue
        slot_id = agents[ref].slot_id if ref in agents else ref
        candidate = None if slot_id is None else archive.candidate(slot_id)
        if slot_id is None or candidate is None:
            continue  # a shipped rule
        proposals = archive.proposals(slot_id)
        models = {proposal.model for proposal in proposals if proposal.model}
        parents = tuple(parent for proposal in proposals for parent in proposal.parents)
        lineages[ref] = (candidate.origin, min(models) if models else None, parents)
        waiting.extend(parents)
    first = date.fromisoformat(str(run.bars.sessions[seal.window.start]))
    synthetic = run.config.market.startswith("synthetic:")
    return grade_all(lineages, first_sealed=first, synthetic=synthetic, models=load_models())


def _completed(run: Run, slot_id: str, look: Nominee, leakage: Leakage, seal: Seal) -> Nominee:
    """The nominee with its neighbours and with symbols left out; each is a look at the open window and a trial.

    Without sealed days a rule that might have been judged blindly is judged by its length, as if its proposer had known
    them: that test spends no window and holds against any memory.
    """
    if run.config.replace:
        incumbent = next(strategy for strategy in run.incumbents if strategy.name == run.config.replace)
        look = replace(look, replacement=run.open.replacement(look, incumbent))
    spec = look.strategy.spec  # type: ignore[attr-defined]
    neighbours_t: tuple[float, ...] = ()
    dropped_t: tuple[tuple[str, float], ...] = ()
    # Whoever fails another open gate of every claim cannot pass, so its neighbours are not worth a look.
    if _may_pass(look):
        found = run.open.neighbours_t(spec)
        neighbours_t = tuple(t for _, _, t in found)
        for spec_id, result, _ in found:
            run.archive.add_trial(_changed_look(run, slot_id, spec_id, run.record.bars_id, run.series, result))
        dropped = run.open.dropped_t(spec, look.open_evaluation.result)
        dropped_t = tuple((symbol, t) for symbol, _, _, t in dropped)
        for _, rest, result, _ in dropped:
            series = series_key(rest.symbols)
            run.archive.add_trial(_changed_look(run, slot_id, look.spec_id, rest.bars_id, series, result))
        if (claim := look.replacement) is not None:
            around = tuple(run.open.replacement_t(claim, result) for _, result, _ in found)
            without = tuple((symbol, run.open.replacement_t(claim, result)) for symbol, _, result, _ in dropped)
            look = replace(look, replacement=with_neighbours(claim, around, without))
    route, reason, blind_from = route_of(run, leakage, seal)
    return replace(
        look,
        neighbours_t=neighbours_t,
        dropped_t=dropped_t,
        route=route,
        route_reason=reason,
        blind_from=blind_from,
        code_bits=code_bits(spec),
    )


def _may_pass(look: Nominee) -> bool:
    """Whether the open gates leave a claim of the nominee standing."""
    failed = {gate.name for gate in open_gates(look) if not gate.passed}
    if not failed:
        return True
    claim = look.replacement
    return claim is not None and failed <= set(OF_ITS_ALPHA) and all(gate.passed for gate in replacement_gates(claim))


def route_of(run: Run, leakage: Leakage, seal: Seal) -> tuple[Route, str, int | None]:
    """Which test judges a nominee of this grade in this run, half a sentence why, and where its blind days begin.

    A rule whose proposers may know a part of the sealed days is judged blindly on those after, if the run asks for it
    and enough of them are there; else by its length.
    """
    if leakage.route is Route.BLIND and seal.broken:
        return Route.OCCAM, f"the sealed window cannot judge it: {seal.broken}", None
    if leakage.route is not Route.OCCAM or not run.config.after_cutoff or seal.broken:
        return leakage.route, leakage.reason, None
    if leakage.blind_after is None:
        return Route.OCCAM, f"{leakage.reason}, and no day is known after which they would be clean", None
    start, missing = blind_bars(run.bars, leakage.blind_after, seal.window)
    if missing:
        return Route.OCCAM, f"{leakage.reason}, and {missing} more bars are needed for a blind test after it", None
    return Route.AFTER, f"{leakage.reason} and is judged on the days after {leakage.blind_after}", start


def _changed_look(run: Run, slot_id: str, spec_id: str, bars_id: str, series: str, result: BacktestResult) -> Trial:
    """The look at a nominee slightly changed, or at fewer symbols, as the ledger counts it."""
    return Trial(
        spec_id=spec_id,
        bars_id=bars_id,
        series=series,
        window_start=result.window.start,
        window_stop=result.window.stop,
        first_session=str(result.sessions[0]),
        last_session=str(result.sessions[-1]),
        purpose="neighbour",
        by="gate",
        metrics={name: value if isfinite(value) else None for name, value in result.metrics.items()},
        run_id=run.run_id,
        slot_id=slot_id,
        stream_id=run.archive.add_stream(result.returns),
    )


def check_after_cutoff(config: RunConfig, bars: Bars) -> None:
    """Refuse, before anything is asked, a blind test on the days after a model's cutoff where too few are there.

    Raises:
        DataError: says how many bars are missing, or that nobody published the cutoff.
    """
    if not config.after_cutoff or config.market.startswith("synthetic:"):
        return
    split = plan_split(bars, open_share=config.open_share)
    first = date.fromisoformat(str(bars.sessions[split.sealed.start]))
    known = load_models()
    for llm in sorted({str(config.role(name).llm) for name in config.asked} - {"none"}):
        found = grade_model(parse_address(llm).model, first, known)
        if found.grade is Grade.C:
            raise DataError(
                f"no day is known to come after what {llm} has read: {found.reason}",
                kept="nothing was asked and nothing was opened",
                next_step="ask a model with a published cutoff, or leave --after-cutoff out",
            )
        if found.blind_after is None:
            continue
        start, missing = blind_bars(bars, found.blind_after, split.sealed)
        if missing:
            raise DataError(
                f"{config.market} has {max(0, split.sealed.stop - start)} sealed bars after {found.blind_after}, which"
                f" {llm} may know up to; a blind test needs {MIN_WINDOW_BARS}, {missing} more",
                kept="nothing was asked and nothing was opened",
                next_step="leave --after-cutoff out: its rules are judged by their length; or wait for more days",
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
