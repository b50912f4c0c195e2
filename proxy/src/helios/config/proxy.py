"""`ProxyConfig`: the whole of helios.toml. Made by the loader and by `helios_crds.render`, read by everything else."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from helios.config.admin import AdminConfig
from helios.config.auth import AuthConfig
from helios.config.base import Address, FileMode, Generation, HeliosModel, Path
from helios.config.circuit_breaker import CircuitBreakerConfig
from helios.config.console import ConsoleConfig
from helios.config.databases import ANY_DATABASE, DatabaseConfig
from helios.config.drain import DrainConfig
from helios.config.failover import FailoverConfig
from helios.config.handover import HandoverConfig
from helios.config.io import IoBackend
from helios.config.limits import LimitsConfig
from helios.config.log import LogConfig
from helios.config.maintenance import MaintenanceConfig, MaintenanceMode
from helios.config.monitor import MonitorConfig
from helios.config.nodes import ClusterConfig
from helios.config.peers import PeersConfig
from helios.config.planner import PlannerConfig
from helios.config.pool import PoolConfig
from helios.config.roles import UserConfig
from helios.config.routing import RoutingConfig
from helios.config.tcp import TcpConfig
from helios.config.tls import ClientTlsConfig
from helios.config.tracing import TracingConfig
from helios.config.transaction_replay import TransactionReplayConfig
from helios.config.watch import WatchConfig

__all__ = ["CONFIG_VERSION", "ProxyConfig"]

CONFIG_VERSION: Final = 1
"""The version of helios.toml that this release writes, and the highest it reads."""


class ProxyConfig(HeliosModel):
    """Configuration of one proxy. Rules that span several fields are in `helios.config.checks`."""

    config_version: Literal[1] = CONFIG_VERSION
    """Version of the format. A file of a newer release is refused rather than half understood."""

    generation: Generation = 0
    """Grows with each change that the operator renders; a lower one never replaces a higher one. 0 for files written by
    hand."""

    listen_address: Address = "0.0.0.0:6432"
    """Address for PostgreSQL clients. 6432 as PgBouncer, since a PostgreSQL beside it may have 5432; port 0 is any free
    port."""

    read_listen_address: Address | None = None
    """Second address, for clients that only read: whatever database they name, standbys run every statement, as with
    `role = "standby"` of a database. None: there is none."""

    unix_socket_dir: Path | None = None
    """Folder to listen on a Unix socket in as well, by a file `.s.PGSQL.<port>` as PostgreSQL's; the port is that of
    listen_address. Connections over it are never encrypted. None: there is none, for a container shares no folder."""

    unix_socket_mode: FileMode = "0777"
    """Permissions of that file. As PostgreSQL's and PgBouncer's: who may log in is for `[auth]` to say."""

    paused: bool = False
    """Whether no database lends servers: they are closed as transactions end, and clients wait, at most as long as
    `pool.acquire_timeout_seconds` says. It is PAUSE and RESUME of the console, carried out when this changes."""

    maintenance: MaintenanceConfig = MaintenanceConfig()
    """Whom the proxy serves while somebody works on the servers."""

    workers: Annotated[int, Field(strict=True, ge=0, le=64)] = 0
    """Threads that move bytes; 0 = as many as the CPU limit of the container, at most 8, at most a quarter of the
    largest pool, at least one. A thread more than there are CPUs only costs."""

    clients_per_worker: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 64
    """New clients go to one worker until it has so many, and then to the next; beyond that to the one with fewest. A
    worker that serves many clients sleeps and wakes less often for each query, which is most of what a second one would
    cost. Lower it where fewer clients keep a core busy."""

    io: IoBackend = IoBackend.AUTO
    """Linux's interface for TCP connections: `epoll`, or `io_uring`, which needs Linux 6.1 and a seccomp profile that
    allows it; where it cannot be had epoll serves, and the log says why. `auto` takes what costs less: epoll so far."""

    admin: AdminConfig = AdminConfig()
    """The admin API."""

    auth: AuthConfig = AuthConfig()
    """Authentication of clients."""

    tls: ClientTlsConfig = ClientTlsConfig()
    """Encryption of clients."""

    console: ConsoleConfig = ConsoleConfig()
    """The console."""

    monitor: MonitorConfig = MonitorConfig()
    """Polling of the nodes."""

    planner: PlannerConfig = PlannerConfig()
    """Understanding of statements."""

    pool: PoolConfig = PoolConfig()
    """Server connections."""

    routing: RoutingConfig = RoutingConfig()
    """Which node runs a statement."""

    circuit_breaker: CircuitBreakerConfig = CircuitBreakerConfig()
    """Nodes that get no reads for a while."""

    failover: FailoverConfig = FailoverConfig()
    """Promotion of standbys."""

    transaction_replay: TransactionReplayConfig = TransactionReplayConfig()
    """Transactions that outlive their server."""

    clusters: tuple[ClusterConfig, ...] = ()
    """The PostgreSQL clusters, at least one."""

    databases: tuple[DatabaseConfig, ...] = ()
    """The database names clients may ask for. Empty: every name, on the only cluster."""

    users: tuple[UserConfig, ...] = ()
    """Settings of single users. Empty: what holds for all holds for each."""

    peers: PeersConfig = PeersConfig()
    """Other processes of the same service."""

    drain: DrainConfig = DrainConfig()
    """How the proxy leaves."""

    handover: HandoverConfig = HandoverConfig()
    """Online restarts."""

    limits: LimitsConfig = LimitsConfig()
    """Bounds that protect the proxy and the servers."""

    tcp: TcpConfig = TcpConfig()
    """When the other end of a connection counts as gone."""

    log: LogConfig = LogConfig()
    """Log lines."""

    tracing: TracingConfig = TracingConfig()
    """Spans of statements."""

    watch: WatchConfig = WatchConfig()
    """Reload when a file changes."""

    @property
    def is_held(self) -> bool:
        """Whether clients wait between their transactions."""
        return self.paused or self.maintenance.mode is MaintenanceMode.HOLD

    def resolved_databases(self) -> tuple[DatabaseConfig, ...]:
        """The databases with their cluster filled in, and the implied `*` where none is stated.

        Meaningful on a configuration that `helios.config.checks` accepts.
        """
        entries = self.databases or (DatabaseConfig(),)
        only = self.clusters[0].name if len(self.clusters) == 1 else None
        return tuple(
            entry if entry.cluster is not None else entry.model_copy(update={"cluster": only}) for entry in entries
        )

    def database_named(self, name: str) -> DatabaseConfig | None:
        """The entry that serves a database of this name to clients, its cluster filled in; None if none does."""
        entries = {entry.name: entry for entry in self.resolved_databases()}
        return entries.get(name) or entries.get(ANY_DATABASE)
