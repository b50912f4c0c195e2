"""Prometheus metrics: the engine's counters and the monitor's view of the nodes, read anew at each scrape.

Rendered for `helios.admin.routes.metrics`. Names and labels are an interface: dashboards and alerts use them.
`node` is the node's address; pools of one node are summed, since users and databases are too many for labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from helios import __version__
from helios.engine_state import CircuitName, EngineState, Histogram, NodeState, PoolState
from helios.failover.obstacle import Obstacle
from helios.failover.status import FailoverStatus
from helios.planner.service import PlanCounts
from helios.topology.catalogs import CatalogCounts
from helios.topology.status import ClusterStatus, NodeStatus, address_of

__all__ = ["CONTENT_TYPE", "Exposition", "Sample"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Sample:
    """All that a scrape shows, at one moment."""

    engine: EngineState
    clusters: tuple[ClusterStatus, ...]
    failovers: tuple[FailoverStatus, ...]
    catalogs: CatalogCounts
    plans: PlanCounts
    generation: int
    reload_succeeded: bool
    reloaded_at: datetime
    draining: bool


class Exposition:
    """A registry of its own, so that nothing else in the process adds to it."""

    def __init__(self, read: Callable[[], Sample]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_HeliosCollector(read))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """Text format 0.0.4."""
        return generate_latest(self._registry)


class _HeliosCollector(Collector):
    def __init__(self, read: Callable[[], Sample]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the engine, which may not have started."""
        return ()

    def collect(self) -> Iterator[Metric]:
        sample = self._read()
        yield InfoMetricFamily("heliosproxy_build", "Version of Helios.", value={"version": __version__})
        yield from _process(sample)
        yield from _clients(sample.engine)
        yield from _pools(sample)
        nodes = [node for cluster in sample.clusters for node in cluster.nodes if node.enabled]
        yield from _nodes(nodes)
        yield from _choices(nodes, sample.engine)
        yield from _temperatures(sample.engine)
        yield from _clusters(sample.clusters)
        yield from _failovers(sample.failovers)
        yield from _catalogs(sample.catalogs)
        yield from _plans(sample)
        histograms = sample.engine.histograms
        yield _histogram(
            "query_duration", "From a request to the end of its answer.", histograms.query_duration_seconds
        )
        yield _histogram(
            "pool_acquire_duration",
            "Time a client waited for a server connection.",
            histograms.pool_acquire_duration_seconds,
        )


def _process(sample: Sample) -> Iterator[Metric]:
    reloaded = sample.reloaded_at.timestamp() if sample.reload_succeeded else None
    yield _gauge("config_reload_success", "1 if the last reload was applied, 0 if refused.", sample.reload_succeeded)
    if reloaded is not None:
        yield _gauge("config_reload_timestamp_seconds", "When the configuration in force was applied.", reloaded)
    yield _gauge("config_generation", "Generation of the configuration in force.", sample.generation)
    yield _gauge("accepting", "1 while the engine accepts clients.", sample.engine.accepting)
    yield _gauge("draining", "1 once the process is about to end.", sample.draining)
    yield _gauge("workers", "Worker threads of the engine.", sample.engine.workers)


def _clients(engine: EngineState) -> Iterator[Metric]:
    yield _gauge("clients_active", "Connected clients.", engine.clients.active)
    yield _gauge("clients_waiting", "Clients waiting for a server connection.", engine.clients.waiting)
    yield _gauge("clients_unauthenticated", "Connected, and not logged in yet.", engine.clients.unauthenticated)
    refused = engine.clients.refused
    yield _by_reason("clients_refused", "Clients refused, by limit.", ((each.reason, each.total) for each in refused))
    text = "Clients disconnected without an error of the proxy's own: told the server's, or torn inside of a message."
    yield _by_reason("clients_cut", text, ((each.reason, each.total) for each in engine.clients.cut))
    yield _counter("client_connections", "Client connections accepted.", engine.clients.accepted_total)
    yield _counter("client_connections_closed", "Client connections closed.", engine.clients.closed_total)
    yield _counter("client_bytes_received", "Bytes received from clients.", engine.bytes.received_total)
    yield _counter("client_bytes_sent", "Bytes sent to clients.", engine.bytes.sent_total)
    queries = CounterMetricFamily(
        "heliosproxy_queries", "Finished statements, by PostgreSQL's command tag.", labels=["type"]
    )
    queries.add_metric(["read"], engine.queries.read_total)
    queries.add_metric(["write"], engine.queries.write_total)
    yield queries
    yield _gauge("buffer_clients", "Clients waiting as their cluster has no primary.", engine.buffer.clients)
    yield _gauge("buffer_bytes", "Bytes that they have sent meanwhile.", engine.buffer.bytes)
    yield _counter("buffered_clients", "Clients that waited for a primary.", engine.buffer.entered_total)
    yield _counter("buffer_refused", "Clients refused while they waited for one.", engine.buffer.refused_total)
    yield from _replays(engine)
    yield from _optimistic(engine)
    yield from _consistency_keys(engine)
    yield from _pins(engine)


