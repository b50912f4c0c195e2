"""HeliosProxy + what it refers to → configuration. Pure: the same input gives the same `ProxyConfig` everywhere.

The operator writes the result into the ConfigMap of the pods, `helios play` into a file of its own. Secrets stay
outside: the configuration names the files they will be mounted as.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from helios.config import ClusterConfig, NodeConfig, Provider, ProxyConfig, ServerTlsConfig
from helios.config.base import join_address, split_address
from helios.config.tree import Path as KeyPath
from helios.config.tree import path_text
from helios_crds.config_check import check_config, field_of
from helios_crds.placement import CERTIFICATE_SUFFIX, LEASE_SUFFIX, PEERS_SUFFIX, Placement
from helios_crds.pool_settings import Effective, effective_pool, mirrored
from helios_crds.problems import Problem, Reason, Severity
from helios_crds.quotas import claim_of, divide_clients
from helios_crds.references import References
from helios_crds.shares import first_share
from helios_crds.since import fitting, is_guard
from helios_crds.unsupported import NOT_ACTED_ON, spec_of, unsupported
from helios_crds.v1alpha1 import HeliosProxy, TenantQuota
from helios_crds.v1alpha1.backends import ClusterSpec
from helios_crds.v1alpha1.helios_proxy import MAIN_CLUSTER
from helios_crds.v1alpha1.references import (
    CERTIFICATE_KEY,
    PRIVATE_KEY,
    CaRef,
    CrlRef,
    HbaRef,
    LocalRef,
    PasswordRef,
    UsersRef,
)
from helios_crds.v1alpha1.routing_settings import ConsistencyKeysSpec, WorkloadSpec
from helios_crds.v1alpha1.settings import ServerTlsSpec

__all__ = [
    "Discovery",
    "References",
    "RenderResult",
    "SecretFile",
    "ShownCertificate",
    "certificate_secret",
    "discoveries",
    "render",
    "secret_files",
]


_DEFAULTS: Final = ProxyConfig()


@dataclass(frozen=True)
class SecretFile:
    """One key of a Secret that the proxy reads as a file."""

    secret: str
    key: str
    path: str
    """Where the configuration expects it."""

    field: str
    """The field that asks for it, e.g. `spec.auth.usersSecretRef`."""


@dataclass(frozen=True)
class ShownCertificate:
    """The Secret with the certificate that clients are shown."""

    secret: str
    field: str
    """The field that asks for it."""


@dataclass(frozen=True)
class Discovery:
    """A cluster whose nodes are found: the endpoints of a Service, or pods that somebody else looks after."""

    cluster: str
    name: str
    """Of the Service; or what the provider calls the cluster."""
    provider: Provider | None = None
    """Who looks after it; None: a Service leads to it."""

    @property
    def source(self) -> str:
        """Where the nodes come from, in words."""
        return f"{_SOURCES[self.provider]}/{self.name}"


_SOURCES: Final = {
    None: "Service",
    Provider.CLOUDNATIVE_PG: "CloudNativePG's Cluster",
    Provider.CRUNCHY: "Crunchy's PostgresCluster",
    Provider.PATRONI: "Patroni's scope",
    Provider.ZALANDO: "Zalando's postgresql",
}


@dataclass(frozen=True)
class RenderResult:
    """What became of a HeliosProxy."""

    config: ProxyConfig | None
    """The configuration; None as soon as one problem is an error."""

    problems: tuple[Problem, ...]
    """Everything wrong or not acted on, errors and warnings."""

    effective: tuple[Effective, ...]
    """Pool settings in force, with their sources; also there when `config` is None."""

    secret_files: tuple[SecretFile, ...]
    """Files that must be there before the proxy starts."""

    discoveries: tuple[Discovery, ...]
    """Clusters whose nodes `References.discovered` must supply."""

    clients: int | None = None
    """Clients that each pod may have; None where no TenantQuota says so."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid a configuration."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are only told."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)


