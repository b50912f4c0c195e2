"""GET /sessions: how many clients are connected, which of them keep their server and why, how many listen, and who."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Sessions, answer
from helios.admin.routes.clients import client_of

__all__ = ["ROUTES"]


async def sessions(request: web.Request) -> web.Response:
    """Connected clients, and those of them that wait for a server connection; with `?list=true` one by one as well."""
    control = request.app[CONTROL]
    is_list = _is_list(request.query)
    state = control.engine_state()
    clients = state.clients
    pinned = {pin.reason: pin.sessions for pin in state.pins if pin.sessions}
    listed = await asyncio.to_thread(control.sessions) if is_list else None
    return answer(
        Sessions(
            active_sessions=clients.active,
            waiting_sessions=clients.waiting,
            pinned_sessions=pinned,
            listening_sessions=state.listening.sessions,
            sessions=None if listed is None else tuple(client_of(client) for client in listed.clients),
        )
    )


def _is_list(query: Mapping[str, str]) -> bool:
    unknown = sorted(set(query) - {"list"})
    if unknown:
        raise web.HTTPBadRequest(reason=f"{unknown[0]}: not a parameter of /sessions, which knows list")
    text = query.get("list", "false")
    if text not in ("true", "false"):
        raise web.HTTPBadRequest(reason="list: neither true nor false")
    return text == "true"


ROUTES = [web.get("/sessions", sessions)]
