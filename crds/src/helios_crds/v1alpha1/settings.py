"""Blocks of settings of a HeliosProxy. A field without a text of its own has text and bounds from `helios.config`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from helios.config import (
    AuthConfig,
    AuthMethod,
    CertificateName,
    ChannelBinding,
    CircuitBreakerConfig,
    ClientAuth,
    ClientTlsConfig,
    ClientTlsMode,
    DrainConfig,
    FailoverConfig,
    IdentConfig,
    JournalConfig,
    LimitsConfig,
    LogConfig,
    LogFormat,
    LogLevel,
    MaintenanceConfig,
    MaintenanceMode,
    MonitorConfig,
    Mutables,
    PoolConfig,
    PoolMode,
    PreparedStatements,
    PromotionPolicy,
    ServerTlsConfig,
    ServerTlsMode,
    TransactionReplayConfig,
    UserConfig,
)
from helios.config.base import Host
from helios_crds.base import SpecModel
from helios_crds.markers import Rule, atomic, list_set, mirrors, not_acted_on
from helios_crds.problems import Severity
from helios_crds.types import ObjectName, Quantity
from helios_crds.v1alpha1.references import CaRef, CertificateRef, CrlRef, HbaRef, PasswordRef, UsersRef

__all__ = [
    "AuthSpec",
    "CertificateSpec",
    "CircuitBreakerSpec",
    "ConsoleSpec",
    "DatabasePoolSpec",
    "DrainSpec",
    "FailoverSpec",
    "FeaturesSpec",
    "IdentSpec",
    "LimitsSpec",
    "LogSpec",
    "MaintenanceSpec",
    "MonitorSpec",
    "PluginsSpec",
    "PoolSpec",
    "ResourcesSpec",
    "ServerTlsSpec",
    "TlsSpec",
    "TransactionReplaySpec",
    "UserSpec",
]


MAX_IDENT: Final = 256
MAX_DNS_NAMES: Final = 32
MAX_CONSOLE_USERS: Final = 64

RoleName = Annotated[str, Field(min_length=1, max_length=63)]


def _min_at_most_max(pool: Any, _old: Any) -> bool:
    low, high = pool.get("minConnections"), pool.get("maxConnections")
    return not (isinstance(low, int) and isinstance(high, int)) or low <= high


POOL_MIN_MAX = Rule(
    "pool-min-max",
    "!has(self.minConnections) || !has(self.maxConnections) || self.minConnections <= self.maxConnections",
    "minConnections must not exceed maxConnections",
    _min_at_most_max,
)


class PoolSpec(SpecModel):
    """Server connections. What is left out comes from the PoolProfile, then from the defaults named here."""

    rules = (POOL_MIN_MAX,)

    mode: Annotated[PoolMode | None, mirrors(PoolConfig, "mode")] = None
    min_connections: Annotated[int | None, mirrors(PoolConfig, "min_idle")] = None
    max_connections: Annotated[int | None, mirrors(PoolConfig, "max_size")] = None
    reserve_connections: Annotated[int | None, mirrors(PoolConfig, "reserve_size")] = None
    reserve_timeout_seconds: Annotated[int | None, mirrors(PoolConfig, "reserve_timeout_seconds")] = None
    idle_timeout_seconds: Annotated[int | None, mirrors(PoolConfig, "idle_timeout_seconds")] = None
    max_lifetime_seconds: Annotated[int | None, mirrors(PoolConfig, "max_lifetime_seconds")] = None
    acquire_timeout_seconds: Annotated[int | None, mirrors(PoolConfig, "acquire_timeout_seconds")] = None
    prepared_statement_mode: Annotated[PreparedStatements | None, mirrors(PoolConfig, "prepared_statements")] = None
    reset_query: Annotated[str | None, mirrors(PoolConfig, "reset_query")] = None
    application_name_add_host: Annotated[bool | None, mirrors(PoolConfig, "application_name_add_host")] = None
    pin_notices: Annotated[bool | None, mirrors(PoolConfig, "pin_notices")] = None


def _as_proxy(name: str) -> mirrors:
    return mirrors(PoolConfig, name, otherwise="as for the whole proxy")


class DatabasePoolSpec(SpecModel):
    """Server connections of one database. What is left out is as for the whole proxy."""

    rules = (POOL_MIN_MAX,)

    mode: Annotated[PoolMode | None, _as_proxy("mode")] = None
    min_connections: Annotated[int | None, _as_proxy("min_idle")] = None
    max_connections: Annotated[int | None, _as_proxy("max_size")] = None
    reserve_connections: Annotated[int | None, _as_proxy("reserve_size")] = None
    reserve_timeout_seconds: Annotated[int | None, _as_proxy("reserve_timeout_seconds")] = None
    idle_timeout_seconds: Annotated[int | None, _as_proxy("idle_timeout_seconds")] = None
    max_lifetime_seconds: Annotated[int | None, _as_proxy("max_lifetime_seconds")] = None
    acquire_timeout_seconds: Annotated[int | None, _as_proxy("acquire_timeout_seconds")] = None
    prepared_statement_mode: Annotated[PreparedStatements | None, _as_proxy("prepared_statements")] = None
    reset_query: Annotated[str | None, _as_proxy("reset_query")] = None
    application_name_add_host: Annotated[bool | None, _as_proxy("application_name_add_host")] = None
    pin_notices: Annotated[bool | None, _as_proxy("pin_notices")] = None


def _is_off(value: object) -> bool:
    return value is False


class FeaturesSpec(SpecModel):
    """Switches. What is left out is off, save `poolModes`."""

    tr: bool | None = None
    """Transaction replay: a transaction that loses its server is run again on another. Left out:
    `transactionReplay.enabled` decides."""

    pool_modes: bool | None = None
    """`false`: every client keeps its server connection until it leaves (session mode), whatever a PoolProfile says.
    Left out or `true`: `pool.mode` decides."""

    query_cache: Annotated[bool | None, not_acted_on(Severity.WARNING, "every read goes to a server", _is_off)] = None
    """Cache of query results."""

    rate_limiting: Annotated[bool | None, not_acted_on(Severity.ERROR, "no client would be limited", _is_off)] = None
    """Limits on statements per client."""

    audit_chain: Annotated[bool | None, not_acted_on(Severity.ERROR, "no record would be written", _is_off)] = None
    """Tamper-evident record of statements."""


class PluginsSpec(SpecModel):
    """WebAssembly plugins."""

    enabled: bool | None = None
    """Whether plugins are loaded at all. Left out: no."""

    plugin_dir: Annotated[str | None, Field(min_length=1, max_length=4096)] = None
    """Folder of the container that holds the plugins."""

    hot_reload: bool | None = None
    """Whether a changed plugin is loaded without a restart."""


class IssuerRef(SpecModel):
    """An issuer of cert-manager's, or of another one that makes certificates for it."""

    name: ObjectName
    """Name of the issuer."""

    kind: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = "Issuer"
    """`Issuer`, of the same namespace, or `ClusterIssuer`."""

    group: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "cert-manager.io"
    """API group of the issuer."""


