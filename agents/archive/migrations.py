"""Migrations: how the database came to look as it does, as an append-only list of small functions.

A function that has been released is never edited, only followed by the next one. The names applied are recorded in the
database and their number is its `user_version`, so a file from an older release is brought up to date at open, one
transaction a step, after a backup beside it; a file from a newer release is refused by the caller.
"""

from collections.abc import Callable

import sqlalchemy as sa

Migration = Callable[[sa.Connection], None]


def m001_runs(connection: sa.Connection) -> None:
    """Runs, slots, their events, what was proposed, what was called and paid, and the ledger of trials."""
    _execute(
        connection,
        """
        CREATE TABLE runs (
            run_id TEXT PRIMARY KEY, config TEXT NOT NULL, market TEXT NOT NULL, bars_id TEXT NOT NULL,
            split TEXT NOT NULL, seed TEXT NOT NULL, engine_version TEXT NOT NULL, created_at TEXT NOT NULL)
        """,
        """
        CREATE TABLE slots (
            slot_id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs, "index" INTEGER NOT NULL,
            arm TEXT NOT NULL, block INTEGER NOT NULL, UNIQUE (run_id, "index"))
        """,
        """
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL REFERENCES runs,
            slot_id TEXT REFERENCES slots, kind TEXT NOT NULL, code TEXT, data TEXT NOT NULL, at TEXT NOT NULL,
            CHECK ((kind = 'rejected') = (code IS NOT NULL)))
        """,
        "CREATE INDEX events_by_slot ON events (slot_id, seq)",
        "CREATE INDEX events_by_run ON events (run_id, seq)",
        """
        CREATE UNIQUE INDEX one_terminal_event ON events (slot_id)
            WHERE slot_id IS NOT NULL AND kind IN ('gated', 'rejected', 'abandoned')
        """,
        "CREATE UNIQUE INDEX planned_once ON events (slot_id) WHERE kind = 'planned'",
        "CREATE UNIQUE INDEX in_review_once ON events (slot_id) WHERE kind = 'in_review'",
        """
        CREATE TRIGGER events_end_at_terminal BEFORE INSERT ON events
        WHEN NEW.slot_id IS NOT NULL AND EXISTS (
            SELECT 1 FROM events WHERE slot_id = NEW.slot_id AND (
                kind IN ('rejected', 'abandoned') OR (kind = 'gated' AND NEW.kind <> 'in_review')))
        BEGIN SELECT RAISE(ABORT, 'the slot has ended'); END
        """,
        """
        CREATE TABLE proposals (
            slot_id TEXT NOT NULL REFERENCES slots, attempt INTEGER NOT NULL, origin TEXT NOT NULL, template_id TEXT,
            model TEXT, prompt TEXT, reply TEXT, parents TEXT NOT NULL, usage TEXT, cost_usd REAL,
            latency_seconds REAL NOT NULL, at TEXT NOT NULL, PRIMARY KEY (slot_id, attempt))
        """,
        """
        CREATE TABLE candidates (
            slot_id TEXT PRIMARY KEY REFERENCES slots, spec_id TEXT NOT NULL, spec TEXT NOT NULL,
            origin TEXT NOT NULL, repairs INTEGER NOT NULL, at TEXT NOT NULL)
        """,
        "CREATE INDEX candidates_by_spec ON candidates (spec_id)",
        """
        CREATE TABLE evaluations (
            slot_id TEXT PRIMARY KEY REFERENCES candidates, spec_id TEXT NOT NULL, bars_id TEXT NOT NULL,
            evaluation TEXT NOT NULL, at TEXT NOT NULL)
        """,
        """
        CREATE TABLE calls (
            call_id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL REFERENCES runs,
            slot_id TEXT REFERENCES slots, purpose TEXT NOT NULL, attempt INTEGER NOT NULL, payload_id TEXT NOT NULL,
            reserved_usd REAL, reserved_tokens INTEGER NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('reserved', 'settled', 'failed', 'abandoned')),
            reply TEXT, usage TEXT, cost_usd REAL, failure TEXT, at TEXT NOT NULL)
        """,
        "CREATE INDEX calls_by_run ON calls (run_id)",
        """
        CREATE UNIQUE INDEX one_live_call ON calls (slot_id, purpose, attempt)
            WHERE slot_id IS NOT NULL AND status IN ('reserved', 'settled')
        """,
        "CREATE TABLE streams (stream_id TEXT PRIMARY KEY, n_bars INTEGER NOT NULL, data BLOB NOT NULL)",
        """
        CREATE TABLE trials (
            trial_id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT REFERENCES runs, slot_id TEXT REFERENCES slots,
            spec_id TEXT NOT NULL, bars_id TEXT NOT NULL, series TEXT NOT NULL, window_start INTEGER NOT NULL,
            window_stop INTEGER NOT NULL, first_session TEXT NOT NULL, last_session TEXT NOT NULL,
            purpose TEXT NOT NULL, "by" TEXT NOT NULL, metrics TEXT NOT NULL, stream_id TEXT REFERENCES streams,
            at TEXT NOT NULL)
        """,
        "CREATE INDEX trials_by_series ON trials (series, purpose)",
        """
        CREATE UNIQUE INDEX one_look_a_slot ON trials
            (slot_id, spec_id, bars_id, window_start, window_stop, purpose) WHERE slot_id IS NOT NULL
        """,
        """
        CREATE TRIGGER calls_keep_their_end BEFORE UPDATE ON calls WHEN OLD.status <> 'reserved'
        BEGIN SELECT RAISE(ABORT, 'a finished call never changes'); END
        """,
        "CREATE TRIGGER calls_kept BEFORE DELETE ON calls BEGIN SELECT RAISE(ABORT, 'calls is append-only'); END",
    )
    for table in ("runs", "slots", "events", "proposals", "candidates", "evaluations", "streams", "trials"):
        _append_only(connection, table)


