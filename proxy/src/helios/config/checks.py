"""Rules that span several fields of a configuration. Called by the loader and by whoever builds a `ProxyConfig`.

`check` finds what is wrong, `caution` what is allowed but worth a line. Both are pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import combinations

from helios.config.auth import AuthConfig, AuthMethod
from helios.config.base import MAX_PORT, is_loopback, split_address
from helios.config.consistency_keys import redis_place
from helios.config.console import CONSOLE_DATABASE
from helios.config.nodes import ClusterConfig, NodeConfig, NodeRole, Provider
from helios.config.peers import split_peer
from helios.config.proxy import ProxyConfig
from helios.config.routing import RuleRoute
from helios.config.tls import ChannelBinding, ClientAuth, ClientTlsMode, ServerTlsMode
from helios.config.tree import Finding, Locator, Path, nearest
from helios.errors import ConfigError

__all__ = ["caution", "check", "validate"]

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path in Linux, without the zero at its end."""
HANDOVER_SUFFIX = 9
"""Bytes that are added to the name of the hand-over's socket for one beside it."""


def validate(config: ProxyConfig, source: str = "") -> None:
    """Raise `ConfigError` with everything `check` finds."""
    findings = check(config)
    if findings:
        raise ConfigError(Locator(source).problem(finding) for finding in findings)


