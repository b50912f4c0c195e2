"""GET /sessions: how many clients are connected."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Sessions, answer

__all__ = ["ROUTES"]


async def sessions(request: web.Request) -> web.Response:
    """Connected clients, and those of them that wait for a server connection."""
    clients = request.app[CONTROL].engine_state().clients
    return answer(Sessions(active_sessions=clients.active, waiting_sessions=clients.waiting))


ROUTES = [web.get("/sessions", sessions)]
