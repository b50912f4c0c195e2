"""PostgreSQL's own functions: which names they have, and the few that leave something in the session.

`builtin_functions.txt` lists the names of `pg_catalog` in PostgreSQL 18, one a line, each with the volatility of its
most volatile overload (`i`, `s`, `v` as in pg_proc.provolatile). A test compares it with the running server;
`proxy/tests/write_builtin_functions.py` writes it anew.

Looked at and left out, because nothing that another client could notice outlives the transaction: pg_notify,
pg_export_snapshot and advisory locks named `_xact_`; descriptors of large objects (lo_open, lo_creat); cursor_to_xml,
whose cursor was planned when it was declared; pg_stat_clear_snapshot. And because pooling by transaction does not
promise it to anybody: the session's memory of sequences (nextval and setval for currval and lastval) and the seed of
random() (setseed). binary_upgrade_* work only in a server started for pg_upgrade.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from helios.planner.plan import Effect

__all__ = ["MUTABLE_FUNCTIONS", "SESSION_FUNCTIONS", "builtin_names"]

_LOCK = (Effect.ADVISORY, "keeps a lock after the transaction")
_UNLOCK = (Effect.RELEASE, "releases a lock of the session")
_RUNS_TEXT = (Effect.UNKNOWN, "runs a statement given as text")
_SLOT = (Effect.UNKNOWN, "may make a temporary replication slot, which belongs to the session")
_ORIGIN = (Effect.UNKNOWN, "changes the session's replication origin")
_BACKUP = (Effect.UNKNOWN, "begins or ends a backup, which belongs to the session")

SESSION_FUNCTIONS: dict[str, tuple[Effect, str]] = {
    # Section 9.28.1, configuration settings. `effects` looks at is_local as well.
    "set_config": (Effect.SETTINGS, "sets a setting beyond the transaction"),
    # Section 9.28.10, advisory locks.
    "pg_advisory_lock": _LOCK,
    "pg_advisory_lock_shared": _LOCK,
    "pg_try_advisory_lock": _LOCK,
    "pg_try_advisory_lock_shared": _LOCK,
    "pg_advisory_unlock": _UNLOCK,
    "pg_advisory_unlock_shared": _UNLOCK,
    "pg_advisory_unlock_all": _UNLOCK,
    # Section 9.15.4, mapping tables to XML: the functions with `query text`.
    "query_to_xml": _RUNS_TEXT,
    "query_to_xmlschema": _RUNS_TEXT,
    "query_to_xml_and_xmlschema": _RUNS_TEXT,
    # Section 12.4, text search: statistics and rewriting by a query given as text.
    "ts_stat": _RUNS_TEXT,
    "ts_rewrite": _RUNS_TEXT,
    # Section 9.28.6, replication management; DISCARD ALL takes none of these back.
    "pg_create_physical_replication_slot": _SLOT,
    "pg_create_logical_replication_slot": _SLOT,
    "pg_copy_physical_replication_slot": _SLOT,
    "pg_copy_logical_replication_slot": _SLOT,
    "pg_sync_replication_slots": _SLOT,
    "pg_replication_origin_session_setup": _ORIGIN,
    "pg_replication_origin_session_reset": _ORIGIN,
    "pg_replication_origin_xact_setup": _ORIGIN,
    "pg_replication_origin_xact_reset": _ORIGIN,
    # Section 9.28.3, backup control: the connection must stay until pg_backup_stop().
    "pg_backup_start": _BACKUP,
    "pg_backup_stop": _BACKUP,
}
"""Function → effect, and what it does as the end of a sentence. Sections are those of PostgreSQL 18's manual."""


MUTABLE_FUNCTIONS = frozenset(
    {
        *("random", "random_normal", "array_sample", "array_shuffle"),
        *("gen_random_uuid", "uuidv4", "uuidv7"),
        *("clock_timestamp", "statement_timestamp", "timeofday"),
        *("pg_current_xact_id", "pg_current_xact_id_if_assigned", "txid_current", "txid_current_if_assigned"),
        *("pg_current_snapshot", "txid_current_snapshot", "pg_backend_pid"),
        *("pg_current_wal_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_flush_lsn"),
    }
)
"""Functions whose values are others when the same transaction is run again. Without those of sequences, which have
rules of their own, and the time at which the transaction began, which is one for all of it."""


@cache
def builtin_names() -> Mapping[str, str]:
    """Names of all functions, procedures and aggregates of pg_catalog, each with its volatility."""
    text = files(__package__).joinpath("builtin_functions.txt").read_text(encoding="utf-8")
    return dict(line.split() for line in text.splitlines())
