"""Deployment `<name>`: the pods of a proxy.

One pod more comes before one goes, so that capacity never falls. Everything the process reads is mounted as folders:
a file mounted by subPath would never change. The pods carry no identity towards the API server unless they may promote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from helios.kube.kinds import DEPLOYMENT
from helios_crds.placement import ADMIN_FOLDER, SECRETS_FOLDER
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner
from helios_operator.desired.pod_template import pod_template
from helios_operator.desired.promotion import account_of
from helios_operator.document import ConfigDocument
from helios_operator.names import (
    AUTOSCALED,
    CONFIG_FOLDER,
    CONFIG_KEY,
    GENERATION,
    PROXY_CONTAINER,
    RESTART,
    ProxyKey,
    labels_of,
    pod_labels,
)

__all__ = ["ADMIN_PORT", "POSTGRES_PORT", "READ_PORT", "USER", "deployment", "proxy_container", "proxy_volumes"]

POSTGRES_PORT: Final = "postgres"
READ_PORT: Final = "postgres-ro"
ADMIN_PORT: Final = "admin"
USER: Final = 65_534
"""nobody; the images are made for it."""
READ_BY_GROUP: Final = 0o440
SPREAD: Final = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
"""Labels of nodes that pods are spread by, as far as there is room elsewhere."""
STARTUP_SECONDS: Final = 60
"""Until a pod that does not answer is started again."""


def deployment(
    owner: Owner, work: Workload, document: ConfigDocument, image: str, is_handed_over: bool = False
) -> dict[str, Any]:
    """The Deployment that runs `document` with `work.image`, or `image` where that is None.

    Ports and Secrets are those that the document names, which may be older than the spec while a new one is refused.
    `is_handed_over`: somebody else says how many pods there are. Raises ResourceError for a podTemplate that cannot be.
    """
    annotations = {GENERATION: str(document.generation)} | ({AUTOSCALED: "true"} if is_handed_over else {})
    made = owner.child(DEPLOYMENT, owner.key.name, annotations)
    pod: dict[str, Any] = {
        "automountServiceAccountToken": work.may_promote,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": work.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [_spread(owner, label) for label in SPREAD],
        "containers": [proxy_container(work, document, work.image or image)],
        "volumes": proxy_volumes(owner.key, document),
    }
    template = {"metadata": {"labels": labels_of(owner.key), "annotations": {RESTART: document.restart}}, "spec": pod}
    if (account := account_of(owner, work)) is not None:
        pod["serviceAccountName"] = account
    if work.pod_template:
        template = pod_template(template, work.pod_template)
    spec = {
        **({} if is_handed_over else {"replicas": work.least_pods}),
        "selector": {"matchLabels": pod_labels(owner.key)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    return {**made, "spec": spec}


def _spread(owner: Owner, label: str) -> dict[str, Any]:
    """Soft: a pod that shares its node is better than one that waits. Those of the template before do not count."""
    return {
        "topologyKey": label,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": pod_labels(owner.key)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def proxy_volumes(key: ProxyKey, document: ConfigDocument, mode: int = READ_BY_GROUP) -> list[dict[str, Any]]:
    """What `proxy_container` mounts; `mode` are the permissions of the files."""
    return [
        {"name": "config", "configMap": {"name": key.config_map, "defaultMode": mode}},
        {"name": "admin", "secret": {"secretName": key.admin, "defaultMode": mode}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
        *(_secret_volume(secret, keys, mode) for _, secret, keys in _secret_mounts(document)),
    ]


def proxy_container(work: Workload, document: ConfigDocument, image: str) -> dict[str, Any]:
    """The container that runs `document`."""
    secrets = [mount for mount, _, _ in _secret_mounts(document)]
    return {
        "name": PROXY_CONTAINER,
        "image": image,
        "command": ["helios"],
        "args": ["serve", "-c", f"{CONFIG_FOLDER}/{CONFIG_KEY}"],
        "ports": list(_ports(document)),
        "startupProbe": _probe("/healthz", 1, STARTUP_SECONDS),
        "livenessProbe": _probe("/livez", 10, 3),
        "readinessProbe": _probe("/readyz", 2, 2),
        "resources": {"requests": dict(work.requests), "limits": dict(work.limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "admin", "mountPath": str(ADMIN_FOLDER), "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
            *({"name": name, "mountPath": folder, "readOnly": True} for name, folder in secrets),
        ],
    }


def _ports(document: ConfigDocument) -> Iterator[dict[str, Any]]:
    yield _port(POSTGRES_PORT, document.listen_port)
    if document.read_port is not None:
        yield _port(READ_PORT, document.read_port)
    yield _port(ADMIN_PORT, document.admin_port)


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "containerPort": port, "protocol": "TCP"}


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    get = {"path": path, "port": ADMIN_PORT, "scheme": "HTTPS"}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures}


def _secret_mounts(document: ConfigDocument) -> list[tuple[tuple[str, str], str, list[str]]]:
    """((volume, folder), Secret, keys) for every Secret that is read."""
    keys: dict[str, list[str]] = {}
    for secret, key in document.secrets:
        keys.setdefault(secret, []).append(key)
    return [
        ((_volume_name(secret), str(SECRETS_FOLDER / secret)), secret, sorted(wanted))
        for secret, wanted in sorted(keys.items())
    ]


def _volume_name(secret: str) -> str:
    """A DNS label; the name of a Secret may be longer and hold dots."""
    return f"secret-{hashlib.sha256(secret.encode()).hexdigest()[:10]}"


def _secret_volume(secret: str, keys: list[str], mode: int) -> dict[str, Any]:
    items = [{"key": key, "path": key} for key in keys]
    return {
        "name": _volume_name(secret),
        "secret": {"secretName": secret, "defaultMode": mode, "items": items},
    }