class CertificateSpec(SpecModel):
    """A certificate that cert-manager makes and renews."""

    issuer_ref: IssuerRef
    """Who signs it."""

    dns_names: Annotated[tuple[Host, ...], list_set(), Field(max_length=MAX_DNS_NAMES)] = ()
    """Names that it is for beside those of the proxy's Services, e.g. that of a load balancer."""


class TlsSpec(SpecModel):
    """Encryption of clients."""

    rules = (
        Rule(
            "tls-secret",
            "!has(self.mode) || self.mode == 'disable' || has(self.secretRef) || has(self.certificate)",
            "mode allow or require needs secretRef or certificate, the certificate to show",
            lambda tls, _old: (
                tls.get("mode", ClientTlsMode.DISABLE) == ClientTlsMode.DISABLE
                or "secretRef" in tls
                or "certificate" in tls
            ),
        ),
        Rule(
            "tls-one-certificate",
            "!has(self.secretRef) || !has(self.certificate)",
            "secretRef and certificate exclude each other: one certificate is shown",
            lambda tls, _old: "secretRef" not in tls or "certificate" not in tls,
        ),
        Rule(
            "tls-client-ca",
            "(has(self.clientAuth) && self.clientAuth != 'none') == has(self.clientCaSecretRef)",
            "clientAuth optional or required must have clientCaSecretRef, the authorities of clients; none must not",
            lambda tls, _old: (
                (tls.get("clientAuth", ClientAuth.NONE) != ClientAuth.NONE) == ("clientCaSecretRef" in tls)
            ),
        ),
        Rule(
            "tls-crl",
            "!has(self.crlSecretRef) || has(self.clientCaSecretRef)",
            "crlSecretRef needs clientCaSecretRef, the authorities whose lists they are",
            lambda tls, _old: "crlSecretRef" not in tls or "clientCaSecretRef" in tls,
        ),
    )

    mode: Annotated[ClientTlsMode | None, mirrors(ClientTlsConfig, "mode")] = None

    secret_ref: CertificateRef | None = None
    """Secret with the certificate and its key."""

    certificate: CertificateSpec | None = None
    """The certificate is made by cert-manager: the operator asks for it by a Certificate `<name>` and shows what comes
    in Secret `<name>-tls`. Pods are made once it is there. Excludes `secretRef`."""

    client_auth: Annotated[ClientAuth | None, mirrors(ClientTlsConfig, "client_auth")] = None

    client_ca_secret_ref: CaRef | None = None
    """Secret with the certificates of the authorities that clients' certificates come from."""

    crl_secret_ref: CrlRef | None = None
    """Secret with the revocation lists of these authorities. Left out: nothing is revoked."""


