"""Nodes behind Services: from EndpointSlices, else from the Service's Endpoints. Called by the reconciler.

Membership only: every address counts, ready or not, since a primary that is slow for a moment must not leave the
configuration. Who is primary is found out by the proxies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from helios.config import NodeConfig
from helios.kube import Client, NotFound
from helios.kube.kinds import ENDPOINTS
from helios_crds.render import Discovery
from helios_operator.records import Endpoint
from helios_operator.world import World

__all__ = ["discover", "endpoints_of", "nodes_of"]


async def discover(
    client: Client, world: World, namespace: str, wanted: Iterable[Discovery]
) -> dict[str, tuple[NodeConfig, ...]]:
    """Cluster → its nodes, for those that have any."""
    found: dict[str, tuple[NodeConfig, ...]] = {}
    for one in wanted:
        endpoints = world.endpoints(namespace, one.service) or await _read(client, namespace, one.service)
        if endpoints:
            found[one.cluster] = nodes_of(endpoints)
    return found


async def _read(client: Client, namespace: str, service: str) -> list[Endpoint]:
    try:
        return endpoints_of(await client.get(ENDPOINTS, namespace, service))
    except NotFound:
        return []


def endpoints_of(value: Mapping[str, Any]) -> list[Endpoint]:
    """The addresses of an Endpoints object, sorted."""
    found: list[Endpoint] = []
    for subset in value.get("subsets") or ():
        ports = [int(port["port"]) for port in subset.get("ports") or () if port.get("port")]
        for each in (*(subset.get("addresses") or ()), *(subset.get("notReadyAddresses") or ())):
            if ports:
                found.append(Endpoint(each["ip"], ports[0], (each.get("targetRef") or {}).get("name")))
    return sorted(found, key=lambda one: (one.host, one.port))


def nodes_of(endpoints: Iterable[Endpoint]) -> tuple[NodeConfig, ...]:
    """Nodes in a fixed order: named after their pods where these are known and differ, else by address."""
    found = sorted(endpoints, key=lambda one: (one.name or "", one.host, one.port))
    names = [one.name for one in found]
    named = all(names) and len(set(names)) == len(names)
    return tuple(
        NodeConfig(host=one.host, port=one.port, name=one.name)
        if named and one.name
        else NodeConfig(host=one.host, port=one.port)
        for one in found
    )
