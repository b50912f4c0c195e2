"""Slim pictures of cluster objects, as the indexes hold them. Made by the watcher, read by the reconciler.

Thousands of objects are held, so only what a decision needs is kept; `managedFields` never is. What is looked at once
a pass, a resource as it was written and a child's content, is kept as packed JSON.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from helios_operator.names import GENERATION, HOLD, MANAGER, PROXY_CONTAINER, ROTATE, SIDECAR_CONTAINER

__all__ = [
    "MAX_GENERATION",
    "Child",
    "Endpoint",
    "Pod",
    "Slice",
    "Stored",
    "child_of",
    "controller_of",
    "pod_of",
    "sidecar_of",
    "slice_of",
    "slim",
    "stored_of",
]

Json = Mapping[str, Any]
_COMPACT: Final = json.JSONEncoder(default=dict, separators=(",", ":"))
MAX_GENERATION: Final = 1 << 62
"""What somebody else may have written as a generation, and is taken for one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource of ours as it was written, with its status as it stands."""

    packed: bytes
    packed_status: bytes
    uid: str
    generation: int
    version: int
    """resourceVersion."""
    created: str
    """When, in the API server's words, which sort as they follow each other."""
    deleting: bool

    @property
    def value(self) -> dict[str, Any]:
        """apiVersion, kind, metadata (a part of it), spec."""
        return _unpacked(self.packed)

    @property
    def status(self) -> dict[str, Any]:
        """The status as it stands."""
        return _unpacked(self.packed_status)


@dataclass(slots=True)
class Child:
    """An object that carries our label."""

    uid: str
    version: int
    """resourceVersion."""
    owner: str | None
    """uid of the controller."""
    created: bool
    """Its fields are still owned by our create and not by an apply."""
    deleting: bool
    generation: int
    """Of the document, as the annotation says; 0 where there is none."""
    packed: bytes
    status: Json
    in_line_with: str | None = None
    """Hash of what was wanted when the content was compared and found to be so; it need not be compared again."""

    @property
    def content(self) -> dict[str, Any]:
        """labels, annotations, ownerReferences and everything beside metadata and status."""
        return _unpacked(self.packed)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a proxy."""

    name: str
    image: str
    """Of its proxy; its tag tells which version of the document it reads."""
    ip: str | None
    ready: bool
    running: bool
    deleting: bool
    trouble: tuple[str, str] | None
    """(reason, message) of what keeps its container or its scheduling waiting."""
    ended: bool = False
    """Its containers have ended and will not come back; it is there for people to look at."""
    started: bool = True
    """Of a sidecar: what follows it in the pod was started, so that it may have clients."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a Service."""

    host: str
    port: int
    name: str | None


@dataclass(frozen=True, slots=True)
class Slice:
    """What one EndpointSlice says."""

    endpoints: tuple[Endpoint, ...]


def _packed(value: Any) -> bytes:
    return zlib.compress(_COMPACT.encode(value).encode(), 1)


