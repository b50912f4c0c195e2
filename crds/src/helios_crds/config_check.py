"""Findings of `helios.config.checks` in the words and with the fields of a HeliosProxy. Called by `render`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from helios.config import ProxyConfig
from helios.config.checks import check
from helios_crds.base import SpecModel
from helios_crds.node import tree
from helios_crds.pool_settings import SOURCE_SPEC, Effective, names_of
from helios_crds.problems import Problem, Reason, format_path
from helios_crds.v1alpha1 import HeliosProxy
from helios_crds.v1alpha1.backends import DatabaseSpec, NodeSpec
from helios_crds.v1alpha1.routing_settings import ConsistencyKeysSpec, DatabaseRoutingSpec, RoutingSpec
from helios_crds.v1alpha1.settings import (
    AuthSpec,
    ConsoleSpec,
    DatabasePoolSpec,
    DrainSpec,
    FailoverSpec,
    LimitsSpec,
    LogSpec,
    MaintenanceSpec,
    MonitorSpec,
    PoolSpec,
    TlsSpec,
    TransactionReplaySpec,
    UserSpec,
)

__all__ = ["check_config", "field_of"]

Path = tuple[str | int, ...]
_BLOCKS: Final[dict[str, type[SpecModel]]] = {
    "auth": AuthSpec,
    "console": ConsoleSpec,
    "drain": DrainSpec,
    "failover": FailoverSpec,
    "limits": LimitsSpec,
    "log": LogSpec,
    "maintenance": MaintenanceSpec,
    "monitor": MonitorSpec,
    "pool": PoolSpec,
    "routing": RoutingSpec,
    "tls": TlsSpec,
    "transaction_replay": TransactionReplaySpec,
}
_RENAMED: Final[dict[Path, tuple[Path, str]]] = {
    ("auth", "users_file"): (("auth", "usersSecretRef"), ""),
    ("auth", "hba_file"): (("auth", "hbaSecretRef"), ""),
    ("auth", "query_password_file"): (("auth", "querySecretRef"), ""),
    ("routing", "consistency_keys", "password_file"): (("routing", "consistencyKeys", "secretRef"), ""),
    ("routing", "consistency_keys", "ca_file"): (("routing", "consistencyKeys", "caSecretRef"), ""),
    ("monitor", "password_file"): (("monitor", "secretRef"), ""),
    ("tls", "cert_file"): (("tls", "secretRef"), "name a Secret of type kubernetes.io/tls"),
    ("tls", "key_file"): (("tls", "secretRef"), "name a Secret of type kubernetes.io/tls"),
    ("tls", "client_ca_file"): (("tls", "clientCaSecretRef"), "name a Secret with the authorities of clients"),
    ("tls", "crl_file"): (("tls", "crlSecretRef"), ""),
    ("listen_address",): (("listenPort",), ""),
    ("read_listen_address",): (("readListenPort",), ""),
    ("admin", "address"): (("adminPort",), ""),
}
"""Configuration path → (path below spec, hint in the words of the resource)."""


def check_config(config: ProxyConfig, proxy: HeliosProxy, effective: Sequence[Effective]) -> list[Problem]:
    """Everything wrong with `config` as a whole, naming the fields of `proxy` that made it so.

    A cluster without nodes is left out: `render` reports it with the Service that should have had them.
    """
    sources = {setting.field: setting.source for setting in effective}
    problems: list[Problem] = []
    for finding in check(config):
        if _is_missing_nodes(finding.path, config):
            continue
        path, hint = _in_spec(finding.path, proxy)
        field = format_path(("spec", *path))
        source = sources.get(format_path(path), SOURCE_SPEC)
        message = _reworded(finding.message, finding.path)
        message = message if source == SOURCE_SPEC else f"{message} (it comes from {source})"
        hint = hint or _reworded(finding.hint, finding.path)
        problems.append(Problem(message, field, hint, reason=Reason.CONFIG_INVALID))
    return problems


def field_of(path: Path, proxy: HeliosProxy) -> str:
    """The field of `proxy` that makes the configuration at `path`, or the nearest one; empty where none does."""
    steps, _ = _in_spec(path, proxy)
    return format_path(("spec", *steps)) if steps[0] in tree(HeliosProxy).properties["spec"].properties else ""


def _reworded(message: str, path: Path) -> str:
    """`message` with the names of the resource for those of the pool's configuration."""
    if "pool" not in path:
        return message
    for config, name in names_of(PoolSpec).items():
        message = re.sub(rf"\b{config}\b", name, message)
    return message


def _is_missing_nodes(path: Path, config: ProxyConfig) -> bool:
    match path:
        case ("clusters", int(index), "nodes"):
            return not config.clusters[index].nodes
    return False


def _in_spec(path: Path, proxy: HeliosProxy) -> tuple[Path, str]:
    if path in _RENAMED:
        return _RENAMED[path]
    match path:
        case ("clusters", int(), "nodes", *rest) if not proxy.spec.clusters:
            return ("nodes", *_renamed(NodeSpec, tuple(rest))), ""
        case ("clusters", int(cluster), "nodes", *rest):
            return ("clusters", cluster, "nodes", *_renamed(NodeSpec, tuple(rest))), ""
        case ("databases", int(index), "pool", *rest):
            return ("databases", index, "pool", *_renamed(DatabasePoolSpec, tuple(rest))), ""
        case ("databases", int(index), "routing", *rest):
            return ("databases", index, "routing", *_renamed(DatabaseRoutingSpec, tuple(rest))), ""
        case ("databases", int(index), "password_file"):
            return ("databases", index, "passwordSecretRef"), ""
        case ("databases", int(index), *rest):
            return ("databases", index, *_renamed(DatabaseSpec, tuple(rest))), ""
        case ("users", int(index), *rest):
            return ("users", index, *_renamed(UserSpec, tuple(rest))), ""
        case ("routing", "consistency_keys", *rest):
            return ("routing", "consistencyKeys", *_renamed(ConsistencyKeysSpec, tuple(rest))), ""
        case (str(block), *rest) if block in _BLOCKS:
            return (block, *_renamed(_BLOCKS[block], tuple(rest))), ""
    return path, ""


def _renamed(model: type[SpecModel], rest: Path) -> Path:
    """The last steps of a configuration path under the names of `model`."""
    names = names_of(model)
    return tuple(names.get(step, step) if isinstance(step, str) else step for step in rest)
