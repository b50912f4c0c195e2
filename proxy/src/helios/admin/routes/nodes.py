"""GET /nodes and /nodes/{addr}: every configured node as last polled. POST /nodes/{addr}/enable and /disable take one
into use or out of it."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Node, Switched, answer, answer_list
from helios.engine_state import EngineState
from helios.topology.status import NodeStatus

__all__ = ["ROUTES"]


async def nodes(request: web.Request) -> web.Response:
    """All nodes of all clusters."""
    state = request.app[CONTROL].engine_state()
    return answer_list([_shown(node, state) for node in _all(request)])


async def node(request: web.Request) -> web.Response:
    """One node by `host:port` or by name; the first if several clusters have it."""
    return answer(_shown(_named(request)[0], request.app[CONTROL].engine_state()))


async def enable(request: web.Request) -> web.Response:
    """Use the node again, in every cluster that has it."""
    for node in _named(request):
        request.app[CONTROL].switch_node(node.cluster, node.name, enabled=True)
    return answer(Switched(status="enabled"))


async def disable(request: web.Request) -> web.Response:
    """Give the node no new transaction; those under way end as they would. 409 for a primary: writes have nowhere else
    to go, so that would be an outage, and PAUSE on the console is the way to hold them back."""
    found = _named(request)
    for node in found:
        if node.role == "primary":
            hint = "promote another node first, or hold clients back by PAUSE on the console"
            raise web.HTTPConflict(reason=f"{node.name} is the primary of cluster {node.cluster}: {hint}")
    for node in found:
        request.app[CONTROL].switch_node(node.cluster, node.name, enabled=False)
    return answer(Switched(status="disabled"))


def _named(request: web.Request) -> list[NodeStatus]:
    wanted = request.match_info["addr"]
    found = [node for node in _all(request) if wanted in (node.address, node.name)]
    if not found:
        raise web.HTTPNotFound(reason=f"no node {wanted!r}; /nodes lists them")
    return found


def _all(request: web.Request) -> list[NodeStatus]:
    return [node for cluster in request.app[CONTROL].clusters() for node in cluster.nodes]


def _shown(node: NodeStatus, state: EngineState) -> Node:
    seen = state.node(node.cluster, node.name)
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
        zone=node.zone,
        running=seen.running,
        circuit=seen.circuit.state,
    )


ROUTES = [
    web.get("/nodes", nodes),
    web.get("/nodes/{addr}", node),
    web.post("/nodes/{addr}/enable", enable),
    web.post("/nodes/{addr}/disable", disable),
]