class ServerTlsSpec(SpecModel):
    """Encryption towards servers."""

    rules = (
        Rule(
            "server-tls-ca",
            "!has(self.mode) || !self.mode.startsWith('verify') || has(self.caSecretRef)",
            "mode verify-ca or verify-full needs caSecretRef, the authorities to trust",
            lambda tls, _old: not str(tls.get("mode", "")).startswith("verify") or "caSecretRef" in tls,
        ),
        Rule(
            "server-tls-binding",
            "!has(self.mode) || self.mode != 'disable'"
            " || !has(self.channelBinding) || self.channelBinding != 'require'",
            "channelBinding require needs encryption",
            lambda tls, _old: tls.get("channelBinding") != "require" or tls.get("mode") != "disable",
        ),
    )

    mode: Annotated[ServerTlsMode | None, mirrors(ServerTlsConfig, "mode")] = None

    ca_secret_ref: CaRef | None = None
    """Secret with the certificates of the authorities that are trusted."""

    channel_binding: Annotated[ChannelBinding | None, mirrors(ServerTlsConfig, "channel_binding")] = None


RoleList = Annotated[tuple[RoleName, ...], list_set(), Field(max_length=MAX_CONSOLE_USERS)]


class ConsoleSpec(SpecModel):
    """The console: PgBouncer's commands over a PostgreSQL connection to the database `pgbouncer`. Its users log in as
    to every other database. It is that of one pod: connect to a pod, not to the Service, to change something."""

    admin_users: RoleList = ()
    """Users who may use every command."""

    stats_users: RoleList = ()
    """Users who may look, by SHOW, and change nothing."""


class IdentSpec(SpecModel):
    """One line of a user map, as in pg_ident.conf; a client may log in by any line of its map that fits."""

    map: Annotated[str, mirrors(IdentConfig, "map", required=True)]
    system_user: Annotated[str, mirrors(IdentConfig, "system_user", required=True)]
    database_user: Annotated[str, mirrors(IdentConfig, "database_user", required=True)]