def m002_decisions(connection: sa.Connection) -> None:
    """What was judged, reviewed and promoted, and the audit trail."""
    _execute(
        connection,
        """
        CREATE TABLE openings (
            opening_id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT REFERENCES runs, series TEXT NOT NULL,
            first_session TEXT NOT NULL, last_session TEXT NOT NULL, bars_id TEXT NOT NULL,
            nomination_id TEXT NOT NULL, n_nominees INTEGER NOT NULL, n_passed INTEGER, alpha REAL NOT NULL,
            "by" TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('judge', 'shown')), at TEXT NOT NULL)
        """,
        "CREATE UNIQUE INDEX one_opening_a_nomination ON openings (nomination_id) WHERE kind = 'judge'",
        """
        CREATE TRIGGER openings_only_get_an_answer BEFORE UPDATE ON openings
        WHEN OLD.n_passed IS NOT NULL OR NEW.n_passed IS NULL OR NEW.opening_id <> OLD.opening_id
            OR NEW.run_id IS NOT OLD.run_id OR NEW.series <> OLD.series OR NEW.first_session <> OLD.first_session
            OR NEW.last_session <> OLD.last_session OR NEW.bars_id <> OLD.bars_id
            OR NEW.nomination_id <> OLD.nomination_id OR NEW.n_nominees <> OLD.n_nominees OR NEW.alpha <> OLD.alpha
            OR NEW."by" <> OLD."by" OR NEW.kind <> OLD.kind OR NEW.at <> OLD.at
        BEGIN SELECT RAISE(ABORT, 'an opening never changes'); END
        """,
        """
        CREATE TRIGGER openings_kept BEFORE DELETE ON openings
        BEGIN SELECT RAISE(ABORT, 'openings is append-only'); END
        """,
        """
        CREATE TABLE gate_reports (
            report_id TEXT PRIMARY KEY, slot_id TEXT NOT NULL UNIQUE REFERENCES candidates, spec_id TEXT NOT NULL,
            nomination_id TEXT NOT NULL, verdict TEXT NOT NULL, report TEXT NOT NULL, at TEXT NOT NULL)
        """,
        """
        CREATE TRIGGER review_needs_report BEFORE INSERT ON events
        WHEN NEW.kind = 'in_review' AND NOT EXISTS (SELECT 1 FROM gate_reports WHERE slot_id = NEW.slot_id)
        BEGIN SELECT RAISE(ABORT, 'there is no gate report to review'); END
        """,
        "CREATE TABLE sealed_numbers (report_id TEXT PRIMARY KEY REFERENCES gate_reports, numbers TEXT NOT NULL)",
        """
        CREATE TABLE reviews (
            review_id INTEGER PRIMARY KEY AUTOINCREMENT, slot_id TEXT NOT NULL REFERENCES candidates,
            spec_id TEXT NOT NULL, report_id TEXT NOT NULL REFERENCES gate_reports,
            decision TEXT NOT NULL CHECK (decision IN ('approve', 'reject', 'waive', 'defer')),
            reviewer TEXT NOT NULL, reason TEXT NOT NULL, digest TEXT NOT NULL, at TEXT NOT NULL)
        """,
        """
        CREATE UNIQUE INDEX one_final_review ON reviews (report_id) WHERE decision IN ('approve', 'reject', 'waive')
        """,
        """
        CREATE TABLE agents (
            agent_id TEXT PRIMARY KEY, spec_id TEXT NOT NULL, spec TEXT NOT NULL, origin TEXT NOT NULL,
            slot_id TEXT UNIQUE REFERENCES candidates, created_at TEXT NOT NULL)
        """,
        """
        CREATE TABLE transitions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL REFERENCES agents, from_state TEXT,
            to_state TEXT NOT NULL CHECK (to_state IN ('shadow', 'pilot', 'active', 'watch', 'retired')),
            reason TEXT NOT NULL, who TEXT NOT NULL, review_id INTEGER REFERENCES reviews, at TEXT NOT NULL)
        """,
        "CREATE INDEX transitions_by_agent ON transitions (agent_id, seq)",
        """
        CREATE TRIGGER transitions_follow BEFORE INSERT ON transitions
        WHEN NEW.from_state IS NOT
            (SELECT to_state FROM transitions WHERE agent_id = NEW.agent_id ORDER BY seq DESC LIMIT 1)
        BEGIN SELECT RAISE(ABORT, 'the agent is not in that state'); END
        """,
        """
        CREATE TABLE audit (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
            subject TEXT NOT NULL, data TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL UNIQUE)
        """,
    )
    for table in ("gate_reports", "sealed_numbers", "reviews", "agents", "transitions", "audit"):
        _append_only(connection, table)


