"""Kinds of objects and their paths in the API. Read by `helios.kube.client`; the built-in ones we touch are listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

__all__ = [
    "AUTOSCALER",
    "CLOUDNATIVE_PG_CLUSTER",
    "CONFIG_MAP",
    "CRUNCHY_CLUSTER",
    "DEPLOYMENT",
    "ENDPOINTS",
    "ENDPOINT_SLICE",
    "EVENT",
    "LEASE",
    "MUTATING_WEBHOOKS",
    "NETWORK_POLICY",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "POD_MONITOR",
    "PROMETHEUS_RULE",
    "ROLE",
    "ROLE_BINDING",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "SERVICE_MONITOR",
    "VALIDATING_WEBHOOKS",
    "ZALANDO_CLUSTER",
    "Kind",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of one API version."""

    api_version: str
    """`v1` or `group/version`."""

    plural: str
    """As in paths: `configmaps`."""

    name: str
    """As in `kind`: `ConfigMap`."""

    @property
    def group(self) -> str:
        """API group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Version without the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of a collection, of an object or of a part of one."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        parts += ["namespaces", quote(namespace, safe="")] if namespace is not None else []
        parts += [self.plural]
        parts += [quote(name, safe="")] if name is not None else []
        parts += [subresource] if subresource is not None else []
        return "/".join(parts)


CONFIG_MAP: Final = Kind("v1", "configmaps", "ConfigMap")
SECRET: Final = Kind("v1", "secrets", "Secret")
SERVICE: Final = Kind("v1", "services", "Service")
POD: Final = Kind("v1", "pods", "Pod")
ENDPOINTS: Final = Kind("v1", "endpoints", "Endpoints")
DEPLOYMENT: Final = Kind("apps/v1", "deployments", "Deployment")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
POD_DISRUPTION_BUDGET: Final = Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
AUTOSCALER: Final = Kind("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy")
EVENT: Final = Kind("events.k8s.io/v1", "events", "Event")
LEASE: Final = Kind("coordination.k8s.io/v1", "leases", "Lease")
SERVICE_ACCOUNT: Final = Kind("v1", "serviceaccounts", "ServiceAccount")
ROLE: Final = Kind("rbac.authorization.k8s.io/v1", "roles", "Role")
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding")

MONITORING: Final = "monitoring.coreos.com/v1"
POD_MONITOR: Final = Kind(MONITORING, "podmonitors", "PodMonitor")
SERVICE_MONITOR: Final = Kind(MONITORING, "servicemonitors", "ServiceMonitor")
PROMETHEUS_RULE: Final = Kind(MONITORING, "prometheusrules", "PrometheusRule")

CLOUDNATIVE_PG_CLUSTER: Final = Kind("postgresql.cnpg.io/v1", "clusters", "Cluster")
CRUNCHY_CLUSTER: Final = Kind("postgres-operator.crunchydata.com/v1beta1", "postgresclusters", "PostgresCluster")
ZALANDO_CLUSTER: Final = Kind("acid.zalan.do/v1", "postgresqls", "postgresql")
CERTIFICATE: Final = Kind("cert-manager.io/v1", "certificates", "Certificate")

ADMISSION: Final = "admissionregistration.k8s.io/v1"
VALIDATING_WEBHOOKS: Final = Kind(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
MUTATING_WEBHOOKS: Final = Kind(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
"""Both without a namespace."""
