"""The shapes of the admin API's answers. Filled by `helios.admin.routes`; a field may be added, never removed.

Names follow the original product's API, camelCase in /topology included, so that its dashboards and scripts go on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from helios.engine_state import CircuitName, ClientActivity
from helios.planner.plan import Kind, Origin, Route, Workload

__all__ = [
    "Alive",
    "Circuit",
    "Circuits",
    "Client",
    "ClusterTopology",
    "ConfigNode",
    "ConfigView",
    "ConsistencyKeysView",
    "ExplainView",
    "Failover",
    "FailoverView",
    "Health",
    "HoldView",
    "LoadView",
    "LossView",
    "Node",
    "Pool",
    "ProblemView",
    "Readiness",
    "ReloadView",
    "Sessions",
    "ShareView",
    "Switched",
    "SwitchoverView",
    "Topology",
    "Traffic",
    "Version",
    "answer",
    "answer_list",
]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Health(_Answer):
    """GET /health, /healthz."""

    status: Literal["ok"] = "ok"


class Alive(_Answer):
    """GET /health/live, /livez."""

    alive: Literal[True] = True


class Started(_Answer):
    """GET /health/startup, /startupz."""

    started: bool
    message: str


class Readiness(_Answer):
    """GET /health/ready, /readyz."""

    ready: bool
    message: str
    draining: bool
    reload_failed: bool
    """The file on disk was refused at the last reload; the reason is in /config, which is not open to everybody."""


class Traffic(_Answer):
    """GET /metrics with `Accept: application/json`."""

    connections_accepted: int
    connections_closed: int
    connections_active: int
    queries_processed: int
    bytes_received: int
    bytes_sent: int
    failovers: int


class Version(_Answer):
    """GET /version."""

    version: str
    build_time: datetime


class ConfigNode(_Answer):
    """A node in /config."""

    address: str
    role: str
    weight: int
    enabled: bool


class ProblemView(_Answer):
    """One thing wrong with a configuration."""

    source: str
    line: int | None
    field: str
    message: str
    hint: str


class ReloadView(_Answer):
    """How the last reload ended."""

    succeeded: bool
    at: datetime
    generation: int
    """Of the configuration in force, also after a refused one."""
    problems: tuple[ProblemView, ...]
    restart_needed: tuple[str, ...]


class LoadView(_Answer):
    """POST /config: what is in force now, and what became of the document."""

    generation: int
    hash: str
    problems: tuple[str, ...]
    restartNeeded: tuple[str, ...]
    """Fields of the document that only a restart can apply."""


class ShareView(_Answer):
    """GET /share: the server connections of this process."""

    limit: int
    """How many it may have; 0 for any number."""
    open: int
    """How many it has, those among them that are on their way."""
    granted: bool
    """Whether the limit was granted; else it is what the configuration says."""


class ConfigView(_Answer):
    """GET /config: the original's fields, then the whole configuration in force, secrets masked."""

    listen_address: str
    admin_address: str
    tr_enabled: bool
    tr_mode: str
    pool_min_connections: int
    pool_max_connections: int
    nodes: tuple[ConfigNode, ...]
    generation: int
    hash: str
    """SHA-256 of the document in force, lower-case hex."""
    last_reload: ReloadView
    config: dict[str, Any]


class ClusterTopology(_Answer):
    """One cluster in /topology."""

    name: str
    primary: str | None
    reason: str | None
    lastFailoverAt: datetime | None
    healthyNodes: int
    unhealthyNodes: int
    totalNodes: int


class Topology(_Answer):
    """GET /topology. The counts are over all clusters; `currentPrimary` is that of the first."""

    currentPrimary: str | None
    healthyNodes: int
    unhealthyNodes: int
    totalNodes: int
    lastFailoverAt: datetime | None
    reason: str | None
    clusters: tuple[ClusterTopology, ...]


