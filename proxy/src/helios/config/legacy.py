"""Keys of the original product: what they became, what is not acted on yet, what must not be ignored.

Called by the loader between substitution and validation. The three tables are the whole compatibility; the tables of
keys without effect shrink as features arrive. One warning line for each key that was used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from helios.config.base import split_address
from helios.config.environment import EnvText
from helios.config.tree import Finding, Path, Tree, get, parse_path, path_text, put, remove, unknown_key

__all__ = ["IGNORED", "NOT_ACTED_ON", "REFUSED", "RENAMED", "Translation", "translate"]

Convert = Callable[[Any], Any]
"""Old value to new value. Returns what it cannot convert as it is: the models then say what is wrong with it."""


def _as_is(value: Any) -> Any:
    return value


def _or_none(value: Any) -> Any:
    return None if value == "" else value


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, EnvText) and value.isascii() and value.isdigit() else value


def _to_ms(value: Any) -> Any:
    number = _number(value)
    return number * 1000 if isinstance(number, int) and not isinstance(number, bool) else value


def _seconds(value: Any) -> Any:
    """`"30s"` or `"2m"` as a number."""
    written = re.fullmatch(r"(\d+)(s|m)", value) if isinstance(value, str) else None
    return value if written is None else int(written[1]) * {"s": 1, "m": 60}[written[2]]


def _bytes(value: Any) -> Any:
    """`"64MB"` as a number."""
    written = re.fullmatch(r"(\d+)\s*(B|KB|MB|GB)", value, re.IGNORECASE) if isinstance(value, str) else None
    units = {"B": 0, "KB": 10, "MB": 20, "GB": 30}
    return value if written is None else int(written[1]) << units[written[2].upper()]


def _words(**replacements: str) -> Convert:
    def convert(value: Any) -> Any:
        return replacements.get(value.lower(), value.lower()) if isinstance(value, str) else value

    return convert


def _keeps_own_writes(value: Any) -> Any:
    """The consistency that the switch for reading one's own writes stands for."""
    return {"true": "session", "false": "bounded"}.get(str(value).lower(), value)


def _switched(value: Any) -> Any:
    """The mode that `enabled` stands for: the original let clients choose."""
    return {"true": "allow", "false": "disable"}.get(str(value).lower(), value)


