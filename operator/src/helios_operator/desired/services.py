"""The three Services of a proxy: for clients, for its admin API, and over all its pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helios.kube.kinds import SERVICE
from helios_crds.workload import Workload
from helios_operator.desired.deployment import ADMIN_PORT, POSTGRES_PORT
from helios_operator.desired.metadata import Owner
from helios_operator.names import pod_labels

__all__ = ["services"]


def services(owner: Owner, work: Workload) -> list[dict[str, Any]]:
    """`<name>` and `<name>-admin` lead to ready pods; `<name>-peers` names every pod, also before it is ready."""
    key = owner.key
    postgres = _port(POSTGRES_PORT, work.listen_port)
    admin = _port(ADMIN_PORT, work.admin_port)
    peers = {"clusterIP": "None", "publishNotReadyAddresses": True}
    return [
        _service(owner, key.name, {"type": work.service.type.value, "ports": [postgres]}, work.service.annotations),
        _service(owner, key.admin, {"ports": [admin]}),
        _service(owner, key.peers, {**peers, "ports": [postgres, admin]}),
    ]


def _service(
    owner: Owner, name: str, spec: dict[str, Any], annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    made = owner.child(SERVICE, name, annotations)
    return {**made, "spec": {"type": "ClusterIP", **spec, "selector": pod_labels(owner.key)}}


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": "TCP", "targetPort": name}