class AuthSpec(SpecModel):
    """Authentication of clients."""

    rules = (
        Rule(
            "auth-query-needs-user",
            "has(self.queryUser) || !(has(self.query) || has(self.querySecretRef))",
            "query and querySecretRef must have queryUser, the role that asks, beside them",
            lambda auth, _old: "queryUser" in auth or not ("query" in auth or "querySecretRef" in auth),
        ),
        Rule(
            "auth-hba",
            "!has(self.hbaSecretRef) || !(has(self.method) || has(self.clientName) || has(self.map))",
            "hbaSecretRef excludes method, clientName and map, which its records say",
            lambda auth, _old: "hbaSecretRef" not in auth or not {"method", "clientName", "map"} & set(auth),
        ),
    )

    method: Annotated[AuthMethod | None, mirrors(AuthConfig, "method")] = None
    hba_secret_ref: HbaRef | None = None
    """Secret with a `pg_hba.conf`, which says for each client what it must answer; excludes `method`, `clientName` and
    `map`. What Helios cannot act on is refused with its line."""

    query_user: Annotated[str | None, mirrors(AuthConfig, "query_user")] = None

    query_secret_ref: PasswordRef | None = None
    """Secret with the password of `queryUser`. Left out: as the users file has it, or none."""

    query_database: Annotated[str | None, mirrors(AuthConfig, "query_database")] = None
    query: Annotated[str | None, mirrors(AuthConfig, "query")] = None
    query_cache_seconds: Annotated[int | None, mirrors(AuthConfig, "query_cache_seconds")] = None
    client_name: Annotated[CertificateName | None, mirrors(AuthConfig, "client_name")] = None
    map: Annotated[str | None, mirrors(AuthConfig, "map")] = None

    ident: Annotated[tuple[IdentSpec, ...], atomic(), Field(max_length=MAX_IDENT)] = ()
    """Lines of the user maps."""

    users_secret_ref: UsersRef | None = None
    """Secret with the users file. Left out: Secret `<name>-users`, which must exist; with `method: trust` or
    `cert`, or with `queryUser`, no users at all. Its plain and md5 secrets also log clients in to the servers."""


class MonitorSpec(SpecModel):
    """Polling of every node for its role, position and health."""

    rules = (
        Rule(
            "monitor-password-needs-user",
            "!has(self.secretRef) || has(self.user)",
            "secretRef needs user, the role that the password belongs to",
            lambda monitor, _old: "secretRef" not in monitor or "user" in monitor,
        ),
    )

    user: Annotated[str | None, mirrors(MonitorConfig, "user")] = None

    secret_ref: PasswordRef | None = None
    """Secret with the password of `user`. Left out: the nodes must accept the role without one."""

    database: Annotated[str | None, mirrors(MonitorConfig, "database")] = None
    interval_millis: Annotated[int | None, mirrors(MonitorConfig, "interval_ms")] = None
    timeout_millis: Annotated[int | None, mirrors(MonitorConfig, "timeout_ms")] = None
    failure_threshold: Annotated[int | None, mirrors(MonitorConfig, "failure_threshold")] = None


class CircuitBreakerSpec(SpecModel):
    """When a standby gets no reads for a while. Writes always wait for the primary."""

    enabled: Annotated[bool | None, mirrors(CircuitBreakerConfig, "enabled")] = None
    failure_threshold: Annotated[int | None, mirrors(CircuitBreakerConfig, "failure_threshold")] = None
    reset_timeout_seconds: Annotated[int | None, mirrors(CircuitBreakerConfig, "reset_timeout_seconds")] = None
    success_threshold: Annotated[int | None, mirrors(CircuitBreakerConfig, "success_threshold")] = None
    half_open_requests: Annotated[int | None, mirrors(CircuitBreakerConfig, "half_open_requests")] = None
    slow_start_seconds: Annotated[int | None, mirrors(CircuitBreakerConfig, "slow_start_seconds")] = None
    outlier_latency_factor: Annotated[int | None, mirrors(CircuitBreakerConfig, "outlier_latency_factor")] = None
    outlier_error_percent: Annotated[int | None, mirrors(CircuitBreakerConfig, "outlier_error_percent")] = None


