"""PodMonitor, ServiceMonitor and PrometheusRule `<name>`: what the Prometheus operator is told of a proxy.

A scraper gets a token of its own out of Secret `<name>-admin`, which reads the metrics and nothing else.
"""

from __future__ import annotations

from typing import Any

from helios.kube import Kind
from helios.kube.kinds import POD_MONITOR, PROMETHEUS_RULE, SERVICE_MONITOR
from helios_crds.workload import Workload
from helios_operator.alerts import alert_groups
from helios_operator.credentials import METRICS, TRUST, host_of
from helios_operator.desired.deployment import ADMIN_PORT
from helios_operator.desired.metadata import Owner
from helios_operator.desired.services import PEERS
from helios_operator.names import COMPONENT, INSTANCE, pod_labels

__all__ = ["pod_monitor", "prometheus_rule", "service_monitor"]

Json = dict[str, Any]
_OF_POD = "__meta_kubernetes_pod_label_" + INSTANCE.replace(".", "_").replace("/", "_").replace("-", "_")


def pod_monitor(owner: Owner, work: Workload) -> Json | None:
    """Every pod is scraped, ready or not; None where it is not asked for."""
    if not work.monitoring.pod_monitor:
        return None
    spec = {
        "selector": {"matchLabels": pod_labels(owner.key)},
        "podMetricsEndpoints": [_endpoint(owner, work)],
    }
    return {**_child(POD_MONITOR, owner, work), "spec": spec}


def service_monitor(owner: Owner, work: Workload) -> Json | None:
    """The same through Service `<name>-peers`, which names every pod; None where it is not asked for."""
    if not work.monitoring.service_monitor:
        return None
    selector = {"matchLabels": {**pod_labels(owner.key), COMPONENT: PEERS}}
    return {
        **_child(SERVICE_MONITOR, owner, work),
        "spec": {"selector": selector, "endpoints": [_endpoint(owner, work)]},
    }


def prometheus_rule(owner: Owner, work: Workload) -> Json | None:
    """The alerts for this proxy; None where they are not asked for."""
    if not work.monitoring.prometheus_rule:
        return None
    groups = alert_groups(f'namespace="{owner.key.namespace}",proxy="{owner.key.name}"')
    return {**_child(PROMETHEUS_RULE, owner, work), "spec": {"groups": groups}}


def _child(kind: Kind, owner: Owner, work: Workload) -> Json:
    made = owner.child(kind, owner.key.name)
    made["metadata"]["labels"] = {**work.monitoring.labels, **made["metadata"]["labels"]}
    return made


def _endpoint(owner: Owner, work: Workload) -> Json:
    secret = owner.key.admin
    return {
        "port": ADMIN_PORT,
        "path": "/metrics",
        "scheme": "https",
        "interval": f"{work.monitoring.interval_seconds}s",
        "authorization": {"credentials": {"name": secret, "key": METRICS}},
        # The pods show one certificate, with the name of their Service.
        "tlsConfig": {"ca": {"secret": {"name": secret, "key": TRUST}}, "serverName": host_of(owner.key)},
        "relabelings": [{"sourceLabels": [_OF_POD], "targetLabel": "proxy"}],
    }
