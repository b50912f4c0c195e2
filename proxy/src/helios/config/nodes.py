"""`[[clusters]]` and `[[clusters.nodes]]`: the PostgreSQL servers. Read by the engine and by `helios.topology`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from helios.config.base import Flag, HeliosModel, Name, NodeHost, Port, Weight, join_address
from helios.config.routing import Zone
from helios.config.tls import ServerTlsConfig

__all__ = ["ClusterConfig", "NodeConfig", "NodeRole", "Provider"]


class Provider(StrEnum):
    """Who looks after the servers of a cluster."""

    STATIC = "static"
    """Nobody: Helios may promote."""
    CLOUDNATIVE_PG = "cloudnativepg"
    """CloudNativePG."""
    PATRONI = "patroni"
    """Patroni."""
    CRUNCHY = "crunchy"
    """Crunchy's operator PGO."""
    ZALANDO = "zalando"
    """Zalando's operator."""
    RDS = "rds"
    """A cloud that fails over by DNS, as RDS does."""


class NodeRole(StrEnum):
    """What a node is meant to be."""

    PRIMARY = "primary"
    STANDBY = "standby"


def _address_of(data: dict[str, Any]) -> str:
    return join_address(data["host"], data["port"])


class NodeConfig(HeliosModel):
    """One PostgreSQL server."""

    host: NodeHost
    """DNS name or IP address of the server, or the folder of its Unix socket, which begins with a slash."""

    port: Port = 5432
    """TCP port of the server, which names the file of its Unix socket too; 5432 is PostgreSQL's own."""

    name: Name = Field(default_factory=_address_of)
    """Name in logs, metrics and the admin API; unique in its cluster. Left out: `host:port`, which is unique anyway."""

    role: NodeRole = NodeRole.STANDBY
    """A hint for people and for the time before the first poll; SQL evidence decides who is primary. Standby, because a
    forgotten label must not make a second primary."""

    weight: Weight = 100
    """Share of reads relative to the cluster's other nodes; 0 takes none. 100 leaves room to either side."""

    priority: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 100
    """Which standby is promoted where `failover.policy` is `priority`, of those that have received most: the highest.
    100 leaves room to either side."""

    zone: Zone | None = None
    """Zone that it runs in. None: it is nobody's neighbour."""

    enabled: Flag = True
    """Whether the node is used at all. False keeps its entry while it is being repaired."""


class ClusterConfig(HeliosModel):
    """A primary and its standbys."""

    name: Name
    """Name that `databases[].cluster` refers to; unique."""

    provider: Provider = Provider.STATIC
    """Who promotes its servers. Beside any but `static` Helios never does, and follows whom they promote."""

    tls: ServerTlsConfig = ServerTlsConfig()
    """Encryption towards its servers."""

    nodes: tuple[NodeConfig, ...] = ()
    """The servers, at least one. Empty only while the file is being written."""
