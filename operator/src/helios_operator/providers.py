"""Clusters that others look after, as the API server shows them: their pods, and who is about to be primary. Pure.

`informers` follows what the tables name, `discovery` and `switchovers` read what became of it. The members are pods and
not the endpoints of those projects' Services, which a server leaves while its role changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from helios.config import NodeConfig, Provider
from helios.kube import Kind
from helios.kube.kinds import CLOUDNATIVE_PG_CLUSTER, CONFIG_MAP, CRUNCHY_CLUSTER, ENDPOINTS, ZALANDO_CLUSTER
from helios_operator.records import Endpoint

__all__ = [
    "CLUSTERS",
    "DECISIONS",
    "MEMBERS",
    "Announced",
    "Placed",
    "Switch",
    "announced_by_object",
    "announced_by_patroni",
    "kind_of",
    "label_text",
    "member_of",
    "place_of",
    "place_of_object",
]

Json = Mapping[str, Any]
Placed = tuple[str, str, str]
"""(namespace, provider, cluster)"""

_CRUNCHY: Final = "postgres-operator.crunchydata.com"
_POSTGRES_PORT: Final = int(NodeConfig.model_fields["port"].default)
_PORT_NAMES: Final = ("postgres", "postgresql")
_FAILOVER: Final = "-failover"
"""What Patroni calls the object with the switchover that it was asked for, behind its scope."""
_CRUNCHY_SCOPE: Final = "-ha"
"""What Crunchy puts behind a cluster's name to make Patroni's scope."""

CLUSTERS: Final = {
    CLOUDNATIVE_PG_CLUSTER: Provider.CLOUDNATIVE_PG,
    CRUNCHY_CLUSTER: Provider.CRUNCHY,
    ZALANDO_CLUSTER: Provider.ZALANDO,
}
"""Kinds by which other projects are told of a cluster; Patroni itself has none."""

MEMBERS: Final = ("cnpg.io/podRole=instance", f"{_CRUNCHY}/data=postgres", "application in (patroni,spilo)")
"""Label selectors of pods with a PostgreSQL server."""

DECISIONS: Final = (
    (ENDPOINTS, "application in (patroni,spilo)"),
    (CONFIG_MAP, "application in (patroni,spilo)"),
    (ENDPOINTS, f"{_CRUNCHY}/patroni"),
)
"""Kinds and label selectors of the objects in which Patroni keeps what it has decided."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Another server is about to be made the primary."""

    primary: str | None
    """Name of the one that is it."""
    target: str | None
    """Name of the one that will be; None where that is not decided."""
    at: datetime | None = None
    """Not before."""


@dataclass(frozen=True, slots=True)
class Announced:
    """An object that is there, and the switchover that it tells of."""

    switch: Switch | None


def place_of(value: Json) -> Placed:
    """Whose a pod is, or an object of Patroni's, by its labels; an empty name for nobody's."""
    metadata = value["metadata"]
    labels: Json = metadata.get("labels") or {}
    if f"{_CRUNCHY}/cluster" in labels:
        return metadata["namespace"], Provider.CRUNCHY.value, labels[f"{_CRUNCHY}/cluster"]
    if "cnpg.io/cluster" in labels:
        return metadata["namespace"], Provider.CLOUDNATIVE_PG.value, labels["cnpg.io/cluster"]
    provider = Provider.ZALANDO if labels.get("application") == "spilo" else Provider.PATRONI
    return metadata["namespace"], provider.value, labels.get("cluster-name", "")


def place_of_object(kind: Kind, value: Json) -> Placed:
    """Which cluster an object of `CLUSTERS` is."""
    return value["metadata"]["namespace"], CLUSTERS[kind].value, value["metadata"]["name"]


def kind_of(provider: Provider) -> Kind | None:
    """The kind of object by which it is told of a cluster."""
    return next((kind for kind, its in CLUSTERS.items() if its is provider), None)


def label_text(provider: Provider, cluster: str) -> str:
    """The labels by which the pods of a cluster are known, as kubectl takes them."""
    return {
        Provider.CLOUDNATIVE_PG: f"cnpg.io/podRole=instance,cnpg.io/cluster={cluster}",
        Provider.CRUNCHY: f"{_CRUNCHY}/data=postgres,{_CRUNCHY}/cluster={cluster}",
        Provider.ZALANDO: f"application=spilo,cluster-name={cluster}",
    }.get(provider, f"application=patroni,cluster-name={cluster}")


def member_of(pod: Json) -> Endpoint | None:
    """A pod as a server; None for one that has no address yet, or has ended."""
    status: Json = pod.get("status") or {}
    address = status.get("podIP")
    if not address or status.get("phase") in ("Succeeded", "Failed"):
        return None
    return Endpoint(address, _port(pod), pod["metadata"]["name"])


def _port(pod: Json) -> int:
    """What Patroni says of it; else the container's port with PostgreSQL's name, or PostgreSQL's own."""
    told = (pod["metadata"].get("annotations") or {}).get("status")
    try:
        port = urlsplit(str(json.loads(told)["conn_url"])).port if told else None
    except (ValueError, TypeError, KeyError):
        port = None
    if port:
        return port
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((int(each["containerPort"]) for each in ports if each.get("name") in _PORT_NAMES), _POSTGRES_PORT)


def announced_by_object(value: Json) -> Announced:
    """What the object of a cluster tells. CloudNativePG writes who shall be primary before the old one is stopped; the
    others leave that to Patroni."""
    status: Json = value.get("status") or {}
    primary, target = status.get("currentPrimary"), status.get("targetPrimary")
    if not primary or not target or primary == target:
        return Announced(None)
    return Announced(Switch(primary, None if target == "pending" else target))


def announced_by_patroni(value: Json) -> Announced | None:
    """What Patroni was asked for and has not done yet; None for objects that tell of something else."""
    metadata = value["metadata"]
    cluster = place_of(value)[2]
    if metadata["name"] not in (f"{cluster}{_FAILOVER}", f"{cluster}{_CRUNCHY_SCOPE}{_FAILOVER}"):
        return None
    told: Json = metadata.get("annotations") or {}
    leader, member = told.get("leader") or None, told.get("member") or None
    if leader is None and member is None:
        return Announced(None)
    return Announced(Switch(leader, member, _moment(told.get("scheduled_at"))))


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
