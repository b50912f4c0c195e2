"""A primary with two streaming standbys, the first of them synchronous, that tests break and mend.

Called by the failover tests and by `e2e/campaigns`; hands on `ReplicatedCluster`.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from harness.client import Client, Target
from harness.postgres import APP, DATABASE, HBA, MONITOR, PASSWORDS, PostgresCluster, populate, superuser_of
from harness.wait import until
from helios.play.postgres import PostgresServer, ServerOptions, start_primary, start_standby
from helios.play.process import children_of

NAMES = ("db-1", "db-2", "db-3")
SETTINGS = {
    "max_connections": "60",
    "shared_buffers": "32MB",
    "wal_receiver_timeout": "6s",
}

GRANTS = f"""
grant pg_monitor, pg_checkpoint, pg_signal_backend to {MONITOR};
alter role {MONITOR} replication;
grant execute on function pg_promote(boolean, integer), pg_reload_conf() to {MONITOR};
grant alter system on parameter synchronous_standby_names to {MONITOR};
grant alter system on parameter primary_conninfo to {MONITOR};
grant alter system on parameter default_transaction_read_only to {MONITOR};
"""
"""What the documentation asks for; the monitor is no superuser."""


class ReplicatedCluster:
    """Three servers by name, whichever leads."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        synchronous: str = f'FIRST 1 ("{NAMES[1]}")',
        hba: Sequence[str] = (),
        schema: str = "",
    ) -> None:
        """`hba` are more lines of pg_hba.conf; `schema` is run by the role of the application."""
        self.root = Path(tempfile.mkdtemp(prefix="helios-replicas-"))
        self._options = ServerOptions(fsync=False, hba=(*HBA, *hba), settings={**SETTINGS, **(settings or {})})
        primary = start_primary(self.root, NAMES[0], self._options)
        self.servers = {primary.name: primary}
        cluster = PostgresCluster(self.root, primary, None)
        populate(cluster)
        cluster.execute(GRANTS, "postgres")
        # pg_rewind reads back to before the histories part, behind a recovery that knows only what files say.
        cluster.execute("alter system set wal_keep_size = '512MB'", "postgres")
        cluster.execute("select pg_reload_conf()", "postgres")
        for name in NAMES[1:]:
            self.servers[name] = start_standby(primary, name, self._options)
        self.set_synchronous(primary.name, synchronous)
        if schema:
            with Client(self.app(primary.name)) as client:
                client.query(schema)

    def __enter__(self) -> ReplicatedCluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def __getitem__(self, name: str) -> PostgresServer:
        return self.servers[name]

    def nodes(self) -> list[dict[str, object]]:
        """The `[[clusters.nodes]]` entries of helios.toml."""
        return [{"name": name, "host": each.host, "port": each.port} for name, each in self.servers.items()]

    def ask(self, name: str, sql: str, database: str = DATABASE) -> str | None:
        """First column of the first row at one server, as the superuser."""
        with Client(superuser_of(self.servers[name], database)) as client:
            return client.value(sql)

    def app(self, name: str) -> Target:
        """Log in to one server past Helios."""
        server = self.servers[name]
        return Target(server.host, server.port, APP, PASSWORDS[APP], DATABASE)

    def set_synchronous(self, primary: str, names: str) -> None:
        """Have commits wait for these standbys, once they stream."""
        with Client(superuser_of(self.servers[primary])) as client:
            client.query(f"alter system set synchronous_standby_names = '{names}'")
            client.query("select pg_reload_conf()")
        self.await_streaming(primary, len(self.servers) - 1)

    def wait_for_one(self, primary: str) -> None:
        """Have commits wait for one of the standbys, once they stream."""
        standbys = ", ".join(f'"{name}"' for name in self.servers if name != primary)
        self.set_synchronous(primary, f"FIRST 1 ({standbys})")

    def await_streaming(self, primary: str, count: int, deadline: float = 60.0) -> None:
        """Wait until so many standbys stream from it and have what it has."""
        sql = "select count(*) from pg_stat_replication where state = 'streaming'"
        until(lambda: self.ask(primary, sql) == str(count), f"{count} standbys of {primary}", deadline)

    def await_replay(self, primary: str, deadline: float = 60.0) -> None:
        """Wait until every standby that streams has applied what the primary has written."""
        sql = "select count(*) from pg_stat_replication where replay_lsn < pg_current_wal_flush_lsn()"
        until(lambda: self.ask(primary, sql) == "0", f"the standbys of {primary} to apply", deadline)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the postmaster and all of its processes."""
        pid = self.servers[name].pid
        assert pid is not None
        for each in (pid, *children_of(pid)):
            os.kill(each, number)

    def rejoin(self, name: str, primary: str) -> None:
        """Make a former primary a standby of the one that took its place."""
        self.servers[name].stop("immediate")
        self.servers[name].rewind(self.servers[primary])
        self.servers[name].start()

    def stop(self) -> None:
        """End all and remove the folder."""
        for server in self.servers.values():
            server.kill()
        shutil.rmtree(self.root)
