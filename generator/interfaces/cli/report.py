"""Reports on screen: the metrics of a backtest, a candidate beside the incumbents, its gates."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from agents.archive.records import Candidate
from backtesting.metrics import AGAINST_BENCHMARK
from generator.interfaces.cli.output import Output, number, percent, plain


def show_report(report: Mapping[str, Any], output: Output) -> None:
    """Every gate of a candidate, with its margin where one may be shown; claim by claim where there are several."""
    claims = report.get("claims") or []
    for claim in claims:
        place = f"replace {claim['incumbent']}" if claim["claim"] == "replace" else "add to the book"
        _show_gates(f"Claim: {place}: {claim['verdict']}", claim["results"], output)
    if not claims:
        _show_gates("Gates", report["results"], output)


def _show_gates(title: str, results: Sequence[Mapping[str, Any]], output: Output) -> None:
    rows = [
        (
            result["name"],
            "pass" if result["passed"] else "fail",
            number(result["statistic"]),
            number(result["threshold"]),
            number(result["margin"]),
            result["reason"],
        )
        for result in results
    ]
    output.table(title, ("gate", "answer", "statistic>", "threshold>", "margin>", "reason"), rows)


def show_evaluation(evaluation: Mapping[str, Any], output: Output) -> None:
    """A candidate beside each incumbent, on the same days."""
    rows = [
        (
            pair["incumbent"],
            percent(pair["mean_annual"]),
            f"{percent(pair['low'])} to {percent(pair['high'])}",
            percent(pair["mde_annual"]),
            number(evaluation["betas"].get(pair["incumbent"])),
        )
        for pair in evaluation["paired"]
    ]
    columns = ("incumbent", "difference a year>", "90 % interval", "detectable>", "hedge ratio>")
    output.table("Against the incumbents, open window, paired by day, after costs", columns, rows)
    output.line(
        f"Residual alpha {percent(evaluation['alpha_annual'])} a year, t = {number(evaluation['alpha_t'])};"
        f" {number(evaluation['residual_share'])} of its volatility is its own."
    )
    for warning in evaluation["warnings"]:
        output.line(f"Note: {plain(warning)}", style="yellow")


def show_metrics(metrics: Mapping[str, float | None], output: Output, title: str) -> None:
    """The metrics of one backtest, two a row; those against the market only where they were asked for."""
    shown = {name: f"{value:.4g}" if value is not None and isfinite(value) else "–" for name, value in metrics.items()}
    if all(shown.get(name, "–") == "–" for name in AGAINST_BENCHMARK):
        shown = {name: text for name, text in shown.items() if name not in AGAINST_BENCHMARK}
    cells = [(name.replace("_", " "), text) for name, text in shown.items()]
    half = (len(cells) + 1) // 2
    padded = [*cells, ("", "")]
    rows = [(*cells[i], *(padded[half + i] if half + i < len(padded) else ("", ""))) for i in range(half)]
    output.table(title, ("metric", "value>", "metric", "value>"), rows)


def origin_in_words(candidate: Candidate) -> str:
    """Who proposed it; a repaired or random proposal is never called the model's."""
    words = {
        "llm": "proposed by the model",
        "repaired": f"proposed by the model, legal after {candidate.repairs} repair(s)",
        "random": "drawn from the random grammar",
        "evolved": "a variation of known rules",
        "human": "written by a person",
    }
    return words.get(candidate.origin, candidate.origin)
