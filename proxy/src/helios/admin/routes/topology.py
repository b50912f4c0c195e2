"""GET /topology: who is primary, cluster by cluster, and why nobody is."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import ClusterTopology, Topology, answer
from helios.topology.status import ClusterStatus

__all__ = ["ROUTES"]


async def topology(request: web.Request) -> web.Response:
    """Primaries and counts of nodes that are in use; disabled ones are in /nodes only."""
    clusters = [_shown(cluster) for cluster in request.app[CONTROL].clusters()]
    failovers = [cluster.lastFailoverAt for cluster in clusters if cluster.lastFailoverAt is not None]
    view = Topology(
        currentPrimary=clusters[0].primary if clusters else None,
        healthyNodes=sum(cluster.healthyNodes for cluster in clusters),
        unhealthyNodes=sum(cluster.unhealthyNodes for cluster in clusters),
        totalNodes=sum(cluster.totalNodes for cluster in clusters),
        lastFailoverAt=max(failovers, default=None),
        reason=clusters[0].reason if clusters else None,
        clusters=tuple(clusters),
    )
    return answer(view)


def _shown(cluster: ClusterStatus) -> ClusterTopology:
    enabled = [node for node in cluster.nodes if node.enabled]
    healthy = sum(node.healthy for node in enabled)
    return ClusterTopology(
        name=cluster.name,
        primary=cluster.primary,
        reason=cluster.reason,
        lastFailoverAt=cluster.last_failover_at,
        healthyNodes=healthy,
        unhealthyNodes=len(enabled) - healthy,
        totalNodes=len(enabled),
    )


ROUTES = [web.get("/topology", topology)]
