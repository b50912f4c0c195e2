"""GET /sessions: how many clients are connected, which of them keep their server and why, and how many listen."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Sessions, answer

__all__ = ["ROUTES"]


async def sessions(request: web.Request) -> web.Response:
    """Connected clients, and those of them that wait for a server connection."""
    state = request.app[CONTROL].engine_state()
    clients = state.clients
    pinned = {pin.reason: pin.sessions for pin in state.pins if pin.sessions}
    return answer(
        Sessions(
            active_sessions=clients.active,
            waiting_sessions=clients.waiting,
            pinned_sessions=pinned,
            listening_sessions=state.listening.sessions,
        )
    )


ROUTES = [web.get("/sessions", sessions)]
