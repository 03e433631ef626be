"""Records: what the archive keeps, as frozen JSON-able data; and the fixed words that it keeps them under.

A record never computes anything about the market and holds no object of the strategy language: specs, evaluations and
gate reports are plain JSON here, so that the archive can be read by a program that knows nothing of the rest.
The choice that surprises: no record says where a slot stands. Its state is read off its last event, an agent's off its
last transition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from backtesting.errors import CheckFailed

Json = Mapping[str, Any]

Origin = Literal["llm", "repaired", "random", "evolved", "human"]
ORIGINS: tuple[str, ...] = ("llm", "repaired", "random", "evolved", "human")

SLOT_EVENTS: tuple[str, ...] = (
    "planned",
    "prompted",
    "responded",
    "valid",
    "evaluated",
    "gated",
    "in_review",
    "rejected",
    "abandoned",
)
TERMINAL_EVENTS: tuple[str, ...] = ("gated", "rejected", "abandoned")
"""A slot ends in exactly one of these; the database enforces it. Only `in_review` may follow, and only `gated`."""

RUN_EVENTS: tuple[str, ...] = ("started", "resumed", "stopped", "reflected", "forked", "finished")

REJECTION_CODES: tuple[str, ...] = (
    "transport",
    "rate_limited",
    "quota",
    "timeout",
    "refusal",
    "content_filter",
    "truncated",
    "protocol",
    "empty_reply",
    "not_json",
    "schema",
    "semantics",
    "duplicate_exact",
    "duplicate_structure",
    "duplicate_behaviour",
    "not_better",
    "eval_error",
    "budget",
    "llm_error",
    "no_submission",
)

CALL_STATUSES: tuple[str, ...] = ("reserved", "settled", "failed", "abandoned")

DECISIONS: tuple[str, ...] = ("approve", "reject", "waive", "defer")
FINAL_DECISIONS: tuple[str, ...] = ("approve", "reject", "waive")

AGENT_STATES: tuple[str, ...] = ("shadow", "pilot", "active", "watch", "retired")


@dataclass(frozen=True)
class RunRecord:
    """One run of the loop, written before its first call.

    Attributes:
        config: everything that a resumed run must agree with (arms, prompts, model, budget, ...).
        market: the market address; bars_id: the content id of its prices.
        split: `Split.as_dict()`.
        engine_version: version of the code that judges; reviews are bound to it.
        created_at: UTC ISO-8601; empty until stored, then set by the archive's clock.
    """

    run_id: str
    config: Json
    market: str
    bars_id: str
    split: Json
    seed: int
    engine_version: str
    created_at: str = ""


@dataclass(frozen=True)
class Slot:
    """One planned proposal of a run. All randomness of a slot derives from the run's seed and its `slot_id`."""

    run_id: str
    index: int
    arm: str
    block: int

    @property
    def slot_id(self) -> str:
        """The slot's name everywhere: `RUN/0007`."""
        return f"{self.run_id}/{self.index:04d}"


@dataclass(frozen=True)
class SlotEvent:
    """One step of a slot, or of the run itself (`slot_id` None). `code` is a rejection code, or None."""

    seq: int
    run_id: str
    slot_id: str | None
    kind: str
    code: str | None
    data: Json
    at: str


@dataclass(frozen=True)
class Rejection:
    """Saying no as a value: the next prompt and the reviewer read it.

    Attributes:
        stage: where it ended (`extraction`, `validation`, `novelty`, `evaluation`, `call`, ...).
        code: one of REJECTION_CODES.
        reason: one sentence.
        detail: what a machine can use (errors with paths, the twin's id, ...).
    """

    stage: str
    code: str
    reason: str
    detail: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in REJECTION_CODES:
            raise ValueError(f"unknown rejection code {self.code!r}; known: {', '.join(REJECTION_CODES)}")

    def as_dict(self) -> dict[str, Any]:
        """The rejection as JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Proposal:
    """What was asked and what came back, stored before it is judged. One a slot and attempt: 0, then the repairs.

    Attributes:
        prompt: the rendered messages, or None for a proposal that no model made.
        reply: the raw text, or None.
        parents: spec ids.
        usage: tokens as the endpoint reported them, or None.
        cost_usd: None means unpriced, never free.
        latency_seconds: wall time of the call; 0 where there was none.
    """

    slot_id: str
    attempt: int
    origin: str
    template_id: str | None = None
    model: str | None = None
    prompt: Sequence[Json] | None = None
    reply: str | None = None
    parents: Sequence[str] = ()
    usage: Json | None = None
    cost_usd: float | None = None
    latency_seconds: float = 0.0
    at: str = ""


@dataclass(frozen=True)
class Candidate:
    """A valid spec and where it came from; one a slot. `spec` is JSON, its `spec_id` is the language's."""

    slot_id: str
    spec_id: str
    spec: Json
    origin: str
    repairs: int = 0

    @property
    def name(self) -> str:
        """The spec's name, for people."""
        return str(self.spec.get("name", self.spec_id))


