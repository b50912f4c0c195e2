"""The rows of every SHOW, with PgBouncer 1.25's columns: names, order and types are an interface that exporters and
dashboards read. Pure: made of a `View`. Called by `table`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from helios.config import ANY_DATABASE, CONSOLE_DATABASE, DatabaseConfig, ProxyConfig
from helios.config.base import split_address
from helios.console.answer import Column, Kind
from helios.console.averages import Averages
from helios.console.settings import setting_rows
from helios.engine_state import ClientState, DatabaseTraffic, EngineState, PoolState, ServerState, SessionsState
from helios.topology.addresses import is_address
from helios.topology.status import ClusterStatus

__all__ = ["SHOWS", "Show", "View"]

Row = tuple[Any, ...]

MICROSECONDS: Final = 1_000_000
STATEMENT: Final = "statement"
"""The pool mode of the console itself."""


@dataclass(frozen=True)
class View:
    """Everything that a SHOW is made of, at one moment."""

    config: ProxyConfig
    state: EngineState
    sessions: SessionsState
    clusters: tuple[ClusterStatus, ...]
    users: tuple[str, ...]
    averages: Averages
    version: str

    @cached_property
    def clients(self) -> dict[tuple[str, str], list[ClientState]]:
        """Clients by database and the user that their servers have."""
        found: dict[tuple[str, str], list[ClientState]] = defaultdict(list)
        for client in self.sessions.clients:
            if client.is_console:
                found[CONSOLE_DATABASE, CONSOLE_DATABASE].append(client)
                continue
            entry = entry_of(self.config, client.database)
            user = client.user if entry is None or entry.user is None else entry.user
            found[client.database, user].append(client)
        return found

    @cached_property
    def traffic(self) -> dict[str, dict[str, int]]:
        """Counters by database, those of the console among them."""
        console = dict.fromkeys(DatabaseTraffic.COUNTERS, 0)
        return {**{each.database: each.counts for each in self.state.traffic}, CONSOLE_DATABASE: console}

    @cached_property
    def databases(self) -> dict[str, DatabaseConfig]:
        """Databases by name: those that have an entry, and those that were asked for under `*`."""
        named = {entry.name: entry for entry in self.config.resolved_databases() if entry.name != ANY_DATABASE}
        halts = self.state.halts
        seen = (*self.traffic, *(pool.name for pool in self.state.open), *halts.paused, *halts.disabled)
        for name in sorted({*seen, *(client.database for client in self.sessions.clients)}):
            entry = entry_of(self.config, name)
            if entry is not None and name != CONSOLE_DATABASE:
                named.setdefault(name, entry)
        return named


def entry_of(config: ProxyConfig, name: str) -> DatabaseConfig | None:
    """The entry that a database is served by."""
    entries = {entry.name: entry for entry in config.resolved_databases()}
    return entries.get(name, entries.get(ANY_DATABASE))


@dataclass(frozen=True, slots=True)
class Show:
    """One table of the console."""

    columns: tuple[Column, ...]
    rows: Callable[[View], Iterable[Row]]


def _columns(kinds: str, *names: str) -> tuple[Column, ...]:
    """Columns by PgBouncer's own letters for types."""
    letters = {"s": Kind.TEXT, "i": Kind.INT4, "q": Kind.INT8, "N": Kind.NUMERIC, "T": Kind.TEXT}
    return tuple((name, letters[letter]) for letter, name in zip(kinds, names, strict=True))


# --- clients and servers

_SOCKET: Final = (
    "type",
    "user",
    "database",
    "replication",
    "state",
    "addr",
    "port",
    "local_addr",
    "local_port",
    "connect_time",
    "request_time",
    "wait",
    "wait_us",
    "close_needed",
    "ptr",
    "link",
    "remote_pid",
    "tls",
    "application_name",
    "prepared_statements",
    "id",
)
_BUFFERS: Final = ("recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail", "send_avail")
_SOCKET_KINDS: Final = "ssssssisiTTiiississii"


