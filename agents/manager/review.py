"""Review: a person decides about a candidate, once, with a reason, on evidence that is still the evidence.

A refused attempt is an answer too: it raises, and leaves a row in the audit trail. No model can decide here, and
nothing here computes a number. Not done yet: a second reviewer, a reservation while somebody reads, and the identity of
the reviewer, who is whoever the caller says.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from agents.archive.records import DECISIONS, Review, ReviewItem
from agents.archive.store import Archive
from backtesting.errors import CheckFailed
from backtesting.hashing import content_id

MIN_REASON = 15
"""Characters of a reason, white space at the ends not counted."""

MIN_REF = 4
"""Characters of an id that may stand for the whole: fewer would name a candidate by accident."""


def review_digest(spec_id: str, gate_report: Mapping[str, Any], bars_id: str, code_version: str) -> str:
    """What an approval is bound to: the rule, its evidence, the data and the code that judged."""
    return content_id(
        {"spec_id": spec_id, "gate_report": dict(gate_report), "bars_id": bars_id, "code_version": code_version}
    )


def digest_of(archive: Archive, item: ReviewItem, code_version: str) -> str:
    """The digest of a queued item as it is stored now, under the code that runs now; a review page shows it."""
    run = archive.run(item.candidate.slot_id.rpartition("/")[0])
    return review_digest(item.candidate.spec_id, item.report.report, run.bars_id, code_version)


def find_item(archive: Archive, ref: str) -> ReviewItem:
    """The queued candidate that `ref` names: slot id, spec id, name, or a part of an id if that is unambiguous.

    Raises:
        CheckFailed: nobody, or several; the sentence says who was meant.
    """
    items = archive.review_queue(decided=True)
    exact = [item for item in items if ref in (item.candidate.slot_id, item.candidate.spec_id, item.candidate.name)]
    found = exact or [
        item for item in items if len(ref) >= MIN_REF and ref in f"{item.candidate.slot_id}\n{item.candidate.spec_id}"
    ]
    if len(found) > 1:
        # The same name in two runs: only one of them may still be open.
        waiting = [item for item in found if item.decision in (None, "defer")]
        found = waiting if len(waiting) == 1 else found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(item.candidate.slot_id for item in found[:5])
        raise CheckFailed(f"{ref!r} names {len(found)} candidates: {names}", next_step="give the slot id of one")
    known = [text for item in items for text in (item.candidate.slot_id, item.candidate.name)]
    near = get_close_matches(ref, known, n=1)
    raise CheckFailed(
        f"no candidate {ref!r} is up for review" + (f"; did you mean {near[0]!r}?" if near else ""),
        next_step="see `touchstone review list`",
    )


def decide(
    archive: Archive,
    ref: str,
    decision: str,
    *,
    reviewer: str,
    reason: str,
    code_version: str,
    digest: str | None = None,
) -> Review:
    """Decide about a candidate and keep the decision.

    Args:
        ref: see `find_item`.
        decision: `approve` (only what passed the gate; `promote` then makes it an agent), `reject`, `defer`, or
            `waive`: what did not pass becomes an agent in `shadow`, paper trading without capital; no promotion.
        reason: at least MIN_REASON characters.
        code_version: of the code that runs now.
        digest: what the reviewer was shown, see `digest_of`; None if nothing was shown.

    Raises:
        CheckFailed: refused, with the reason; the attempt is in the audit trail.
    """
    try:
        with archive.transaction():
            item = find_item(archive, ref)
            _check_words(decision, reviewer, reason)
            _check_evidence(archive, item, code_version, digest)
            _check_decision(item, decision)
            review = archive.add_review(
                Review(
                    slot_id=item.candidate.slot_id,
                    spec_id=item.candidate.spec_id,
                    report_id=item.report.report_id,
                    decision=decision,
                    reviewer=reviewer.strip(),
                    reason=reason.strip(),
                    digest=digest_of(archive, item, code_version),
                )
            )
            if decision == "waive":
                archive.add_agent(
                    item.candidate.name,
                    item.candidate.spec_id,
                    item.candidate.spec,
                    origin=item.candidate.origin,
                    state="shadow",
                    who=review.reviewer,
                    reason=f"waiver of a verdict {item.report.verdict!r}: {review.reason}",
                    slot_id=item.candidate.slot_id,
                    review_id=review.review_id,
                )
    except CheckFailed as refusal:
        archive.add_audit(
            reviewer.strip() or "nobody",
            "review.refused",
            ref,
            {"decision": decision, "reason": reason, "why": refusal.what},
        )
        raise
    return review


def _check_words(decision: str, reviewer: str, reason: str) -> None:
    if decision not in DECISIONS:
        near = get_close_matches(decision, DECISIONS, n=1)
        raise CheckFailed(
            f"{decision!r} is no decision" + (f"; did you mean {near[0]!r}?" if near else ""),
            next_step=f"choose one of {', '.join(DECISIONS)}",
        )
    if not reviewer.strip():
        raise CheckFailed("a review needs the name of the reviewer", next_step="give it with --reviewer")
    if len(reason.strip()) < MIN_REASON:
        raise CheckFailed(
            f"the reason has {len(reason.strip())} characters, a review needs {MIN_REASON}",
            next_step="say with --reason what convinced you, for whoever reads this in a year",
        )


def _check_evidence(archive: Archive, item: ReviewItem, code_version: str, digest: str | None) -> None:
    run = archive.run(item.candidate.slot_id.rpartition("/")[0])
    stale = None
    if not archive.check_report(item):
        stale = "spec or gate report were changed after the judgement"
    elif run.engine_version != code_version:
        stale = f"it was judged by version {run.engine_version}, this is {code_version}"
    elif digest is not None and digest != digest_of(archive, item, code_version):
        stale = "it is not what was shown"
    if stale is not None:
        raise CheckFailed(
            f"the evidence on {item.candidate.name} is stale: {stale}",
            next_step="look at it again, or run the loop again for new evidence",
        )


def _check_decision(item: ReviewItem, decision: str) -> None:
    name, verdict = item.candidate.name, item.report.verdict
    if item.review is not None and item.review.decision != "defer":
        raise CheckFailed(
            f"{name} was decided already: {item.review.decision} by {item.review.reviewer} on {item.review.at[:10]}",
            next_step=f"see `touchstone review show {item.candidate.slot_id}`",
        )
    if decision == "approve" and verdict != "pass":
        raise CheckFailed(
            f"{name} cannot be approved, its verdict is {verdict!r}",
            next_step=f"reject it, or send it to paper: touchstone review approve {item.candidate.slot_id} --waive",
        )
    if decision == "waive" and verdict == "pass":
        raise CheckFailed(
            f"{name} passed the gate and needs no waiver",
            next_step=f"approve it: touchstone review approve {item.candidate.slot_id}",
        )
