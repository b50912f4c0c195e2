"""A standby that receives what its primary writes and does not apply it; a proxy that knows what plans depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.client import Client
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess
from harness.wait import until

__all__ = ["await_catalog", "counts", "paused_replay"]


def counts(proxy: HeliosProcess) -> dict[str, Any]:
    """What the proxy tells of transactions that it ran again."""
    found: dict[str, Any] = proxy.json("/api/tr")
    return found


def await_catalog(proxy: HeliosProcess) -> None:
    """Wait until it knows which columns of its only database sequences fill, for which a statement must have asked."""

    def is_known() -> bool:
        return "heliosproxy_catalog_databases 1.0" in proxy.get("/metrics", accept="text/plain")[1]

    until(is_known, "a catalog", 60)


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