class Node(_Answer):
    """One of GET /nodes, and GET /nodes/{addr}."""

    address: str
    healthy: bool
    last_check: datetime | None
    failure_count: int
    last_error: str | None
    latency_ms: float | None
    replication_lag_bytes: int | None
    replication_lag_ms: float | None
    name: str
    cluster: str
    role: str
    """By evidence: primary, standby or unknown."""
    configured_role: str
    weight: int
    enabled: bool
    replayed_lsn: str | None
    timeline: int | None
    system_identifier: str | None
    zone: str | None
    running: int
    """Reading transactions that it has from this process, those that wait for a connection among them."""
    circuit: CircuitName
    """Whether it is asked for reads; /api/circuit says why not."""


class Switched(_Answer):
    """POST /nodes/{addr}/enable and /disable."""

    status: Literal["enabled", "disabled"]


class Circuit(_Answer):
    """One node in /api/circuit."""

    node: str
    """Its address."""
    state: CircuitName
    name: str
    cluster: str
    failures: int
    """In a row, by now."""
    reason: str | None
    """What failed last; None when all is well."""
    share: float
    """Its part of what would be its share of reads: less than 1 for a while after its circuit has closed."""
    opened_total: int
    answers_total: int
    """Reads that it answered as a standby."""
    failures_total: int


class Circuits(_Answer):
    """GET /api/circuit."""

    circuits: tuple[Circuit, ...]


class TableTemperature(_Answer):
    """One table in /api/temperature."""

    cluster: str
    database: str
    """On the server."""
    table: str
    """As statements name it, `public` left out."""
    temperature: Literal["cold", "warm"]
    uses_per_minute: float
    """By statements, of which older ones count less."""
    uses_total: int


class Temperatures(_Answer):
    """GET /api/temperature."""

    tables: tuple[TableTemperature, ...]
    """The most used first; empty where `routing.workload.cold_target` is."""


class Client(_Answer):
    """One client."""

    id: int
    """As SHOW CLIENTS has it, and KILL_CLIENT takes it."""
    user: str
    database: str
    """By the name that it asked for."""
    address: str | None
    """None for a Unix socket."""
    port: int | None
    application_name: str
    tls: str
    connected_at: datetime
    requested_at: datetime
    """When it last asked for something."""
    state: ClientActivity
    route: str | None
    """Why its last transaction went to the node that it went to, as in `heliosproxy_route_total`; None where there was
    nothing to choose."""


class Sessions(_Answer):
    """GET /sessions."""

    active_sessions: int
    waiting_sessions: int
    pinned_sessions: dict[str, int]
    """Reason → sessions below session mode that keep their server between transactions for it. A session may have
    several reasons."""
    listening_sessions: int
    """Sessions below session mode that LISTEN, without holding a server for it."""
    sessions: tuple[Client, ...] | None
    """Each of them, with `?list=true`; else None."""


class Pool(_Answer):
    """One of GET /pools."""

    node: str
    """Address of the node."""
    active_connections: int
    idle_connections: int
    pending_requests: int
    total_connections_created: int
    total_connections_closed: int
    cluster: str
    node_name: str
    database: str
    user: str
    server_user: str
    mode: str
    max_size: int


class Server(_Answer):
    """One of GET /servers."""

    pid: int
    """Of its process, as in the node's `pg_stat_activity`."""
    node: str
    """Address of the node."""
    node_name: str
    cluster: str
    database: str
    """By the name that clients ask for."""
    user: str
    state: str
    """`active`: `client` has it. `tested`: it is made fit for the next one. `idle`: nobody has it. `listening`: it
    listens for all clients of its pool."""
    connected_at: datetime
    client: Client | None