class FailoverSpec(SpecModel):
    """Promotion of a standby when the primary is gone, and on demand. The pods share Lease `<name>-failover`; where the
    API server cannot be reached nobody is promoted."""

    enabled: Annotated[bool | None, mirrors(FailoverConfig, "enabled")] = None
    policy: Annotated[PromotionPolicy | None, mirrors(FailoverConfig, "policy")] = None
    silence_after_seconds: Annotated[int | None, mirrors(FailoverConfig, "silence_after_seconds")] = None
    promote_timeout_seconds: Annotated[int | None, mirrors(FailoverConfig, "promote_timeout_seconds")] = None
    confirm_timeout_millis: Annotated[int | None, mirrors(FailoverConfig, "confirm_timeout_ms")] = None
    drain_after_seconds: Annotated[int | None, mirrors(FailoverConfig, "drain_after_seconds")] = None
    lease_seconds: Annotated[int | None, mirrors(FailoverConfig, "lease_seconds")] = None
    fence_command: Annotated[tuple[str, ...] | None, mirrors(FailoverConfig, "fence_command"), atomic()] = None
    fence_timeout_seconds: Annotated[int | None, mirrors(FailoverConfig, "fence_timeout_seconds")] = None


class JournalSpec(SpecModel):
    """What is kept of open transactions; one that has more is lost with its server."""

    max_entries: Annotated[int | None, mirrors(JournalConfig, "max_entries")] = None
    max_bytes: Annotated[int | None, mirrors(JournalConfig, "max_bytes")] = None
    max_total_bytes: Annotated[int | None, mirrors(JournalConfig, "max_total_bytes")] = None


class TransactionReplaySpec(SpecModel):
    """What becomes of a transaction whose server is lost."""

    enabled: Annotated[bool | None, mirrors(TransactionReplayConfig, "enabled")] = None
    max_retries: Annotated[int | None, mirrors(TransactionReplayConfig, "max_retries")] = None
    mutables: Annotated[Mutables | None, mirrors(TransactionReplayConfig, "mutables")] = None
    notices: Annotated[bool | None, mirrors(TransactionReplayConfig, "notices")] = None
    holdable_cursors: Annotated[bool | None, mirrors(TransactionReplayConfig, "holdable_cursors")] = None
    max_cursors: Annotated[int | None, mirrors(TransactionReplayConfig, "max_cursors")] = None
    temp_table_max_bytes: Annotated[int | None, mirrors(TransactionReplayConfig, "temp_table_max_bytes")] = None
    journal: JournalSpec | None = None
    """What is kept of open transactions."""


class DrainSpec(SpecModel):
    """How a pod leaves. Its grace period is the sum of both times and five seconds."""

    endpoint_delay_seconds: Annotated[int | None, mirrors(DrainConfig, "endpoint_delay_seconds")] = None
    timeout_seconds: Annotated[int | None, mirrors(DrainConfig, "timeout_seconds")] = None


class MaintenanceSpec(SpecModel):
    """Whom the pods serve while somebody works on the servers. `kubectl helios pause` and `drain` do so for a while and
    leave the spec alone."""

    mode: Annotated[MaintenanceMode | None, mirrors(MaintenanceConfig, "mode")] = None


