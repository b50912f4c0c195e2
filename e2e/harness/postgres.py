"""A real primary and a streaming standby for a test session, with the roles and tables the tests use.

Called by `e2e/conftest.py`; hands on `PostgresCluster`. The servers come from `helios.play.postgres`, so they run as an
unprivileged user and end with the test process.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.client import Client, Target
from helios.play.postgres import PostgresServer, ServerOptions, start_primary, start_standby

APP, APP_MD5, APP_PLAIN, APP_TRUST, MONITOR = "app", "app_md5", "app_plain", "app_trust", "helios_monitor"
PASSWORDS = {
    APP: "app secret",
    APP_MD5: "md5 secret",
    APP_PLAIN: "plain secret",
    APP_TRUST: "unused",
    MONITOR: "monitor secret",
}
"""Role → password. A blank in each, because configuration files must carry it."""

DATABASE = "app"

HBA = (
    "host all app_md5 127.0.0.1/32 md5",
    "host all app_plain 127.0.0.1/32 password",
    "host all app_trust 127.0.0.1/32 trust",
)

SCHEMA = """
create table items (id int primary key, name text not null);
insert into items select n, 'item ' || n from generate_series(1, 1000) n;
create table notes (id int primary key, body text);
grant all on items, notes to public;
"""

SETTINGS = {
    "max_connections": "150",
    "shared_buffers": "64MB",
    "max_prepared_transactions": "4",
    "wal_level": "logical",
}


def superuser_of(server: PostgresServer, database: str = DATABASE) -> Target:
    """Log in to a server as its superuser."""
    return Target(server.host, server.port, server.superuser, server.password, database)


@dataclass
class PostgresCluster:
    """A primary and its standby. `root` is the folder that holds both data folders and logs."""

    root: Path
    primary: PostgresServer
    standby: PostgresServer | None

    def direct(self, user: str = APP, database: str = DATABASE) -> Target:
        """Log in to the primary itself."""
        return Target(self.primary.host, self.primary.port, user, PASSWORDS[user], database)

    def superuser(self, database: str = DATABASE) -> Target:
        """Log in to the primary as the superuser."""
        return superuser_of(self.primary, database)

    def nodes(self) -> list[dict[str, object]]:
        """The `[[clusters.nodes]]` entries of helios.toml for both servers, rightly labelled."""
        servers = [(self.primary, "primary")] + ([(self.standby, "standby")] if self.standby else [])
        return [
            {"name": server.name, "host": server.host, "port": server.port, "role": role} for server, role in servers
        ]

    def execute(self, sql: str, database: str = DATABASE) -> None:
        """Run statements as the superuser."""
        with Client(self.superuser(database)) as client:
            errors = [event.text for event in client.query(sql) if event.kind == "ErrorResponse"]
        assert not errors, errors

    def value(self, sql: str, database: str = DATABASE) -> str | None:
        """First column of the first row, as the superuser."""
        with Client(self.superuser(database)) as client:
            return client.value(sql)

    def stop(self) -> None:
        """End both servers and remove the folder."""
        for server in (self.standby, self.primary):
            if server:
                server.stop("immediate")
        shutil.rmtree(self.root)


def start_cluster(with_standby: bool = True) -> PostgresCluster:
    """Start a fresh primary (and standby) in a scratch folder, with roles, databases and tables."""
    root = Path(tempfile.mkdtemp(prefix="helios-e2e-"))
    options = ServerOptions(fsync=False, hba=HBA, settings=SETTINGS)
    primary = start_primary(root, options=options)
    cluster = PostgresCluster(root, primary, None)
    populate(cluster)
    if with_standby:
        cluster.standby = start_standby(primary, options=ServerOptions(fsync=False, settings=SETTINGS))
    return cluster


def populate(cluster: PostgresCluster) -> None:
    for user, password in PASSWORDS.items():
        encryption = "md5" if user == APP_MD5 else "scram-sha-256"
        cluster.execute(
            f"set password_encryption = '{encryption}'; create role {user} login password '{password}'", "postgres"
        )
    cluster.execute(f"grant pg_monitor to {MONITOR}; grant {APP_TRUST} to {APP}", "postgres")
    for database in (DATABASE, "other"):
        cluster.execute(f"create database {database} owner {APP}", "postgres")
    with Client(cluster.direct()) as client:
        client.query(SCHEMA)
