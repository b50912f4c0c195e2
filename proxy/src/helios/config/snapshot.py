"""What the engine gets: one JSON document with everything resolved. Called by `helios serve` at start and reload.

The engine has no defaults and reads no files, so this is where secrets are read, pool settings merged per database,
seconds turned into milliseconds and `workers = 0` into a number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from helios.config.auth import AuthConfig
from helios.config.base import split_address
from helios.config.circuit_breaker import CircuitBreakerConfig
from helios.config.consistency_keys import ConsistencyKeysConfig, redis_place
from helios.config.console import CONSOLE_DATABASE
from helios.config.cpu import cpu_limit
from helios.config.databases import DatabaseConfig
from helios.config.limits import LimitsConfig
from helios.config.loader import Loaded
from helios.config.nodes import NodeRole
from helios.config.peers import split_peer
from helios.config.pool import PoolConfig, PreparedStatements
from helios.config.proxy import ProxyConfig
from helios.config.roles import UserConfig
from helios.config.routing import Consistency, RoutingConfig
from helios.config.secrets import admin_tokens, monitor_password, peer_secrets, read_text, secret
from helios.config.tls import ClientTlsConfig, ClientTlsMode
from helios.config.transaction_replay import TransactionReplayConfig
from helios.config.users import User, users_of
from helios.config.workload import WorkloadConfig
from helios.errors import ConfigError, Problem, SecretError

__all__ = ["MAX_DEFAULT_WORKERS", "engine_snapshot", "refuse_unusable_secrets", "worker_count"]

T = TypeVar("T")

_USER_TIMES = (
    "query_timeout",
    "idle_transaction_timeout",
    "client_idle_timeout",
    "client_write_timeout",
    "client_max_age",
)
MAX_DEFAULT_WORKERS = 8
"""Workers at most when the file leaves their number open; a proxy that needs more is better split into two."""


def engine_snapshot(config: ProxyConfig, base_dir: Path | None = None) -> bytes:
    """The snapshot (JSON) of a configuration that `helios.config.checks` accepts.

    `base_dir` is where relative `*_file` paths start (None: the current folder; the loader has already made those of a
    loaded file absolute). Raises `SecretError` with every file that cannot be used.
    """
    _, port = split_address(config.listen_address)
    secrets = _secrets(config, base_dir)
    document: dict[str, Any] = {
        "generation": config.generation,
        "workers": worker_count(config),
        "clients_per_worker": config.clients_per_worker,
        "io": config.io,
        "listen": list(_entrances(config)),
        "unix_socket": _unix_socket(config, base_dir),
        "auth": {
            "method": config.auth.method,
            "hba": secrets.hba,
            "client_name": config.auth.client_name,
            "map": config.auth.map,
            "ident": [line.model_dump() for line in config.auth.ident],
            "query": secrets.query,
            "users": [{"name": user.name, "secret": _reveal(user.secret)} for user in secrets.users],
        },
        "tls": secrets.tls,
        "clusters": [
            {
                "name": cluster.name,
                "tls": {
                    "mode": cluster.tls.mode,
                    "ca": authorities,
                    "channel_binding": cluster.tls.channel_binding,
                },
                "nodes": [{"name": node.name, "host": node.host, "port": node.port} for node in cluster.nodes],
            }
            for cluster, authorities in zip(config.clusters, secrets.authorities, strict=True)
        ],
        "peers": secrets.peers
        and {
            "hosts": [{"host": name, "port": own or port} for name, own in map(split_peer, config.peers.hosts)],
            "secrets": secrets.peers,
        },
        "consistency_keys": secrets.consistency_keys,
        "databases": secrets.databases,
        "readers": secrets.readers,
        "users": [{"name": user.name, "limits": _user_limits(config.limits, user)} for user in config.users],
        "tcp": config.tcp.model_dump(),
        "circuit_breaker": _circuit_breaker(config.circuit_breaker),
        "temperature": _temperature(config.routing),
        "tracing": {"sample_ratio": config.tracing.sample_ratio} if config.tracing.endpoint else None,
        "transaction_replay": _transaction_replay(config.transaction_replay),
        "journal": config.transaction_replay.journal.model_dump(),
        "console": {"database": CONSOLE_DATABASE, "users": config.console.users} if config.console.users else None,
        "limits": {
            "max_client_connections": config.limits.max_client_connections,
            "max_address_client_connections": config.limits.max_address_client_connections,
            "max_unauthenticated_connections": config.limits.max_unauthenticated_connections,
            "max_address_unauthenticated_connections": config.limits.max_address_unauthenticated_connections,
            "user": _user_limits(config.limits),
            "startup_timeout_ms": config.limits.startup_timeout_seconds * 1000,
            "max_server_connections": config.limits.max_server_connections,
            "max_parallel_logins": config.limits.max_parallel_logins,
            "connect_timeout_ms": config.limits.connect_timeout_seconds * 1000,
            "max_prepared_statements": config.limits.max_prepared_statements,
            "max_prepared_bytes": config.limits.max_prepared_bytes,
            "max_channels": config.limits.max_channels,
            "max_notification_bytes": config.limits.max_notification_bytes,
            "max_buffered_clients": config.limits.max_buffered_clients,
            "max_buffered_bytes": config.limits.max_buffered_bytes,
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


def refuse_unusable_secrets(loaded: Loaded) -> None:
    """`ConfigError` with every secret that a loaded file names and that cannot be read, each with its place."""
    problems: list[Problem] = []
    for read in (engine_snapshot, admin_tokens, monitor_password):
        try:
            read(loaded.config)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise SecretError(loaded.locate(problem) for problem in problems)


def worker_count(config: ProxyConfig) -> int:
    """`workers`, or what 0 stands for: the CPU limit, at most 8, at most a quarter of the largest pool, at least 1."""
    if config.workers:
        return config.workers
    largest_pool = max(entry.pool.over(config.pool).max_size for entry in config.resolved_databases())
    return max(1, min(cpu_limit(), MAX_DEFAULT_WORKERS, largest_pool // 4))


@dataclass(frozen=True)
class _Secrets:
    """What the files hold that a configuration names."""

    users: tuple[User, ...]
    hba: str | None
    """Text of a pg_hba.conf."""
    query: dict[str, Any] | None
    """How to ask for other users."""
    databases: list[dict[str, Any]]
    readers: list[dict[str, Any]]
    """The databases as standbys serve them to those who come by `read_listen_address`."""
    peers: tuple[str, ...] | None
    """What they share, where there are any."""
    consistency_keys: dict[str, Any] | None
    """The Redis that keeps them."""
    tls: dict[str, str | None] | None
    """Encryption of clients."""
    authorities: list[str | None]
    """For each cluster, those that its servers' certificates may come from."""


