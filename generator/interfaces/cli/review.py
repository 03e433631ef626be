"""`touchstone review`: the reviewer's bench. Verdict and numbers before prose; a decision needs a reason."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agents.archive.code import code_version
from agents.archive.records import ReviewItem, passed_claims
from agents.archive.store import Archive
from agents.manager.review import decide, digest_of, find_item
from agents.strategy.spec import load_spec, rule_text
from backtesting.calibration import BARS_A_YEAR
from backtesting.diagnostics import Diagnosis
from generator.calibration_table import load_table, quote
from generator.diagnosis import diagnosis_of
from generator.history import MODEL_ORIGINS
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, number, plain
from generator.interfaces.cli.report import (
    origin_in_words,
    show_evaluation,
    show_metrics,
    show_report,
)
from generator.interfaces.cli.rule_length import price_of_length
from generator.red_flags import red_flags

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The review queue: list, show, approve, reject.",
    epilog="Example: touchstone review show NAME",
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Ref = Annotated[str, typer.Argument(help="Candidate: its name, slot id or spec id, or a part of an id.")]
Reason = Annotated[str, typer.Option(help="Why, in at least 15 characters; kept for ever.")]
Reviewer = Annotated[str | None, typer.Option(help="Who decides; the account's name if left out.")]


@app.command("list", epilog="Example: touchstone review list --all")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False, json_lines: Json = False
) -> None:
    """What waits for a decision."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        items = archive.review_queue(decided=everything)
        rows = [_row(archive, item) for item in items]
        for item in items:
            output.event("review_item", **_summary(archive, item))
    if not rows:
        output.line("The queue is empty. Fill it: touchstone evolve --market sample:sp500 --slots 40 --seed 7")
        return
    columns = ("candidate", "slot id", "market", "verdict", "alpha t>", "Sharpe>", "decision")
    output.table("Review queue", columns, rows)
    output.line("Look at one: touchstone review show NAME")


