"""HeliosProxy: one pooled entrance to PostgreSQL. `helios_crds.render` turns it into a configuration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from helios.config import AdminConfig, IoBackend, PoolMode, Provider, ProxyConfig
from helios.config.base import Port, split_address
from helios_crds.base import PROXY_NAME_LENGTH, Column, Names, Resource, Scale, SpecModel
from helios_crds.markers import Rule, atomic, cel, in_force, list_map, mirrors, not_acted_on
from helios_crds.problems import Severity
from helios_crds.types import Image, ObjectName
from helios_crds.v1alpha1.backends import MAX_CLUSTERS, MAX_DATABASES, ClusterSpec, DatabaseSpec, NodeList
from helios_crds.v1alpha1.deploying import (
    AutoscalingSpec,
    MonitoringSpec,
    NetworkPolicySpec,
    PodDisruptionBudgetSpec,
    ServiceSpec,
)
from helios_crds.v1alpha1.references import MAX_REFS, LocalRef
from helios_crds.v1alpha1.routing_settings import RoutingSpec
from helios_crds.v1alpha1.settings import (
    AuthSpec,
    CircuitBreakerSpec,
    ConsoleSpec,
    DrainSpec,
    FailoverSpec,
    FeaturesSpec,
    LimitsSpec,
    LogSpec,
    MaintenanceSpec,
    MonitorSpec,
    PluginsSpec,
    PoolSpec,
    ResourcesSpec,
    ServerTlsSpec,
    TlsSpec,
    TransactionReplaySpec,
    UserSpec,
)
from helios_crds.v1alpha1.status import HeliosProxyStatus

__all__ = ["MAIN_CLUSTER", "HeliosProxy", "HeliosProxySpec"]

MAX_USERS: Final = 256
DEFAULT_REPLICAS: Final = 2
MAIN_CLUSTER: Final = "main"
"""Name of the one cluster that `nodes`, or no backend at all, stands for."""


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _block(spec: Any, name: str) -> dict[str, Any]:
    value = spec.get(name)
    return value if isinstance(value, dict) else {}


def _ports_differ(spec: Any, _old: Any) -> bool:
    return "listenPort" not in spec or spec["listenPort"] != spec.get("adminPort")


def _databases_find_cluster(spec: Any, _old: Any) -> bool:
    clusters = _dicts(spec.get("clusters"))
    names = {str(cluster.get("name")) for cluster in clusters} or {MAIN_CLUSTER}
    return all(
        str(database["cluster"]) in names if "cluster" in database else len(names) == 1
        for database in _dicts(spec.get("databases"))
    )


def _session_mode_only(spec: Any, _old: Any) -> bool:
    if _block(spec, "features").get("poolModes") is not False:
        return True
    pools = [_block(spec, "pool"), *(_block(database, "pool") for database in _dicts(spec.get("databases")))]
    return all(pool.get("mode", PoolMode.SESSION) == PoolMode.SESSION for pool in pools)


def _total_suffices(spec: Any) -> bool:
    total = _block(spec, "limits").get("maxServerConnections")
    scaled = spec.get("autoscaling")
    pods = _block(spec, "autoscaling").get("maxReplicas") if scaled else spec.get("replicas", DEFAULT_REPLICAS)
    return not isinstance(total, int) or not isinstance(pods, int) or total > pods


def _only_one_promotes(spec: Any, _old: Any) -> bool:
    if _block(spec, "failover").get("enabled") is not True:
        return True
    providers = [spec.get("provider"), *(cluster.get("provider") for cluster in _dicts(spec.get("clusters")))]
    return all(provider in (None, Provider.STATIC) for provider in providers)


def _refs_differ(refs: Any, _old: Any) -> bool:
    names = [str(ref.get("name")) for ref in _dicts(refs)]
    return len(names) == len(set(names))


NODES_XOR_CLUSTERS = Rule(
    "nodes-xor-clusters",
    "!has(self.nodes) || self.nodes.size() == 0 || !has(self.clusters) || self.clusters.size() == 0",
    f"nodes is short for one cluster named {MAIN_CLUSTER} and excludes clusters",
    lambda spec, _old: not spec.get("nodes") or not spec.get("clusters"),
)
PORTS_DIFFER = Rule(
    "ports-differ",
    "!has(self.listenPort) || !has(self.adminPort) || self.listenPort != self.adminPort",
    "listenPort and adminPort must differ",
    _ports_differ,
)
READ_PORT_DIFFERS = Rule(
    "read-port-differs",
    "!has(self.readListenPort) || ((!has(self.listenPort) || self.readListenPort != self.listenPort) && "
    "(!has(self.adminPort) || self.readListenPort != self.adminPort))",
    "readListenPort must differ from listenPort and adminPort",
    lambda spec, _old: (
        "readListenPort" not in spec or spec["readListenPort"] not in (spec.get("listenPort"), spec.get("adminPort"))
    ),
)
DATABASE_CLUSTER = Rule(
    "database-cluster",
    "!has(self.databases) || self.databases.all(d, has(d.cluster) ? "
    "(has(self.clusters) && self.clusters.size() > 0 ? self.clusters.exists(c, c.name == d.cluster) : "
    f"d.cluster == '{MAIN_CLUSTER}') : (!has(self.clusters) || self.clusters.size() <= 1))",
    f"each of databases must name one of clusters ({MAIN_CLUSTER} where there are none); with one cluster it may be "
    "left out",
    _databases_find_cluster,
)
CLUSTERS_NEED_DATABASES = Rule(
    "clusters-need-databases",
    "!has(self.clusters) || self.clusters.size() <= 1 || (has(self.databases) && self.databases.size() > 0)",
    "with more than one cluster, databases must say which name leads where",
    lambda spec, _old: len(_dicts(spec.get("clusters"))) <= 1 or bool(spec.get("databases")),
)
POOL_MODES_OFF = Rule(
    "pool-modes-off",
    "!has(self.features) || !has(self.features.poolModes) || self.features.poolModes || "
    "((!has(self.pool) || !has(self.pool.mode) || self.pool.mode == 'session') && "
    "(!has(self.databases) || self.databases.all(d, !has(d.pool) || !has(d.pool.mode) || d.pool.mode == 'session')))",
    "features.poolModes: false allows pool.mode session only",
    _session_mode_only,
)
REFS_DIFFER = Rule(
    "refs-differ",
    "self.all(r, self.exists_one(s, s.name == r.name))",
    "every name may be given once",
    _refs_differ,
)
ENOUGH_FOR_PODS = Rule(
    "server-connections-for-pods",
    "!has(self.limits) || !has(self.limits.maxServerConnections) || self.limits.maxServerConnections > "
    "(has(self.autoscaling) ? self.autoscaling.maxReplicas : "
    f"has(self.replicas) ? self.replicas : {DEFAULT_REPLICAS})",
    "limits.maxServerConnections must be more than replicas (autoscaling.maxReplicas, where that is set): each pod "
    "needs one, and one more pod comes in an update",
    lambda spec, _old: _total_suffices(spec),
)
ONE_PROMOTES = Rule(
    "one-promotes",
    "!has(self.failover) || !has(self.failover.enabled) || !self.failover.enabled || "
    "((!has(self.provider) || self.provider == 'static') && "
    "(!has(self.clusters) || self.clusters.all(c, !has(c.provider) || c.provider == 'static')))",
    "failover.enabled must be left out where provider is not static: two would promote",
    _only_one_promotes,
)
PROVIDER_OF_NODES = Rule(
    "provider-of-nodes",
    "!has(self.provider) || !has(self.clusters) || self.clusters.size() == 0",
    "provider excludes clusters, each of which has its own",
    lambda spec, _old: "provider" not in spec or not spec.get("clusters"),
)
RefList = Annotated[tuple[LocalRef, ...], cel(REFS_DIFFER), Field(max_length=MAX_REFS)]

DEFAULT_RESOURCES = ResourcesSpec(requests={"cpu": "250m", "memory": "128Mi"}, limits={"cpu": "2", "memory": "512Mi"})


class HeliosProxySpec(SpecModel):
    """What the proxy is made of, where it leads and how it behaves."""

    rules = (
        NODES_XOR_CLUSTERS,
        PORTS_DIFFER,
        READ_PORT_DIFFERS,
        DATABASE_CLUSTER,
        CLUSTERS_NEED_DATABASES,
        POOL_MODES_OFF,
        ENOUGH_FOR_PODS,
        ONE_PROMOTES,
        PROVIDER_OF_NODES,
    )

    image: Image | None = None
    """Container image. Left out: the image the operator was released with. A change rolls the pods one by one."""

    replicas: Annotated[int, Field(ge=0, le=1_000)] = DEFAULT_REPLICAS
    """Pods. Two, so that one may leave while the other serves; a default here because autoscalers read it."""

    listen_port: Annotated[Port | None, in_force(split_address(ProxyConfig().listen_address)[1])] = None
    """TCP port for PostgreSQL clients, of the pods and of the Service."""

    read_listen_port: Port | None = None
    """TCP port of the pods for clients that only read: standbys answer there, whatever the statement. With it there is
    a Service `<name>-ro`, which has the port of the Service `<name>`. Left out: neither."""

    admin_port: Annotated[Port | None, in_force(split_address(AdminConfig().address)[1])] = None
    """TCP port of the admin API, of the pods and of the Service `<name>-admin`."""

    paused: Annotated[bool | None, mirrors(ProxyConfig, "paused")] = None

    maintenance: MaintenanceSpec | None = None
    """Whom the pods serve while somebody works on the servers. Left out: everybody."""

    workers: Annotated[int | None, mirrors(ProxyConfig, "workers")] = None

    clients_per_worker: Annotated[int | None, mirrors(ProxyConfig, "clients_per_worker")] = None

    io: Annotated[IoBackend | None, mirrors(ProxyConfig, "io")] = None

    provider: Provider | None = None
    """Who promotes the servers of the one cluster. Left out: nobody, so that Helios may. Excludes `clusters`, each of
    which says it for itself."""

    nodes: NodeList = ()
    """The servers of the one cluster. Empty, and no `clusters`: the endpoints of Service `<name>-backends`."""

    clusters: Annotated[tuple[ClusterSpec, ...], list_map("name"), Field(max_length=MAX_CLUSTERS)] = ()
    """Several clusters behind one proxy; `databases` says which name leads to which. Excludes `nodes`."""

    databases: Annotated[tuple[DatabaseSpec, ...], list_map("name"), Field(max_length=MAX_DATABASES)] = ()
    """The database names clients may ask for. Left out: every name, on the only cluster."""

    users: Annotated[tuple[UserSpec, ...], list_map("name"), Field(max_length=MAX_USERS)] = ()
    """Settings of single users. Left out: what holds for all holds for each."""

    pool: PoolSpec | None = None
    """Server connections. Each field goes before the same field of the PoolProfile."""

    routing: RoutingSpec | None = None
    """Which node runs a statement. Left out: the primary runs all."""

    features: FeaturesSpec | None = None
    """Switches."""

    plugins: Annotated[
        PluginsSpec | None,
        not_acted_on(
            Severity.ERROR,
            "no plugin would be loaded, also none that protects data",
            lambda plugins: isinstance(plugins, dict) and not plugins.get("enabled"),
        ),
    ] = None
    """WebAssembly plugins."""

    pool_profile_ref: LocalRef | None = None
    """PoolProfile whose settings apply where `pool` says nothing. While it is missing, the defaults apply."""

    routing_rule_refs: Annotated[RefList, atomic()] = ()
    """RoutingRules, in the order they are tried. All must exist for the proxy to start."""

    audit_policy_ref: LocalRef | None = None
    """AuditPolicy. It must exist for the proxy to start."""

    tenant_quota_refs: Annotated[RefList, list_map("name")] = ()
    """TenantQuotas. All must exist for the proxy to start."""

    auth: AuthSpec | None = None
    """Authentication of clients."""

    console: ConsoleSpec | None = None
    """The console. Left out: there is none."""

    tls: TlsSpec | None = None
    """Encryption of clients."""

    server_tls: ServerTlsSpec | None = None
    """Encryption towards the servers of every cluster that does not say otherwise."""

    monitor: MonitorSpec | None = None
    """Polling of the nodes."""

    circuit_breaker: CircuitBreakerSpec | None = None
    """Standbys that get no reads for a while."""

    failover: FailoverSpec | None = None
    """Promotion of a standby. Left out: Helios promotes nobody and follows whom others promote."""

    transaction_replay: TransactionReplaySpec | None = None
    """What becomes of a transaction whose server is lost. Left out: it is lost as well."""

    drain: DrainSpec | None = None
    """How a pod leaves."""

    limits: LimitsSpec | None = None
    """Bounds that protect the proxy and the servers."""

    log: LogSpec | None = None
    """Log lines."""

    service: ServiceSpec | None = None
    """Service `<name>`. Left out: of type ClusterIP."""

    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods, for what a cloud ties to it; no token of it is mounted. Left out: `default`."""

    pod_template: dict[str, Any] | None = None
    """Part of a pod template (`metadata`, `spec`) that goes over that of the operator, merged as by `kubectl patch`:
    containers and volumes by name; null or `$patch: delete` takes something away. Our container is named `proxy`. What
    is refused is told in the condition ConfigValid, and the pods stay as they are."""

    autoscaling: AutoscalingSpec | None = None
    """Pods by load instead of `replicas`, which is not looked at then. Left out: as many as `replicas` says."""

    pod_disruption_budget: PodDisruptionBudgetSpec | None = None
    """How many pods may be evicted at once. Left out: one, where at least two are wanted."""

    network_policy: NetworkPolicySpec | None = None
    """What may reach the pods. Left out: nothing is forbidden."""

    monitoring: MonitoringSpec | None = None
    """What tells a Prometheus of the pods, and of what to alert. Left out: nothing."""

    resources: ResourcesSpec = DEFAULT_RESOURCES
    """CPU and memory of each pod. The default suits some thousand clients; a block given here replaces it whole."""