def _secrets(config: ProxyConfig, base_dir: Path | None) -> _Secrets:
    """Everything read; all files are tried before a `SecretError` is raised."""
    problems: list[Problem] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except SecretError as error:
            problems.extend(error.problems)
        return None

    users = attempt(lambda: users_of(config, base_dir))
    hba = attempt(lambda: _text(config.auth.hba_file, "auth.hba_file", base_dir))
    query = attempt(lambda: _auth_query(config.auth, base_dir))
    databases, readers = [], []
    for index, entry in enumerate(config.resolved_databases()):
        field = f"databases[{index}].password_file"
        password = attempt(partial(secret, entry.password, entry.password_file, field, base_dir))
        databases.append(_database(entry, password, config))
        if config.read_listen_address is not None:
            readers.append(_database(entry.model_copy(update={"role": NodeRole.STANDBY}), password, config))
    peers = attempt(lambda: peer_secrets(config, base_dir)) if config.peers.hosts else None
    keys = attempt(lambda: _consistency_keys(config.routing.consistency_keys, base_dir))
    tls = attempt(lambda: _client_tls(config.tls, base_dir))
    authorities = [
        attempt(partial(_text, cluster.tls.ca_file if cluster.tls.verifies else None, field, base_dir))
        for cluster, field in ((cluster, f"clusters[{i}].tls.ca_file") for i, cluster in enumerate(config.clusters))
    ]
    if problems:
        raise SecretError(problems)
    return _Secrets(users or (), hba, query, databases, readers, peers, keys, tls, authorities)


