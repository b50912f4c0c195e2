"""Read a kubeconfig as kubectl does: tokens, certificates and exec plugins. For programs that run outside a pod."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from helios.kube.access import Access, in_cluster
from helios.kube.errors import KubeAccessError
from helios.kube.exec_plugin import ExecPlugin

__all__ = ["find_access", "from_kubeconfig"]

UNSUPPORTED = ("auth-provider", "username")


def find_access(kubeconfig: Path | None = None, context: str | None = None) -> Access:
    """The given kubeconfig, else $KUBECONFIG, else the pod's identity, else ~/.kube/config. Raises KubeAccessError.

    $KUBECONFIG may name several files, of which some may be missing: what is named twice is taken from the first.
    """
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig, context)
    if listed := [Path(name) for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name]:
        return _access([file for file in listed if file.exists()] or listed, context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    return from_kubeconfig(Path.home() / ".kube" / "config", context)


def from_kubeconfig(path: Path, context: str | None = None) -> Access:
    """The access that a context (None: the current one) of a kubeconfig describes. Raises KubeAccessError."""
    return _access([path], context)


def _access(files: Sequence[Path], context: str | None) -> Access:
    documents = {file: _load(file) for file in files}
    named = os.pathsep.join(map(str, files))
    current = (document.get("current-context") for document in documents.values())
    chosen = context or next(filter(None, current), None)
    if not chosen:
        raise KubeAccessError(f"{named} has no current-context; name one")
    _, settings = _named(documents, "contexts", str(chosen), named)
    cluster_file, cluster = _named(documents, "clusters", str(settings.get("cluster")), named)
    file, user = _named(documents, "users", str(settings.get("user")), named)
    for key in UNSUPPORTED:
        if key in user:
            raise KubeAccessError(
                f"{file}: users[].user.{key} is not supported; use a token, a client certificate or exec"
            )
    token_file = user.get("tokenFile")
    plugin = ExecPlugin.from_user(user["exec"], file.parent, f"{file}: users[].user.exec") if "exec" in user else None
    return Access(
        server=str(cluster.get("server") or "").rstrip("/"),
        ca=_pem(cluster, "certificate-authority", cluster_file),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        token=user.get("token"),
        fetch_token=plugin.token if plugin is not None else None,
        token_file=file.parent / token_file if token_file else None,
        certificate=_pem(user, "client-certificate", file),
        key=_pem(user, "client-key", file),
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


def _named(
    documents: Mapping[Path, Mapping[str, Any]], what: str, name: str, files: str
) -> tuple[Path, Mapping[str, Any]]:
    """The entry of that name and the file that has it, beside which the files lie that it names."""
    singular = what[:-1]
    for file, document in documents.items():
        for entry in document.get(what) or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                return file, entry.get(singular) or {}
    raise KubeAccessError(f"{files} has no {singular} named {name}")


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