class LimitsSpec(SpecModel):
    """Bounds that protect the proxy and the servers."""

    max_client_connections: Annotated[int | None, mirrors(LimitsConfig, "max_client_connections")] = None
    max_user_client_connections: Annotated[int | None, mirrors(LimitsConfig, "max_user_client_connections")] = None
    max_database_client_connections: Annotated[int | None, mirrors(LimitsConfig, "max_database_client_connections")] = (
        None
    )
    max_address_client_connections: Annotated[int | None, mirrors(LimitsConfig, "max_address_client_connections")] = (
        None
    )
    max_unauthenticated_connections: Annotated[int | None, mirrors(LimitsConfig, "max_unauthenticated_connections")] = (
        None
    )
    max_address_unauthenticated_connections: Annotated[
        int | None, mirrors(LimitsConfig, "max_address_unauthenticated_connections")
    ] = None

    max_server_connections: Annotated[int | None, Field(ge=2, le=1_000_000)] = None
    """Server connections at most, of all pools of all pods together; left out: no such limit. More than `replicas`, for
    each pod needs one, and one more pod comes while they are replaced. The operator divides them among the pods that
    are there. The few connections that poll the nodes and read definitions come on top: leave room for three a pod."""

    max_user_server_connections: Annotated[int | None, mirrors(LimitsConfig, "max_user_server_connections")] = None
    max_database_server_connections: Annotated[int | None, mirrors(LimitsConfig, "max_database_server_connections")] = (
        None
    )
    max_parallel_logins: Annotated[int | None, mirrors(LimitsConfig, "max_parallel_logins")] = None
    startup_timeout_seconds: Annotated[int | None, mirrors(LimitsConfig, "startup_timeout_seconds")] = None
    connect_timeout_seconds: Annotated[int | None, mirrors(LimitsConfig, "connect_timeout_seconds")] = None
    query_timeout_seconds: Annotated[int | None, mirrors(LimitsConfig, "query_timeout_seconds")] = None
    idle_transaction_timeout_seconds: Annotated[
        int | None, mirrors(LimitsConfig, "idle_transaction_timeout_seconds")
    ] = None
    client_idle_timeout_seconds: Annotated[int | None, mirrors(LimitsConfig, "client_idle_timeout_seconds")] = None
    client_write_timeout_seconds: Annotated[int | None, mirrors(LimitsConfig, "client_write_timeout_seconds")] = None
    client_max_age_seconds: Annotated[int | None, mirrors(LimitsConfig, "client_max_age_seconds")] = None
    max_prepared_statements: Annotated[int | None, mirrors(LimitsConfig, "max_prepared_statements")] = None
    max_prepared_bytes: Annotated[int | None, mirrors(LimitsConfig, "max_prepared_bytes")] = None
    server_prepared_bytes: Annotated[int | None, mirrors(LimitsConfig, "server_prepared_bytes")] = None
    max_channels: Annotated[int | None, mirrors(LimitsConfig, "max_channels")] = None
    max_notification_bytes: Annotated[int | None, mirrors(LimitsConfig, "max_notification_bytes")] = None

    max_buffered_clients: Annotated[int | None, mirrors(LimitsConfig, "max_buffered_clients")] = None

    max_buffered_bytes: Annotated[int | None, mirrors(LimitsConfig, "max_buffered_bytes")] = None


class UserSpec(SpecModel):
    """Settings of one user; what is left out is as for all users."""

    name: Annotated[str, mirrors(UserConfig, "name", required=True)]
    max_client_connections: Annotated[int | None, mirrors(UserConfig, "max_client_connections")] = None
    max_server_connections: Annotated[int | None, mirrors(UserConfig, "max_server_connections")] = None
    max_pool_size: Annotated[int | None, mirrors(UserConfig, "max_pool_size")] = None
    query_timeout_seconds: Annotated[int | None, mirrors(UserConfig, "query_timeout_seconds")] = None
    idle_transaction_timeout_seconds: Annotated[int | None, mirrors(UserConfig, "idle_transaction_timeout_seconds")] = (
        None
    )
    client_idle_timeout_seconds: Annotated[int | None, mirrors(UserConfig, "client_idle_timeout_seconds")] = None
    client_write_timeout_seconds: Annotated[int | None, mirrors(UserConfig, "client_write_timeout_seconds")] = None
    client_max_age_seconds: Annotated[int | None, mirrors(UserConfig, "client_max_age_seconds")] = None


class LogSpec(SpecModel):
    """Log lines on stderr."""

    level: Annotated[LogLevel | None, mirrors(LogConfig, "level")] = None
    format: Annotated[LogFormat | None, mirrors(LogConfig, "format")] = None


class ResourcesSpec(SpecModel):
    """CPU and memory of a pod, as in a container of Kubernetes."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What the scheduler sets aside, by resource name."""

    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What the pod may use at most, by resource name. The CPU limit also decides the number of workers."""