def _entrances(config: ProxyConfig) -> Iterator[dict[str, Any]]:
    """Where clients come in, and what nodes serve them there."""
    for address, role in ((config.listen_address, NodeRole.PRIMARY), (config.read_listen_address, NodeRole.STANDBY)):
        if address is not None:
            host, port = split_address(address)
            yield {"host": host, "port": port, "role": role}


def _unix_socket(config: ProxyConfig, base_dir: Path | None) -> dict[str, Any] | None:
    if config.unix_socket_dir is None:
        return None
    folder = ((base_dir or Path()) / config.unix_socket_dir).absolute()
    return {"folder": str(folder), "mode": int(config.unix_socket_mode, 8)}


def _auth_query(auth: AuthConfig, base_dir: Path | None) -> dict[str, Any] | None:
    if auth.query_user is None:
        return None
    password = secret(auth.query_password, auth.query_password_file, "auth.query_password_file", base_dir)
    return {
        "user": auth.query_user,
        "password": _reveal(password),
        "database": auth.query_database,
        "sql": auth.query,
        "cache_ms": auth.query_cache_seconds * 1000,
    }


def _consistency_keys(keys: ConsistencyKeysConfig, base_dir: Path | None) -> dict[str, Any] | None:
    if keys.url is None:
        return None
    place, section = redis_place(keys.url), "routing.consistency_keys"
    password = secret(keys.password, keys.password_file, f"{section}.password_file", base_dir)
    return {
        "host": place.host,
        "port": place.port,
        "ca": _text(keys.ca_file, f"{section}.ca_file", base_dir) if place.is_encrypted else None,
        "user": place.user,
        "password": _reveal(password),
        "database": place.database,
        "prefix": keys.prefix,
        "ttl_ms": keys.ttl_seconds * 1000,
        "timeout_ms": keys.timeout_ms,
    }


def _client_tls(tls: ClientTlsConfig, base_dir: Path | None) -> dict[str, str | None] | None:
    if tls.mode is ClientTlsMode.DISABLE:
        return None
    return {
        "mode": tls.mode,
        "certificate": _text(tls.cert_file, "tls.cert_file", base_dir) or "",
        "key": _text(tls.key_file, "tls.key_file", base_dir) or "",
        "client_auth": tls.client_auth,
        "client_ca": _text(tls.client_ca_file, "tls.client_ca_file", base_dir),
        "crl": _text(tls.crl_file, "tls.crl_file", base_dir),
    }


def _text(file: str | None, field: str, base_dir: Path | None) -> str | None:
    return None if file is None else read_text((base_dir or Path()) / file, field)


def _database(entry: DatabaseConfig, password: SecretStr | None, config: ProxyConfig) -> dict[str, Any]:
    return {
        "name": entry.name,
        "cluster": entry.cluster,
        "role": entry.role,
        "database": entry.database,
        "user": entry.user,
        "password": _reveal(password),
        "max_client_connections": _first(entry.max_client_connections, config.limits.max_database_client_connections),
        "max_server_connections": _first(entry.max_server_connections, config.limits.max_database_server_connections),
        "pool": _pool(entry.pool.over(config.pool), config.limits.server_prepared_bytes),
        **_routing(entry.routing.over(config.routing), entry.role, config.transaction_replay.enabled),
    }


