"""How a HeliosProxy is deployed: what stands around its pods. Read by `helios_crds.workload`, never by the proxy."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from helios.config.base import Port
from helios_crds.base import SpecModel
from helios_crds.markers import Rule, atomic, list_set

__all__ = [
    "AutoscalingSpec",
    "EgressSpec",
    "MonitoringSpec",
    "NetworkPolicySpec",
    "PodDisruptionBudgetSpec",
    "ServiceSpec",
    "ServiceType",
]

MAX_RULES: Final = 32
MAX_PODS: Final = 1_000
Namespaces = tuple[Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")], ...]
Cidr = Annotated[str, StringConstraints(min_length=3, max_length=64, pattern=r"^[0-9a-fA-F.:]+/[0-9]+$")]


class PodDisruptionBudgetSpec(SpecModel):
    """How many pods may be evicted at once."""

    enabled: bool = True
    """Whether there is a PodDisruptionBudget. It is made only where at least two pods are wanted: for a single one it
    would keep nodes from being drained."""

    max_unavailable: Annotated[int, Field(ge=1, le=MAX_PODS)] = 1
    """Pods that may be missing at once. One, so that a node's drain takes them one by one."""


class AutoscalingSpec(SpecModel):
    """A HorizontalPodAutoscaler of the operator's. Leave it out to have one of your own target the HeliosProxy."""

    rules = (
        Rule(
            "autoscaling-range",
            "self.maxReplicas >= (has(self.minReplicas) ? self.minReplicas : 2)",
            "maxReplicas must be at least minReplicas",
            lambda spec, _old: _is_range(spec),
        ),
    )

    min_replicas: Annotated[int, Field(ge=1, le=MAX_PODS)] = 2
    """Pods at least. Two, so that one may leave while the other serves."""

    max_replicas: Annotated[int, Field(ge=1, le=MAX_PODS)]
    """Pods at most."""

    target_cpu_percent: Annotated[int, Field(ge=1, le=1_000)] = 70
    """Processor time that pods shall use on average, of what `resources.requests` sets aside for them, in percent."""


def _is_range(spec: Any) -> bool:
    low, high = spec.get("minReplicas", 2), spec.get("maxReplicas")
    return not isinstance(low, int) or not isinstance(high, int) or high >= low


class EgressSpec(SpecModel):
    """Where pods may connect to beside the servers."""

    cidr: Cidr
    """Addresses, e.g. `10.1.0.0/16`."""

    ports: Annotated[tuple[Port, ...], list_set(), Field(max_length=MAX_RULES)] = ()
    """TCP ports there. Empty: every port."""


class NetworkPolicySpec(SpecModel):
    """What may reach the pods, and what they may reach. Only some network plug-ins enforce it."""

    enabled: bool = False
    """Whether there is a NetworkPolicy. Off, since one that misses a flow of yours cuts it off."""

    monitoring_namespaces: Annotated[Namespaces, list_set(), Field(max_length=MAX_RULES)] = ()
    """Namespaces whose pods may reach the admin API, as Prometheus does; the operator's own may always."""

    client_namespaces: Annotated[Namespaces, list_set(), Field(max_length=MAX_RULES)] = ()
    """Namespaces whose pods may connect as clients. Empty: everybody may."""

    extra_egress: Annotated[tuple[EgressSpec, ...], atomic(), Field(max_length=MAX_RULES)] = ()
    """Where pods may connect to beside name servers, each other, and the servers of `nodes` and `clusters`."""


class MonitoringSpec(SpecModel):
    """Objects of the Prometheus operator. They are made as soon as the cluster has its CustomResourceDefinitions."""

    rules = (
        Rule(
            "scraped-once",
            "!(has(self.podMonitor) && self.podMonitor && has(self.serviceMonitor) && self.serviceMonitor)",
            "podMonitor and serviceMonitor exclude each other: everything would be scraped twice",
            lambda spec, _old: not (spec.get("podMonitor") and spec.get("serviceMonitor")),
        ),
    )

    pod_monitor: bool = False
    """Whether there is a PodMonitor `<name>`, by which Prometheus scrapes every pod."""

    service_monitor: bool = False
    """The same by a ServiceMonitor, where your Prometheus looks at those only."""

    prometheus_rule: bool = False
    """Whether there is a PrometheusRule `<name>` with the alerts of docs/monitoring/alerts.yaml."""

    labels: Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=MAX_RULES)] = Field(
        default_factory=dict
    )
    """Labels of these objects, by which your Prometheus selects them."""

    interval_seconds: Annotated[int, Field(ge=1, le=3_600)] = 30
    """Seconds between two scrapes."""


class ServiceType(StrEnum):
    """Kubernetes' own kinds of Services that have an address."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ServiceSpec(SpecModel):
    """Service `<name>`, where clients connect."""

    type: ServiceType = ServiceType.CLUSTER_IP
    """`ClusterIP` inside the cluster, `NodePort` and `LoadBalancer` from outside too."""

    annotations: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=MAX_RULES)
    ] = Field(default_factory=dict)
    """Annotations of the Service, as cloud load balancers read them."""
