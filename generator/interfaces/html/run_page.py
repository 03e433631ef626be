"""RunPage: one run as one HTML file, for whoever was not there. It loads nothing, runs nothing and judges nothing.

Everything on it is in the archive; what a model or a file wrote is escaped text. No sealed number is on it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from backtesting.costs import CostModel
from backtesting.terms import CASH, Terms
from generator.archive_map import AXES, BETA, EXPOSURE, HOLDING, TURNOVER, cell_in_words
from generator.config import MODEL_ARMS
from generator.context import cost_words, terms_words
from generator.history import MODEL_ORIGINS, History, SlotRow
from generator.interfaces.html import plots
from generator.interfaces.html.markup import Child, Markup, join, page, table, tag
from generator.novelty import DUPLICATE_CODES
from generator.slots import random_stream
from generator.uplift import Comparison

COLOURS = {"llm": "#1f5fa8", "llm-independent": "#57a0c9", "random": "#8c8c8c", "evolved": "#c97a1e"}
OTHER = "#7a5ba6"
OUTCOMES = {
    "new, in a new cell": "#2e8b57",
    "new": "#9ccdb0",
    "repetition": "#d9a441",
    "not legal or no answer": "#c45c50",
    "open": "#dedede",
}
REPS = 400
SHOWN = 200

CSS = """
body{margin:0;background:#fff;color:#222;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:900px;margin:0 auto;padding:32px 20px 80px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:40px 0 6px;border-top:1px solid #e6e6e6;padding-top:22px}
p{margin:6px 0 10px}.quiet{color:#666}.lead{font-size:16px;background:#f5f7fa;padding:12px 16px;border-radius:6px}
svg{display:block;max-width:100%;height:auto;font-family:inherit;margin:8px 0}
table{border-collapse:collapse;font-size:13.5px;margin:8px 0}.wide{overflow-x:auto}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #ececec;vertical-align:top}
th{font-weight:600;border-bottom:1px solid #bbb}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
@media (max-width:700px){main{padding:20px 14px 60px}svg{max-width:none}}
.pass{color:#1d7a46;font-weight:600}.fail{color:#a8392d}.underpowered{color:#8a6508}
"""


def run_page(history: History, comparisons: Sequence[Comparison], *, now: str, memory: str = "") -> str:
    """The page. `now` is printed as the time at which it was made, `memory` beside what the model added."""
    record = history.record
    sections = (
        _head(history, now),
        _added(history, comparisons, memory),
        _funnel(history),
        _best_so_far(history),
        _map(history),
        _lineage(history),
        _over_time(history),
        _cost(history),
        _verdicts(history),
        _lessons(history),
    )
    return page(f"Run {record.run_id}", CSS, *sections)


def _head(history: History, now: str) -> Markup:
    record, rows = history.record, history.rows
    config: Mapping[str, object] = record.config.get("config", {})
    done = sum(row.state not in ("planned", "prompted", "responded", "valid") for row in rows)
    counts = Counter(row.verdict for row in rows if row.verdict)
    words = ", ".join(f"{counts[word]} {word}" for word in ("pass", "underpowered", "fail"))
    ending = "The run is not finished." if history.ending is None else f"Verdicts on the sealed window: {words}."
    not_opened = (history.ending or {}).get("not_opened")
    facts = [
        ("market", record.market),
        ("model", str(config.get("llm", "none"))),
        *_asked(record.config, config),
        *_conditions(config),
        ("seed", str(record.seed)),
        ("slots", f"{done} of {len(rows)} done"),
        ("began (UTC)", record.created_at[:16].replace("T", " ")),
        ("data", record.bars_id),
        ("code", record.engine_version),
        *([("forked from", history.forked_from)] if history.forked_from else []),
    ]
    lead: list[Child] = [ending]
    if not_opened:
        lead.append(f" Nobody was judged blindly, only by length: {not_opened}.")
    return join(
        [
            tag("h1", f"Run {record.run_id}"),
            tag("p", f"Made {now[:16].replace('T', ' ')} UTC from the archive. It loads nothing.", class_="quiet"),
            tag("p", *lead, class_="lead"),
            table(("", ""), facts),
        ]
    )


def _conditions(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What trading costs, the conventions of the market, and what is claimed of the candidates."""
    costs, terms, replaced = config.get("costs", ""), config.get("terms"), config.get("replace")
    market = CASH if terms is None else Terms.of(terms)
    words = costs if isinstance(costs, str) else cost_words(CostModel(**costs), market)
    claims = f"to add to the book, and to take the place of {replaced}" if replaced else "to add to the book"
    return [("costs", words), *([("terms", terms_words(market))] if terms else []), ("claims", claims)]


def _asked(identity: Mapping[str, Any], config: Mapping[str, object]) -> list[tuple[str, str]]:
    """How the model was asked: the workflow, and each prompt with its version."""
    prompts = {str(template).partition(":")[0] for template in identity.get("prompts", {}).values()}
    return [("workflow", str(config.get("workflow", ""))), ("prompts", ", ".join(sorted(prompts)))] if prompts else []


def _added(history: History, comparisons: Sequence[Comparison], memory: str) -> Markup:
    if not comparisons:
        none = "The arm of the model took no part, or had no control beside it."
        return _section("What the model added", tag("p", none))
    others = [row for arm in MODEL_ARMS for row in history.of_arm(arm) if row.evaluated and not row.credited]
    note = (
        f"{len(others)} evaluated candidates of the model's arms were not made by it and are left out."
        if others
        else ""
    )
    return _section(
        "What the model added",
        *(tag("p", comparison.sentence) for comparison in comparisons),
        tag("p", memory) if memory else "",
        tag(
            "p",
            "Scores are t-statistics of what a candidate adds to the incumbents in the open window. They rank arms and"
            " prove nothing about the future; the interval is over the slots of this one run. ",
            note,
            class_="quiet",
        ),
    )


def _funnel(history: History) -> Markup:
    steps = []
    for arm in history.arms:
        rows = history.of_arm(arm)
        asked = arm in MODEL_ARMS
        legal = [row for row in rows if row.origin in MODEL_ORIGINS or (row.origin and not asked)]
        first = [row for row in legal if row.repairs == 0]
        steps.append(
            (
                arm,
                str(len(rows)),
                _share(len(first), len(rows)) if asked else "–",
                _share(len(legal), len(rows)),
                str(sum(row.repeated for row in rows)),
                str(sum(row.evaluated for row in rows)),
                str(sum(bool(row.verdict) for row in rows)),
                str(sum(row.verdict == "pass" for row in rows)),
            )
        )
    columns = ("arm", "slots>", "legal at first>", "legal in the end>", "repeated>", "evaluated>", "judged>", "passed>")
    classes = Counter((row.code, row.arm) for row in history.rows if row.code)
    codes = sorted({code for code, _ in classes}, key=lambda code: (-sum(classes[code, a] for a in history.arms), code))
    ended = [(code, *(str(classes[code, arm] or "–") for arm in history.arms)) for code in codes]
    shapes = plots.bars(
        [
            (code, n, _class_colour(code), str(n))
            for code, n in ((c, sum(classes[c, a] for a in history.arms)) for c in codes)
        ]
    )
    return _section(
        "From slot to verdict",
        table(columns, steps),
        *(tag("p", validity.sentence) for validity in history.validity),
        tag("p", "Slots that ended before an evaluation, by class:", class_="quiet") if codes else "",
        shapes if codes else "",
        table(("class", *(f"{arm}>" for arm in history.arms)), ended) if codes else "",
    )


def _best_so_far(history: History) -> Markup:
    found = []
    for arm in history.arms:
        scores = np.array([row.alpha_t or 0.0 for row in history.of_arm(arm) if row.credited])
        if not len(scores):
            continue
        rng = random_stream(history.record.seed, history.record.run_id, f"band-{arm}")
        drawn = np.maximum.accumulate(scores[rng.integers(len(scores), size=(REPS, len(scores)))], axis=1)
        low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
        best = np.maximum.accumulate(scores)
        found.append(plots.Curve(arm, _colour(arm), best.tolist(), low.tolist(), high.tolist()))
    if not found:
        return _section("Best so far", tag("p", "Nothing has been evaluated."))
    return _section(
        "Best so far",
        plots.legend({curve.name: curve.colour for curve in found}),
        plots.curves(found, x_name="evaluated slots of the arm", y_name="best t so far"),
        tag(
            "p",
            "Lines: the best score up to each evaluated slot. Bands: where nine of ten reorderings of the arm's slots,"
            " drawn with replacement, would lie.",
            class_="quiet",
        ),
    )


def _map(history: History) -> Markup:
    placed: dict[tuple[int, int], list[SlotRow]] = {}
    for row in history.rows:
        if row.cell is not None:
            turnover, holding, exposure, beta, _ = row.cell
            place = (turnover * (len(HOLDING.edges) + 1) + holding, exposure * (len(BETA.edges) + 1) + beta)
            placed.setdefault(place, []).append(row)
    scores = [row.alpha_t for row in history.rows if row.alpha_t is not None]
    worst, best = min([-1.0, *scores]), max([1.0, *scores])
    cells = {}
    for place, rows in placed.items():
        leader = max(rows, key=lambda row: float("-inf") if row.alpha_t is None else row.alpha_t)
        families = ", ".join(
            f"{name} {n}" for name, n in Counter(row.cell[4] for row in rows if row.cell).most_common()
        )
        where = cell_in_words(leader.cell) if leader.cell else ""
        title = f"{where}\n{len(rows)} rules: {families}\nbest {leader.name}, t {_number(leader.alpha_t)}"
        cells[place] = (plots.shade(leader.alpha_t, worst, best), str(len(rows)), title)
    columns = [
        f"{TURNOVER.label(t)} / {HOLDING.label(h)}"
        for t in range(len(TURNOVER.edges) + 1)
        for h in range(len(HOLDING.edges) + 1)
    ]
    names = [
        f"exposure {EXPOSURE.label(e)}, beta {BETA.label(b)}"
        for e in range(len(EXPOSURE.edges) + 1)
        for b in range(len(BETA.edges) + 1)
    ]
    reached = {arm: len({row.cell for row in history.of_arm(arm)} - {None}) for arm in history.arms}
    axes = ", ".join(f"{axis.name} ({axis.unit})" for axis in AXES)
    return _section(
        "Map of what was found",
        plots.grid(columns, names, cells),
        tag(
            "p",
            "Columns are turnover and, within it, bars held; rows are exposure and beta; numbers count rules of all"
            f" families, the colour is the best score of the cell. Axes: {axes}. Cells reached, families apart: ",
            ", ".join(f"{arm} {count}" for arm, count in reached.items()) + ".",
            class_="quiet",
        ),
    )


def _lineage(history: History) -> Markup:
    rows = [row for row in history.rows if row.evaluated and row.alpha_t is not None]
    if not rows:
        return _section("Lineage", tag("p", "Nothing has a score."))
    by_ref = {row.slot_id: row for row in rows}
    leader = max(rows, key=lambda row: row.alpha_t or 0.0)
    strong: set[str] = set()
    waiting = [leader.slot_id]
    while waiting:
        ref = waiting.pop()
        if ref in by_ref and ref not in strong:
            strong.add(ref)
            waiting += by_ref[ref].parents
    dots = [
        plots.Dot(
            row.slot_id,
            float(row.index),
            row.alpha_t or 0.0,
            _colour(row.arm),
            f"slot {row.index}, {row.arm}: {row.name}, t {_number(row.alpha_t)}\nfrom {_parents(row)}",
            row.parents,
            row.slot_id in strong,
        )
        for row in rows
    ]
    return _section(
        "Lineage",
        plots.legend({arm: _colour(arm) for arm in history.arms}),
        plots.lineage(dots, x_name="slot", y_name="t in the open window"),
        tag("p", f"Dark: the best candidate, {leader.name}, and all it comes from.", class_="quiet"),
    )


def _over_time(history: History) -> Markup:
    blocks = sorted({row.block for row in history.rows})
    reached: set[tuple[str, object]] = set()
    counts: dict[int, Counter[str]] = {block: Counter() for block in blocks}
    for row in history.rows:
        kind = _kind(row)
        if row.cell is not None and (row.arm, row.cell) not in reached:
            reached.add((row.arm, row.cell))
            kind = "new, in a new cell"
        counts[row.block][kind] += 1
    parts = {
        kind: (colour, [float(counts[block][kind]) for block in blocks])
        for kind, colour in OUTCOMES.items()
        if any(counts[block][kind] for block in blocks)
    }
    repeated = sum(row.repeated for row in history.rows)
    legal = sum(bool(row.origin) for row in history.rows)
    return _section(
        "Repetitions over time",
        plots.legend({kind: colour for kind, (colour, _) in parts.items()}),
        plots.stacks([str(block) for block in blocks], parts, x_name="block", y_name="slots"),
        tag("p", f"{repeated} of {legal} legal proposals repeated a known rule.", class_="quiet"),
    )


def _cost(history: History) -> Markup:
    if not history.by_purpose:
        return _section("Cost", tag("p", "No model was asked; nothing was spent."))
    priced = history.spend.unpriced == 0
    rows = []
    for purpose, spend in sorted(history.by_purpose.items()):
        words = f"${spend.usd:.4f}" if priced else f"{spend.tokens_in_words}, unpriced"
        rows.append((purpose, spend.usd if priced else float(spend.tokens), "#1f5fa8", words))
    cells = [
        (
            purpose,
            str(spend.calls),
            str(spend.tokens),
            str(spend.reserved_tokens) if spend.reserved_tokens else "–",
            "unpriced" if spend.unpriced == spend.calls else f"{spend.usd:.4f}",
            str(spend.unpriced) if spend.unpriced else "–",
        )
        for purpose, spend in [*sorted(history.by_purpose.items()), ("all", history.spend)]
    ]
    columns = ("purpose", "calls>", "tokens>", "of them reserved>", "USD>", "unpriced calls>")
    note = "Reserved is the most that a call can have used, where no count came back; so are the dollars of such calls."
    return _section(
        "Cost by purpose",
        plots.bars(rows),
        table(columns, cells),
        tag("p", note, class_="quiet") if history.spend.reserved_tokens else "",
    )


def _verdicts(history: History) -> Markup:
    order = {"pass": 0, "underpowered": 1, "fail": 2, "": 3}
    rows = sorted(
        (row for row in history.rows if row.evaluated),
        key=lambda row: (order.get(row.verdict, 3), -(row.alpha_t or 0.0), row.index),
    )
    cells = [
        (
            str(row.index),
            row.name,
            row.arm,
            row.origin,
            tag("span", row.verdict or "not judged", class_=row.verdict or None),
            _number(row.alpha_t),
            _number(row.sharpe),
            _parents(row),
        )
        for row in rows[:SHOWN]
    ]
    more = f"The first {SHOWN} of {len(rows)}." if len(rows) > SHOWN else ""
    columns = ("slot>", "candidate", "arm", "origin", "verdict", "t>", "Sharpe>", "parents")
    return _section("Candidates and verdicts", table(columns, cells), tag("p", more, class_="quiet") if more else "")


def _lessons(history: History) -> Markup:
    if not history.lessons:
        return Markup("")
    cells = [
        (str(block), lesson, ", ".join(slot.rpartition("/")[2] for slot in slots))
        for block, lesson, slots in history.lessons
    ]
    return _section(
        "Lessons that the model wrote", table(("after block>", "lesson, in the model's words", "from slots"), cells)
    )


def _section(title: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), *children)


def _kind(row: SlotRow) -> str:
    if row.evaluated:
        return "new"
    if row.repeated:
        return "repetition"
    return "not legal or no answer" if row.code else "open"


def _class_colour(code: str) -> str:
    return OUTCOMES["repetition" if code in DUPLICATE_CODES else "not legal or no answer"]


def _colour(arm: str) -> str:
    return COLOURS.get(arm, OTHER)


def _parents(row: SlotRow) -> str:
    return ", ".join(f"slot {int(ref.rpartition('/')[2])}" if "/" in ref else ref for ref in row.parents) or "nobody"


def _share(count: int, of: int) -> str:
    return f"{count} ({count / of:.0%})" if of else "–"


def _number(value: float | None) -> str:
    return f"{value:.2f}" if value is not None and isfinite(value) else "–"
