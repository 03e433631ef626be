"""A run on screen or as JSON lines: outcomes, candidates with their verdicts, luck, spend, and what to type next."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from agents.archive.records import Candidate, StoredReport, passed_claims
from agents.archive.store import Archive
from backtesting.calibration import BARS_A_YEAR
from generator.calibration_table import load_table, quote
from generator.history import History, history_of
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, number, percent, plain
from generator.leakage import load_models
from generator.open_window import OPEN
from generator.slots import random_stream
from generator.uplift import Comparison, memory_note, uplifts

SHOWN = 10


def show_run(archive: Archive, run_id: str, output: Output) -> None:
    """A run: outcomes, the candidates with their verdicts, what luck alone would show, and what to type next."""
    record = archive.run(run_id)
    outcomes = archive.count_outcomes(run_id)
    evaluations = archive.evaluations(run_id)
    reports = {stored.slot_id: stored for stored in archive.gate_reports(run_id)}
    candidates = {candidate.slot_id: candidate for candidate in archive.candidates(run_id)}
    states = archive.slot_states(run_id)
    ending = next((e.data for e in reversed(archive.events(run_id)) if e.kind == "finished"), None)
    spend = archive.spend(run_id)
    llm = record.config.get("config", {}).get("llm", "none")
    probed = archive.last_probe(llm)
    ranked = sorted(evaluations, key=lambda slot_id: _rank(evaluations[slot_id], reports.get(slot_id)))
    output.event(
        "run",
        run_id=run_id,
        market=record.market,
        bars_id=record.bars_id,
        config=record.config,
        split=record.split,
        outcomes=outcomes,
        finished=ending is not None,
        n_candidates=len(evaluations),
        n_passed=(ending or {}).get("n_passed"),
        alpha=(ending or {}).get("alpha"),
        nomination_id=(ending or {}).get("nomination_id"),
        opened=(ending or {}).get("opened"),
        spend=asdict(spend),
        probe=None if probed is None else {"at": probed.at, "mode": probed.mode, "findings": list(probed.findings)},
    )
    history = history_of(archive, run_id)
    if output.json_lines:
        for validity in history.validity:
            output.event("validity", **asdict(validity), sentence=validity.sentence)
        for comparison in uplifts_of(history):
            output.event(
                "uplift",
                **asdict(comparison),
                shown=comparison.shown,
                sentence=comparison.sentence,
                memory=memory_of(archive, run_id),
            )
    for slot in archive.slots(run_id):
        _slot_event(archive, slot.slot_id, slot.arm, states, candidates, evaluations, reports, output)
    if output.json_lines:
        return
    rows = []
    rival = _rival(next(iter(evaluations.values()), {"paired": []}))
    for slot_id in ranked[:SHOWN]:
        candidate, evaluation, stored = candidates[slot_id], evaluations[slot_id], reports.get(slot_id)
        metrics = evaluation["metrics"]
        pair = next((pair for pair in evaluation["paired"] if pair["incumbent"] == rival), None)
        rows.append(
            (
                plain(candidate.name, 32),
                slot_id.rpartition("/")[2],
                candidate.origin,
                stored.verdict if stored else "not judged",
                number(evaluation["alpha_t"]),
                number(metrics.get("sharpe_ratio")),
                percent(metrics.get("max_drawdown"), 0),
                number(metrics.get("turnover_annual"), 1),
                _difference(pair),
                "in review" if states[slot_id] == "in_review" else "",
            )
        )
    columns = (
        "candidate",
        "slot",
        "origin",
        "verdict",
        "alpha t>",
        "Sharpe>",
        "max DD>",
        "turnover>",
        f"vs {rival}>",
        "",
    )
    output.line()
    output.table(f"Run {run_id} on {record.market}: open window, after costs", columns, rows)
    output.line()
    if evaluations:
        first = max(evaluations.values(), key=lambda e: e["metrics"].get("sharpe_ratio") or float("-inf"))
        luck = max(e["expected_max_sharpe"] or 0.0 for e in evaluations.values())
        n_trials = max(e["n_trials"] for e in evaluations.values())
        output.line(
            f"Best of {n_trials} tried: Sharpe {number(first['metrics'].get('sharpe_ratio'))} in the open window;"
            f" luck alone would show {luck:.2f}."
        )
    if reports:
        any_report = next(iter(reports.values())).report
        verdicts = [stored.verdict for stored in reports.values()]
        parts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("pass", "underpowered", "fail"))
        n_judged = any_report["n_candidates"]
        judged = f"{n_judged} candidates were judged together" if n_judged > 1 else "One candidate was judged"
        found = f"Verdicts on the sealed window: {parts}. {judged}"
        detectable = any_report["minimum_detectable_sharpe"]
        if detectable is not None:
            found = f"{found}; an edge of Sharpe {number(detectable)} would have been found 4 times in 5"
        output.line(f"{found}.")
        for slot_id, stored in reports.items():
            joins, places = passed_claims(stored.report) if stored.report.get("claims") else (False, ())
            passed = [*(["to add to the book"] if joins else []), *(f"in the place of {place}" for place in places)]
            if passed:
                output.line(f"{plain(candidates[slot_id].name)} passed {' and '.join(passed)}.")
        years = (record.split["sealed"]["stop"] - record.split["open"]["start"]) / BARS_A_YEAR
        table, alpha = load_table(workspace.home()), any_report["alpha"]
        output.line(quote(table, candidates=n_judged, years=years, alpha=alpha))
        if ending is not None and ending.get("not_opened"):
            output.line(f"Nobody was judged blindly, only by length: {ending['not_opened']}.", style="yellow")
    for validity in history.validity:
        output.line(validity.sentence)
    compared = uplifts_of(history)
    for comparison in compared:
        output.line(comparison.sentence)
    if compared:
        output.line(memory_of(archive, run_id))
    unfinished = sum(n for name, n in outcomes.items() if name in ("planned", "prompted", "responded", "valid"))
    if unfinished:
        output.line(f"{unfinished} slot{_s(unfinished)} not done. Continue: touchstone evolve --resume")
    rejected = {name: n for name, n in outcomes.items() if name.startswith("rejected")}
    if rejected:
        parts = ", ".join(f"{name.removeprefix('rejected:')} {n}" for name, n in sorted(rejected.items()))
        output.line(f"Not evaluated: {parts}.")
        # Of each class the last slot: one sentence says more than the class does.
        for row in {row.code: row for row in history.rows if row.code}.values():
            output.line(f"  {row.code}, slot {row.index}: {plain(row.reason, 160)}", style="dim")
    if len(history.by_purpose) > 1 or any(history.failed.values()):
        asked = ", ".join(
            f"{purpose} {spent.calls}{f' ({lost} without an answer)' if (lost := history.failed[purpose]) else ''}"
            for purpose, spent in history.by_purpose.items()
        )
        output.line(f"Questions by role: {asked}.")
    if spend.calls:
        free = f", {spend.free} of them free of charge (recorded or by hand)" if spend.free else ""
        output.line(f"Spent: {spend.in_words}{free}.")
    if probed is not None:
        answers = ", ".join(f"{found['name'].replace('_', ' ')} {found['answer']}" for found in probed.findings)
        output.line(f"Model {llm}, probed {probed.at[:10]}: {answers}.")


def uplifts_of(history: History) -> tuple[Comparison, ...]:
    """What the model added over its controls; the resamples come from the run's seed, so the answer never changes."""
    return uplifts(history, random_stream(history.record.seed, history.record.run_id, "uplift"))


