"""GET /api/circuit: which nodes get reads, which get none for a while, and why."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Circuit, Circuits, answer

__all__ = ["ROUTES"]


async def circuits(request: web.Request) -> web.Response:
    """The circuit of every configured node."""
    control = request.app[CONTROL]
    state = control.engine_state()
    shown = []
    for node in (node for cluster in control.clusters() for node in cluster.nodes):
        seen = state.node(node.cluster, node.name)
        circuit = seen.circuit
        shown.append(
            Circuit(
                node=node.address,
                state=circuit.state,
                name=node.name,
                cluster=node.cluster,
                failures=circuit.failures,
                reason=circuit.cause,
                share=circuit.share,
                opened_total=circuit.opened_total,
                answers_total=seen.answers_total,
                failures_total=seen.failures_total,
            )
        )
    return answer(Circuits(circuits=tuple(shown)))


ROUTES = [web.get("/api/circuit", circuits)]