RENAMED: Final[dict[str, tuple[str, Convert]]] = {
    "admin_address": ("admin.address", _as_is),
    "admin_token": ("admin.token", _as_is),
    "shutdown_drain_timeout_secs": ("drain.timeout_seconds", _as_is),
    "pool_mode.mode": ("pool.mode", _as_is),
    "pool_mode.max_pool_size": ("pool.max_size", _as_is),
    "pool_mode.min_idle": ("pool.min_idle", _as_is),
    "pool_mode.idle_timeout_secs": ("pool.idle_timeout_seconds", _as_is),
    "pool_mode.max_lifetime_secs": ("pool.max_lifetime_seconds", _as_is),
    "pool_mode.acquire_timeout_secs": ("pool.acquire_timeout_seconds", _as_is),
    "pool_mode.reset_query": ("pool.reset_query", _or_none),
    "pool_mode.prepared_statement_mode": ("pool.prepared_statements", _words(named="track")),
    "pool.server_connections": ("pool.max_size", _as_is),
    "pool.max_connections": ("pool.max_size", _as_is),
    "pool.min_connections": ("pool.min_idle", _as_is),
    "pool.idle_timeout_secs": ("pool.idle_timeout_seconds", _as_is),
    "pool.max_lifetime_secs": ("pool.max_lifetime_seconds", _as_is),
    "pool.acquire_timeout_secs": ("pool.acquire_timeout_seconds", _as_is),
    "health.check_interval_secs": ("monitor.interval_ms", _to_ms),
    "health.check_timeout_secs": ("monitor.timeout_ms", _to_ms),
    "health.failure_threshold": ("monitor.failure_threshold", _as_is),
    "transparent_write_routing.sync_mode": ("routing.write_mode", _words()),
    "load_balancer.read_write_split": ("routing.read_write_split", _as_is),
    "load_balancer.read_strategy": ("routing.read_strategy", _words()),
    "lag_routing.max_lag_bytes": ("routing.max_lag_bytes", _as_is),
    "routing_hints.enabled": ("routing.hints", _as_is),
    "max_replica_lag_ms": ("routing.max_lag_ms", _as_is),
    "ryw_enabled": ("routing.consistency", _keeps_own_writes),
    "routing.workload.enabled": ("routing.schema_aware", _as_is),
    "schema_routing.enabled": ("routing.schema_aware", _as_is),
    "schema_routing.analytics_node": ("routing.workload.olap_target", _as_is),
    "limits.startup_timeout_secs": ("limits.startup_timeout_seconds", _as_is),
    "limits.client_write_timeout_secs": ("limits.client_write_timeout_seconds", _as_is),
    "auth.mode": ("auth.method", _words(scram="scram-sha-256", passthrough="trust")),
    "auth.auth_file": ("auth.users_file", _as_is),
    "tls.enabled": ("tls.mode", _switched),
    "tls.cert_path": ("tls.cert_file", _as_is),
    "tls.key_path": ("tls.key_file", _as_is),
    "circuit_breaker.open_secs": ("circuit_breaker.reset_timeout_seconds", _as_is),
    "circuit_breaker.reset_timeout": ("circuit_breaker.reset_timeout_seconds", _seconds),
    "tr_enabled": ("transaction_replay.enabled", _as_is),
    "transaction_replay.journal.max_size": ("transaction_replay.journal.max_bytes", _bytes),
    "logging.level": ("log.level", _words(trace="debug", warn="warning")),
    "logging.format": ("log.format", _words(pretty="text", compact="text", full="text")),
}
"""Old key → new key and conversion. Where two old keys lead to one new key, the first in this table wins."""

NOT_ACTED_ON: Final = (
    "ai_cache",
    "analytics",
    "anomaly",
    "branch",
    "cache",
    "distribcache",
    "edge",
    "graphql",
    "graphql_gateway",
    "ha",
    "http_gateway",
    "lag",
    "mcp",
    "metrics",
    "mirror",
    "schema_routing.rules",
    "session_migration",
    "upgrade",
)
"""Features without effect in this version that protect nothing: one warning each where they are switched on."""

IGNORED: Final = (
    "admin_allow_insecure",
    "health.check_query",
    "health.success_threshold",
    "lag_routing.enabled",
    "lag_routing.ryw_window_ms",
    "lag_routing_enabled",
    "limits.backend_read_timeout_secs",
    "limits.backend_write_timeout_secs",
    "limits.max_cancel_keys",
    "limits.max_pending_bytes",
    "limits.max_total_idle_backend_conns",
    "limits.pool_reap_interval_secs",
    "limits.reprepare_timeout_secs",
    "load_balancer.latency_threshold_ms",
    "optimize_unnamed_parse",
    "pool.test_on_acquire",
    "pool_mode.skip_clean_reset",
    "routing_hints.strip_hints",
    "tls.ca_path",
    "tr_mode",
    "transaction_replay.max_wal_lag_bytes",
    "transaction_replay.retry_on_error",
    "transaction_replay.statement_timeout_ms",
    "transaction_replay.verify_results",
    "transaction_replay.wait_for_wal_sync",
    "transparent_write_routing.enabled",
    "transparent_write_routing.forward_timeout_ms",
    "transparent_write_routing.pool",
    "write_timeout_secs",
)
"""Settings that tune such a feature or that Helios settles by itself: passed over without a word."""

REFUSED: Final[dict[str, str]] = {
    "agent_contracts": "agents would not be held to their contracts",
    "auth.api_key": "clients would not be asked for their API key",
    "auth.api_keys": "clients would not be asked for their API key",
    "auth.jwt": "clients would not be asked for their token",
    "auth.ldap": "clients would not be checked against LDAP",
    "auth.oauth": "clients would not be asked for their token",
    "auth.enabled": "clients would not be asked for the proof that was meant",
    "hba": "nobody would be rejected",
    "multi_tenancy": "tenants would see each other's rows",
    "plugins": "a plugin that blocks or masks would not be asked",
    "query_rewrite": "filters and limits that its rules add would be missing",
    "rate_limit": "nobody would be limited",
    "rewriter": "filters and limits that its rules add would be missing",
    "tenancy": "tenants would see each other's rows",
    "tls.require_client_cert": "clients would be let in without a certificate",
}
"""Features without effect in this version that protect somebody: refused where they are switched on, and why."""