def memory_of(archive: Archive, run_id: str) -> str:
    """Whether what the model of a run added may be memory; see `uplift.memory_note`."""
    if archive.run(run_id).market.startswith("synthetic:"):
        return "It is no memory: nobody can remember a made-up market."
    looks = [trial for trial in archive.trials(run_id) if trial.purpose == OPEN]
    names = {
        proposal.model
        for slot in archive.slots(run_id)
        for proposal in archive.proposals(slot.slot_id)
        if proposal.model is not None
    }
    if not looks:
        return ""
    first, last = (date.fromisoformat(day) for day in (looks[0].first_session, looks[0].last_session))
    return memory_note(first, last, names, load_models())


def _slot_event(
    archive: Archive,
    slot_id: str,
    arm: str,
    states: Mapping[str, str],
    candidates: Mapping[str, Candidate],
    evaluations: Mapping[str, Mapping[str, Any]],
    reports: Mapping[str, StoredReport],
    output: Output,
) -> None:
    if not output.json_lines:
        return
    candidate, stored = candidates.get(slot_id), reports.get(slot_id)
    rejected = next((e for e in archive.events(slot_id.rpartition("/")[0], slot_id) if e.kind == "rejected"), None)
    output.event(
        "slot",
        slot_id=slot_id,
        arm=arm,
        state=states[slot_id],
        name=candidate.name if candidate else None,
        spec_id=candidate.spec_id if candidate else None,
        spec=candidate.spec if candidate else None,
        origin=candidate.origin if candidate else None,
        repairs=candidate.repairs if candidate else None,
        evaluation=evaluations.get(slot_id),
        report=stored.report if stored else None,
        rejection=rejected.data if rejected else None,
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _rank(evaluation: Mapping[str, Any], stored: StoredReport | None) -> tuple[int, float]:
    verdicts = ("pass", "underpowered", "fail")
    place = verdicts.index(stored.verdict) if stored else len(verdicts)
    score = evaluation["alpha_t"]
    return (place, float("inf") if score is None else -score)


def _rival(evaluation: Mapping[str, Any]) -> str:
    """The incumbent that is hardest to beat. Its mean is the highest on these days, so it is the same for everyone."""
    known = [pair for pair in evaluation["paired"] if pair["mean_annual"] is not None]
    return str(min(known, key=lambda pair: pair["mean_annual"])["incumbent"]) if known else "incumbent"


def _difference(pair: Mapping[str, Any] | None) -> str:
    if pair is None:
        return "–"
    return f"{percent(pair['mean_annual'], 0)} ({percent(pair['low'], 0)} to {percent(pair['high'], 0)})"