def render(proxy: HeliosProxy, references: References, placement: Placement | None = None) -> RenderResult:
    """The configuration of `proxy`. Never raises for what a user can write; see `RenderResult.problems`."""
    place = placement or Placement()
    profile_ref = proxy.spec.pool_profile_ref
    profile = references.pool_profiles.get(profile_ref.name) if profile_ref is not None else None
    pool, effective = effective_pool(proxy, profile)
    files = secret_files(proxy, references, place)
    shares = _client_shares(proxy, references)
    problems = [
        *unsupported(proxy),
        *_reference_problems(proxy, references),
        *_quota_problems(proxy, references, shares),
        *_secret_problems(files, references),
        *_backend_problems(proxy, references),
    ]
    config: ProxyConfig | None = None
    try:
        config = ProxyConfig.model_validate(_payload(proxy, references, place, pool))
        config = _within(config, shares)
        problems += check_config(config, proxy, effective)
        config, left_out = fitting(config, place.version)
        problems += [_not_in_image(path, proxy, place) for path in left_out]
    except ValidationError as err:
        problems += [
            Problem(error["msg"], ".".join(map(str, error["loc"])), reason=Reason.CONFIG_INVALID)
            for error in err.errors()
        ]
    blocked = any(problem.severity is Severity.ERROR for problem in problems)
    made = None if blocked else config
    clients = made.limits.max_client_connections if made is not None and shares else None
    return RenderResult(made, tuple(problems), effective, files, discoveries(proxy), clients)


def secret_files(proxy: HeliosProxy, references: References, placement: Placement) -> tuple[SecretFile, ...]:
    """Every key of a Secret that the proxy reads. What `references.secrets` holds only matters for users left out."""
    spec = proxy.spec
    refs: list[tuple[str, UsersRef | PasswordRef | CaRef | CrlRef | HbaRef | None]] = [
        (f"spec.databases[{index}].passwordSecretRef", database.password_secret_ref)
        for index, database in enumerate(spec.databases)
    ]
    refs.append(("spec.auth.usersSecretRef", _users_ref(proxy, references, placement)))
    refs.append(("spec.auth.hbaSecretRef", spec.auth.hba_secret_ref if spec.auth is not None else None))
    refs.append(("spec.auth.querySecretRef", spec.auth.query_secret_ref if spec.auth is not None else None))
    refs.append(("spec.monitor.secretRef", spec.monitor.secret_ref if spec.monitor is not None else None))
    if spec.routing is not None and (keys := spec.routing.consistency_keys) is not None:
        refs.append(("spec.routing.consistencyKeys.secretRef", keys.secret_ref))
        refs.append(("spec.routing.consistencyKeys.caSecretRef", keys.ca_secret_ref))
    refs += [(f"{field}.caSecretRef", tls.ca_secret_ref) for field, tls in _server_tls(proxy)]
    if spec.tls is not None:
        asked = (("clientCaSecretRef", spec.tls.client_ca_secret_ref), ("crlSecretRef", spec.tls.crl_secret_ref))
        refs += [(f"spec.tls.{field}", ref) for field, ref in asked]
    files = [
        SecretFile(ref.name, ref.key, _secret_path(ref.name, ref.key, placement), field)
        for field, ref in refs
        if ref is not None
    ]
    if (shown := certificate_secret(proxy)) is not None:
        for key in (CERTIFICATE_KEY, PRIVATE_KEY):
            files.append(SecretFile(shown.secret, key, _secret_path(shown.secret, key, placement), shown.field))
    return tuple(files)


def certificate_secret(proxy: HeliosProxy) -> ShownCertificate | None:
    """Where the certificate is that clients are shown; None where they are shown none."""
    tls = proxy.spec.tls
    if tls is not None and tls.secret_ref is not None:
        return ShownCertificate(tls.secret_ref.name, "spec.tls.secretRef")
    if tls is not None and tls.certificate is not None:
        return ShownCertificate(f"{proxy.name}{CERTIFICATE_SUFFIX}", "spec.tls.certificate")
    return None


def discoveries(proxy: HeliosProxy) -> tuple[Discovery, ...]:
    """Clusters without listed nodes. A proxy that names no backend at all uses Service `<name>-backends`."""
    if proxy.spec.clusters:
        return tuple(_discovery(cluster) for cluster in proxy.spec.clusters if cluster.discovery is not None)
    return () if proxy.spec.nodes else (Discovery(MAIN_CLUSTER, f"{proxy.name}-backends"),)


