"""A configuration as the resources that give it back: a HeliosProxy and the Secrets it names. Called by `imports`.

The inverse of `helios_crds.render`. Secrets are named, and written only where that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from helios.config import ClusterConfig, DatabaseConfig, HeliosModel, NodeConfig, ProxyConfig
from helios.config.base import join_address, split_address
from helios.config.foreign.draft import Imported
from helios.config.secrets import read_text
from helios.config.users import format_users
from helios_crds import API_VERSION, Document, parse
from helios_crds.base import SpecModel
from helios_crds.pool_settings import names_of
from helios_crds.v1alpha1.backends import ClusterSpec, DatabaseSpec, NodeSpec
from helios_crds.v1alpha1.helios_proxy import MAIN_CLUSTER, HeliosProxySpec
from helios_crds.v1alpha1.references import CA_KEY, CERTIFICATE_KEY, HBA_KEY, PASSWORD_KEY, PRIVATE_KEY, USERS_KEY
from helios_crds.v1alpha1.settings import (
    AuthSpec,
    DatabasePoolSpec,
    DrainSpec,
    IdentSpec,
    LimitsSpec,
    LogSpec,
    MaintenanceSpec,
    PoolSpec,
    ServerTlsSpec,
    TlsSpec,
    UserSpec,
)

__all__ = ["Manifests", "manifests"]

OPAQUE: Final = "Opaque"
TLS: Final = "kubernetes.io/tls"


@dataclass(frozen=True)
class Manifests:
    """What `kubectl apply` takes, and what a person should know."""

    documents: list[dict[str, Any]]
    remarks: list[str]


@dataclass
class _Secret:
    """A Secret, by name; its values are read where they are written only."""

    name: str
    kind: str = OPAQUE
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, str] = field(default_factory=dict)
    """Key → file that holds the value."""

    def manifest(self) -> dict[str, Any]:
        """The object, values in clear. `SecretError` where a file cannot be read."""
        read = {key: read_text(Path(file), f"Secret/{self.name}, key {key}") for key, file in self.files.items()}
        head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "type": self.kind}
        return {**head, "stringData": self.texts | read}

    def wanted(self) -> str:
        """For a person who has to create it."""
        keys = [f"{key} ({self.files[key]})" if key in self.files else key for key in (*self.texts, *self.files)]
        return f"Secret/{self.name} must exist, with {', '.join(keys)}; --with-secrets writes it"


def manifests(imported: Imported, name: str, *, with_secrets: bool) -> Manifests:
    """The resources of a configuration. `ResourceError` where it is more than a HeliosProxy can hold."""
    config = imported.config
    secrets: list[_Secret] = []
    proxy = {
        "apiVersion": API_VERSION,
        "kind": "HeliosProxy",
        "metadata": {"name": name},
        "spec": _spec(imported, name, secrets),
    }
    parse(Document(proxy, f"HeliosProxy/{name}"))
    replicas = HeliosProxySpec().replicas
    size = config.pool.max_size
    remarks = [
        f"each of the {replicas} pods has pools of its own: {size} server connections are up to {replicas * size}",
        f"pods listen on all their addresses; {config.listen_address} gives the port",
    ]
    if not with_secrets:
        return Manifests([proxy], [*remarks, *(secret.wanted() for secret in secrets)])
    return Manifests([*(secret.manifest() for secret in secrets), proxy], remarks)


def _spec(imported: Imported, name: str, secrets: list[_Secret]) -> dict[str, Any]:
    config = imported.config
    spec: dict[str, Any] = {
        "listenPort": split_address(config.listen_address)[1],
        **({"readListenPort": split_address(readers)[1]} if (readers := config.read_listen_address) else {}),
        **_mirror(HeliosProxySpec, config),
        **_backends(config, name, secrets),
        "databases": _databases(config, name, secrets),
        "users": [_mirror(UserSpec, user) for user in config.users],
        "pool": _mirror(PoolSpec, config.pool),
        "auth": _auth(imported, name, secrets),
        "console": _console(config),
        "tls": _tls(config, name, secrets),
        "drain": _mirror(DrainSpec, config.drain),
        "limits": _mirror(LimitsSpec, config.limits),
        "maintenance": _mirror(MaintenanceSpec, config.maintenance),
        "log": _mirror(LogSpec, config.log),
    }
    return {key: value for key, value in spec.items() if value not in (None, {}, [])}


def _mirror(spec: type[SpecModel], model: HeliosModel) -> dict[str, Any]:
    """Every field of a block that mirrors one of `model` and whose value is not the default."""
    plain = model.model_dump(mode="json", exclude_defaults=True)
    return {alias: plain[field] for field, alias in names_of(spec).items() if field in plain}


def _backends(config: ProxyConfig, name: str, secrets: list[_Secret]) -> dict[str, Any]:
    """`nodes` for one cluster that has the name which they imply, else `clusters`."""
    tls = [_server_tls(cluster, name, secrets) for cluster in config.clusters]
    if [cluster.name for cluster in config.clusters] == [MAIN_CLUSTER]:
        return {"nodes": _nodes(config.clusters[0]), "serverTls": tls[0]}
    clusters = [
        {**_mirror(ClusterSpec, cluster), "nodes": _nodes(cluster), **({"serverTls": block} if block else {})}
        for cluster, block in zip(config.clusters, tls, strict=True)
    ]
    return {"clusters": clusters}


def _nodes(cluster: ClusterConfig) -> list[dict[str, Any]]:
    return [_node(node) for node in cluster.nodes]


def _node(node: NodeConfig) -> dict[str, Any]:
    made = {"host": node.host, "port": node.port, **_mirror(NodeSpec, node)}
    if node.name == join_address(node.host, node.port):  # what it is called without a name
        del made["name"]
    return made


def _server_tls(cluster: ClusterConfig, name: str, secrets: list[_Secret]) -> dict[str, Any]:
    block = _mirror(ServerTlsSpec, cluster.tls)
    if cluster.tls.ca_file is not None:
        block["caSecretRef"] = _reference(secrets, f"{name}-server-ca", files={CA_KEY: cluster.tls.ca_file})
    return block


def _databases(config: ProxyConfig, name: str, secrets: list[_Secret]) -> list[dict[str, Any]]:
    return [_database(index, entry, name, secrets) for index, entry in enumerate(config.databases)]


def _database(index: int, entry: DatabaseConfig, name: str, secrets: list[_Secret]) -> dict[str, Any]:
    made = {"name": entry.name, **_mirror(DatabaseSpec, entry)}
    if entry.password is not None:
        key = f"{index}-{re.sub(r'[^-._a-zA-Z0-9]', '_', entry.name)}"
        ref = _reference(secrets, f"{name}-databases", texts={key: entry.password.get_secret_value()})
        made["passwordSecretRef"] = {**ref, "key": key}
    pool = _mirror(DatabasePoolSpec, entry.pool)
    return {**made, "pool": pool} if pool else made


def _auth(imported: Imported, name: str, secrets: list[_Secret]) -> dict[str, Any]:
    auth = imported.config.auth
    block = _mirror(AuthSpec, auth)
    if imported.users is not None:
        block["usersSecretRef"] = _reference(secrets, f"{name}-users", texts={USERS_KEY: format_users(imported.users)})
    elif auth.users_file is not None:
        block["usersSecretRef"] = _reference(secrets, f"{name}-users", files={USERS_KEY: auth.users_file})
    if auth.ident:
        block["ident"] = [_mirror(IdentSpec, line) for line in auth.ident]
    if auth.hba_file is not None:
        block["hbaSecretRef"] = _reference(secrets, f"{name}-hba", files={HBA_KEY: auth.hba_file})
        block.pop("method", None)
    if auth.query_password is not None:
        password = {PASSWORD_KEY: auth.query_password.get_secret_value()}
        block["querySecretRef"] = _reference(secrets, f"{name}-query", texts=password)
    return block


def _console(config: ProxyConfig) -> dict[str, Any]:
    named = {"adminUsers": config.console.admin_users, "statsUsers": config.console.stats_users}
    return {key: list(users) for key, users in named.items() if users}


def _tls(config: ProxyConfig, name: str, secrets: list[_Secret]) -> dict[str, Any]:
    block = _mirror(TlsSpec, config.tls)
    if config.tls.cert_file is not None and config.tls.key_file is not None:
        files = {CERTIFICATE_KEY: config.tls.cert_file, PRIVATE_KEY: config.tls.key_file}
        block["secretRef"] = _reference(secrets, f"{name}-tls", TLS, files=files)
    if config.tls.client_ca_file is not None:
        authorities = {CA_KEY: config.tls.client_ca_file}
        block["clientCaSecretRef"] = _reference(secrets, f"{name}-client-ca", files=authorities)
    return block


def _reference(
    secrets: list[_Secret],
    name: str,
    kind: str = OPAQUE,
    texts: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The reference to a Secret, which is made or gets one more key."""
    secret = next((each for each in secrets if each.name == name), None)
    if secret is None:
        secret = _Secret(name, kind)
        secrets.append(secret)
    secret.texts |= texts or {}
    secret.files |= files or {}
    return {"name": name}