def _routing(routing: RoutingConfig, role: NodeRole, keeps: bool) -> dict[str, Any]:
    """How reads are spread, None where all goes to the primary; and what the planner is told, None for nothing.

    `keeps`: transactions are run again."""
    told_elsewhere = {"read_write_split", "hints", "rules", "schema_aware", "workload", "consistency_keys"}
    spread = routing.model_dump(exclude=told_elsewhere)
    spread["targets"] = routing.workload.targets if routing.schema_aware else {}
    if role is NodeRole.STANDBY:
        # Of the primary nothing is known there that a session could have seen.
        is_any = routing.consistency is Consistency.EVENTUAL
        spread["consistency"] = Consistency.EVENTUAL if is_any else Consistency.BOUNDED
        spread["write_mode"] = None
        return {"routing": spread, "policy": None}
    is_spread = routing.spreads or routing.reads_hints
    is_routed = is_spread or routing.write_mode is not None
    if not (is_routed or keeps):
        return {"routing": None, "policy": None}
    if not is_spread:
        # Whoever reads on the primary alone sees everything.
        spread["consistency"] = Consistency.STRONG
    rules = [
        {
            "applications": rule.application_name,
            "pattern": rule.query_pattern,
            "told": rule.model_dump(exclude={"application_name", "query_pattern"}),
        }
        for rule in routing.rules
    ]
    policy = {
        "split": routing.read_write_split,
        "hints": routing.reads_hints,
        "rules": rules,
        "workloads": _workloads(routing.workload) if routing.schema_aware else None,
        "keeps": keeps,
    }
    return {"routing": spread if is_routed else None, "policy": policy}


def _temperature(routing: RoutingConfig) -> dict[str, Any] | None:
    """When tables are cold; None where nobody asks."""
    workload = routing.workload
    if not (routing.schema_aware and workload.cold_target):
        return None
    return {
        "cold_below_per_minute": workload.cold_below_per_minute,
        "half_life_ms": workload.temperature_half_life_seconds * 1000,
    }


def _workloads(workload: WorkloadConfig) -> dict[str, Any]:
    """What the planner is told of kinds of reads; `helios.planner.workload.Workloads` takes it."""
    return {
        "targets": workload.targets,
        "patterns": workload.patterns,
        "large_table_rows": workload.large_table_rows,
    }


def _transaction_replay(replay: TransactionReplayConfig) -> dict[str, Any] | None:
    return replay.model_dump(exclude={"enabled", "journal"}) if replay.enabled else None


def _circuit_breaker(breaker: CircuitBreakerConfig) -> dict[str, Any]:
    return {
        "enabled": breaker.enabled,
        "failure_threshold": breaker.failure_threshold,
        "reset_timeout_ms": breaker.reset_timeout_seconds * 1000,
        "success_threshold": breaker.success_threshold,
        "half_open_requests": breaker.half_open_requests,
        "slow_start_ms": breaker.slow_start_seconds * 1000,
        "outlier_latency_factor": breaker.outlier_latency_factor,
        "outlier_error_percent": breaker.outlier_error_percent,
    }


def _user_limits(limits: LimitsConfig, user: UserConfig | None = None) -> dict[str, Any]:
    """What holds for one user, or for each that has no settings of its own."""
    return {
        "max_client_connections": _first(user and user.max_client_connections, limits.max_user_client_connections),
        "max_server_connections": _first(user and user.max_server_connections, limits.max_user_server_connections),
        "max_pool_size": user and user.max_pool_size,
        **{
            f"{name}_ms": _first(user and getattr(user, f"{name}_seconds"), getattr(limits, f"{name}_seconds")) * 1000
            for name in _USER_TIMES
        },
    }


def _first(own: T | None, general: T) -> T:
    return general if own is None else own


def _pool(pool: PoolConfig, server_prepared_bytes: int) -> dict[str, Any]:
    return {
        "mode": pool.mode,
        "max_size": pool.max_size,
        "reserve_size": pool.reserve_size,
        "reserve_timeout_ms": pool.reserve_timeout_seconds * 1000,
        "min_idle": pool.min_idle,
        "idle_timeout_ms": pool.idle_timeout_seconds * 1000,
        "max_lifetime_ms": pool.max_lifetime_seconds * 1000,
        "acquire_timeout_ms": pool.acquire_timeout_seconds * 1000,
        "reset_query": pool.reset_query,
        "application_name_add_host": pool.application_name_add_host,
        "pin_notices": pool.pin_notices,
        "prepared_statements": pool.prepared_statements is PreparedStatements.TRACK,
        "server_prepared_bytes": server_prepared_bytes,
    }


def _reveal(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