def _discovery(cluster: ClusterSpec) -> Discovery:
    found = cluster.discovery
    assert found is not None, "asked for where there is one"
    if found.cluster_name is not None:
        return Discovery(cluster.name, found.cluster_name, cluster.provider)
    return Discovery(cluster.name, found.service_name or "")


def _users_ref(proxy: HeliosProxy, references: References, placement: Placement) -> UsersRef | None:
    """The Secret with the users; Secret `<name>-users` where none is named and the place has no users of its own."""
    auth = proxy.spec.auth
    if auth is not None:
        is_secretless = auth.method is not None and not auth.method.asks_secret
        if is_secretless or auth.users_secret_ref is not None or auth.query_user:
            return auth.users_secret_ref
    implied = UsersRef(name=f"{proxy.name}-users")
    is_there = references.secrets is not None and implied.name in references.secrets
    return implied if is_there or placement.users_file is None else None


def _server_tls(proxy: HeliosProxy) -> list[tuple[str, ServerTlsSpec]]:
    """Every block that says how servers are encrypted, with its field."""
    spec = proxy.spec
    blocks = [("spec.serverTls", spec.server_tls)]
    blocks += [(f"spec.clusters[{index}].serverTls", each.server_tls) for index, each in enumerate(spec.clusters)]
    return [(field, block) for field, block in blocks if block is not None]


def _secret_path(secret: str, key: str, placement: Placement) -> str:
    return str(placement.secrets_folder / secret / key)


def _reference_problems(proxy: HeliosProxy, references: References) -> list[Problem]:
    """Objects that are missing, or that this version cannot honour.

    Without its PoolProfile a proxy runs on inline values; without the others it would run unguarded or misrouted.
    """
    spec = proxy.spec
    problems: list[Problem] = []
    asked: list[tuple[str, LocalRef | None, Mapping[str, Any], str, Severity]] = [
        ("spec.poolProfileRef", spec.pool_profile_ref, references.pool_profiles, "PoolProfile", Severity.WARNING),
        ("spec.auditPolicyRef", spec.audit_policy_ref, references.audit_policies, "AuditPolicy", Severity.ERROR),
    ]
    for index, ref in enumerate(spec.routing_rule_refs):
        field = f"spec.routingRuleRefs[{index}]"
        asked.append((field, ref, references.routing_rules, "RoutingRule", Severity.ERROR))
    for index, ref in enumerate(spec.tenant_quota_refs):
        field = f"spec.tenantQuotaRefs[{index}]"
        asked.append((field, ref, references.tenant_quotas, "TenantQuota", Severity.ERROR))
    for field, wanted, known, kind, severity in asked:
        if wanted is not None:
            problems += _one_reference(field, wanted.name, known, kind, severity)
    return problems


def _one_reference(field: str, name: str, known: Mapping[str, Any], kind: str, severity: Severity) -> list[Problem]:
    if name not in known:
        after = "inline values and defaults apply" if severity is Severity.WARNING else "the proxy does not start"
        message = f"{kind}/{name} does not exist in this namespace; until it does, {after}"
        return [Problem(message, field, f"create {kind}/{name}", reason=Reason.REF_MISSING, severity=severity)]
    mark = known[name].spec_not_acted_on
    if mark is None:
        ignored = unsupported(known[name])
        return [
            replace(each, message=f"refers to {kind}/{name}, {each.field}: {each.message}", field=field)
            for each in ignored
        ]
    message = f"refers to {kind}/{name}, but {NOT_ACTED_ON} {kind}: {mark.because}"
    hint = "leave the reference out, or use a release that has it"
    return [Problem(message, field, hint, reason=Reason.NOT_ACTED_ON, severity=mark.severity)]


def _limiting(proxy: HeliosProxy, references: References) -> Iterator[tuple[str, TenantQuota, int]]:
    """(field, quota, total) for every quota that limits the clients of `proxy`."""
    for index, ref in enumerate(proxy.spec.tenant_quota_refs):
        quota = references.tenant_quotas.get(ref.name)
        if quota is not None and quota.spec.max_concurrent_connections is not None:
            yield f"spec.tenantQuotaRefs[{index}]", quota, quota.spec.max_concurrent_connections


def _client_shares(proxy: HeliosProxy, references: References) -> Mapping[str, int]:
    """Name of a quota → clients that each pod may have by it."""
    if references.client_shares is not None:
        return references.client_shares
    claim = claim_of(proxy.name, spec_of(proxy), "")
    found = {quota.name: divide_clients(total, [claim]) for _, quota, total in _limiting(proxy, references)}
    return {name: shares[proxy.name] for name, shares in found.items() if shares}


