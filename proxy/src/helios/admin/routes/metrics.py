"""GET /metrics and /metrics/prometheus: Prometheus text; the original's short JSON for `Accept: application/json`."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL, Control
from helios.admin.models import Traffic, answer
from helios.telemetry.metrics import CONTENT_TYPE, Exposition, Sample

__all__ = ["EXPOSITION", "ROUTES", "exposition_of"]

EXPOSITION = web.AppKey("exposition", Exposition)


def exposition_of(control: Control) -> Exposition:
    """The registry that reads `control` at each scrape."""
    return Exposition(lambda: _sample(control))


async def metrics(request: web.Request) -> web.Response:
    """Text unless the caller prefers JSON."""
    if "application/json" in request.headers.get("Accept", ""):
        return answer(_traffic(request.app[CONTROL]))
    return await prometheus(request)


async def prometheus(request: web.Request) -> web.Response:
    """Always text."""
    return web.Response(body=request.app[EXPOSITION].render(), headers={"Content-Type": CONTENT_TYPE})


def _sample(control: Control) -> Sample:
    return Sample(
        engine=control.engine_state(),
        clusters=control.clusters(),
        failovers=control.failovers(),
        catalogs=control.catalog_counts(),
        plans=control.plan_counts(),
        generation=control.config.generation,
        reload_succeeded=control.last_reload.succeeded,
        reloaded_at=control.last_reload.at,
        draining=control.draining,
    )


def _traffic(control: Control) -> Traffic:
    state = control.engine_state()
    return Traffic(
        connections_accepted=state.clients.accepted_total,
        connections_closed=state.clients.closed_total,
        connections_active=state.clients.active,
        queries_processed=state.queries.read_total + state.queries.write_total,
        bytes_received=state.bytes.received_total,
        bytes_sent=state.bytes.sent_total,
        failovers=sum(cluster.failovers for cluster in control.clusters()),
    )


ROUTES = [web.get("/metrics", metrics), web.get("/metrics/prometheus", prometheus)]