def m003_probes(connection: sa.Connection) -> None:
    """What model endpoints were seen to do."""
    _execute(
        connection,
        """
        CREATE TABLE probes (
            probe_id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL, model TEXT NOT NULL,
            mode TEXT NOT NULL CHECK (mode IN ('schema', 'json', 'text')), findings TEXT NOT NULL,
            usage TEXT NOT NULL, at TEXT NOT NULL)
        """,
        "CREATE INDEX probes_by_address ON probes (address, probe_id)",
    )
    _append_only(connection, "probes")


def m004_ledger_of_an_opening(connection: sa.Connection) -> None:
    """What the ledger held when a sealed window was opened; older openings hold nothing about it."""
    _execute(
        connection,
        "ALTER TABLE openings ADD COLUMN n_trials INTEGER",
        "ALTER TABLE openings ADD COLUMN ledger_id TEXT NOT NULL DEFAULT ''",
        """
        CREATE TRIGGER openings_keep_their_ledger BEFORE UPDATE ON openings
        WHEN NEW.n_trials IS NOT OLD.n_trials OR NEW.ledger_id <> OLD.ledger_id
        BEGIN SELECT RAISE(ABORT, 'an opening never changes'); END
        """,
    )


MIGRATIONS: tuple[Migration, ...] = (m001_runs, m002_decisions, m003_probes, m004_ledger_of_an_opening)


def _append_only(connection: sa.Connection, table: str) -> None:
    _execute(
        connection,
        *(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ),
    )


def _execute(connection: sa.Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)
