"""Tables: the columns of the database as SQLAlchemy sees them today. How they came to be is in migrations.py.

No constraints stand here: they are in the migrations, in SQL, where the database enforces them. A test holds the two
lists of columns equal.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa


def json_text(value: Any) -> str:
    """`value` as JSON text that any Python value survives: NaN and infinities become null.

    Lone surrogates, which a model's reply may hold and UTF-8 cannot, are escaped; so is NUL.
    """
    text = json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text


def plain(value: Any) -> Any:
    """`value` as it will come back from the database: JSON types only, NaN and infinities None."""
    return json.loads(json_text(value))


def _finite(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int:  # most of what is stored, and the slowest of what is asked below
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class JsonText(sa.types.TypeDecorator[Any]):
    """JSON kept as text; None is SQL NULL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Python value to text."""
        return None if value is None else json_text(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """Text to Python value."""
        return None if value is None else json.loads(value)


METADATA = sa.MetaData()


def _table(name: str, **columns: type[sa.types.TypeEngine[Any]]) -> sa.Table:
    return sa.Table(name, METADATA, *(sa.Column(column, kind) for column, kind in columns.items()))


runs = _table(
    "runs",
    run_id=sa.Text,
    config=JsonText,
    market=sa.Text,
    bars_id=sa.Text,
    split=JsonText,
    # Text: a seed may need all 64 bits, SQLite integers are signed.
    seed=JsonText,
    engine_version=sa.Text,
    created_at=sa.Text,
)
slots = _table("slots", slot_id=sa.Text, run_id=sa.Text, index=sa.Integer, arm=sa.Text, block=sa.Integer)
events = _table(
    "events",
    seq=sa.Integer,
    run_id=sa.Text,
    slot_id=sa.Text,
    kind=sa.Text,
    code=sa.Text,
    data=JsonText,
    at=sa.Text,
)
proposals = _table(
    "proposals",
    slot_id=sa.Text,
    attempt=sa.Integer,
    origin=sa.Text,
    template_id=sa.Text,
    model=sa.Text,
    prompt=JsonText,
    reply=JsonText,
    parents=JsonText,
    usage=JsonText,
    cost_usd=sa.Float,
    latency_seconds=sa.Float,
    at=sa.Text,
)
candidates = _table(
    "candidates", slot_id=sa.Text, spec_id=sa.Text, spec=JsonText, origin=sa.Text, repairs=sa.Integer, at=sa.Text
)
evaluations = _table("evaluations", slot_id=sa.Text, spec_id=sa.Text, bars_id=sa.Text, evaluation=JsonText, at=sa.Text)
calls = _table(
    "calls",
    call_id=sa.Integer,
    run_id=sa.Text,
    slot_id=sa.Text,
    purpose=sa.Text,
    attempt=sa.Integer,
    payload_id=sa.Text,
    reserved_usd=sa.Float,
    reserved_tokens=sa.Integer,
    status=sa.Text,
    reply=JsonText,
    usage=JsonText,
    cost_usd=sa.Float,
    failure=sa.Text,
    at=sa.Text,
)
probes = _table(
    "probes",
    probe_id=sa.Integer,
    address=sa.Text,
    model=sa.Text,
    mode=sa.Text,
    findings=JsonText,
    usage=JsonText,
    at=sa.Text,
)
streams = _table("streams", stream_id=sa.Text, n_bars=sa.Integer, data=sa.LargeBinary)
trials = _table(
    "trials",
    trial_id=sa.Integer,
    run_id=sa.Text,
    slot_id=sa.Text,
    spec_id=sa.Text,
    bars_id=sa.Text,
    series=sa.Text,
    window_start=sa.Integer,
    window_stop=sa.Integer,
    first_session=sa.Text,
    last_session=sa.Text,
    purpose=sa.Text,
    by=sa.Text,
    metrics=JsonText,
    stream_id=sa.Text,
    at=sa.Text,
)
openings = _table(
    "openings",
    opening_id=sa.Integer,
    run_id=sa.Text,
    series=sa.Text,
    first_session=sa.Text,
    last_session=sa.Text,
    bars_id=sa.Text,
    nomination_id=sa.Text,
    n_nominees=sa.Integer,
    n_passed=sa.Integer,
    alpha=sa.Float,
    by=sa.Text,
    kind=sa.Text,
    n_trials=sa.Integer,
    ledger_id=sa.Text,
    at=sa.Text,
)
gate_reports = _table(
    "gate_reports",
    report_id=sa.Text,
    slot_id=sa.Text,
    spec_id=sa.Text,
    nomination_id=sa.Text,
    verdict=sa.Text,
    report=JsonText,
    at=sa.Text,
)
sealed_numbers = _table("sealed_numbers", report_id=sa.Text, numbers=JsonText)
reviews = _table(
    "reviews",
    review_id=sa.Integer,
    slot_id=sa.Text,
    spec_id=sa.Text,
    report_id=sa.Text,
    decision=sa.Text,
    reviewer=sa.Text,
    reason=sa.Text,
    digest=sa.Text,
    at=sa.Text,
)
agents = _table(
    "agents",
    agent_id=sa.Text,
    spec_id=sa.Text,
    spec=JsonText,
    origin=sa.Text,
    slot_id=sa.Text,
    created_at=sa.Text,
)
transitions = _table(
    "transitions",
    seq=sa.Integer,
    agent_id=sa.Text,
    from_state=sa.Text,
    to_state=sa.Text,
    reason=sa.Text,
    who=sa.Text,
    review_id=sa.Integer,
    at=sa.Text,
)
audit = _table(
    "audit",
    seq=sa.Integer,
    at=sa.Text,
    who=sa.Text,
    action=sa.Text,
    subject=sa.Text,
    data=JsonText,
    prev_hash=sa.Text,
    hash=sa.Text,
)
