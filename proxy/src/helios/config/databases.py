"""`[[databases]]`: the names clients ask for and where they lead. Read by the engine through the snapshot."""

from __future__ import annotations

from pydantic import SecretStr

from helios.config.base import Count, HeliosModel, Name, Path, SqlName
from helios.config.nodes import NodeRole
from helios.config.pool import PoolOverrides
from helios.config.routing import RoutingOverrides

__all__ = ["ANY_DATABASE", "DatabaseConfig"]

ANY_DATABASE = "*"
"""The name of the entry that serves every database without an entry of its own."""


class DatabaseConfig(HeliosModel):
    """One database name as clients see it."""

    name: SqlName = ANY_DATABASE
    """Name the client connects to; `*` serves every other name. The default makes an entry without a name the general
    one."""

    cluster: Name | None = None
    """Cluster that holds the database. None: the only cluster there is."""

    role: NodeRole = NodeRole.PRIMARY
    """What nodes serve it. With `standby` a standby runs every statement, also one that writes, which PostgreSQL then
    refuses with 25006: a second name for those who only read. `max_lag_ms` and `max_lag_bytes` hold there as well."""

    database: SqlName | None = None
    """Name of the database on the server. None: the name the client gave."""

    user: SqlName | None = None
    """Role Helios logs in as on the server. None: the client's own name, with its secret from the users file."""

    password: SecretStr | None = None
    """Password of `user`. None: the server must accept the role without one."""

    password_file: Path | None = None
    """File that holds the password (its first line). Excludes `password`."""

    max_client_connections: Count | None = None
    """Clients at most; 0 = no limit. None: `limits.max_database_client_connections`. With the name `*`, of each
    database that it serves."""

    max_server_connections: Count | None = None
    """Server connections at most, of all users; 0 = no limit. None: `limits.max_database_server_connections`. With the
    name `*`, of each database that it serves."""

    pool: PoolOverrides = PoolOverrides()
    """Pool settings that differ from `[pool]`. None by default."""

    routing: RoutingOverrides = RoutingOverrides()
    """Routing that differs from `[routing]`. None by default."""
