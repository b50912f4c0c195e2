"""GET /api/temperature: how often tables are used, where reads of seldom used ones have nodes of their own."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import TableTemperature, Temperatures, answer

__all__ = ["ROUTES"]


async def temperatures(request: web.Request) -> web.Response:
    """Every table that is counted."""
    state = request.app[CONTROL].engine_state()
    shown = [
        TableTemperature(
            cluster=heat.cluster,
            database=heat.database,
            table=each.table,
            temperature="cold" if each.is_cold else "warm",
            uses_per_minute=round(each.uses_per_minute, 3),
            uses_total=each.uses_total,
        )
        for heat in state.heat
        for each in heat.tables
    ]
    shown.sort(key=lambda each: (-each.uses_per_minute, each.table))
    return answer(Temperatures(tables=tuple(shown)))


ROUTES = [web.get("/api/temperature", temperatures)]