SECTIONS: Final = (
    *("health", "lag_routing", "load_balancer", "logging", "pool_mode", "routing_hints", "schema_routing"),
    "transparent_write_routing",
)
"""Sections of the original that have no successor of the same name."""

_role = _words(replica="standby")


@dataclass
class Translation:
    """What was done to a tree."""

    is_legacy: bool = False
    """Whether the file is one of the original, so that its defaults hold where ours are different."""

    warnings: list[Finding] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    origins: dict[Path, Path] = field(default_factory=dict)
    """New path → path in the file."""


def translate(tree: Tree) -> Translation:
    """Bring the original's keys in `tree` into our form, in place."""
    done = Translation()
    used = _refuse_protection(tree, done)
    used |= _drop_write_mode(tree)
    used |= _drop_without_effect(tree, done)
    used |= _count_clients(tree, done)
    used |= _rename(tree, done)
    used |= _nodes(tree, done)
    done.is_legacy = used and "config_version" not in tree
    if done.is_legacy:
        _defaults_of_the_original(tree, done)
    _warn_of_passthrough(tree, done)
    return done


def _is_on(value: Any) -> bool:
    """Whether a switch, a section or a list of entries asks for something. In doubt it does."""
    if isinstance(value, dict):
        return bool(value) and _is_on(value.get("enabled", True))
    if isinstance(value, list):
        return bool(value)
    return value is not False and not (isinstance(value, EnvText) and value.lower() == "false")


def _switch(path: Path, value: Any) -> Path:
    return (*path, "enabled") if isinstance(value, dict) and "enabled" in value else path


def _refuse_protection(tree: Tree, done: Translation) -> bool:
    used = False
    for old, reason in REFUSED.items():
        path = parse_path(old)
        value = get(tree, path)
        if value is None:
            continue
        used = True
        if _is_on(value):
            message = f"is switched on, but this version does not act on it: {reason}"
            done.problems.append(Finding(_switch(path, value), message, "remove it only if you can do without it"))
        remove(tree, path)
    tls = tree.get("tls")
    if isinstance(tls, dict) and "enabled" in tls and not _is_on(tls):
        used = True
        del tree["tls"]
    return used


def _drop_without_effect(tree: Tree, done: Translation) -> bool:
    used = False
    for old in (*NOT_ACTED_ON, *IGNORED):
        path = parse_path(old)
        value = get(tree, path)
        if value is None:
            continue
        used = True
        if old in NOT_ACTED_ON and _is_on(value):
            done.warnings.append(Finding(_switch(path, value), "is read but this version does not act on it"))
        remove(tree, path)
    return used


def _drop_write_mode(tree: Tree) -> bool:
    """A mode for writes counts where `[transparent_write_routing]` is switched on; writes are routed in any case."""
    section = tree.get("transparent_write_routing")
    if not isinstance(section, dict) or _is_on(section):
        return False
    section.pop("sync_mode", None)
    return True


def _count_clients(tree: Tree, done: Translation) -> bool:
    """`pool.max_connections` is the pool's size in the original, but the number of clients on its product page, whose
    `[pool]` also holds `mode` or `server_connections`."""
    pool = tree.get("pool")
    if not isinstance(pool, dict) or "max_connections" not in pool or not {"mode", "server_connections"} & pool.keys():
        return False
    _move(tree, ("pool", "max_connections"), ("limits", "max_client_connections"), _as_is, done)
    return True