def _unpacked(packed: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(zlib.decompress(packed).decode())
    return value


def slim(body: Json) -> dict[str, Any]:
    """A resource of ours without what only the API server needs."""
    metadata = body["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "generation") if metadata.get(key)}
    said = metadata.get("annotations") or {}
    if asked := {name: said[name] for name in (ROTATE, HOLD) if said.get(name)}:
        kept["annotations"] = asked
    what = {"apiVersion": body.get("apiVersion"), "kind": body.get("kind")}
    return {**what, "metadata": kept, "spec": body.get("spec") or {}}


def stored_of(body: Json) -> Stored:
    """The picture of a HeliosProxy or a policy; kopf hands out views, which this does not keep alive."""
    metadata = body["metadata"]
    return Stored(
        packed=_packed(slim(body)),
        packed_status=_packed(body.get("status") or {}),
        uid=metadata["uid"],
        generation=int(metadata.get("generation") or 0),
        version=int(metadata["resourceVersion"]),
        created=str(metadata.get("creationTimestamp") or ""),
        deleting="deletionTimestamp" in metadata,
    )


def child_of(body: Json) -> Child:
    """The picture of a ConfigMap, Service or Deployment."""
    metadata = body["metadata"]
    content = {key: value for key, value in body.items() if key not in ("metadata", "status", "apiVersion", "kind")}
    content["metadata"] = {
        key: metadata.get(key) or ([] if key == "ownerReferences" else {})
        for key in ("labels", "annotations", "ownerReferences")
    }
    return Child(
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        owner=controller_of(metadata),
        created=is_from_create(metadata),
        deleting="deletionTimestamp" in metadata,
        generation=_generation((metadata.get("annotations") or {}).get(GENERATION, "")),
        packed=_packed(content),
        status=_status(body.get("status") or {}),
    )


def _generation(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and int(text) < MAX_GENERATION else 0


def controller_of(metadata: Json) -> str | None:
    """uid of the object that controls this one."""
    return next((ref["uid"] for ref in metadata.get("ownerReferences") or () if ref.get("controller")), None)


def is_from_create(metadata: Json) -> bool:
    """Whether fields are owned by our create: an apply that leaves them out would not remove them."""
    return any(
        entry.get("manager") == MANAGER and entry.get("operation") == "Update" and not entry.get("subresource")
        for entry in metadata.get("managedFields") or ()
    )


def _status(status: Json) -> Json:
    """The part of a Deployment's status that conditions are made of; nothing for other kinds."""
    kept = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    found = {key: status[key] for key in kept if key in status}
    if conditions := status.get("conditions"):
        wanted = ("type", "status", "reason", "message")
        found["conditions"] = [{key: each.get(key, "") for key in wanted} for each in conditions]
    return found


def pod_of(body: Json) -> Pod:
    """The picture of a pod."""
    status: Json = body.get("status") or {}
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or ())
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    return Pod(
        name=body["metadata"]["name"],
        image=next((each["image"] for each in body["spec"]["containers"] if each["name"] == PROXY_CONTAINER), ""),
        ip=status.get("podIP"),
        ready=ready,
        running=any("running" in state for state in states),
        deleting="deletionTimestamp" in body["metadata"],
        trouble=_trouble(status, states),
        ended=status.get("phase") in ("Succeeded", "Failed"),
    )


def sidecar_of(body: Json) -> Pod | None:
    """The picture of an application's pod with a proxy in it; None for one that has none, whatever its label says."""
    wanted = {each["name"]: each for each in body["spec"].get("initContainers") or ()}.get(SIDECAR_CONTAINER)
    if wanted is None:
        return None
    status: Json = body.get("status") or {}
    told = {each["name"]: each for each in status.get("initContainerStatuses") or ()}.get(SIDECAR_CONTAINER, {})
    state = told.get("state") or {}
    return Pod(
        name=body["metadata"]["name"],
        image=wanted["image"],
        ip=status.get("podIP"),
        ready=bool(told.get("ready")),
        running="running" in state,
        deleting="deletionTimestamp" in body["metadata"],
        trouble=_trouble({}, [state]),
        ended=status.get("phase") in ("Succeeded", "Failed"),
        started=bool(told.get("started")),
    )


HARMLESS = {"ContainerCreating", "PodInitializing"}


def _trouble(status: Json, states: list[Json]) -> tuple[str, str] | None:
    for state in states:
        waiting = state.get("waiting")
        if waiting and waiting.get("reason") not in HARMLESS:
            return str(waiting.get("reason")), str(waiting.get("message") or "")
    for each in status.get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return str(each.get("reason")), str(each.get("message") or "")
    return None


def slice_of(body: Json) -> Slice:
    """The addresses of an EndpointSlice; those of pods that are about to end are left out."""
    ports = [port["port"] for port in body.get("ports") or () if port.get("port")]
    if not ports or body.get("addressType") == "FQDN":
        return Slice(())
    return Slice(
        tuple(
            Endpoint(address, int(ports[0]), (each.get("targetRef") or {}).get("name"))
            for each in body.get("endpoints") or ()
            if not (each.get("conditions") or {}).get("terminating")
            for address in each.get("addresses") or ()
        )
    )
