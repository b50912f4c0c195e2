"""GET /pools: server connections by cluster, node, database and user."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import Pool, answer_list
from helios.engine_state import PoolState
from helios.topology.status import ClusterStatus, address_of

__all__ = ["ROUTES"]


async def pools(request: web.Request) -> web.Response:
    """Every pool the engine has, in its order."""
    control = request.app[CONTROL]
    clusters = control.clusters()
    return answer_list([_shown(pool, clusters) for pool in control.engine_state().pools])


def _shown(pool: PoolState, clusters: tuple[ClusterStatus, ...]) -> Pool:
    return Pool(
        node=address_of(clusters, pool.cluster, pool.node),
        active_connections=pool.active,
        idle_connections=pool.idle,
        pending_requests=pool.waiting,
        total_connections_created=pool.created_total,
        total_connections_closed=pool.closed_total,
        cluster=pool.cluster,
        node_name=pool.node,
        database=pool.database,
        user=pool.user,
        server_user=pool.server_user,
        mode=pool.mode,
        max_size=pool.max_size,
    )


ROUTES = [web.get("/pools", pools)]
