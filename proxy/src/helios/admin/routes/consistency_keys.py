"""GET /api/consistency-keys: whether the Redis that keeps them answers, and what came of requests under keys."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import ConsistencyKeysView, answer

__all__ = ["ROUTES"]


async def consistency_keys(request: web.Request) -> web.Response:
    """Counts of the whole process."""
    keys = request.app[CONTROL].engine_state().consistency_keys
    return answer(
        ConsistencyKeysView(
            enabled=keys.redis is not None,
            redis=keys.redis,
            connections=keys.connections,
            fault=keys.fault,
            writes_kept=keys.kept_total,
            writes_unkept=keys.unkept_total,
            reads_told=keys.told_total,
            reads_untold=keys.untold_total,
        )
    )


ROUTES = [web.get("/api/consistency-keys", consistency_keys)]
