"""A standby that receives what its primary writes and does not apply it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.client import Client
from harness.postgres import PostgresCluster, superuser_of
from harness.wait import until

__all__ = ["paused_replay"]


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
