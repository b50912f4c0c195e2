"""Where a HeliosProxy leads: nodes, clusters and the database names clients ask for."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final

from pydantic import Field

from helios.config import ClusterConfig, DatabaseConfig, NodeConfig, NodeRole, Provider
from helios.config.base import Host, Port
from helios_crds.base import SpecModel
from helios_crds.markers import Rule, atomic, cel, list_map, mirrors
from helios_crds.types import ServiceName
from helios_crds.v1alpha1.references import PasswordRef
from helios_crds.v1alpha1.routing_settings import DatabaseRoutingSpec
from helios_crds.v1alpha1.settings import DatabasePoolSpec, ServerTlsSpec

__all__ = [
    "MAX_CLUSTERS",
    "MAX_DATABASES",
    "MAX_NODES",
    "ClusterSpec",
    "DatabaseSpec",
    "Discovery",
    "NodeList",
    "NodeSpec",
]

MAX_NODES: Final = 32
MAX_CLUSTERS: Final = 32
MAX_DATABASES: Final = 256
POSTGRES_PORT: Final[int] = NodeConfig.model_fields["port"].default


class NodeSpec(SpecModel):
    """One PostgreSQL server."""

    host: Host
    """DNS name or IP address of the server."""

    port: Port = POSTGRES_PORT
    """TCP port of the server; 5432 is PostgreSQL's own. With `host` it tells the nodes of a list apart."""

    name: Annotated[str | None, mirrors(NodeConfig, "name")] = None
    role: Annotated[NodeRole | None, mirrors(NodeConfig, "role")] = None
    weight: Annotated[int | None, mirrors(NodeConfig, "weight")] = None
    priority: Annotated[int | None, mirrors(NodeConfig, "priority")] = None
    zone: Annotated[str | None, mirrors(NodeConfig, "zone")] = None


def _mappings(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)]


def _names_differ(nodes: Any, _old: Any) -> bool:
    counts = Counter(str(node["name"]) for node in _mappings(nodes) if "name" in node)
    return all(count == 1 for count in counts.values())


ONE_PRIMARY = Rule(
    "one-primary",
    "self.filter(n, has(n.role) && n.role == 'primary').size() <= 1",
    "at most one node may have role: primary",
    lambda nodes, _old: sum(node.get("role") == NodeRole.PRIMARY for node in _mappings(nodes)) <= 1,
)
NODE_NAMES = Rule(
    "node-names",
    "self.all(n, has(n.name) ? self.exists_one(m, has(m.name) && m.name == n.name) : true)",
    "every node that has a name must have one of its own",
    _names_differ,
)
NodeList = Annotated[
    tuple[NodeSpec, ...], list_map("host", "port"), cel(ONE_PRIMARY, NODE_NAMES), Field(max_length=MAX_NODES)
]


class Discovery(SpecModel):
    """Where the nodes are found instead of being listed; SQL evidence decides who of them is primary."""

    rules = (
        Rule(
            "discovery-one-source",
            "has(self.serviceName) != has(self.clusterName)",
            "must have either serviceName or clusterName",
            lambda discovery, _old: ("serviceName" in discovery) != ("clusterName" in discovery),
        ),
    )

    service_name: ServiceName | None = None
    """Service of the same namespace whose endpoints are the nodes. Excludes `clusterName`."""

    cluster_name: ServiceName | None = None
    """What the cluster is called by whoever looks after it, the `provider`, in the same namespace: CloudNativePG's
    `Cluster`, Crunchy's `PostgresCluster`, Zalando's `postgresql`, or the `scope` of a Patroni on Kubernetes whose
    objects have the labels `application: patroni` and `cluster-name`. Its pods are the nodes, and transactions wait
    while it is switched over. Excludes `serviceName`."""


class ClusterSpec(SpecModel):
    """A primary and its standbys."""

    rules = (
        Rule(
            "cluster-nodes-or-discovery",
            "(has(self.nodes) && self.nodes.size() > 0) != has(self.discovery)",
            "must have either nodes or discovery",
            lambda cluster, _old: bool(cluster.get("nodes")) != ("discovery" in cluster),
        ),
        Rule(
            "cluster-name-needs-provider",
            "!has(self.discovery) || !has(self.discovery.clusterName) || (has(self.provider) && "
            "self.provider in ['cloudnativepg', 'crunchy', 'patroni', 'zalando'])",
            "discovery.clusterName needs a provider: cloudnativepg, crunchy, patroni or zalando",
            lambda cluster, _old: (
                "clusterName" not in (cluster.get("discovery") or {})
                or cluster.get("provider") in ("cloudnativepg", "crunchy", "patroni", "zalando")
            ),
        ),
    )

    name: Annotated[str, mirrors(ClusterConfig, "name", required=True)]

    provider: Annotated[Provider | None, mirrors(ClusterConfig, "provider")] = None
    patroni_urls: Annotated[tuple[str, ...] | None, mirrors(ClusterConfig, "patroni_urls"), atomic()] = None
    dns_names: Annotated[tuple[str, ...] | None, mirrors(ClusterConfig, "dns_names"), atomic()] = None

    nodes: NodeList = ()
    """The servers of the cluster. Excludes `discovery`."""

    discovery: Discovery | None = None
    """Where the servers are found. Excludes `nodes`."""

    server_tls: ServerTlsSpec | None = None
    """Encryption towards its servers. Left out: as `spec.serverTls`."""


class DatabaseSpec(SpecModel):
    """One database name as clients see it."""

    rules = (
        Rule(
            "database-password-needs-user",
            "!has(self.passwordSecretRef) || has(self.user)",
            "passwordSecretRef needs user, the role that the password belongs to",
            lambda database, _old: "passwordSecretRef" not in database or "user" in database,
        ),
    )

    name: Annotated[str, mirrors(DatabaseConfig, "name", required=True)]
    """Name the client connects to; `*` serves every other name."""

    cluster: Annotated[str | None, mirrors(DatabaseConfig, "cluster")] = None
    role: Annotated[NodeRole | None, mirrors(DatabaseConfig, "role")] = None
    database: Annotated[str | None, mirrors(DatabaseConfig, "database")] = None
    user: Annotated[str | None, mirrors(DatabaseConfig, "user")] = None

    password_secret_ref: PasswordRef | None = None
    """Secret with the password of `user`. Left out: the server must accept the role without one."""

    max_client_connections: Annotated[int | None, mirrors(DatabaseConfig, "max_client_connections")] = None

    max_server_connections: Annotated[int | None, mirrors(DatabaseConfig, "max_server_connections")] = None

    pool: DatabasePoolSpec | None = None
    """Pool settings that differ from those of the proxy."""

    routing: DatabaseRoutingSpec | None = None
    """Routing that differs from that of the proxy."""
