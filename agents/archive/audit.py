"""Audit trail: who did what to whom and why, each row chained to the one before by SHA-256.

The chain shows tampering, it does not prevent it: whoever may write the file and rewrites every later row is not found
out, except by comparing the last hash with one that was written down elsewhere.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from agents.archive import tables
from agents.archive.database import Database, record_of
from agents.archive.records import AuditBreak, AuditRow

GENESIS = "0" * 64
"""`prev_hash` of the first row."""


class AuditTrail(Database):
    """The append-only list of decisions and of refused attempts."""

    def add_audit(self, who: str, action: str, subject: str, data: Mapping[str, Any]) -> AuditRow:
        """Append a row; in the transaction of the deed, where there is one."""
        with self.transaction() as connection:
            last = connection.execute(
                sa.select(tables.audit.c.seq, tables.audit.c.hash).order_by(tables.audit.c.seq.desc()).limit(1)
            ).one_or_none()
            seq, prev_hash = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
            values: dict[str, Any] = {
                "seq": seq,
                "at": self.now(),
                "who": who,
                "action": action,
                "subject": subject,
                "data": dict(data),
                "prev_hash": prev_hash,
            }
            row = AuditRow(**values, hash=_row_hash(values))
            connection.execute(tables.audit.insert(), {**values, "hash": row.hash})
        return row

    def audit_rows(self, subject: str | None = None) -> tuple[AuditRow, ...]:
        """All rows, or those about one subject, oldest first."""
        query = sa.select(tables.audit).order_by(tables.audit.c.seq)
        if subject is not None:
            query = query.where(tables.audit.c.subject == subject)
        with self._reading() as connection:
            return tuple(record_of(AuditRow, row) for row in connection.execute(query))

    def verify_audit(self) -> AuditBreak | None:
        """The first row at which the chain does not hold, or None. Also finds rows cut off at the end."""
        prev_hash, expected = GENESIS, 1
        for row in self.audit_rows():
            if row.seq != expected:
                return AuditBreak(expected, f"row {expected} is missing")
            if row.prev_hash != prev_hash:
                return AuditBreak(row.seq, f"row {row.seq} does not follow row {row.seq - 1}")
            values = {
                name: getattr(row, name) for name in ("seq", "at", "who", "action", "subject", "data", "prev_hash")
            }
            if _row_hash(values) != row.hash:
                return AuditBreak(row.seq, f"row {row.seq} was changed after it was written")
            prev_hash, expected = row.hash, row.seq + 1
        with self._reading() as connection:
            # SQLite remembers the highest number it ever gave out.
            highest = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").scalar() or 0
        if highest >= expected:
            return AuditBreak(expected, f"row {expected} is missing, {highest} were written")
        return None


def _row_hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(tables.json_text(dict(values)).encode("utf-8")).hexdigest()