@dataclass(frozen=True)
class Call:
    """One paid call in the spend ledger.

    Attributes:
        reserved_usd: the worst case in US dollars; None where the model's price is not known.
        cost_usd: what it cost; None until settled, and for ever where unpriced.
        reply: the raw body as it came, kept before anything reads it.
        failure: why it failed, or None.
    """

    call_id: int
    run_id: str
    slot_id: str | None
    purpose: str
    attempt: int
    payload_id: str
    reserved_usd: float | None
    reserved_tokens: int
    status: str
    reply: str | None
    usage: Json | None
    cost_usd: float | None
    failure: str | None
    at: str


@dataclass(frozen=True)
class Spend:
    """What a run has spent. Open, failed and abandoned calls count with what was reserved unless a cost is known.

    Attributes:
        usd: of all priced calls.
        tokens: input and output, reported or else reserved.
        calls: all of them, whatever became of them.
        unpriced: calls without a price; their tokens count, their dollars are unknown.
        free: calls that brought a reply for nothing: no token, no dollar; recorded ones, and those of a person.
        reserved_tokens: those of `tokens` that nobody counted: what was reserved for calls without a usage.
    """

    usd: float
    tokens: int
    calls: int
    unpriced: int
    free: int = 0
    reserved_tokens: int = 0

    @property
    def tokens_in_words(self) -> str:
        """The tokens, and how many of them are only the most that they can have been."""
        if not self.reserved_tokens:
            return f"{self.tokens} tokens"
        part = "" if self.reserved_tokens == self.tokens else f"{self.reserved_tokens} of them "
        return f"{self.tokens} tokens ({part}reserved, not counted)"

    @property
    def in_words(self) -> str:
        """Tokens, calls and dollars; what has no price is never a sum of dollars."""
        calls = f"{self.calls} call{'' if self.calls == 1 else 's'}"
        if self.calls and self.unpriced == self.calls:
            money = "unpriced"
        else:
            money = f"${self.usd:.4f}" + (f" and {self.unpriced} unpriced" if self.unpriced else "")
        return f"{self.tokens_in_words} in {calls}, {money}"

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(
            self.usd + other.usd,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.unpriced + other.unpriced,
            self.free + other.free,
            self.reserved_tokens + other.reserved_tokens,
        )


@dataclass(frozen=True)
class ProbeRecord:
    """What a probe found out about a model endpoint.

    Attributes:
        address: the model address that was asked; model: as the server names it.
        mode: the strictest way of asking for a form that the endpoint keeps (`schema`, `json`, `text`).
        findings: name, answer (`yes`, `no`, `unknown`) and what was seen, each.
        usage: tokens that the probe took, as far as they were counted.
    """

    address: str
    model: str
    mode: str
    findings: Sequence[Json]
    usage: Json
    probe_id: int = 0
    at: str = ""


@dataclass(frozen=True)
class Trial:
    """One look of one rule at one data window; counted for ever.

    Attributes:
        run_id, slot_id: None for looks outside a run.
        series: see `series_key`.
        window_start, window_stop: bar numbers; first_session, last_session: the dates, ISO.
        purpose: `open`, `sealed`, `backtest`, ...
        by: the arm, model or person that looked.
        metrics: by name, NaN stored as null.
    """

    spec_id: str
    bars_id: str
    series: str
    window_start: int
    window_stop: int
    first_session: str
    last_session: str
    purpose: str
    by: str
    metrics: Json
    run_id: str | None = None
    slot_id: str | None = None
    stream_id: str | None = None
    trial_id: int = 0
    at: str = ""


@dataclass(frozen=True)
class SealedOpening:
    """The sealed window was looked at: judged (`judge`), or its numbers were shown to somebody (`shown`).

    Attributes:
        series: see `series_key`; first_session, last_session: the range that was opened, ISO dates.
        nomination_id: what was judged; n_nominees of them.
        n_passed: None until the verdicts are in. An opening without an answer is still an opening.
        alpha: what was spent.
        n_trials: looks at the series before it, part of what was nominated; None in rows of earlier releases.
        ledger_id: content id of all trials before it, so that one that was changed later shows; empty likewise.
    """

    run_id: str | None
    series: str
    first_session: str
    last_session: str
    bars_id: str
    nomination_id: str
    n_nominees: int
    alpha: float
    by: str
    n_passed: int | None = None
    kind: Literal["judge", "shown"] = "judge"
    n_trials: int | None = None
    ledger_id: str = ""
    opening_id: int = 0
    at: str = ""