@app.command(epilog="Example: touchstone review show volume_surge")
def show(ref: Ref, json_lines: Json = False) -> None:
    """One candidate: verdict, what it does, evidence, then what its author claims."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        item = find_item(archive, ref)
        summary = _summary(archive, item)
        evaluation = archive.evaluation(item.candidate.slot_id) or {}
        found = diagnosis_of(
            archive,
            item.candidate.slot_id,
            n_trials=item.report.report["n_trials"],
            periods_per_year=evaluation.get("periods_per_year") or BARS_A_YEAR,
        )
        output.event(
            "review_item",
            **summary,
            report=item.report.report,
            evaluation=evaluation,
            diagnostics=None if found is None else found.as_dict(),
            spec=item.candidate.spec,
            red_flags=list(red_flags(str(item.candidate.spec.get("hypothesis", "")))),
        )
        if not output.json_lines:
            _packet(item, summary, evaluation, found, output)


@app.command(epilog='Example: touchstone review approve volume_surge --reason "holds on both windows, sensible costs"')
def approve(
    ref: Ref,
    reason: Reason,
    waive: Annotated[bool, typer.Option("--waive", help="Send one that did not pass to paper trading.")] = False,
    reviewer: Reviewer = None,
    json_lines: Json = False,
) -> None:
    """Approve what passed; with --waive send anything else to shadow, which is no promotion."""
    _decide(ref, "waive" if waive else "approve", reason, reviewer, json_lines)


@app.command(epilog='Example: touchstone review reject random_0012 --reason "a variation of an incumbent"')
def reject(ref: Ref, reason: Reason, reviewer: Reviewer = None, json_lines: Json = False) -> None:
    """Reject a candidate for good."""
    _decide(ref, "reject", reason, reviewer, json_lines)


@app.command(epilog='Example: touchstone review defer random_0012 --reason "ask the author about costs first"')
def defer(ref: Ref, reason: Reason, reviewer: Reviewer = None, json_lines: Json = False) -> None:
    """Leave a candidate in the queue, with a note."""
    _decide(ref, "defer", reason, reviewer, json_lines)


def _decide(ref: str, decision: str, reason: str, reviewer: str | None, json_lines: bool) -> None:
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        review = decide(
            archive,
            ref,
            decision,
            reviewer=reviewer or workspace.person(),
            reason=reason,
            code_version=code_version(),
        )
        item = find_item(archive, review.slot_id)
        output.event(
            "review", slot_id=review.slot_id, decision=review.decision, reviewer=review.reviewer, reason=review.reason
        )
        name = plain(item.candidate.name)
        output.line(f"{name}: {decision} by {plain(review.reviewer)}, recorded.")
        if decision == "approve":
            output.line(f"It trades on paper once it is promoted: touchstone agents promote {name}")
            joins, places = passed_claims(item.report.report)
            for place in places:
                way = "--replace" if joins else "as it passed for nothing else"
                output.line(f"It may take the place of {place}, which then retires ({way}).")
        elif decision == "waive":
            output.line("It trades on paper (shadow) by a waiver; this is no promotion. See: touchstone agents list")


def _packet(
    item: ReviewItem, summary: dict[str, Any], evaluation: dict[str, Any], found: Diagnosis | None, output: Output
) -> None:
    report, candidate = item.report.report, item.candidate
    output.line(f"{plain(candidate.name)}: {report['verdict']}", style="bold")
    output.line(plain(report["sentence"]))
    output.line(
        f"{report['n_candidates']} candidates judged together, {report['n_trials']} looks at this market counted,"
        f" alpha {number(report['alpha'], 4)}, detectable Sharpe {number(report['minimum_detectable_sharpe'])}."
    )
    output.line(_how_judged(report))
    rows, n = load_table(workspace.home()), report["n_candidates"] * max(1, len(report.get("claims") or []))
    blind = report.get("route") in ("blind", "after", None)
    output.line(quote(rows, candidates=n, years=_years(summary, report), alpha=report["alpha"] if blind else 0.0))
    output.line()
    spec = load_spec(candidate.spec, origin="")
    output.line("What it does", style="bold")
    output.line(rule_text(spec) if not isinstance(spec, list) else "This spec is not legal any more.")
    if not isinstance(spec, list):
        output.line(price_of_length(spec, summary["years"]))
    output.line()
    show_report(report, output)
    output.line()
    if evaluation:
        show_evaluation(evaluation, output)
        output.line()
        show_metrics(evaluation["metrics"], output, "Open window, after costs")
        output.line()
    if found is not None:
        _doubts(found, output)
        output.line()
    output.line(f"Market {summary['market']}, {origin_in_words(candidate)}. {candidate.spec_id}")
    output.line(f"Digest {summary['digest']}")
    for review in summary["reviews"]:
        output.line(f"{review['at'][:10]} {plain(review['reviewer'])}: {review['decision']}, {plain(review['reason'])}")
    claim = plain(str(candidate.spec.get("hypothesis", "")))
    if claim:
        label = "The model's claim" if candidate.origin in MODEL_ORIGINS else "Its author's words"
        output.line(f"{label}, which no gate has read: {claim}", style="dim")
    flags = red_flags(str(candidate.spec.get("hypothesis", "")))
    if flags:
        output.line(f"Red flag: the claim holds {', '.join(flags)}. It is shown as plain text only.", style="red")


def _how_judged(report: Mapping[str, Any]) -> str:
    """Which test judged it and on which days, and what was claimed."""
    tests = {
        "blind": "blindly, on {years} sealed years from {first} on",
        "after": "blindly, on the {years} years from {first} on that its proposers cannot know",
        "occam": "by its length, on the whole history",
        "forward": "by nothing yet: only days still to come are clean evidence about it",
    }
    form = tests.get(str(report.get("route", "")))
    if form is None:
        return "Tested: whether it adds something to the book."
    how = form.format(years=number(report["judged_years"], 1), first=report["judged_from"])
    why = f" ({plain(report['route_reason'])})" if report.get("route_reason") else ""
    others = [claim["incumbent"] for claim in report.get("claims") or [] if claim["claim"] == "replace"]
    claims = "that it adds something to the book" + (f", and that it is better than {others[0]}" if others else "")
    return f"Claimed: {claims}. Judged {how}{why}."


def _years(summary: Mapping[str, Any], report: Mapping[str, Any]) -> float:
    """Of the history that its measured error rate is looked up at: open share and the days that judged it."""
    if report.get("route") != "after":
        return float(summary["years"])
    return float(summary["open_years"]) + float(report["judged_years"])


def _doubts(found: Diagnosis, output: Output) -> None:
    """The published diagnostics; each row says what luck alone would show."""
    rows = [
        ("looks counted, and what they are worth", f"{found.n_trials}, {number(found.n_effective, 1)} independent"),
        ("effective rank of the streams", number(found.effective_rank, 1)),
        ("Sharpe, and the best of so many by luck", _two(found.annual_sharpe, found.expected_maximum_annual)),
        ("PSR (2012), PSR (2026)", _two(found.psr_2012, found.psr_2026)),
        ("DSR (2014), DSR (2026)", _two(found.dsr_2014, found.dsr_2026)),
        ("PBO of this run; half is what no edge gives", number(found.pbo)),
        ("Sharpe after the haircut (Holm)", number(found.haircut_annual)),
        ("years of record needed, of backtest", _two(found.minimum_track_record_years, found.minimum_backtest_years)),
    ]
    output.table("Diagnostics on the open window: shown, they decide nothing", ("diagnostic", "value>"), rows)


def _two(first: float, second: float) -> str:
    return f"{number(first)}, {number(second)}"


def _summary(archive: Archive, item: ReviewItem) -> dict[str, Any]:
    candidate = item.candidate
    run = archive.run(candidate.slot_id.rpartition("/")[0])
    return {
        "slot_id": candidate.slot_id,
        "years": (run.split["sealed"]["stop"] - run.split["open"]["start"]) / BARS_A_YEAR,
        "open_years": (run.split["open"]["stop"] - run.split["open"]["start"]) / BARS_A_YEAR,
        "name": candidate.name,
        "spec_id": candidate.spec_id,
        "origin": candidate.origin,
        "market": run.market,
        "verdict": item.report.verdict,
        "decision": item.decision,
        "digest": digest_of(archive, item, code_version()),
        "reviews": [
            {"at": r.at, "reviewer": r.reviewer, "decision": r.decision, "reason": r.reason}
            for r in archive.reviews(candidate.slot_id)
        ],
    }


def _row(archive: Archive, item: ReviewItem) -> tuple[str, ...]:
    evaluation = archive.evaluation(item.candidate.slot_id) or {"alpha_t": None, "metrics": {}}
    run = archive.run(item.candidate.slot_id.rpartition("/")[0])
    return (
        plain(item.candidate.name, 32),
        item.candidate.slot_id,
        run.market,
        item.report.verdict,
        number(evaluation["alpha_t"]),
        number(evaluation["metrics"].get("sharpe_ratio")),
        item.decision or "waits",
    )