def _rename(tree: Tree, done: Translation) -> bool:
    used = False
    for old, (new, convert) in RENAMED.items():
        old_path, new_path = parse_path(old), parse_path(new)
        if get(tree, old_path) is None:
            continue
        used = True
        _move(tree, old_path, new_path, convert, done)
    for section in SECTIONS:
        if isinstance(tree.get(section), dict):
            used = True
            done.problems += _unknown_keys(section, tree.pop(section))
    if used:
        _fit_idle_into_pool(tree, done)
    return used


def _unknown_keys(section: str, left_over: Tree) -> list[Finding]:
    """What is left of a section once every known key was taken out of it."""
    known = [name.split(".")[1] for name in (*RENAMED, *IGNORED, *NOT_ACTED_ON) if name.startswith(f"{section}.")]
    return [unknown_key((section, key), known) for key in left_over]


def _move(tree: Tree, old: Path, new: Path, convert: Convert, done: Translation) -> None:
    value = convert(get(tree, old))
    remove(tree, old)
    name = path_text(new)
    if get(tree, new) is not None:
        winner = path_text(done.origins.get(new, new))
        done.warnings.append(Finding(old, f"is deprecated and has no effect beside {winner}", f"write {name}"))
        return
    if not put(tree, new, value):
        done.problems.append(Finding(new[:1], f"must be a table, so that {path_text(old)} can become {name}"))
        return
    done.origins[new] = old
    done.warnings.append(Finding(old, f"is deprecated, it is {name} now"))


def _fit_idle_into_pool(tree: Tree, done: Translation) -> None:
    """`pool.min_connections` and `pool_mode.max_pool_size` never knew each other; the smaller pool wins."""
    minimum, size = (_number(get(tree, ("pool", name))) for name in ("min_idle", "max_size"))
    from_pool = done.origins.get(("pool", "min_idle")) == ("pool", "min_connections")
    if from_pool and isinstance(minimum, int) and isinstance(size, int) and minimum > size:
        put(tree, ("pool", "min_idle"), size)


def _nodes(tree: Tree, done: Translation) -> bool:
    used = False
    nodes = tree.get("nodes")
    for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
        if isinstance(node, dict):
            used |= _node(node, ("nodes", index), done)
    return used


def _node(node: Tree, path: Path, done: Translation) -> bool:
    used = node.pop("http_port", None) is not None
    if isinstance(node.get("role"), str) and _role(node["role"]) != node["role"]:
        done.warnings.append(Finding((*path, "role"), f'"{node["role"]}" is deprecated, it is "standby" now'))
        node["role"] = _role(node["role"])
        used = True
    address = node.get("address")
    if isinstance(address, str) and "host" not in node:
        try:
            node["host"], node["port"] = split_address(address)
        except ValueError as error:
            done.problems.append(Finding((*path, "address"), str(error)))
            node["host"] = "unknown"
        del node["address"]
        done.warnings.append(Finding((*path, "address"), "is deprecated, it is host and port now"))
        done.origins |= {("nodes", path[1], part): (*path, "address") for part in ("host", "port")}
        used = True
    return used


def _defaults_of_the_original(tree: Tree, done: Translation) -> None:
    """Where the original's default is another one than ours and clients depend on it, it is kept for its files."""
    auth = tree.setdefault("auth", {})
    if isinstance(auth, dict) and "method" not in auth:
        auth["method"] = "trust" if "users_file" not in auth else "scram-sha-256"
        done.origins[("auth", "method")] = ("auth",)
    pool = tree.setdefault("pool", {})
    if isinstance(pool, dict) and "mode" not in pool:
        pool["mode"] = "session"
        done.warnings.append(Finding(("pool",), "states no mode; session, as in the original", "write pool.mode"))


def _warn_of_passthrough(tree: Tree, done: Translation) -> None:
    origin = done.origins.get(("auth", "method"))
    if origin is None or get(tree, ("auth", "method")) != "trust":
        return
    message = (
        "pass-through of passwords is not there yet: clients are let in without one (method trust), and Helios logs in "
        "to the servers as the client's user without a password, so only servers that trust its address work"
    )
    done.warnings.append(Finding(origin, message, "set auth.method and auth.users_file to ask clients for passwords"))
