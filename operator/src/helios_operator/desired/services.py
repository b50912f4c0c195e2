"""The Services of a proxy: for clients, for those that only read, for its admin API, and over all its pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from helios.kube.kinds import SERVICE
from helios_crds.workload import Workload
from helios_operator.desired.deployment import ADMIN_PORT, POSTGRES_PORT, READ_PORT
from helios_operator.desired.metadata import Owner
from helios_operator.names import COMPONENT, pod_labels

__all__ = ["PEERS", "services"]

CLIENTS: Final = "clients"
READERS: Final = "readers"
PEERS: Final = "peers"
"""Value of the label of the Service that names every pod."""


def services(owner: Owner, work: Workload) -> list[dict[str, Any]]:
    """`<name>`, `<name>-ro` and `<name>-admin` lead to ready pods; `<name>-peers` names every pod, also before it is
    ready. What differs between the first two is the name only, so that applications need no second port."""
    key = owner.key
    postgres = _port(POSTGRES_PORT, work.listen_port)
    admin = _port(ADMIN_PORT, work.admin_port)
    clients = {"type": work.service.type.value, "ports": [postgres]}
    peers = {"clusterIP": "None", "publishNotReadyAddresses": True, "ports": [postgres, admin]}
    readers = {**clients, "ports": [{**postgres, "targetPort": READ_PORT}]}
    reading = [_service(owner, key.readers, READERS, readers, work.service.annotations)] if work.read_port else []
    return [
        _service(owner, key.name, CLIENTS, clients, work.service.annotations),
        *reading,
        _service(owner, key.admin, ADMIN_PORT, {"ports": [admin]}),
        _service(owner, key.peers, PEERS, peers),
    ]


def _service(
    owner: Owner, name: str, component: str, spec: dict[str, Any], annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    made = owner.child(SERVICE, name, annotations)
    made["metadata"]["labels"][COMPONENT] = component
    return {**made, "spec": {"type": "ClusterIP", **spec, "selector": pod_labels(owner.key)}}


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": "TCP", "targetPort": name}