def _replays(engine: EngineState) -> Iterator[Metric]:
    replays = engine.replays
    yield _gauge("transaction_replays_active", "Transactions being run again on another server.", replays.active)
    yield _gauge("transaction_journal_bytes", "Bytes of journals of more than 16 KiB.", replays.journal_bytes)
    yield _counter("transaction_replays", "Transactions that outlived their server.", replays.completed_total)
    text = "Commits whose answer was lost with their server, and of which a server knew."
    yield _counter("transaction_commits_found", text, replays.acknowledged_total)
    yield _counter("transaction_replay_statements", "Requests run again for them.", replays.statements_total)
    text = "Sessions whose temporary tables, advisory locks and cursors were made again on another server."
    yield _counter("transaction_replay_sessions", text, replays.sessions_total)
    text = "Transactions and sessions lost with their server, by reason."
    yield _by_reason("transaction_replays_failed", text, ((each.reason, each.total) for each in replays.failed))


def _optimistic(engine: EngineState) -> Iterator[Metric]:
    blocks = engine.optimistic
    yield _counter("optimistic_blocks", "Blocks that began on a standby and might write.", blocks.begun_total)
    yield _counter("optimistic_blocks_stayed", "Those that ended there.", blocks.stayed_total)
    yield _counter("optimistic_blocks_moved", "Those that went on on the primary.", blocks.moved_total)
    text = "Those that left their standby, by reason."
    yield _by_reason("optimistic_departures", text, ((each.reason, each.total) for each in blocks.departed))
    text = "Those that could not go on, by reason."
    yield _by_reason("optimistic_failures", text, ((each.reason, each.total) for each in blocks.failed))


def _consistency_keys(engine: EngineState) -> Iterator[Metric]:
    keys = engine.consistency_keys
    yield _gauge("consistency_key_connections", "Connections to the Redis that keeps them.", keys.connections)
    text = "Writes under consistency keys, by whether Redis was told of them before they were acknowledged."
    writes = CounterMetricFamily("heliosproxy_consistency_key_writes", text, labels=["kept"])
    writes.add_metric(["true"], keys.kept_total)
    writes.add_metric(["false"], keys.unkept_total)
    yield writes
    text = "Reads under consistency keys, by whether Redis told what they must see; else the primary answers."
    reads = CounterMetricFamily("heliosproxy_consistency_key_reads", text, labels=["told"])
    reads.add_metric(["true"], keys.told_total)
    reads.add_metric(["false"], keys.untold_total)
    yield reads


def _pins(engine: EngineState) -> Iterator[Metric]:
    """By reason, those that have not occurred too: an alert needs the zero before the first."""
    text = "Sessions that keep their server between transactions, by reason."
    pinned = GaugeMetricFamily("heliosproxy_sessions_pinned", text, labels=["reason"])
    pins = CounterMetricFamily("heliosproxy_session_pins", "How often a session began to.", labels=["reason"])
    for pin in engine.pins:
        pinned.add_metric([pin.reason], pin.sessions)
        pins.add_metric([pin.reason], pin.total)
    yield pinned
    yield pins
    listening = engine.listening
    yield _gauge("sessions_listening", "Sessions that LISTEN without keeping a server.", listening.sessions)
    yield _gauge("listen_connections", "Server connections that listen for them.", listening.links)
    yield _counter("notifications", "Notifications given to clients.", listening.notifications_total)
    yield _counter("listeners_lost", "Clients ended as they may have missed notifications.", listening.lost_total)


