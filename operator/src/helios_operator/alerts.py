"""The alerts of a proxy as Prometheus writes them. In a PrometheusRule by `desired`, in docs/monitoring by `install`.

Every metric name in here is checked against a real scrape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from helios_operator.names import CERTIFICATE_ENDS, EXPIRY_NOTICE

__all__ = ["ALERTS", "OPERATOR_ALERTS", "alert_groups", "operator_groups"]

Json = dict[str, Any]
BY_PROXY: Final = "namespace, proxy"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule; `{of}` in the expression stands for the labels of the proxies it looks at."""

    name: str
    expression: str
    minutes: int
    """How long it must hold."""
    severity: Literal["critical", "warning"]
    says: str
    """What is wrong and what to look at, with Prometheus' own placeholders."""


ALERTS: Final = (
    Alert(
        "HeliosNoPrimary",
        f"max by ({BY_PROXY}, cluster) (heliosproxy_cluster_has_primary{{of}}) == 0",
        1,
        "critical",
        "No pod of {{ $labels.proxy }} sees a primary of cluster {{ $labels.cluster }}: writes wait or fail.",
    ),
    Alert(
        "HeliosNodeUnhealthy",
        f"max by ({BY_PROXY}, node) (heliosproxy_node_healthy{{of}}) == 0",
        5,
        "warning",
        "Server {{ $labels.node }} of {{ $labels.proxy }} does not answer any pod.",
    ),
    Alert(
        "HeliosReplicationLag",
        f"max by ({BY_PROXY}, node) (heliosproxy_node_replication_lag_seconds{{of}}) > 60",
        5,
        "warning",
        "Standby {{ $labels.node }} of {{ $labels.proxy }} is {{ $value | humanizeDuration }} behind.",
    ),
    Alert(
        "HeliosClientsWait",
        f"sum by ({BY_PROXY}) (min_over_time(heliosproxy_clients_waiting{{of}}[5m])) > 0",
        5,
        "warning",
        "Clients of {{ $labels.proxy }} wait for a server connection all the time: its pools are too small.",
    ),
    Alert(
        "HeliosClientsRefused",
        f"sum by ({BY_PROXY}, reason) (rate(heliosproxy_clients_refused_total{{of}}[5m])) > 0",
        5,
        "warning",
        "{{ $labels.proxy }} refuses clients by its limit {{ $labels.reason }}.",
    ),
    Alert(
        "HeliosConfigRefused",
        "heliosproxy_config_reload_success{of} == 0",
        5,
        "warning",
        "Pod {{ $labels.pod }} of {{ $labels.proxy }} refused the last configuration and runs the one before.",
    ),
    Alert(
        "HeliosPromotionRefused",
        f"max by ({BY_PROXY}, cluster) (heliosproxy_promotion_refused{{of}}) == 1",
        1,
        "critical",
        "A standby of cluster {{ $labels.cluster }} should be promoted and is not; GET /api/failover says why.",
    ),
    Alert(
        "HeliosCommitsLost",
        f"max by ({BY_PROXY}, cluster) (heliosproxy_failover_lost_bytes{{of}}) > 0",
        0,
        "critical",
        "A former primary of cluster {{ $labels.cluster }} has {{ $value | humanize1024 }}B that its successor lacks.",
    ),
)

OPERATOR_ALERTS: Final = (
    Alert(
        "HeliosWebhookCertificateExpires",
        f"min by (namespace) ({CERTIFICATE_ENDS}) - time() < {EXPIRY_NOTICE.days} * 86400",
        60,
        "warning",
        "The certificate of the Helios operator's webhooks ends in {{ $value | humanizeDuration }} and is not renewed.",
    ),
)
"""Of the operator itself, so in no proxy's PrometheusRule."""


def operator_groups() -> list[Json]:
    """Those of the operator as one group of rules."""
    return [{"name": "helios-operator", "rules": [_rule(each, "") for each in OPERATOR_ALERTS]}]


def alert_groups(labels: str) -> list[Json]:
    """All of them as one group of rules, over the proxies that `labels` picks (`proxy="web"`; empty: every one)."""
    return [{"name": "heliosproxy", "rules": [_rule(each, labels) for each in ALERTS]}]


def _rule(alert: Alert, labels: str) -> Json:
    return {
        "alert": alert.name,
        "expr": alert.expression.replace("{of}", f"{{{labels}}}" if labels else ""),
        **({"for": f"{alert.minutes}m"} if alert.minutes else {}),
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.says},
    }