def _time(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds // MICROSECONDS, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _pointer(number: int | None) -> str:
    return f"0x{number:x}" if number else ""


def _ends(socket: ClientState | ServerState) -> Row:
    """The other's address and ours; a Unix socket has none."""
    (other, port), (own, own_port) = socket.ends or (("unix", 0), ("unix", 0))
    return other, port, own, own_port


def _client(client: ClientState, prefix: str = "") -> Row:
    return (
        *("C", client.user, client.database, client.replication, prefix + client.state),
        *_ends(client),
        *(_time(client.connected_us), _time(client.requested_us)),
        *(*divmod(client.waiting_us, MICROSECONDS), 0),
        *(_pointer(client.id), _pointer(client.server), 0, client.tls),
        *(client.application_name, client.prepared, client.id),
    )


def _server(server: ServerState, clients: Mapping[int, ClientState], prefix: str = "") -> Row:
    """A server that a client has was last asked when that client asked."""
    client = clients.get(server.client)
    asked = server.requested_us if client is None else max(client.requested_us, server.requested_us)
    return (
        *("S", server.user, server.database, server.replication, prefix + server.state),
        *_ends(server),
        *(_time(server.connected_us), _time(asked)),
        *(0, 0, int(server.closing)),
        *(_pointer(server.id), _pointer(server.client), server.pid, server.tls),
        *("" if client is None else client.application_name, server.prepared, server.id),
    )


def _clients(view: View) -> Iterator[Row]:
    return (_client(client) for client in view.sessions.clients)


def _servers(view: View) -> Iterator[Row]:
    clients = {client.id: client for client in view.sessions.clients}
    return (_server(server, clients) for server in view.sessions.servers)


def _sockets(view: View, only_active: bool = False) -> Iterator[Row]:
    """Both, and what their buffers hold: nothing that is looked at from outside, so zeros."""
    buffers = (0,) * len(_BUFFERS)
    clients = {client.id: client for client in view.sessions.clients}
    for client in clients.values():
        if client.state != "idle" or not only_active:
            yield (*_client(client, "cl_"), *buffers)
    for server in view.sessions.servers:
        if server.state != "idle" or not only_active:
            yield (*_server(server, clients, "sv_"), *buffers)


# --- pools, databases, users

_POOLS: Final = _columns(
    "ssiiiiiiiiiiiiiss",
    "database",
    "user",
    "cl_active",
    "cl_waiting",
    "cl_active_cancel_req",
    "cl_waiting_cancel_req",
    "sv_active",
    "sv_active_cancel",
    "sv_being_canceled",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
    "maxwait",
    "maxwait_us",
    "pool_mode",
    "load_balance_hosts",
)


def _pools(view: View) -> Iterator[Row]:
    """A row for each database and user that has clients or servers. Cancel requests wait for no pool, so zeros."""
    servers: dict[tuple[str, str], list[PoolState]] = defaultdict(list)
    for pool in view.state.pools:
        servers[pool.name, pool.server_user].append(pool)
    console = (CONSOLE_DATABASE, CONSOLE_DATABASE)
    for database, user in sorted({*servers, *view.clients, console}):
        pools = servers[database, user]
        clients = view.clients.get((database, user), [])
        waiting = sum(client.state == "waiting" for client in clients)
        oldest = max((pool.oldest_wait_us for pool in pools), default=0)
        yield (
            *(database, user, len(clients) - waiting, waiting, 0, 0),
            *(sum(pool.leased for pool in pools), 0, 0, sum(pool.idle for pool in pools), 0),
            *(sum(pool.cleaned for pool in pools), sum(pool.connecting for pool in pools)),
            *divmod(oldest, MICROSECONDS),
            *(_mode(view, database), None),
        )


def _mode(view: View, database: str) -> str:
    entry = entry_of(view.config, database)
    if database == CONSOLE_DATABASE or entry is None:
        return STATEMENT
    return str(entry.pool.over(view.config.pool).mode)


_DATABASES: Final = _columns(
    "ssissiiiissiiiiii",
    "name",
    "host",
    "port",
    "database",
    "force_user",
    "pool_size",
    "min_pool_size",
    "reserve_pool_size",
    "server_lifetime",
    "pool_mode",
    "load_balance_hosts",
    "max_connections",
    "current_connections",
    "max_client_connections",
    "current_client_connections",
    "paused",
    "disabled",
)


def _databases(view: View) -> Iterator[Row]:
    clients = Counter(client.database for client in view.sessions.clients if not client.is_console)
    servers: Counter[str] = Counter()
    for each in view.state.open:
        servers[each.name] += each.total
    halts = view.state.halts
    for name, entry in view.databases.items():
        pool = entry.pool.over(view.config.pool)
        host, port = _address(view, entry)
        yield (
            *(name, host, port, entry.database or name, entry.user),
            *(pool.max_size, pool.min_idle, 0, pool.max_lifetime_seconds),
            *(None if entry.pool.mode is None else str(entry.pool.mode), None),
            *(0, servers[name], _ceiling(view.config, entry), clients[name]),
            *(int(name in halts.paused), int(name in halts.disabled)),
        )
    port = split_address(view.config.listen_address)[1]
    listening = view.state.listen[0].port if view.state.listen else port
    consoles = sum(client.is_console for client in view.sessions.clients)
    own = (CONSOLE_DATABASE, None, listening, CONSOLE_DATABASE, CONSOLE_DATABASE)
    yield (*own, 2, 0, 0, 0, STATEMENT, None, 0, 0, 0, consoles, 0, 0)


def _ceiling(config: ProxyConfig, entry: DatabaseConfig) -> int:
    own = entry.max_client_connections
    return config.limits.max_database_client_connections if own is None else own


def _address(view: View, entry: DatabaseConfig) -> tuple[str | None, int]:
    """The primary's; while there is none, that of the first node."""
    for cluster in view.clusters:
        if cluster.name == entry.cluster and cluster.primary is not None:
            return split_address(cluster.primary)
    nodes = (node for cluster in view.config.clusters if cluster.name == entry.cluster for node in cluster.nodes)
    return next(((node.host, node.port) for node in nodes), (None, 0))


_USERS: Final = _columns(
    "ssssiiii",
    "name",
    "pool_size",
    "reserve_pool_size",
    "pool_mode",
    "max_user_connections",
    "current_connections",
    "max_user_client_connections",
    "current_client_connections",
)


def _users(view: View) -> Iterator[Row]:
    """Users of the users file, those that the configuration names, and everybody who is here."""
    servers = Counter(server.user for server in view.sessions.servers)
    clients = Counter(client.user for client in view.sessions.clients)
    forced = (entry.user for entry in view.config.databases if entry.user is not None)
    limits = {user.name: user.max_client_connections for user in view.config.users}
    for name in sorted({*view.users, *forced, *limits, *servers, *clients, CONSOLE_DATABASE}):
        own = limits.get(name)
        most = view.config.limits.max_user_client_connections if own is None else own
        yield name, None, None, None, 0, servers[name], most, clients[name]


def _lists(view: View) -> Iterator[Row]:
    """PgBouncer's lists. What is freed here is given back, so there are no free ones."""
    return iter(
        {
            "databases": len(view.databases) + 1,
            "users": sum(1 for _ in _users(view)),
            "peers": 0,
            "pools": sum(1 for _ in _pools(view)),
            "peer_pools": 0,
            "free_clients": 0,
            "used_clients": len(view.sessions.clients),
            "login_clients": view.sessions.logins,
            "free_servers": 0,
            "used_servers": sum(pool.total for pool in view.state.open),
            "dns_names": sum(1 for _ in _dns_hosts(view)),
            "dns_zones": 0,
            "dns_queries": 0,
            "dns_pending": 0,
        }.items()
    )


# --- statistics

_TOTALS: Final = {
    **{name: f"total_{name}" for name in DatabaseTraffic.COUNTERS},
    "received": "total_received",
    "sent": "total_sent",
}
_AVERAGES: Final = {**{name: f"avg_{name}" for name in DatabaseTraffic.COUNTERS}, "received": "avg_recv"}
_SHORT_TOTALS: Final = {
    **{name: name for name in DatabaseTraffic.COUNTERS},
    "received": "bytes_received",
    "sent": "bytes_sent",
}
_SHORT_AVERAGES: Final = {
    **_SHORT_TOTALS,
    **{name: f"avg_{name}" for name in ("client_parse_count", "server_parse_count", "bind_count")},
}
_IN_TOTALS: Final = {
    **{name: name for name in DatabaseTraffic.COUNTERS},
    **{name: f"ps_{name}" for name in ("client_parse_count", "server_parse_count", "bind_count")},
    "received": "client_bytes",
    "sent": "server_bytes",
}
"""What SHOW TOTALS calls the counters."""


def _by_database(*names: Mapping[str, str]) -> tuple[Column, ...]:
    wanted = [name[counter] for name in names for counter in DatabaseTraffic.COUNTERS]
    return _columns("s" + "N" * len(wanted), "database", *wanted)


def _stats(view: View, totals: bool = True, averages: bool = True) -> Iterator[Row]:
    for name, counts in sorted(view.traffic.items()):
        average = view.averages.of({name: counts})
        yield (name, *(counts.values() if totals else ()), *(average.values() if averages else ()))


def _totals(view: View) -> Iterator[Row]:
    average = view.averages.of(view.traffic)
    for counter in DatabaseTraffic.COUNTERS:
        yield f"total_{_IN_TOTALS[counter]}", sum(counts[counter] for counts in view.traffic.values())
    for counter in DatabaseTraffic.COUNTERS:
        yield f"avg_{_IN_TOTALS[counter]}", average[counter]


# --- the process


def _config(view: View) -> Iterator[Row]:
    return setting_rows(view.config)


def _mem(view: View) -> Iterator[Row]:
    used = {
        "client": len(view.sessions.clients),
        "server": len(view.sessions.servers),
        "pool": len(view.state.pools),
    }
    for name, size in view.sessions.sizes.items():
        yield f"{name}_cache", size, used[name], 0, size * used[name]


def _state(view: View) -> Iterator[Row]:
    paused = view.state.halts.all
    yield "active", "no" if paused else "yes"
    yield "paused", "yes" if paused else "no"
    yield "suspended", "no"


def _version(view: View) -> Iterator[Row]:
    yield (f"PgBouncer 1.25.0 (Helios {view.version})",)


def _dns_hosts(view: View) -> Iterator[Row]:
    """Hosts that are names, with the addresses of the servers that are connected now. Names are asked for at each
    connection, so nothing of them is kept: a ttl of 0."""
    addresses: dict[str, set[str]] = defaultdict(set)
    for cluster in view.config.clusters:
        for node in cluster.nodes:
            if not is_address(node.host):
                addresses[node.host] |= _connected(view, cluster.name, node.name, node.port)
    for host, found in sorted(addresses.items()):
        yield host, 0, ",".join(f"{address}:0" for address in sorted(found))


def _connected(view: View, cluster: str, node: str, port: int) -> set[str]:
    names = {pool.name for pool in view.state.pools if (pool.cluster, pool.node) == (cluster, node)}
    servers = (server for server in view.sessions.servers if server.database in names and server.ends)
    return {server.ends[0][0] for server in servers if server.ends and server.ends[0][1] == port}


def _nothing(_view: View) -> Iterator[Row]:
    return iter(())


def _fixed(value: str) -> Callable[[View], Iterator[Row]]:
    return lambda _view: iter(((value,),))


_FAKES: Final = {
    "client_encoding": "UTF-8",
    "datestyle": "ISO",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "timezone": "GMT",
}
"""Parameters of a server that some drivers ask for whatever they are connected to."""

SHOWS: Final[Mapping[str, Show]] = {
    "active_sockets": Show(
        _columns(_SOCKET_KINDS + "i" * len(_BUFFERS), *_SOCKET, *_BUFFERS), lambda view: _sockets(view, True)
    ),
    "clients": Show(_columns(_SOCKET_KINDS, *_SOCKET), _clients),
    "config": Show(_columns("ssss", "key", "value", "default", "changeable"), _config),
    "databases": Show(_DATABASES, _databases),
    "dns_hosts": Show(_columns("sqs", "hostname", "ttl", "addrs"), _dns_hosts),
    "dns_zones": Show(_columns("sqi", "zonename", "serial", "count"), _nothing),
    "lists": Show(_columns("si", "list", "items"), _lists),
    "mem": Show(_columns("siiii", "name", "size", "used", "free", "memtotal"), _mem),
    "peer_pools": Show(
        _columns("iiiii", "peer_id", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_login"),
        _nothing,
    ),
    "peers": Show(_columns("isii", "peer_id", "host", "port", "pool_size"), _nothing),
    "pools": Show(_POOLS, _pools),
    "servers": Show(_columns(_SOCKET_KINDS, *_SOCKET), _servers),
    "sockets": Show(_columns(_SOCKET_KINDS + "i" * len(_BUFFERS), *_SOCKET, *_BUFFERS), _sockets),
    "state": Show(_columns("ss", "key", "value"), _state),
    "stats": Show(_by_database(_TOTALS, _AVERAGES), _stats),
    "stats_averages": Show(_by_database(_SHORT_AVERAGES), lambda view: _stats(view, totals=False)),
    "stats_totals": Show(_by_database(_SHORT_TOTALS), lambda view: _stats(view, averages=False)),
    "totals": Show(_columns("sN", "name", "value"), _totals),
    "users": Show(_USERS, _users),
    "version": Show(_columns("s", "version"), _version),
    **{name: Show(_columns("s", name), _fixed(value)) for name, value in _FAKES.items()},
}
"""What SHOW may be followed by, in small letters; HELP is a notice and FDS refused, both in `table`."""