def _pools(sample: Sample) -> Iterator[Metric]:
    nodes = {node.address: _Connections() for cluster in sample.clusters for node in cluster.nodes if node.enabled}
    for pool in sample.engine.pools:
        nodes.setdefault(address_of(sample.clusters, pool.cluster, pool.node), _Connections()).add(pool)
    # The name ends like a counter's, and is a gauge all the same: that is the name published for it.
    open_now = {node: sums.active + sums.idle for node, sums in nodes.items()}
    yield _by_node("pool_connections_total", "Open server connections.", open_now)
    yield _by_node("pool_connections_active", "Server connections in use.", {n: s.active for n, s in nodes.items()})
    yield _by_node("pool_connections_idle", "Server connections not in use.", {n: s.idle for n, s in nodes.items()})
    yield _by_node("pool_clients_waiting", "Clients waiting for one.", {n: s.waiting for n, s in nodes.items()})
    created = CounterMetricFamily("heliosproxy_pool_connections_created", "Server connections opened.", labels=["node"])
    closed = CounterMetricFamily("heliosproxy_pool_connections_closed", "Server connections closed.", labels=["node"])
    for node, connections in nodes.items():
        created.add_metric([node], connections.created)
        closed.add_metric([node], connections.closed)
    yield created
    yield closed


class _Connections:
    """Sums over the pools of one node."""

    def __init__(self) -> None:
        self.active = self.idle = self.waiting = self.created = self.closed = 0

    def add(self, pool: PoolState) -> None:
        self.active += pool.active
        self.idle += pool.idle
        self.waiting += pool.waiting
        self.created += pool.created_total
        self.closed += pool.closed_total


def _nodes(nodes: Sequence[NodeStatus]) -> Iterator[Metric]:
    yield _by_node("node_healthy", "1 if the node answers and may be used.", {n.address: n.healthy for n in nodes})
    yield _by_node("node_primary", "1 if the node is primary.", {n.address: n.role == "primary" for n in nodes})
    yield _by_node(
        "node_latency_seconds",
        "Duration of the last successful poll.",
        {n.address: n.latency_ms / 1000 for n in nodes if n.latency_ms is not None},
    )
    yield _by_node(
        "node_replication_lag_bytes",
        "WAL of the primary that the node has not replayed.",
        {n.address: n.replication_lag_bytes for n in nodes if n.replication_lag_bytes is not None},
    )
    yield _by_node(
        "node_replication_lag_seconds",
        "How long ago the primary wrote the first WAL that the node has not replayed.",
        {n.address: n.replication_lag_ms / 1000 for n in nodes if n.replication_lag_ms is not None},
    )


_STATES: dict[CircuitName, int] = {"closed": 0, "half_open": 1, "open": 2}


def _choices(nodes: Sequence[NodeStatus], engine: EngineState) -> Iterator[Metric]:
    """What traffic shows of the nodes; one that is in two clusters is shown as the sum, its circuit as the worse."""
    seen: dict[str, list[NodeState]] = {}
    for node in nodes:
        seen.setdefault(node.address, []).append(engine.node(node.cluster, node.name))
    states = {node: max(_STATES[each.circuit.state] for each in states) for node, states in seen.items()}
    yield _by_node("node_circuit_state", "Whether it is asked for reads: 0 closed, 1 half-open, 2 open.", states)
    running = {node: sum(each.running for each in states) for node, states in seen.items()}
    yield _by_node("node_reads_running", "Reading transactions that the node has.", running)
    text = "Transactions of sessions whose reads are spread, by node and why."
    routed = CounterMetricFamily("heliosproxy_route", text, labels=["node", "reason"])
    opened = CounterMetricFamily("heliosproxy_node_circuit_opened", "Times its circuit opened.", labels=["node"])
    failures = CounterMetricFamily(
        "heliosproxy_node_failures", "Connections that it refused or lost, and errors of its own.", labels=["node"]
    )
    for address, found in seen.items():
        totals: Counter[str] = Counter()
        for each in found:
            totals.update({count.reason: count.total for count in each.routed})
        for reason, total in totals.items():
            routed.add_metric([address, reason], total)
        opened.add_metric([address], sum(each.circuit.opened_total for each in found))
        failures.add_metric([address], sum(each.failures_total for each in found))
    yield routed
    yield opened
    yield failures


def _temperatures(engine: EngineState) -> Iterator[Metric]:
    """By database, not by table: of these there may be thousands."""
    labels = ["cluster", "database"]
    tables = GaugeMetricFamily("heliosproxy_tables", "Tables that are counted.", labels=[*labels, "temperature"])
    uses = CounterMetricFamily("heliosproxy_table_uses", "Uses of such tables by statements.", labels=labels)
    for heat in engine.heat:
        cold = sum(table.is_cold for table in heat.tables)
        tables.add_metric([heat.cluster, heat.database, "cold"], cold)
        tables.add_metric([heat.cluster, heat.database, "warm"], len(heat.tables) - cold)
        uses.add_metric([heat.cluster, heat.database], sum(table.uses_total for table in heat.tables))
    yield tables
    yield uses


