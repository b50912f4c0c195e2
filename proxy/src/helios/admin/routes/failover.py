"""GET /api/failover: what is decided about each cluster, and why nobody is promoted. POST /api/switchover: make a
standby the primary."""

from __future__ import annotations

import json

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Failover, FailoverView, LossView, SwitchoverView, answer
from helios.failover.status import FailoverStatus, SwitchoverFailure

__all__ = ["ROUTES"]


async def failover(request: web.Request) -> web.Response:
    """Every cluster."""
    return answer(FailoverView(clusters=tuple(_shown(each) for each in request.app[CONTROL].failovers())))


async def switchover(request: web.Request) -> web.Response:
    """`{"cluster", "to"}`, both optional; answers once it is over. 409 with the reason if nothing has changed."""
    body = await _body(request)
    control = request.app[CONTROL]
    clusters = [cluster.name for cluster in control.config.clusters]
    cluster = body.get("cluster")
    if cluster is None and len(clusters) > 1:
        raise web.HTTPBadRequest(reason=f"cluster is needed: one of {', '.join(clusters)}")
    try:
        primary = await control.switch_over(cluster or clusters[0], body.get("to"))
    except SwitchoverFailure as error:
        raise web.HTTPConflict(reason=" ".join(str(error).split())) from error
    return answer(SwitchoverView(cluster=cluster or clusters[0], primary=primary))


async def _body(request: web.Request) -> dict[str, str]:
    text = await request.text()
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise web.HTTPBadRequest(reason=f"the request body is not JSON: {error}".replace("\n", " ")) from error
    if not isinstance(body, dict) or not all(isinstance(value, str) for value in body.values()):
        raise web.HTTPBadRequest(reason="the request body must be an object of names")
    unknown = sorted(body.keys() - {"cluster", "to"})
    if unknown:
        raise web.HTTPBadRequest(reason=f"unknown field {unknown[0]!r}; cluster and to are known")
    return body


def _shown(status: FailoverStatus) -> Failover:
    return Failover(
        cluster=status.cluster,
        enabled=status.enabled,
        policy=status.policy,
        holds_lease=status.holds_lease,
        hold=status.hold,
        verdict=status.verdict,
        step=status.step,
        refused=status.refused,
        promoting=status.promoting,
        promotions=status.promotions,
        last_promotion_at=status.last_promotion_at,
        fence=status.fence,
        fenced=status.fenced,
        xid_bound=status.xid_bound,
        losses=tuple(LossView(**loss.model_dump()) for loss in status.losses),
    )


ROUTES = [web.get("/api/failover", failover), web.post("/api/switchover", switchover)]