class ExplainView(_Answer):
    """POST /api/explain."""

    kind: Kind
    route: Route
    """Which nodes may run it where reads are split from writes: the primary, or any that is fresh enough."""
    reason: str
    """Why this route; one sentence without literals."""
    origin: Origin
    """Whether the statement itself, a hint, a rule or its kind of work decides it."""
    node: str | None
    """The node that a hint or rule names."""
    workload: Workload | None
    """The kind of work that it is, where nodes of their own answer it."""
    target: tuple[str, ...]
    """Those nodes, by globs over their names."""
    consistency: str | None
    """What a hint or rule says of how old the data may be; None: as the database has it, also below."""
    max_lag_ms: int | None
    timeout_ms: int | None
    """Milliseconds after which it is cancelled."""
    notices: tuple[str, ...]
    """What its client is told."""
    effects: dict[str, str]
    """What it may leave in its session → why; empty for nothing."""
    settings: tuple[str, ...]
    """Settings that it names; `*` for one that only its execution shows."""
    rerun: str
    """What becomes of it in a transaction whose server is lost: `looks`, `rows`, `repeats`, `commits`, `ends` or
    `never`."""
    mutable: bool
    """It may leave values that would be others if it were run again, and that its client has not seen:
    `transaction_replay.mutables` says what becomes of its transaction."""
    exact: bool
    """The plan is for this very text, not for all that differ from it in literals only."""


class LossView(_Answer):
    """What a primary that died wrote beyond what its successor has. There is one for each; it may have been nothing."""

    node: str
    timeline: int | None
    from_lsn: str
    """Where the histories part."""
    to_lsn: str
    """How far the former primary was seen; it may have come further until it died."""
    bytes: int
    was_synchronous: bool
    """Commits waited for standbys: none that was acknowledged is lost, unless its session had `synchronous_commit` off
    or local."""


class Failover(_Answer):
    """One cluster in /api/failover."""

    cluster: str
    enabled: bool
    policy: str
    holds_lease: bool
    """This proxy may promote."""
    hold: str | None
    """Why no transaction may begin."""
    verdict: str | None
    """Whether the primary counts as gone; null while it answers."""
    step: str | None
    """What of a failover or switchover is under way; null between them."""
    refused: str | None
    """Why nobody is promoted."""
    promoting: str | None
    promotions: int
    last_promotion_at: datetime | None
    """By this process."""
    fence: str | None
    """Which one the former primary was given."""
    fenced: tuple[str, ...]
    """Nodes that were replaced and are no standbys yet."""
    xid_bound: int | None
    """Transactions with this number or a later one did not come over at the last promotion."""
    losses: tuple[LossView, ...]


class FailoverView(_Answer):
    """GET /api/failover."""

    clusters: tuple[Failover, ...]


class HoldView(_Answer):
    """POST /api/hold."""

    clusters: tuple[str, ...]
    hold: str | None
    """Why no transaction begins there; null where they do."""


class ConsistencyKeysView(_Answer):
    """GET /api/consistency-keys."""

    enabled: bool
    redis: str | None
    """Host and port; None where there is none."""
    connections: int
    """To it now, one for each worker."""
    fault: str | None
    """Why it cannot be asked; None when all is well."""
    writes_kept: int
    """Writes that it was told of before they were acknowledged."""
    writes_unkept: int
    """Those that were acknowledged with a warning, since it could not be told."""
    reads_told: int
    """Reads that were told what they must see."""
    reads_untold: int
    """Those that went to the primary, since nobody could say."""


class TransactionReplayView(_Answer):
    """GET /api/tr."""

    enabled: bool
    active: int
    """Transactions being run again now."""
    completed: int
    """Since the start, those that went on."""
    acknowledged: int
    """Commits whose answer was lost with their server, and which a server was found to have."""
    statements: int
    """Requests of those that gave the same answers again."""
    sessions: int
    """Sessions whose temporary tables, advisory locks and cursors WITH HOLD were made again on another server."""
    diverged: dict[str, int]
    """Those that were lost with their server, by reason; see the guide."""


class SwitchoverView(_Answer):
    """POST /api/switchover."""

    cluster: str
    primary: str
    """The name of the new one."""


def answer(model: BaseModel, status: int = 200) -> web.Response:
    """One object as JSON."""
    return web.Response(text=model.model_dump_json(), status=status, content_type="application/json")


def answer_list(models: list[Node] | list[Pool] | list[Server]) -> web.Response:
    """A list of objects as JSON."""
    text = ",".join(model.model_dump_json() for model in models)
    return web.Response(text=f"[{text}]", content_type="application/json")
