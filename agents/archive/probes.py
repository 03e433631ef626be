"""Probes: what was found out about model endpoints, and when. Only added to; the last one of an address counts."""

import sqlalchemy as sa

from agents.archive import tables
from agents.archive.database import Database, record_of, values_of
from agents.archive.records import ProbeRecord


class Probes(Database):
    """What endpoints were seen to do."""

    def add_probe(self, probe: ProbeRecord) -> None:
        """Keep what a probe found."""
        with self.transaction() as connection:
            values = {**values_of(probe, "probe_id"), "findings": list(probe.findings), "at": self.now()}
            connection.execute(tables.probes.insert(), values)

    def last_probe(self, address: str) -> ProbeRecord | None:
        """The newest probe of this model address, or None."""
        query = (
            sa.select(tables.probes)
            .where(tables.probes.c.address == address)
            .order_by(tables.probes.c.probe_id.desc())
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else record_of(ProbeRecord, row)
