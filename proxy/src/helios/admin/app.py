"""The admin API as an aiohttp application: middlewares from outside to inside, then the routes.

Called by `helios.admin.server`. Every module of `helios.admin.routes` brings its own list of routes.
"""

from __future__ import annotations

from aiohttp import web

from helios.admin.auth import authorize
from helios.admin.control import CONTROL, Control
from helios.admin.errors import MAX_BODY_BYTES, as_json, bounded_body
from helios.admin.routes import (
    circuit,
    config,
    consistency_keys,
    explain,
    failover,
    health,
    hold,
    metrics,
    nodes,
    pools,
    servers,
    sessions,
    share,
    temperature,
    topology,
    tr,
    version,
)

__all__ = ["build_app"]


def build_app(control: Control) -> web.Application:
    """The application that answers for `control`."""
    app = web.Application(middlewares=[as_json, authorize, bounded_body], client_max_size=MAX_BODY_BYTES)
    app[CONTROL] = control
    app[metrics.EXPOSITION] = metrics.exposition_of(control)
    for module in (
        health,
        metrics,
        version,
        config,
        topology,
        nodes,
        circuit,
        pools,
        servers,
        sessions,
        share,
        temperature,
        explain,
        failover,
        hold,
        tr,
        consistency_keys,
    ):
        app.add_routes(module.ROUTES)
    return app
