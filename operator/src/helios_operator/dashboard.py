"""The Grafana dashboard of HeliosProxies, written by `install` into docs/monitoring.

One table of panels. A test holds their metric names against a real scrape, both ways: none that is not served, and
none that is served and not shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from helios_operator.names import CERTIFICATE_ENDS

__all__ = ["OPERATOR_ROW", "ROWS", "Panel", "dashboard_text"]

Json = dict[str, Any]
OF: Final = 'namespace=~"$namespace", proxy=~"$proxy"'
RATE: Final = "$__rate_interval"
WIDTH: Final = 24
PANEL_WIDTH: Final = 8
PANEL_HEIGHT: Final = 8
DATA_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: a title, a unit of Grafana's, and (expression, legend)s; `{of}` stands for the chosen proxies."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]

    @property
    def expressions(self) -> list[str]:
        """As Grafana sends them, but for its variables."""
        return [expression.replace("{of}", f"{{{OF}}}") for expression, _ in self.lines]


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate(heliosproxy_{metric}{{of}}[{RATE}]))"


def _sum(metric: str, by: str) -> str:
    return f"sum by ({by}) (heliosproxy_{metric}{{of}})"


def _max(metric: str, by: str) -> str:
    return f"max by ({by}) (heliosproxy_{metric}{{of}})"


def _quantile(part: float, metric: str) -> str:
    return f"histogram_quantile({part}, {_rate(f'{metric}_seconds_bucket', 'le')})"


def _share(metric: str) -> Panel:
    """Three quantiles and how often."""
    title = metric.removesuffix("_duration").replace("_", " ").capitalize()
    parts = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
    average = f"{_rate(f'{metric}_seconds_sum', 'proxy')} / {_rate(f'{metric}_seconds_count', 'proxy')}"
    return Panel(f"{title} time", "s", (*((_quantile(part, metric), name) for part, name in parts), (average, "mean")))


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Pods",
        (
            Panel("Pods by version", "none", (("count by (version) (heliosproxy_build_info{of})", "{{version}}"),)),
            Panel(
                "Accepting and draining",
                "none",
                ((_sum("accepting", "proxy"), "accepting"), (_sum("draining", "proxy"), "draining")),
            ),
            Panel(
                "Configuration",
                "none",
                (
                    (_max("config_generation", "pod"), "generation of {{pod}}"),
                    (_max("config_reload_success", "pod"), "{{pod}} took the last one"),
                ),
            ),
            Panel(
                "Age of the configuration",
                "s",
                (("time() - max by (pod) (heliosproxy_config_reload_timestamp_seconds{of})", "{{pod}}"),),
            ),
            Panel("Worker threads", "none", ((_sum("workers", "pod"), "{{pod}}"),)),
        ),
    ),
    (
        "Clients and statements",
        (
            Panel(
                "Clients",
                "none",
                tuple((_sum(f"clients_{state}", "proxy"), state) for state in ("active", "waiting", "unauthenticated")),
            ),
            Panel(
                "Connections",
                "cps",
                (
                    (_rate("client_connections_total", "proxy"), "opened"),
                    (_rate("client_connections_closed_total", "proxy"), "closed"),
                    (_rate("clients_refused_total", "reason"), "refused: {{reason}}"),
                    (_rate("clients_cut_total", "reason"), "disconnected without an error of ours: {{reason}}"),
                ),
            ),
            Panel("Statements", "ops", ((_rate("queries_total", "type"), "{{type}}"),)),
            _share("query_duration"),
            Panel(
                "Traffic of clients",
                "Bps",
                (
                    (_rate("client_bytes_received_total", "proxy"), "received"),
                    (_rate("client_bytes_sent_total", "proxy"), "sent"),
                ),
            ),
            Panel(
                "Sessions that keep their server",
                "none",
                (
                    (_sum("sessions_pinned", "reason"), "{{reason}}"),
                    (_rate("session_pins_total", "reason"), "{{reason}}, a second"),
                ),
            ),
            Panel(
                "LISTEN",
                "none",
                (
                    (_sum("sessions_listening", "proxy"), "sessions"),
                    (_sum("listen_connections", "proxy"), "server connections"),
                    (_rate("notifications_total", "proxy"), "notifications a second"),
                    (_rate("listeners_lost_total", "proxy"), "clients ended a second"),
                ),
            ),
            Panel(
                "Consistency keys",
                "none",
                (
                    (_sum("consistency_key_connections", "proxy"), "connections to Redis"),
                    (_rate("consistency_key_writes_total", "kept"), "writes a second, kept: {{kept}}"),
                    (_rate("consistency_key_reads_total", "told"), "reads a second, told: {{told}}"),
                ),
            ),
            Panel(
                "Plans",
                "none",
                (
                    (_sum("plans_kept", "proxy"), "kept"),
                    (_rate("plans_made_total", "proxy"), "made a second"),
                    (_rate("plans_missed_total", "proxy"), "statements without one a second"),
                    (_rate("plans_refused_total", "proxy"), "texts that cannot be planned a second"),
                    (_rate("plans_failed_total", "proxy"), "faults of the planner a second"),
                    (_rate("planner_restarts_total", "proxy"), "restarts of the planner a second"),
                ),
            ),
        ),
    ),
    (
        "Pools",
        (
            Panel("Open server connections", "none", ((_sum("pool_connections_total", "node"), "{{node}}"),)),
            Panel(
                "Server connections in use",
                "none",
                (
                    (_sum("pool_connections_active", "node"), "{{node}} active"),
                    (_sum("pool_connections_idle", "node"), "{{node}} idle"),
                ),
            ),
            Panel("Clients that wait", "none", ((_sum("pool_clients_waiting", "node"), "{{node}}"),)),
            _share("pool_acquire_duration"),
            Panel(
                "Server connections opened and closed",
                "cps",
                (
                    (_rate("pool_connections_created_total", "node"), "{{node}} opened"),
                    (_rate("pool_connections_closed_total", "node"), "{{node}} closed"),
                ),
            ),
        ),
    ),
    (
        "Servers",
        (
            Panel(
                "Health and role",
                "none",
                (
                    (_max("node_healthy", "node"), "{{node}} healthy"),
                    (_max("node_primary", "node"), "{{node}} primary"),
                ),
            ),
            Panel("Time of a poll", "s", ((_max("node_latency_seconds", "node"), "{{node}}"),)),
            Panel("Replication lag", "s", ((_max("node_replication_lag_seconds", "node"), "{{node}}"),)),
            Panel("Replication lag in bytes", "bytes", ((_max("node_replication_lag_bytes", "node"), "{{node}}"),)),
            Panel("Where transactions go", "ops", ((_rate("route_total", "node, reason"), "{{node}}: {{reason}}"),)),
            Panel(
                "Reads and circuits",
                "none",
                (
                    (_sum("node_reads_running", "node"), "{{node}} reads"),
                    (_max("node_circuit_state", "node"), "{{node}} circuit"),
                    (_rate("node_circuit_opened_total", "node"), "{{node}} opened a second"),
                    (_rate("node_failures_total", "node"), "{{node}} failures a second"),
                ),
            ),
        ),
    ),
    (
        "Failover",
        (
            Panel("Primary", "none", ((_max("cluster_has_primary", "cluster"), "{{cluster}} has one"),)),
            Panel(
                "Changes of the primary",
                "none",
                (
                    (_max("failovers_total", "cluster"), "{{cluster}} seen"),
                    (_sum("promotions_total", "cluster"), "{{cluster}} ours"),
                    (_max("promotion_refused", "cluster, reason"), "{{cluster}} refused: {{reason}}"),
                    (_max("failover_lease", "cluster"), "{{cluster}} lease"),
                ),
            ),
            Panel("Lost WAL", "bytes", ((_max("failover_lost_bytes", "cluster"), "{{cluster}}"),)),
            Panel(
                "Clients that wait for a primary",
                "none",
                (
                    (_sum("buffer_clients", "proxy"), "clients"),
                    (_rate("buffered_clients_total", "proxy"), "begin to, a second"),
                    (_rate("buffer_refused_total", "proxy"), "refused a second"),
                ),
            ),
            Panel("What they sent meanwhile", "bytes", ((_sum("buffer_bytes", "proxy"), "bytes"),)),
            Panel(
                "Transactions that lost their server",
                "none",
                (
                    (_sum("transaction_replays_active", "proxy"), "being run again"),
                    (_rate("transaction_replays_total", "proxy"), "went on, a second"),
                    (_rate("transaction_commits_found_total", "proxy"), "found to be committed, a second"),
                    (_rate("transaction_replay_statements_total", "proxy"), "their requests, a second"),
                    (_rate("transaction_replay_sessions_total", "proxy"), "sessions made again, a second"),
                    (_rate("transaction_replays_failed_total", "reason"), "lost, a second: {{reason}}"),
                ),
            ),
            Panel("Their journals", "bytes", ((_sum("transaction_journal_bytes", "proxy"), "bytes"),)),
            Panel(
                "Blocks that begin on a standby and may write",
                "none",
                (
                    (_rate("optimistic_blocks_total", "proxy"), "begin, a second"),
                    (_rate("optimistic_blocks_stayed_total", "proxy"), "end there, a second"),
                    (_rate("optimistic_blocks_moved_total", "proxy"), "go on on the primary, a second"),
                    (_rate("optimistic_departures_total", "reason"), "leave the standby, a second: {{reason}}"),
                    (_rate("optimistic_failures_total", "reason"), "cannot go on, a second: {{reason}}"),
                ),
            ),
            Panel(
                "Functions of databases",
                "none",
                (
                    (_sum("catalog_databases", "proxy"), "databases"),
                    (_max("catalog_age_seconds", "proxy"), "seconds since the oldest look"),
                    (_rate("catalog_reads_total", "proxy"), "looks a second"),
                    (_rate("catalog_failures_total", "proxy"), "failures a second"),
                ),
            ),
        ),
    ),
)
OPERATOR_ROW: Final = (
    "Operator",
    (
        Panel(
            "Certificate of the webhooks ends in", "s", ((f"min by (pod) ({CERTIFICATE_ENDS}) - time()", "{{pod}}"),)
        ),
        Panel(
            "Questions of the API server",
            "ops",
            (
                ("sum(rate(helios_operator_webhook_reviews_total[$__rate_interval]))", "asked"),
                ("sum(rate(helios_operator_webhook_refusals_total[$__rate_interval]))", "refused"),
            ),
        ),
    ),
)
"""Over all operators: their figures carry no proxy's labels."""


