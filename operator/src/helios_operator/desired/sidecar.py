"""A proxy inside an application's pod: the pod as it was asked for → the pod with a native sidecar. Pure.

The sidecar comes first among the init containers, so that everything else in the pod finds it running; Kubernetes ends
it last, after the application's own containers, so that it needs no hook to outlive them. The application's containers
stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from helios_crds.workload import Workload
from helios_operator.desired.deployment import (
    ADMIN_PORT,
    USER,
    proxy_container,
    proxy_volumes,
)
from helios_operator.document import ConfigDocument
from helios_operator.names import SIDECAR_CONTAINER, ProxyKey

__all__ = ["SidecarError", "with_sidecar"]

Json = dict[str, Any]
PREFIX: Final = "helios-"
"""Of the names of volumes and ports, which the application has to have for itself."""
READ_BY_ALL: Final = 0o444
"""The group of a volume's files is the application's to say; no other container mounts them."""
DEFAULT_GRACE: Final = 30
"""Seconds that Kubernetes gives a pod that says nothing."""


class SidecarError(ValueError):
    """Why this pod cannot have one; a sentence for whoever made the pod."""


def with_sidecar(pod: Mapping[str, Any], key: ProxyKey, work: Workload, document: ConfigDocument, image: str) -> Json:
    """The spec of `pod` with the sidecar that runs `document`. Raises SidecarError.

    Done twice it is as done once: the API server asks again when another webhook has changed the pod.
    """
    spec: Json = dict(pod["spec"])
    is_there = any(each["name"] == SIDECAR_CONTAINER for each in spec.get("initContainers") or ())
    others = [each for each in spec.get("initContainers") or () if each["name"] != SIDECAR_CONTAINER]
    _check(spec, [*others, *spec["containers"]], document)
    ours = [_prefixed(volume) for volume in proxy_volumes(key, document, READ_BY_ALL)]
    names = {volume["name"] for volume in ours}
    volumes = [volume for volume in spec.get("volumes") or () if volume["name"] not in names]
    grace = int(spec.get("terminationGracePeriodSeconds") or DEFAULT_GRACE)
    return {
        **spec,
        "initContainers": [_container(work, document, image), *others],
        "volumes": [*volumes, *ours],
        # The application may take as long as before, and the proxy after it.
        "terminationGracePeriodSeconds": grace if is_there else grace + work.termination_grace_period_seconds,
    }


def _check(spec: Mapping[str, Any], containers: list[Json], document: ConfigDocument) -> None:
    if spec.get("hostNetwork"):
        raise SidecarError("with hostNetwork every pod of the node would listen on the same address: leave it out")
    wanted = {document.listen_port, document.read_port, document.admin_port}
    for container in containers:
        if container["name"] == SIDECAR_CONTAINER:
            raise SidecarError(f"the name of container {SIDECAR_CONTAINER} is the sidecar's: give it another one")
        for port in container.get("ports") or ():
            if port["containerPort"] in wanted and port.get("protocol", "TCP") == "TCP":
                what = f"container {container['name']} listens on port {port['containerPort']}, as the sidecar does"
                raise SidecarError(f"{what}: give the HeliosProxy another listenPort, readListenPort or adminPort")


def _container(work: Workload, document: ConfigDocument, image: str) -> Json:
    """As in a pod of the proxy's own, but for what an application's pod decides for all of its containers.

    It is not asked whether it is ready: an application whose servers are away is told so by its connections.
    """
    made = proxy_container(work, document, image)
    made.pop("readinessProbe")
    port = f"{PREFIX}{ADMIN_PORT}"
    probes = {name: _at(made[name], port) for name in ("startupProbe", "livenessProbe")}
    probes["startupProbe"]["httpGet"]["path"] = "/startupz"
    identity = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER}
    return {
        **made,
        **probes,
        "name": SIDECAR_CONTAINER,
        "restartPolicy": "Always",
        "args": [*made["args"], "--sidecar"],
        "ports": [{"name": port, "containerPort": document.admin_port, "protocol": "TCP"}],
        "securityContext": {**made["securityContext"], **identity, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumeMounts": [_prefixed(mount) for mount in made["volumeMounts"]],
    }


def _at(probe: Mapping[str, Any], port: str) -> Json:
    return {**probe, "httpGet": {**probe["httpGet"], "port": port}}


def _prefixed(named: Mapping[str, Any]) -> Json:
    return {**named, "name": f"{PREFIX}{named['name']}"}
