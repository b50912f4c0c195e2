"""Which API server and as whom: the arguments of a provider → `helios.kube.Access`. Called once by each provider.

An argument goes before the environment, and that before the files that kubectl reads. In a pod, where nothing is said,
it is the pod's own identity.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from helios.kube import Access, KubeAccessError
from helios.kube.exec_plugin import ExecPlugin
from helios.kube.kubeconfig import find_access
from helios_iac.fields import Field
from helios_iac.problems import IacError

__all__ = ["DEFAULT_MANAGER", "PROVIDER_FIELDS", "Connection", "connection_of"]

DEFAULT_MANAGER: Final = "heliosproxy-iac"
"""What the API server notes as the owner of our fields; both providers have it, so that one may follow the other."""


def _text(name: str, description: str) -> Field:
    return Field(name, name, "string", description)


PROVIDER_FIELDS: Final = (
    _text("kubeconfig", "Path of a kubeconfig. Left out: KUBE_CONFIG_PATH, KUBECONFIG, the pod's own identity, or "
          "~/.kube/config."),
    _text("kube_context", "Context of the kubeconfig. Left out: KUBE_CTX, or its current context."),
    _text("namespace", "Namespace of resources that name none. Left out: KUBE_NAMESPACE, or that of the context."),
    _text("host", "URL of the API server, instead of a kubeconfig. Left out: KUBE_HOST."),
    _text("token", "Bearer token for `host`. Left out: KUBE_TOKEN."),
    _text("cluster_ca_certificate", "PEM of the authority that signed the certificate of `host`."),
    _text("client_certificate", "PEM of a client certificate for `host`."),
    _text("client_key", "PEM of the key of `client_certificate`."),
    Field("insecure", "insecure", "boolean", "Take any certificate of `host`; for tests only."),
    Field(
        "exec",
        "exec",
        "object",
        "A program that hands out tokens for `host`, as in a kubeconfig.",
        fields=(
            Field("command", "command", "string", "The program.", required=True),
            Field("args", "args", "list", "Its arguments.", item=Field("args", "args", "string")),
            Field("env", "env", "map", "Variables added to its environment.", item=Field("env", "env", "string")),
            Field("api_version", "apiVersion", "string", "Version of ExecCredential that it writes."),
        ),
    ),
    _text("field_manager", f"Who the API server notes as the owner of our fields. Left out: {DEFAULT_MANAGER}."),
    Field("force_conflicts", "forceConflicts", "boolean", "Take over fields that others own and that differ. Left out: "
          "such a field is an error that names its owner."),
    Field("take_ownership", "takeOwnership", "boolean", "Adopt an object that exists when a resource is to be created. "
          "Left out: that is an error with the command that imports it."),
)  # fmt: skip
"""Arguments of a provider."""
SENSITIVE: Final = frozenset({"token", "client_key"})
_VARIABLES: Final = {
    "kubeconfig": "KUBE_CONFIG_PATH",
    "kube_context": "KUBE_CTX",
    "namespace": "KUBE_NAMESPACE",
    "host": "KUBE_HOST",
    "token": "KUBE_TOKEN",
}


@dataclass(frozen=True)
class Connection:
    """Where objects are written and how."""

    access: Access
    namespace: str
    manager: str = DEFAULT_MANAGER
    force_conflicts: bool = False
    take_ownership: bool = False


def connection_of(arguments: Mapping[str, Any]) -> Connection:
    """The connection that the arguments (by Terraform's names) describe. Raises IacError."""
    given = {name: arguments.get(name) or os.environ.get(variable) for name, variable in _VARIABLES.items()}
    try:
        access = _by_host(given, arguments) if given["host"] else _by_kubeconfig(given)
    except KubeAccessError as error:
        raise IacError(
            f"no access to Kubernetes: {error}",
            "set `kubeconfig` (and `kube_context`), or `host` with `token` or `exec`, in the provider's configuration",
        ) from error
    return Connection(
        access,
        given["namespace"] or access.namespace,
        arguments.get("field_manager") or DEFAULT_MANAGER,
        bool(arguments.get("force_conflicts")),
        bool(arguments.get("take_ownership")),
    )


def _by_kubeconfig(given: Mapping[str, str | None]) -> Access:
    path = given["kubeconfig"]
    return find_access(Path(path).expanduser() if path else None, given["kube_context"])


def _by_host(given: Mapping[str, str | None], arguments: Mapping[str, Any]) -> Access:
    access = Access(
        server=str(given["host"]).rstrip("/"),
        ca=_pem(arguments, "cluster_ca_certificate"),
        insecure=bool(arguments.get("insecure")),
        token=given["token"],
        certificate=_pem(arguments, "client_certificate"),
        key=_pem(arguments, "client_key"),
    )
    plugin = arguments.get("exec")
    if plugin is None:
        return access
    made = ExecPlugin.from_user(
        {
            "command": plugin.get("command"),
            "args": plugin.get("args") or [],
            "env": [{"name": name, "value": value} for name, value in (plugin.get("env") or {}).items()],
            "apiVersion": plugin.get("api_version"),
        },
        Path.cwd(),
        "exec",
    )
    return replace(access, fetch_token=made.token)


def _pem(arguments: Mapping[str, Any], name: str) -> bytes | None:
    value = arguments.get(name)
    return str(value).encode() if value else None
