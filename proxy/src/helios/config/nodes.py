"""`[[clusters]]` and `[[clusters.nodes]]`: the PostgreSQL servers. Read by the engine and by `helios.topology`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from helios.config.base import Flag, HeliosModel, Name, NodeHost, Port, Weight, join_address, split_address
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


def _check_dns_name(name: str) -> str:
    _, port = split_address(name)
    if not port:
        raise ValueError("a server's port is not 0")
    return name


PatroniUrl = Annotated[
    str, StringConstraints(min_length=1, max_length=512, pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[^\s?#]*)?$")
]
DnsName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=261, pattern=r"^[A-Za-z0-9._:\[\]-]+$"),
    AfterValidator(_check_dns_name),
]


class ClusterConfig(HeliosModel):
    """A primary and its standbys."""

    name: Name
    """Name that `databases[].cluster` refers to; unique."""

    provider: Provider = Provider.STATIC
    """Who promotes its servers. Beside any but `static` Helios never does, and follows whom they promote."""

    patroni_urls: Annotated[tuple[PatroniUrl, ...], Field(max_length=32)] = ()
    """REST APIs of the members where `provider` is `patroni`, as `http://db-1:8008`; the first that answers is asked
    who the members are. They take the place of `nodes`, which are used until then."""

    dns_names: Annotated[tuple[DnsName, ...], Field(max_length=32)] = ()
    """Names with port, as `db.internal:5432`, of which each address is a server, as of a headless Service. They take
    the place of `nodes`, which are used until then."""

    tls: ServerTlsConfig = ServerTlsConfig()
    """Encryption towards its servers."""

    nodes: tuple[NodeConfig, ...] = ()
    """The servers, at least one. Empty only while the file is being written."""

    @property
    def has_source(self) -> bool:
        """Whether its members are asked for."""
        return bool(self.patroni_urls or self.dns_names)
