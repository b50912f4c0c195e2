"""GET /servers: server connections and the clients that have them; `?pid=` says whose a process of PostgreSQL is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Server, answer_list
from helios.admin.routes.clients import client_of, time_of
from helios.engine_state import ClientState, ServerState
from helios.topology.status import ClusterStatus, address_of

__all__ = ["ROUTES"]


async def servers(request: web.Request) -> web.Response:
    """Every server connection, or those with this process id: one on each node at most."""
    control = request.app[CONTROL]
    wanted = _pid(request.query)
    sessions = await asyncio.to_thread(control.sessions)
    clients = {client.id: client for client in sessions.clients}
    clusters = control.clusters()
    found = (server for server in sessions.servers if wanted in (None, server.pid))
    return answer_list([_shown(server, clients.get(server.client), clusters) for server in found])


def _pid(query: Mapping[str, str]) -> int | None:
    unknown = sorted(set(query) - {"pid"})
    if unknown:
        raise web.HTTPBadRequest(reason=f"{unknown[0]}: not a parameter of /servers, which knows pid")
    text = query.get("pid")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise web.HTTPBadRequest(reason="pid: not a process id")
    return None if text is None else int(text)


def _shown(server: ServerState, client: ClientState | None, clusters: tuple[ClusterStatus, ...]) -> Server:
    return Server(
        pid=server.pid,
        node=address_of(clusters, server.cluster, server.node),
        node_name=server.node,
        cluster=server.cluster,
        database=server.database,
        user=server.user,
        state=server.state,
        connected_at=time_of(server.connected_us),
        client=None if client is None else client_of(client),
    )


ROUTES = [web.get("/servers", servers)]
