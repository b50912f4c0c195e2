"""A standby that receives what its primary writes and does not apply it; a proxy that knows what plans depend on; a
session that loses its server, and is made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.client import Client
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess
from harness.wait import until

__all__ = ["await_catalog", "await_replay", "await_sessions", "counts", "end_server", "paused_replay"]

PATIENCE = 60


def counts(proxy: HeliosProcess) -> dict[str, Any]:
    """What the proxy tells of transactions that it ran again."""
    found: dict[str, Any] = proxy.json("/api/tr")
    return found


def await_catalog(proxy: HeliosProcess) -> None:
    """Wait until it knows which columns of its only database sequences fill, for which a statement must have asked."""

    def is_known() -> bool:
        return "heliosproxy_catalog_databases 1.0" in proxy.get("/metrics", accept="text/plain")[1]

    until(is_known, "a catalog", 60)


def await_sessions(proxy: HeliosProcess, number: int) -> None:
    """Wait until so many sessions have been made again, one way or the other."""
    until(lambda: counts(proxy)["sessions"] >= number, "the session to be made again", PATIENCE)


def end_server(postgres: PostgresCluster, application_name: str) -> None:
    """End the server processes of the clients of this name, and wait until they are gone."""
    of = f"from pg_stat_activity where application_name = '{application_name}' and backend_type = 'client backend'"
    pids = until(lambda: postgres.value(f"select string_agg(pid::text, ',') {of}"), "somebody to kill", PATIENCE)
    postgres.value(f"select count(pg_terminate_backend(pid)) {of}")
    left = f"select count(*) from pg_stat_activity where pid in ({pids})"
    until(lambda: postgres.value(left) == "0", "its end", PATIENCE)


def await_replay(postgres: PostgresCluster) -> None:
    """Wait until the cluster's standby has applied all that is on the primary's disk."""
    assert postgres.standby is not None
    # Not where the next record will be, which at the end of a page is further than any standby gets.
    flushed = postgres.value("select pg_current_wal_flush_lsn()")
    with Client(superuser_of(postgres.standby)) as admin:
        has = f"select pg_last_wal_replay_lsn() >= '{flushed}'"
        until(lambda: admin.value(has) == "t", "the standby to have it all", PATIENCE)


@contextmanager
def paused_replay(postgres: PostgresCluster) -> Iterator[None]:
    """Stop the replay of the cluster's standby meanwhile."""
    assert postgres.standby is not None
    with Client(superuser_of(postgres.standby)) as admin:
        admin.query("select pg_wal_replay_pause()")
        until(lambda: admin.value("select pg_get_wal_replay_pause_state()") == "paused", "replay to stop")
        try:
            yield
        finally:
            admin.query("select pg_wal_replay_resume()")