def _clusters(clusters: Sequence[ClusterStatus]) -> Iterator[Metric]:
    has_primary = GaugeMetricFamily(
        "heliosproxy_cluster_has_primary", "1 if the cluster has a primary.", labels=["cluster"]
    )
    failovers = CounterMetricFamily(
        "heliosproxy_failovers", "Times another node became primary, seen by this process.", labels=["cluster"]
    )
    for cluster in clusters:
        has_primary.add_metric([cluster.name], float(cluster.primary is not None))
        failovers.add_metric([cluster.name], cluster.failovers)
    yield has_primary
    yield failovers


def _failovers(clusters: Sequence[FailoverStatus]) -> Iterator[Metric]:
    label = ["cluster"]
    promotions = CounterMetricFamily(
        "heliosproxy_promotions", "Standbys promoted, by whoever had the lease.", labels=label
    )
    lease = GaugeMetricFamily("heliosproxy_failover_lease", "1 if this process may promote.", labels=label)
    refused = GaugeMetricFamily(
        "heliosproxy_promotion_refused",
        "1 while somebody should be promoted and is not, for the reason that is in the way.",
        labels=[*label, "reason"],
    )
    lost = GaugeMetricFamily(
        "heliosproxy_failover_lost_bytes", "WAL of former primaries that their successors do not have.", labels=label
    )
    for each in clusters:
        promotions.add_metric([each.cluster], each.promotions)
        lease.add_metric([each.cluster], float(each.holds_lease))
        for obstacle in Obstacle:
            refused.add_metric([each.cluster, obstacle], float(each.refused is not None and each.obstacle is obstacle))
        lost.add_metric([each.cluster], sum(loss.bytes for loss in each.losses))
    yield promotions
    yield lease
    yield refused
    yield lost


def _catalogs(catalogs: CatalogCounts) -> Iterator[Metric]:
    yield _gauge("catalog_databases", "Databases whose functions are known.", catalogs.kept)
    if catalogs.age_seconds is not None:
        yield _gauge("catalog_age_seconds", "Since the oldest was compared with its server.", catalogs.age_seconds)
    yield _counter("catalog_reads", "Looks at a database's functions.", catalogs.reads)
    yield _counter("catalog_failures", "Looks that failed.", catalogs.failures)


def _plans(sample: Sample) -> Iterator[Metric]:
    plans = sample.engine.plans
    yield _gauge("plans_kept", "Plans of statements, by shape.", plans.kept)
    yield _counter("plans_made", "Plans made.", plans.made_total)
    yield _counter("plans_missed", "Statements that ran without a plan, as none came in time.", plans.missed_total)
    refused = "Texts that PostgreSQL's parser refuses, or that are too long or nested too deeply to be planned."
    yield _counter("plans_refused", refused, sample.plans.refused)
    yield _counter("plans_failed", "Texts whose planning ended with a fault, or not in time.", sample.plans.failed)
    yield _counter("planner_restarts", "Threads of the planner that died or hung.", sample.plans.restarts)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"heliosproxy_{name}", text, value=float(value))


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"heliosproxy_{name}", text, value=value)


def _by_reason(name: str, text: str, totals: Iterable[tuple[str, int]]) -> Metric:
    """A counter by reason; those that have not occurred are told too."""
    family = CounterMetricFamily(f"heliosproxy_{name}", text, labels=["reason"])
    for reason, total in totals:
        family.add_metric([reason], total)
    return family


def _by_node(name: str, text: str, values: dict[str, float] | dict[str, int] | dict[str, bool]) -> Metric:
    """A gauge by address; a server that is in two clusters is shown once, as its last entry says."""
    family = GaugeMetricFamily(f"heliosproxy_{name}", text, labels=["node"])
    for node, value in values.items():
        family.add_metric([node], float(value))
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*(str(bound) for bound in histogram.le), "+Inf"]
    buckets = list(zip(bounds, (float(count) for count in accumulate(histogram.counts)), strict=True))
    return HistogramMetricFamily(f"heliosproxy_{name}_seconds", text, buckets=buckets, sum_value=histogram.sum)