@dataclass(frozen=True)
class StoredReport:
    """A gate report as kept. `report_id` is the content id of slot, spec and report: a changed row shows."""

    report_id: str
    slot_id: str
    spec_id: str
    nomination_id: str
    verdict: str
    report: Json
    at: str


@dataclass(frozen=True)
class Review:
    """Who decided what about a candidate, and why; bound to the digest of spec, evidence, data and code."""

    slot_id: str
    spec_id: str
    report_id: str
    decision: str
    reviewer: str
    reason: str
    digest: str
    review_id: int = 0
    at: str = ""


@dataclass(frozen=True)
class ReviewItem:
    """One line of the review queue: a candidate, its report, and what was decided so far (None or `defer`: open)."""

    candidate: Candidate
    report: StoredReport
    review: Review | None

    @property
    def decision(self) -> str | None:
        """What was decided last, or None."""
        return self.review.decision if self.review else None


@dataclass(frozen=True)
class Transition:
    """One change of an agent's state; `from_state` is None when it enters the registry."""

    agent_id: str
    from_state: str | None
    to_state: str
    reason: str
    who: str
    review_id: int | None = None
    seq: int = 0
    at: str = ""


@dataclass(frozen=True)
class AgentRecord:
    """An agent in the registry. `agent_id` is its unique name, `slot_id` the candidate it was, None if shipped."""

    agent_id: str
    spec_id: str
    spec: Json
    origin: str
    slot_id: str | None
    created_at: str
    state: str


@dataclass(frozen=True)
class Promotion:
    """Candidate, evaluation, gate report and review together; cannot be built unless they belong together and say yes.

    Attributes:
        evaluation: of the open window, as JSON.
        digest: what the review must be bound to, recomputed from what is stored now.
        replaces: the agent whose place it takes, which retires with it; empty if it joins the others.

    Raises:
        CheckFailed: the report is no pass for this, the review is no approval, or one of them is about something else.
    """

    candidate: Candidate
    evaluation: Json
    report: StoredReport
    review: Review
    digest: str
    who: str
    replaces: str = ""

    def __post_init__(self) -> None:
        name = self.candidate.name
        about_one_slot = self.candidate.slot_id == self.report.slot_id == self.review.slot_id
        about_one_spec = self.candidate.spec_id == self.report.spec_id == self.review.spec_id
        if not (about_one_slot and about_one_spec and self.review.report_id == self.report.report_id):
            raise CheckFailed(
                f"{name}: candidate, gate report and review are about different things",
                next_step="review the candidate again",
            )
        if self.report.verdict != "pass":
            raise CheckFailed(
                f"{name} cannot be promoted, its verdict is {self.report.verdict!r}",
                next_step="a reviewer may send it to paper trading with `touchstone review approve --waive`",
            )
        joins, places = passed_claims(self.report.report)
        if self.replaces and self.replaces not in places:
            raise CheckFailed(
                f"{name} cannot take the place of {self.replaces}: it passed to"
                f" {' and '.join([*(['be added to the book'] if joins else []), *(f'replace {p}' for p in places)])}",
                next_step=f"promote it for what it passed, or test that: touchstone evolve --replace {self.replaces}",
            )
        if not self.replaces and not joins:
            raise CheckFailed(
                f"{name} cannot join the others: it passed to replace {', '.join(places)}, not to be added to the book",
                next_step=f"promote it in that place: touchstone agents promote {name} --replace {places[0]}",
            )
        if self.review.decision != "approve":
            raise CheckFailed(
                f"{name} cannot be promoted, the review says {self.review.decision!r}",
                next_step=f"approve it first: touchstone review approve {self.candidate.slot_id}",
            )
        if self.review.digest != self.digest:
            raise CheckFailed(
                f"the approval of {name} is stale: spec, evidence, data or code changed since",
                next_step="run the loop again and review the new evidence",
            )


def passed_claims(report: Json) -> tuple[bool, tuple[str, ...]]:
    """What a passing gate report is a pass for: whether to join the book, and whose places it may take."""
    claims = report.get("claims") or []
    if not claims:
        return report.get("verdict") == "pass", ()
    passed = [claim for claim in claims if claim["verdict"] == "pass"]
    places = tuple(str(claim["incumbent"]) for claim in passed if claim["claim"] == "replace")
    return any(claim["claim"] == "add" for claim in passed), places


@dataclass(frozen=True)
class AuditRow:
    """One link of the hash chain: `hash` is SHA-256 over all other fields, `prev_hash` the one before."""

    seq: int
    at: str
    who: str
    action: str
    subject: str
    data: Json
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class AuditBreak:
    """The first row at which the audit trail does not hold, and why."""

    seq: int
    reason: str


def series_key(symbols: Sequence[str]) -> str:
    """The name under which looks at the same instruments are counted together, whatever source they came from."""
    return ",".join(sorted(symbols))
