"""Nodes that nobody has listed: behind a Service, or pods that somebody else looks after. Called by `judge`.

Membership only: every address counts, ready or not, since a primary that is slow for a moment must not leave the
configuration. Who is primary is found out by the proxies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helios.config import NodeConfig
from helios.kube import Client, NotFound
from helios.kube.kinds import ENDPOINTS
from helios_crds.render import Discovery
from helios_operator.providers import kind_of, label_text
from helios_operator.records import Endpoint
from helios_operator.world import World

__all__ = ["Found", "discover", "endpoints_of", "nodes_of"]


@dataclass(frozen=True)
class Found:
    """What became of each cluster that was looked for, by its name."""

    nodes: dict[str, tuple[NodeConfig, ...]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Why there are none."""


async def discover(client: Client, world: World, namespace: str, wanted: Iterable[Discovery]) -> Found:
    """Look for the nodes of every cluster."""
    found = Found()
    for one in wanted:
        if one.provider is not None:
            endpoints = world.members((namespace, one.provider.value, one.name))
        else:
            endpoints = world.endpoints(namespace, one.name) or await _read(client, namespace, one.name)
        if endpoints:
            found.nodes[one.cluster] = nodes_of(endpoints)
        else:
            found.missing[one.cluster] = _why_none(world, namespace, one)
    return found


def _why_none(world: World, namespace: str, one: Discovery) -> str:
    if one.provider is None:
        return f"{one.source} has no endpoints"
    kind = kind_of(one.provider)
    if kind is not None and not world.serves(kind):
        return f"the cluster serves no {kind.name} of {kind.api_version} yet; it is looked for again and again"
    if kind is not None and not world.has_cluster(kind, (namespace, one.provider.value, one.name)):
        return f"{one.source} does not exist in this namespace"
    return f"no pod with {label_text(one.provider, one.name)} has an address"


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