PROXY_NAME = Rule(
    "proxy-name",
    f"self.metadata.name.size() <= {PROXY_NAME_LENGTH} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    f"metadata.name must have at most {PROXY_NAME_LENGTH} characters, start with a letter and hold only a-z, 0-9 and "
    "-, because Services are named after it",
    lambda resource, _old: _is_service_stem(_block(resource, "metadata").get("name")),
)


def _is_service_stem(name: object) -> bool:
    if not isinstance(name, str):
        return True
    plain = name.isascii() and name.replace("-", "a").isalnum() and name == name.lower()
    return plain and len(name) <= PROXY_NAME_LENGTH and name[0].isalpha() and name[-1] != "-"


class HeliosProxy(Resource):
    """One pooled entrance to PostgreSQL: what runs, where it leads, how it behaves."""

    rules = (PROXY_NAME,)
    names: ClassVar[Names] = Names(
        "heliosproxies",
        ("hp",),
        (
            Column("Replicas", ".spec.replicas", "integer"),
            Column("Phase", ".status.phase"),
            Column("Primary", ".status.currentPrimary"),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Ready", ".status.readyReplicas", "integer", 1, "Pods that are ready"),
            Column("Healthy", ".status.healthyNodes", "integer", 1, "Nodes that answered the last poll"),
            Column("Profile", ".spec.poolProfileRef.name", priority=1),
            Column("Config", ".status.configHash", priority=1),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', priority=1),
            Column("Image", ".spec.image", priority=1),
        ),
        Scale(".spec.replicas", ".status.replicas", ".status.selector"),
    )

    kind: Literal["HeliosProxy"]
    """`HeliosProxy`."""
    spec: HeliosProxySpec = HeliosProxySpec()
    """What is wanted."""
    status: HeliosProxyStatus | None = None
    """What the operator observed."""