def dashboard_text() -> str:
    """The file for Grafana's import."""
    value = {
        "title": "Helios",
        "uid": "heliosproxy",
        "tags": ["postgresql", "heliosproxy"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), *map(_choice, ("namespace", "proxy"))]},
        "panels": _panels(),
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _source() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(label: str) -> Json:
    within = "" if label == "namespace" else '{namespace=~"$namespace"}'
    return {
        "name": label,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": f"label_values(heliosproxy_build_info{within}, {label})", "refId": label},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }


def _panels() -> list[Json]:
    made: list[Json] = []
    top = 0
    for title, panels in (*ROWS, OPERATOR_ROW):
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        made.append({"id": len(made) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        for index, panel in enumerate(panels):
            line, column = divmod(index, WIDTH // PANEL_WIDTH)
            place = {"x": column * PANEL_WIDTH, "y": top + 1 + line * PANEL_HEIGHT}
            made.append(_graph(len(made) + 1, panel, {**place, "w": PANEL_WIDTH, "h": PANEL_HEIGHT}))
        top += 1 + PANEL_HEIGHT * -(-len(panels) // (WIDTH // PANEL_WIDTH))
    return made


def _graph(number: int, panel: Panel, place: Json) -> Json:
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": DATA_SOURCE}
        for index, (expression, (_, legend)) in enumerate(zip(panel.expressions, panel.lines, strict=True))
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATA_SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
