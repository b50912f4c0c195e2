"""What the control plane knows about nodes and clusters, as the admin API and the metrics show it.

Made by `monitor`, read by `helios.admin` and `helios.telemetry.metrics`; plain data.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

__all__ = ["ClusterStatus", "NodeStatus", "Role", "address_of"]

Role = Literal["primary", "standby", "unknown"]


@dataclass(frozen=True)
class NodeStatus:
    """One configured node."""

    cluster: str
    name: str
    address: str
    """`host:port`."""
    configured_role: str
    """The label in the configuration, for people only."""
    role: Role
    """By evidence: `primary` is the elected one, `standby` one in recovery; else `unknown`."""
    weight: int
    zone: str | None
    enabled: bool
    healthy: bool
    """It answers and belongs to the cluster."""
    last_check: datetime | None
    """End of the last poll; None before the first, or when the node is disabled."""
    failure_count: int
    """Polls failed in a row."""
    last_error: str | None
    """Why the last poll failed or why the node is not used; None if all is well."""
    latency_ms: float | None
    """Duration of the last successful poll."""
    replication_lag_bytes: int | None
    replication_lag_ms: float | None
    replayed_lsn: str | None
    """End of the WAL it has applied, as PostgreSQL writes it."""
    timeline: int | None
    system_identifier: str | None


@dataclass(frozen=True)
class ClusterStatus:
    """One cluster."""

    name: str
    primary: str | None
    """Address of the primary; None while there is none, with the reason."""
    reason: str | None
    last_failover_at: datetime | None
    """When another node last became primary; the first primary is none."""
    failovers: int
    nodes: tuple[NodeStatus, ...]


def address_of(clusters: tuple[ClusterStatus, ...], cluster: str, name: str) -> str:
    """Address of the node of this name; the name itself for a node that a reload has just removed."""
    nodes = (node for status in clusters if status.name == cluster for node in status.nodes)
    return next((node.address for node in nodes if node.name == name), name)
