"""Archive: the one object that keeps what happened. It writes records down and gives them back; it judges nothing.

It is one object over several nouns (runs, ledger, probes, verdicts, audit trail; a file each) because one transaction
may span them:

    with archive.transaction():
        archive.put_gate_report(slot_id, nomination_id=..., report=...)
        archive.append_event(slot_id, "gated")

Every method outside such a block is a transaction of its own, and is on the disk when it returns.
"""

from agents.archive.ledger import Ledger
from agents.archive.probes import Probes
from agents.archive.runs import RunStore
from agents.archive.verdicts import Verdicts


class Archive(RunStore, Ledger, Probes, Verdicts):
    """What happened, forever. `Archive.open(path, create=True)`, or `Archive.in_memory()` for a trial."""