def _quota_problems(proxy: HeliosProxy, references: References, shares: Mapping[str, int]) -> Iterator[Problem]:
    for field, quota, total in _limiting(proxy, references):
        if quota.name not in shares:
            message = f"TenantQuota/{quota.name} allows {total} client connections, and older ones leave too few"
            hint = (
                "lower limits.maxClientConnections or the number of pods, here or of another HeliosProxy that it is for"
            )
            yield Problem(message, field, hint, reason=Reason.QUOTA_EXCEEDED)


def _within(config: ProxyConfig, shares: Mapping[str, int]) -> ProxyConfig:
    """`config` with no more clients than its quotas allow."""
    most = min(shares.values(), default=config.limits.max_client_connections)
    if config.limits.max_client_connections <= most:
        return config
    return config.model_copy(update={"limits": config.limits.model_copy(update={"max_client_connections": most})})


def _secret_problems(files: tuple[SecretFile, ...], references: References) -> list[Problem]:
    known = references.secrets
    if known is None:
        return []
    problems: list[Problem] = []
    for file in files:
        if file.secret not in known:
            message, hint = f"Secret/{file.secret} does not exist in this namespace", "create it"
        elif file.key not in known[file.secret]:
            keys = ", ".join(sorted(known[file.secret])) or "none"
            message, hint = f"Secret/{file.secret} has no key {file.key}", f"its keys: {keys}"
        else:
            continue
        problems.append(Problem(message, file.field, hint, reason=Reason.REF_MISSING))
    return problems


def _backend_problems(proxy: HeliosProxy, references: References) -> list[Problem]:
    problems: list[Problem] = []
    for discovery in discoveries(proxy):
        if not references.discovered.get(discovery.cluster):
            field = next(
                (
                    f"spec.clusters[{i}].discovery"
                    for i, c in enumerate(proxy.spec.clusters)
                    if c.name == discovery.cluster
                ),
                "spec.nodes",
            )
            why = references.undiscovered.get(discovery.cluster) or f"{discovery.source} has no endpoints"
            message = f"no node is known: {why}"
            hint = f"list nodes, or make {discovery.source} lead to the PostgreSQL pods"
            problems.append(Problem(message, field, hint, reason=Reason.BACKENDS_MISSING))
    return problems


def _payload(proxy: HeliosProxy, references: References, placement: Placement, pool: dict[str, Any]) -> dict[str, Any]:
    """The configuration as plain values; only what is set, so that the file stays short."""
    spec = proxy.spec
    payload: dict[str, Any] = {
        "generation": placement.generation,
        "listen_address": _address(
            placement.listen_host, placement.listen_port, spec.listen_port, _DEFAULTS.listen_address
        ),
        "read_listen_address": _read_address(proxy, placement),
        "admin": _admin(proxy, placement),
        "auth": _auth(proxy, references, placement),
        "console": {} if spec.console is None else spec.console.model_dump(exclude_defaults=True),
        "tls": _tls(proxy, placement),
        "monitor": mirrored(spec.monitor),
        "circuit_breaker": mirrored(spec.circuit_breaker),
        "pool": pool,
        "routing": _routing(proxy, references, placement),
        "clusters": _clusters(proxy, references, placement),
        "databases": _databases(proxy, placement),
        "users": tuple(mirrored(user) for user in spec.users),
        "peers": _peers(proxy, placement),
        "failover": _failover(proxy, placement),
        "transaction_replay": _transaction_replay(proxy),
        "drain": mirrored(spec.drain),
        "maintenance": mirrored(spec.maintenance),
        "limits": _limits(proxy, placement),
        "log": mirrored(spec.log),
        "watch": {"interval_ms": placement.watch_interval_ms} if placement.watch_interval_ms else {},
    }
    if spec.monitor is not None and spec.monitor.secret_ref is not None:
        ref = spec.monitor.secret_ref
        payload["monitor"]["password_file"] = _secret_path(ref.name, ref.key, placement)
    payload |= mirrored(spec)
    return {key: value for key, value in payload.items() if value not in ({}, (), 0, None)}


