"""Probes: is the process alive, may clients be sent to it. Asked by kubelets and load balancers, without a token."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL, Control
from helios.admin.models import Alive, Health, Readiness, Started, answer

__all__ = ["ROUTES"]


async def health(_request: web.Request) -> web.Response:
    """The process answers."""
    return answer(Health())


async def live(_request: web.Request) -> web.Response:
    """The process answers; a restart would help nothing that this one sees."""
    return answer(Alive())


async def started(request: web.Request) -> web.Response:
    """200 once clients can be served, whatever the servers do; what begins after a sidecar waits for this."""
    control = request.app[CONTROL]
    if not control.engine_state().accepting:
        return answer(Started(started=False, message="not listening for clients yet"), status=503)
    if control.awaits_share:
        return answer(Started(started=False, message="no share of the server connections was granted yet"), status=503)
    return answer(Started(started=True, message="accepting clients"))


async def ready(request: web.Request) -> web.Response:
    """200 while new clients are welcome, else 503 with the reason."""
    control = request.app[CONTROL]
    reason = why_not_ready(control)
    readiness = Readiness(
        ready=reason is None,
        message=reason or _welcome(control),
        draining=control.draining,
        reload_failed=not control.last_reload.succeeded,
    )
    return answer(readiness, status=200 if reason is None else 503)


def _welcome(control: Control) -> str:
    """A proxy that refuses new clients for maintenance is ready: without it there would be nobody to tell them so."""
    mode = control.config.maintenance.mode
    if not mode.takes_newcomers:
        return f"in maintenance ({mode}): new clients are refused"
    return "accepting clients, every cluster has a primary"


def why_not_ready(control: Control) -> str | None:
    """One sentence, or None if clients may come. Node errors stay out: this page is open to everybody."""
    if control.draining:
        return "draining: the process is about to end"
    if not control.engine_state().accepting:
        return "not listening for clients yet"
    waiting = [cluster.name for cluster in control.clusters() if cluster.primary is None]
    if waiting:
        return f"no primary in {', '.join(waiting)}; /topology says why"
    return None


ROUTES = [
    web.get("/health", health),
    web.get("/healthz", health),
    web.get("/health/live", live),
    web.get("/livez", live),
    web.get("/health/startup", started),
    web.get("/startupz", started),
    web.get("/health/ready", ready),
    web.get("/readyz", ready),
]
