"""Read a kubeconfig as kubectl does: tokens, certificates and exec plugins. For programs that run outside a pod."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from helios.kube.access import Access, in_cluster
from helios.kube.errors import KubeAccessError
from helios.kube.exec_plugin import ExecPlugin

__all__ = ["find_access", "from_kubeconfig"]

UNSUPPORTED = ("auth-provider", "username")


def find_access(kubeconfig: Path | None = None, context: str | None = None) -> Access:
    """The given kubeconfig, else $KUBECONFIG, else the pod's identity, else ~/.kube/config. Raises KubeAccessError."""
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig, context)
    if named := os.environ.get("KUBECONFIG"):
        return from_kubeconfig(Path(named.split(os.pathsep)[0]), context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    return from_kubeconfig(Path.home() / ".kube" / "config", context)


def from_kubeconfig(path: Path, context: str | None = None) -> Access:
    """The access that a context (None: the current one) of a kubeconfig describes. Raises KubeAccessError."""
    document = _load(path)
    chosen = context or document.get("current-context")
    if not chosen:
        raise KubeAccessError(f"{path} has no current-context; name one")
    settings = _named(document, "contexts", str(chosen), path)
    cluster = _named(document, "clusters", str(settings.get("cluster")), path)
    user = _named(document, "users", str(settings.get("user")), path)
    for key in UNSUPPORTED:
        if key in user:
            raise KubeAccessError(
                f"{path}: users[].user.{key} is not supported; use a token, a client certificate or exec"
            )
    token_file = user.get("tokenFile")
    plugin = ExecPlugin.from_user(user["exec"], path.parent, f"{path}: users[].user.exec") if "exec" in user else None
    return Access(
        server=str(cluster.get("server") or "").rstrip("/"),
        ca=_pem(cluster, "certificate-authority", path),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        token=user.get("token"),
        fetch_token=plugin.token if plugin is not None else None,
        token_file=path.parent / token_file if token_file else None,
        certificate=_pem(user, "client-certificate", path),
        key=_pem(user, "client-key", path),
        namespace=str(settings.get("namespace") or "default"),
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeAccessError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeAccessError(f"{path} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise KubeAccessError(f"{path} is no kubeconfig")
    return document


def _named(document: Mapping[str, Any], what: str, name: str, path: Path) -> Mapping[str, Any]:
    singular = what[:-1]
    for entry in document.get(what) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry.get(singular) or {}
    raise KubeAccessError(f"{path} has no {singular} named {name}")


def _pem(block: Mapping[str, Any], key: str, path: Path) -> bytes | None:
    """`key`-data (base64) or the file named by `key`, relative to the kubeconfig."""
    try:
        if data := block.get(f"{key}-data"):
            return base64.b64decode(data, validate=True)
        if file := block.get(key):
            return (path.parent / str(file)).read_bytes()
    except (OSError, binascii.Error) as error:
        raise KubeAccessError(f"{path}: {key} cannot be used: {error}") from error
    return None