def _not_in_image(path: KeyPath, proxy: HeliosProxy, placement: Placement) -> Problem:
    """A key that is left out for an older proxy; where it protects something, nothing is rendered without it."""
    version = ".".join(map(str, placement.version or ()))
    message = f"a proxy of version {version} reads helios.toml, and does not know {path_text(path)} in it"
    hint = "use a newer image for all pods"
    if is_guard(path):
        return Problem(message, field_of(path, proxy), hint, reason=Reason.NOT_IN_IMAGE)
    return Problem(
        f"{message}; it is left out", field_of(path, proxy), hint, reason=Reason.NOT_IN_IMAGE, severity=Severity.WARNING
    )


def _address(host: str, override: int | None, port: int | None, default: str) -> str:
    chosen = override if override is not None else port
    return join_address(host, split_address(default)[1] if chosen is None else chosen)


def _read_address(proxy: HeliosProxy, placement: Placement) -> str | None:
    port = proxy.spec.read_listen_port
    return None if port is None else join_address(placement.listen_host, port)


def _admin(proxy: HeliosProxy, placement: Placement) -> dict[str, Any]:
    address = _address(placement.admin_host, placement.admin_port, proxy.spec.admin_port, _DEFAULTS.admin.address)
    admin: dict[str, Any] = {
        "address": address,
        "token_file": placement.admin_token_file,
        "tls_cert_file": placement.admin_tls_cert_file,
        "tls_key_file": placement.admin_tls_key_file,
    }
    return {key: value for key, value in admin.items() if value is not None}


def _peers(proxy: HeliosProxy, placement: Placement) -> dict[str, Any]:
    """The pods of one proxy know each other by their Service, and by the admin token that all have."""
    if placement.admin_token_file is None:
        return {}
    return {"hosts": (f"{proxy.metadata.name}{PEERS_SUFFIX}",), "secret_file": placement.admin_token_file}


def _failover(proxy: HeliosProxy, placement: Placement) -> dict[str, Any]:
    """The lease is ours to name: all pods of a proxy share one, and nobody else does."""
    failover = mirrored(proxy.spec.failover)
    if not failover.get("enabled"):
        return failover
    lease = f"{proxy.metadata.name}{LEASE_SUFFIX}"
    return {**failover, **({"lease_file": placement.lease_file} if placement.lease_file else {"lease_name": lease})}


def _transaction_replay(proxy: HeliosProxy) -> dict[str, Any]:
    """The switch, where it is set, goes before the block."""
    block, features = proxy.spec.transaction_replay, proxy.spec.features
    made = mirrored(block)
    if block is not None and (journal := mirrored(block.journal)):
        made["journal"] = journal
    if features is not None and features.tr is not None:
        made["enabled"] = features.tr
    return made


def _auth(proxy: HeliosProxy, references: References, placement: Placement) -> dict[str, Any]:
    auth = mirrored(proxy.spec.auth)
    if proxy.spec.auth is not None and proxy.spec.auth.ident:
        auth["ident"] = [mirrored(line) for line in proxy.spec.auth.ident]
    if proxy.spec.auth is not None and (records := proxy.spec.auth.hba_secret_ref) is not None:
        auth["hba_file"] = _secret_path(records.name, records.key, placement)
    if proxy.spec.auth is not None and (asks := proxy.spec.auth.query_secret_ref) is not None:
        auth["query_password_file"] = _secret_path(asks.name, asks.key, placement)
    ref = _users_ref(proxy, references, placement)
    users_file = placement.users_file if ref is None else _secret_path(ref.name, ref.key, placement)
    return auth if users_file is None else {**auth, "users_file": users_file}


def _limits(proxy: HeliosProxy, placement: Placement) -> dict[str, Any]:
    """A total over all pods becomes what each has at first; what it may have then is granted by the operator."""
    limits = mirrored(proxy.spec.limits)
    total = proxy.spec.limits.max_server_connections if proxy.spec.limits is not None else None
    if total is None:
        return limits
    share = total if placement.pods is None else first_share(total, max(_pods(proxy), placement.pods))
    return {**limits, "max_server_connections": share}


def _pods(proxy: HeliosProxy) -> int:
    """As many as may come without the operator's doing."""
    scaled = proxy.spec.autoscaling
    return proxy.spec.replicas if scaled is None else scaled.max_replicas