def check(config: ProxyConfig, damaged: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """Everything wrong with a configuration whose fields are right one by one.

    `damaged` names top-level fields of which parts could not be read; nothing is called missing in these.
    """
    return (
        *_addresses(config),
        *_unix_socket(config),
        *_handover(config),
        *_secrets(config, damaged),
        *_tls(config, damaged),
        *_peers(config, damaged),
        *_pools(config),
        *_clusters(config, damaged),
        *_databases(config, damaged),
        *_twice((("users", index), user.name) for index, user in enumerate(config.users)),
        *_twice((("routing", "rules", index), rule.name) for index, rule in enumerate(config.routing.rules)),
        *_console(config),
        *_failover(config),
        *_consistency_keys(config),
    )


def caution(config: ProxyConfig) -> tuple[Finding, ...]:
    """What is allowed but probably not meant."""
    return (*_open_admin(config), *_unbound_monitor(config), *_strange_nodes(config))


def _strange_nodes(config: ProxyConfig) -> Iterator[Finding]:
    """Nodes come and go where they are discovered, so that a rule may be ahead of them."""
    known = [node.name for cluster in config.clusters for node in cluster.nodes]
    for index, rule in enumerate(config.routing.rules):
        if rule.node is not None and rule.node not in known:
            message = f'"{rule.node}" is no node: what the rule is about goes to the primary'
            yield Finding(("routing", "rules", index, "node"), message, f"nodes: {', '.join(known)}")
        has_target = config.routing.schema_aware and config.routing.workload.vector_target
        if rule.route is RuleRoute.VECTOR and not has_target:
            message = "has no effect: no node is meant for vectors"
            hint = "set routing.schema_aware and routing.workload.vector_target"
            yield Finding(("routing", "rules", index, "route"), message, hint)
    yield from _strange_targets(config, known)


def _strange_targets(config: ProxyConfig, known: list[str]) -> Iterator[Finding]:
    routing = config.routing
    for kind, globs in routing.workload.targets.items():
        path = ("routing", "workload", f"{kind}_target")
        if not routing.schema_aware:
            yield Finding(path, "has no effect without routing.schema_aware", "set routing.schema_aware = true")
        elif known and not any(fnmatchcase(name, glob.replace("[", "[[]")) for name in known for glob in globs):
            message = f"names no node: reads of kind {kind} go where others go"
            yield Finding(path, message, f"nodes: {', '.join(known)}")


def _open_admin(config: ProxyConfig) -> Iterator[Finding]:
    admin = config.admin
    if admin.token is None and admin.token_file is None and not is_loopback(admin.address):
        message = f"{admin.address} can be reached from outside without a token: only probes and /metrics are served"
        yield Finding(("admin", "address"), message, "set admin.token_file, or listen on 127.0.0.1")


def _unbound_monitor(config: ProxyConfig) -> Iterator[Finding]:
    for index, cluster in enumerate(config.clusters):
        tls = cluster.tls
        if tls.channel_binding is ChannelBinding.REQUIRE and tls.mode is not ServerTlsMode.VERIFY_FULL:
            path = ("clusters", index, "tls", "channel_binding")
            message = "is require, but the monitor's own connections cannot be bound: a false server could mislead it"
            yield Finding(path, message, "set mode to verify-full, which holds for both")


def _console(config: ProxyConfig) -> Iterator[Finding]:
    for index, entry in enumerate(config.databases):
        if config.console.users and entry.name == CONSOLE_DATABASE:
            message = f"{CONSOLE_DATABASE} is the name that leads to the console, nobody would reach the database"
            yield Finding(("databases", index, "name"), message, "choose another name, or leave [console] out")


def _failover(config: ProxyConfig) -> Iterator[Finding]:
    if config.failover.lease_file is not None and config.failover.lease_name is not None:
        message = "there are two leases; lease_file is for proxies of one machine, lease_name for pods"
        yield Finding(("failover", "lease_file"), message, "give one of them")
    if not config.failover.enabled:
        return
    for cluster in config.clusters:
        if cluster.provider is not Provider.STATIC:
            message = f'is on, but {cluster.provider} promotes the servers of cluster "{cluster.name}": two would'
            yield Finding(("failover", "enabled"), message, "leave failover off; Helios follows whom they promote")


def _consistency_keys(config: ProxyConfig) -> Iterator[Finding]:
    """A write is forgotten after a while, by when no standby must be asked that lacks it."""
    keys, section = config.routing.consistency_keys, ("routing", "consistency_keys")
    if keys.password is not None and keys.password_file is not None:
        yield Finding((*section, "password_file"), "stands beside password", "keep one of the two")
    if keys.url is None:
        for name in ("password", "password_file", "ca_file"):
            if getattr(keys, name) is not None:
                yield Finding((*section, name), "belongs to no Redis", "set url beside it")
        return
    place = redis_place(keys.url)
    if place.user is not None and keys.password is None and keys.password_file is None:
        yield Finding((*section, "url"), f"names user {place.user}, who has no password", "set password_file")
    if place.is_encrypted and keys.ca_file is None:
        hint = "name a PEM file with the certificates of the authorities that are trusted"
        yield Finding((*section, "ca_file"), "is missing, and rediss:// needs it", hint)
    routings = [config.routing, *(entry.routing.over(config.routing) for entry in config.databases)]
    lags = [routing.max_lag_ms for routing in routings if routing.spreads]
    if 0 in lags or keys.ttl_seconds * 1000 < 2 * max(lags, default=0):
        most = "any time" if 0 in lags else f"{max(lags)} ms"
        message = f"is {keys.ttl_seconds}, less than twice what standbys may be behind ({most})"
        yield Finding((*section, "ttl_seconds"), message, "raise it, or lower max_lag_ms, which must not be 0")


def _addresses(config: ProxyConfig) -> Iterator[Finding]:
    addresses = {
        ("listen_address",): config.listen_address,
        ("read_listen_address",): config.read_listen_address,
        ("admin", "address"): config.admin.address,
    }
    for (other, there), (path, here) in combinations(addresses.items(), 2):
        if there is not None and here is not None and _collide(split_address(there), split_address(here)):
            message = f"port {split_address(here)[1]} is {'.'.join(other)}'s too"
            yield Finding(path, message, "give each its own port")
    if (config.admin.tls_cert_file is None) != (config.admin.tls_key_file is None):
        present, absent = ("cert", "key") if config.admin.tls_key_file is None else ("key", "cert")
        path = ("admin", f"tls_{present}_file")
        yield Finding(path, f"needs admin.tls_{absent}_file beside it", "set both or neither")


def _collide(one: tuple[str, int], other: tuple[str, int]) -> bool:
    everywhere = ("0.0.0.0", "::")
    hosts = (one[0], other[0])
    return one[1] == other[1] != 0 and (hosts[0] == hosts[1] or any(host in everywhere for host in hosts))


def _unix_socket(config: ProxyConfig) -> Iterator[Finding]:
    folder = config.unix_socket_dir
    if folder is not None:
        _, port = split_address(config.listen_address)
        path = f"{folder}/.s.PGSQL.{port or MAX_PORT}"
        if len(path.encode()) > MAX_SOCKET_PATH:
            message = f'makes the path "{path}", longer than the {MAX_SOCKET_PATH} bytes that a Unix socket may have'
            yield Finding(("unix_socket_dir",), message, "name a shorter folder")
    elif config.auth.method is AuthMethod.PEER and config.auth.hba_file is None:
        hint = "set unix_socket_dir"
        yield Finding(("auth", "method"), "is peer, which is proven over a Unix socket, and there is none", hint)


def _handover(config: ProxyConfig) -> Iterator[Finding]:
    file = config.handover.socket_file
    if file is not None and len(file.encode()) + HANDOVER_SUFFIX > MAX_SOCKET_PATH:
        message = f"is longer than the {MAX_SOCKET_PATH - HANDOVER_SUFFIX} bytes that it may have"
        yield Finding(("handover", "socket_file"), message, "name a shorter one")


def _secrets(config: ProxyConfig, damaged: frozenset[str]) -> Iterator[Finding]:
    asks_nothing = not config.auth.method.asks_secret or config.auth.hba_file is not None
    has_users = config.auth.users_file is not None or config.auth.query_user is not None
    if not asks_nothing and not has_users and "auth" not in damaged:
        hint = 'name a file of lines "user" "secret" (PgBouncer\'s userlist.txt), or set auth.method = "trust"'
        yield Finding(("auth", "users_file"), f"is missing, and method {config.auth.method.value} needs it", hint)
    if config.admin.token is not None and config.admin.token_file is not None:
        yield Finding(("admin", "token_file"), "stands beside admin.token", "keep one of the two")
    yield from _beside_hba(config.auth)
    yield from _query_login(config.auth)
    yield from _login(("monitor",), config.monitor.user, config.monitor.password, config.monitor.password_file)
    for index, entry in enumerate(config.databases):
        yield from _login(("databases", index), entry.user, entry.password, entry.password_file)


def _beside_hba(auth: AuthConfig) -> Iterator[Finding]:
    if auth.hba_file is None:
        return
    for name in ("method", "client_name", "map"):
        if getattr(auth, name) != AuthConfig.model_fields[name].default:
            hint = "say it in the file's records, or leave hba_file out"
            yield Finding(("auth", name), "stands beside hba_file, which decides for each client", hint)


def _query_login(auth: AuthConfig) -> Iterator[Finding]:
    if auth.query_password is not None and auth.query_password_file is not None:
        yield Finding(("auth", "query_password_file"), "stands beside query_password", "keep one of the two")
    if auth.query_user is None:
        for name in ("query_password", "query_password_file", "query"):
            if getattr(auth, name) != AuthConfig.model_fields[name].default:
                yield Finding(("auth", name), "belongs to no user", "set query_user beside it")


def _tls(config: ProxyConfig, damaged: frozenset[str]) -> Iterator[Finding]:
    if "tls" not in damaged:
        for name in ("cert_file", "key_file"):
            if config.tls.mode is not ClientTlsMode.DISABLE and getattr(config.tls, name) is None:
                message = f"is missing, and mode {config.tls.mode.value} needs it"
                yield Finding(("tls", name), message, "name a PEM file")
        yield from _client_certificates(config)
    for index, cluster in enumerate(config.clusters):
        if cluster.tls.verifies and cluster.tls.ca_file is None and "clusters" not in damaged:
            message = f"is missing, and mode {cluster.tls.mode.value} needs it"
            hint = "name a PEM file with the certificates of the authorities that are trusted"
            yield Finding(("clusters", index, "tls", "ca_file"), message, hint)
        if cluster.tls.channel_binding is ChannelBinding.REQUIRE and cluster.tls.mode is ServerTlsMode.DISABLE:
            path = ("clusters", index, "tls", "channel_binding")
            yield Finding(path, "is require, and mode disable leaves no channel to bind", "set mode to require")


def _peers(config: ProxyConfig, damaged: frozenset[str]) -> Iterator[Finding]:
    peers = config.peers
    if peers.hosts and peers.secret_file is None and "peers" not in damaged:
        hint = "name a file with the same random text for all peers"
        yield Finding(("peers", "secret_file"), "is missing, and peers.hosts needs it", hint)
    if not split_address(config.listen_address)[1]:
        for index, host in enumerate(peers.hosts):
            if split_peer(host)[1] is None:
                message = f"{host} has no port, and listen_address takes any"
                yield Finding(("peers", "hosts", index), message, "write host:port")


def _client_certificates(config: ProxyConfig) -> Iterator[Finding]:
    tls, auth = config.tls, config.auth
    asks = tls.client_auth is not ClientAuth.NONE
    if asks and tls.client_ca_file is None:
        message = f"is missing, and client_auth {tls.client_auth.value} needs it"
        yield Finding(("tls", "client_ca_file"), message, "name a PEM file with the authorities of clients")
    if asks and tls.mode is ClientTlsMode.DISABLE:
        message = f"is {tls.client_auth.value}, and mode disable leaves no encryption to show a certificate in"
        yield Finding(("tls", "client_auth"), message, "set tls.mode to allow or require")
    if not asks:
        unused = [name for name in ("client_ca_file", "crl_file") if getattr(tls, name) is not None]
        if unused:
            hint = "set tls.client_auth to optional or required"
            yield Finding(("tls", unused[0]), "is not used, since client_auth is none", hint)
        if auth.method is AuthMethod.CERT and auth.hba_file is None:
            hint = "set tls.client_auth to optional or required"
            yield Finding(("auth", "method"), "is cert, and clients are not asked for certificates", hint)
    if auth.map is not None and auth.map not in {line.map for line in auth.ident}:
        hint = "add [[auth.ident]] with map, system_user and database_user"
        yield Finding(("auth", "map"), f'there is no user map "{auth.map}"', hint)


def _login(path: Path, user: str | None, password: object, password_file: str | None) -> Iterator[Finding]:
    if password is not None and password_file is not None:
        yield Finding((*path, "password_file"), "stands beside password", "keep one of the two")
    if user is None and (password is not None or password_file is not None):
        name = "password" if password is not None else "password_file"
        yield Finding((*path, name), "belongs to no user", "set user beside it")


def _pools(config: ProxyConfig) -> Iterator[Finding]:
    if config.pool.min_idle > config.pool.max_size:
        yield _too_many_idle(("pool", "min_idle"), config.pool.min_idle, config.pool.max_size)
        return
    for index, entry in enumerate(config.databases):
        pool = entry.pool.over(config.pool)
        if pool.min_idle > pool.max_size:
            name = "min_idle" if entry.pool.min_idle is not None else "max_size"
            yield _too_many_idle(("databases", index, "pool", name), pool.min_idle, pool.max_size)


def _too_many_idle(path: Path, min_idle: int, max_size: int) -> Finding:
    return Finding(path, f"min_idle is {min_idle}, more than max_size {max_size}", "lower it or raise max_size")


def _clusters(config: ProxyConfig, damaged: frozenset[str]) -> Iterator[Finding]:
    if not config.clusters and "clusters" not in damaged:
        yield Finding(("clusters",), "there is none", "add [[nodes]] with the host of at least one PostgreSQL server")
    yield from _twice((("clusters", index), cluster.name) for index, cluster in enumerate(config.clusters))
    for index, cluster in enumerate(config.clusters):
        yield from _nodes(cluster, ("clusters", index), damaged)
        yield from _sources(cluster, ("clusters", index))


def _sources(cluster: ClusterConfig, path: Path) -> Iterator[Finding]:
    if cluster.patroni_urls and cluster.provider is not Provider.PATRONI:
        message = f'are of Patroni, but provider of cluster "{cluster.name}" is {cluster.provider}'
        yield Finding((*path, "patroni_urls"), message, 'set provider = "patroni", or leave them out')
    if cluster.patroni_urls and cluster.dns_names:
        yield Finding((*path, "dns_names"), "patroni_urls tell the members already", "give one of them")


def _nodes(cluster: ClusterConfig, path: Path, damaged: frozenset[str]) -> Iterator[Finding]:
    nodes = [((*path, "nodes", index), node) for index, node in enumerate(cluster.nodes)]
    if not nodes and "clusters" not in damaged:
        yield Finding((*path, "nodes"), f'cluster "{cluster.name}" has no node', "add its PostgreSQL servers")
    elif nodes and not any(node.enabled for _, node in nodes):
        yield Finding((*path, "nodes"), f'cluster "{cluster.name}" has no enabled node', "enable at least one")
    addresses: dict[tuple[str, int], NodeConfig] = {}
    names = []
    for node_path, node in nodes:
        first = addresses.setdefault((node.host.lower(), node.port), node)
        if first is node:
            names.append((node_path, node.name))
        else:
            message = f'has the same address as node "{first.name}"'
            yield Finding((*node_path, "host"), message, "list a server once; weight gives it a larger share")
    yield from _twice(names)
    primaries = [node_path for node_path, node in nodes if node.role is NodeRole.PRIMARY]
    for node_path in primaries[1:]:
        message = f'is "primary", as that of another node of cluster "{cluster.name}"'
        yield Finding((*node_path, "role"), message, 'a cluster has one primary; set role = "standby"')


def _twice(names: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for path, name in names:
        if name in first:
            yield Finding((*path, "name"), f'"{name}" is taken already', "names are unique in their list")
        first.setdefault(name, path)


def _databases(config: ProxyConfig, damaged: frozenset[str]) -> Iterator[Finding]:
    yield from _twice((("databases", index), entry.name) for index, entry in enumerate(config.databases))
    if "clusters" in damaged:
        return
    known = [cluster.name for cluster in config.clusters]
    for index, entry in enumerate(config.databases):
        path: Path = ("databases", index, "cluster")
        if entry.cluster is None and len(known) > 1:
            yield Finding(path, "is missing, and there are several clusters", f"one of {', '.join(known)}")
        elif entry.cluster is not None and entry.cluster not in known:
            guess = nearest(entry.cluster, known)
            hint = f'did you mean "{guess}"?' if guess else f"known: {', '.join(known) or 'none'}"
            yield Finding(path, f'there is no cluster "{entry.cluster}"', hint)
    if not config.databases and len(known) > 1:
        message = "are missing, and with several clusters no one knows where a client wants to go"
        yield Finding(("databases",), message, "add [[databases]] with name and cluster")
