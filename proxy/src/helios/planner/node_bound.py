"""What of PostgreSQL's own must be asked of the primary: functions and relations of pg_catalog. Called by `effects`.

Two reasons: a standby refuses it, or answers of itself what the client asks of the one server that it believes to talk
to. A test calls them on a standby (`e2e/behaviour/test_read_proof.py`). Of functions an allow-list holds for volatile
ones and a list of exceptions for the others; a name that PostgreSQL adds with its next release is therefore kept on the
primary if it is volatile.
"""

from __future__ import annotations

from helios.planner.builtin import builtin_names

__all__ = ["function_reason", "is_own_relation", "relation_reason"]

_ANYWHERE = frozenset(
    {
        # Values that no row depends on.
        *("random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "array_sample", "array_shuffle"),
        *("clock_timestamp", "timeofday", "current_query", "pg_sleep", "pg_sleep_for", "pg_sleep_until"),
        # Of what a standby has a copy.
        *("pg_relation_size", "pg_table_size", "pg_indexes_size", "pg_total_relation_size", "pg_database_size"),
        *("pg_tablespace_size", "pg_partition_tree", "pg_partition_ancestors", "pg_sequence_last_value", "lo_get"),
        *("pg_collation_actual_version", "pg_database_collation_actual_version", "pg_jit_available"),
        # Sampling methods.
        *("bernoulli", "system"),
    }
)
"""Volatile functions that a standby answers as well as the primary."""

_TRANSACTION = "tells of the primary's transactions"
_CONNECTION = "tells of the server that it runs on"
_STATISTICS = "tells what the server that it runs on has done"

_AT_HOME: dict[str, str] = {
    "pg_current_xact_id": _TRANSACTION,
    "pg_current_xact_id_if_assigned": _TRANSACTION,
    "pg_current_snapshot": _TRANSACTION,
    "txid_current": _TRANSACTION,
    "txid_current_if_assigned": _TRANSACTION,
    "txid_current_snapshot": _TRANSACTION,
    "pg_backend_pid": _CONNECTION,
    "pg_conf_load_time": _CONNECTION,
    "pg_postmaster_start_time": _CONNECTION,
    "inet_server_addr": _CONNECTION,
    "inet_server_port": _CONNECTION,
    "pg_show_all_settings": _CONNECTION,
    "pg_get_replication_slots": _CONNECTION,
    "pg_replication_origin_oid": _CONNECTION,
    "pg_listening_channels": "tells of the session",
    "pg_my_temp_schema": "tells of the session",
    "pg_is_other_temp_schema": "tells of the session",
    "pg_prepared_statement": "tells of the session",
    "pg_cursor": "tells of the session",
}
"""Functions that are not volatile and are asked of the primary all the same."""

_MONITORING = frozenset(
    {
        *("pg_locks", "pg_settings", "pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_config"),
        *("pg_cursors", "pg_prepared_statements", "pg_prepared_xacts", "pg_replication_slots", "pg_wait_events"),
        *("pg_replication_origin_status", "pg_shmem_allocations", "pg_shmem_allocations_numa", "pg_aios"),
        *("pg_backend_memory_contexts",),
    }
)
"""Views over the state of a server, beside those whose names begin with pg_stat."""

_REPLICATED = frozenset(
    {
        *("pg_statistic", "pg_statistic_ext", "pg_statistic_ext_data"),
        *("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"),
    }
)
"""What begins with pg_stat and is the planner's knowledge of tables, the same everywhere."""


def function_reason(name: str) -> str | None:
    """Why a built-in function must be called on the primary, as the end of a sentence; None where it need not."""
    if name in _AT_HOME:
        return _AT_HOME[name]
    if name.startswith("pg_stat_get_"):
        return _STATISTICS
    if builtin_names().get(name) == "v" and name not in _ANYWHERE:
        return "changes something, or tells of the server that it runs on"
    return None


def relation_reason(name: str) -> str | None:
    """Why a relation of pg_catalog must be read on the primary; None where it need not."""
    if name in _MONITORING or (name.startswith("pg_stat") and name not in _REPLICATED):
        return _STATISTICS
    return None


def is_own_relation(name: tuple[str, ...]) -> bool:
    """Whether a name is that of a relation that comes with PostgreSQL: what a plan knows of it without a catalog."""
    return name[0] in ("pg_catalog", "information_schema") if len(name) > 1 else name[0].startswith("pg_")