def _tls(proxy: HeliosProxy, placement: Placement) -> dict[str, Any]:
    tls = proxy.spec.tls
    made = mirrored(tls)
    if (shown := certificate_secret(proxy)) is not None:
        made["cert_file"] = _secret_path(shown.secret, CERTIFICATE_KEY, placement)
        made["key_file"] = _secret_path(shown.secret, PRIVATE_KEY, placement)
    if tls is not None and (authorities := tls.client_ca_secret_ref) is not None:
        made["client_ca_file"] = _secret_path(authorities.name, authorities.key, placement)
    if tls is not None and (revoked := tls.crl_secret_ref) is not None:
        made["crl_file"] = _secret_path(revoked.name, revoked.key, placement)
    return made


def _clusters(proxy: HeliosProxy, references: References, placement: Placement) -> tuple[ClusterConfig, ...]:
    spec = proxy.spec
    listed = [(mirrored(each), each.nodes, each.server_tls or spec.server_tls) for each in spec.clusters]
    only: dict[str, Any] = {"name": MAIN_CLUSTER}
    if spec.provider is not None:
        only["provider"] = spec.provider
    clusters: list[ClusterConfig] = []
    for stated, nodes, tls in listed or [(only, spec.nodes, spec.server_tls)]:
        made = tuple(NodeConfig(host=node.host, port=node.port, **mirrored(node)) for node in nodes)
        encryption = mirrored(tls)
        if tls is not None and tls.ca_secret_ref is not None:
            encryption["ca_file"] = _secret_path(tls.ca_secret_ref.name, tls.ca_secret_ref.key, placement)
        found = made or references.discovered.get(stated["name"], ())
        clusters.append(ClusterConfig(nodes=found, tls=ServerTlsConfig(**encryption), **stated))
    return tuple(clusters)


def _workload(spec: WorkloadSpec | None) -> dict[str, Any]:
    """What is stated of kinds of reads."""
    if spec is None:
        return {}
    targets = ("oltp_target", "olap_target", "vector_target", "cold_target")
    lists = (*targets, "oltp_patterns", "olap_patterns", "vector_patterns")
    stated = {name: globs for name in lists if (globs := getattr(spec, name))}
    return {**stated, **mirrored(spec)}


def _consistency_keys(spec: ConsistencyKeysSpec | None, placement: Placement) -> dict[str, Any]:
    if spec is None:
        return {}
    made = {"url": spec.url, **mirrored(spec)}
    if (login := spec.secret_ref) is not None:
        made["password_file"] = _secret_path(login.name, login.key, placement)
    if (authorities := spec.ca_secret_ref) is not None:
        made["ca_file"] = _secret_path(authorities.name, authorities.key, placement)
    return made


def _routing(proxy: HeliosProxy, references: References, placement: Placement) -> dict[str, Any]:
    """With the rules that are there and acted on; `_reference_problems` tells of the others."""
    named = [references.routing_rules.get(ref.name) for ref in proxy.spec.routing_rule_refs]
    rules = [rule for rule in named if rule is not None and not unsupported(rule)]
    made = [
        {
            "name": rule.name,
            "application_name": rule.spec.match.application_name or (),
            "route": rule.spec.route.value,
            **mirrored(rule.spec.match),
            **mirrored(rule.spec),
        }
        for rule in rules
    ]
    spec = proxy.spec.routing
    workload = _workload(spec.workload) if spec is not None else {}
    keys = _consistency_keys(spec.consistency_keys, placement) if spec is not None else {}
    blocks = {"rules": made, "workload": workload, "consistency_keys": keys}
    return {**mirrored(spec), **{name: block for name, block in blocks.items() if block}}


def _databases(proxy: HeliosProxy, placement: Placement) -> tuple[dict[str, Any], ...]:
    databases: list[dict[str, Any]] = []
    for database in proxy.spec.databases:
        made = mirrored(database)
        if database.password_secret_ref is not None:
            ref = database.password_secret_ref
            made["password_file"] = _secret_path(ref.name, ref.key, placement)
        blocks = {"pool": mirrored(database.pool), "routing": mirrored(database.routing)}
        databases.append({**made, **{name: block for name, block in blocks.items() if block}})
    return tuple(databases)
