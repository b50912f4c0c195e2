"""GET /nodes and /nodes/{addr}: every configured node as last polled."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Node, answer, answer_list
from helios.topology.status import NodeStatus

__all__ = ["ROUTES"]


async def nodes(request: web.Request) -> web.Response:
    """All nodes of all clusters."""
    return answer_list([_shown(node) for node in _all(request)])


async def node(request: web.Request) -> web.Response:
    """One node by `host:port` or by name; the first if several clusters have it."""
    wanted = request.match_info["addr"]
    found = next((node for node in _all(request) if wanted in (node.address, node.name)), None)
    if found is None:
        raise web.HTTPNotFound(reason=f"no node {wanted!r}; /nodes lists them")
    return answer(_shown(found))


def _all(request: web.Request) -> list[NodeStatus]:
    return [node for cluster in request.app[CONTROL].clusters() for node in cluster.nodes]


def _shown(node: NodeStatus) -> Node:
    return Node(
        address=node.address,
        healthy=node.healthy,
        last_check=node.last_check,
        failure_count=node.failure_count,
        last_error=node.last_error,
        latency_ms=node.latency_ms,
        replication_lag_bytes=node.replication_lag_bytes,
        replication_lag_ms=node.replication_lag_ms,
        name=node.name,
        cluster=node.cluster,
        role=node.role,
        configured_role=node.configured_role,
        weight=node.weight,
        enabled=node.enabled,
        replayed_lsn=node.replayed_lsn,
        timeline=node.timeline,
        system_identifier=node.system_identifier,
    )


ROUTES = [web.get("/nodes", nodes), web.get("/nodes/{addr}", node)]
