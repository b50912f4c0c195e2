"""What must run for a HeliosProxy: the part of the spec that never enters the configuration. Pure.

The operator's builders make Deployment and Services of it; `helios play` takes the ports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from helios.config import DrainConfig, ProxyConfig
from helios.config.base import split_address
from helios_crds.pool_settings import mirrored
from helios_crds.v1alpha1 import HeliosProxy
from helios_crds.v1alpha1.deploying import (
    AutoscalingSpec,
    MonitoringSpec,
    NetworkPolicySpec,
    PodDisruptionBudgetSpec,
    ServiceSpec,
)
from helios_crds.v1alpha1.settings import CertificateSpec

__all__ = ["GRACE_MARGIN_SECONDS", "Workload", "workload"]

GRACE_MARGIN_SECONDS: Final = 5
"""Seconds beyond both drain times, for the end of the process itself."""
_DEFAULTS: Final = ProxyConfig()


@dataclass(frozen=True)
class Workload:
    """Pods and ports of one proxy."""

    image: str | None
    """Container image; None: the one the operator was released with."""

    replicas: int
    listen_port: int
    admin_port: int
    read_port: int | None
    """Of the pods, for clients that only read; None: there is none."""

    requests: Mapping[str, str]
    """Resource name → quantity that the scheduler sets aside."""

    limits: Mapping[str, str]
    """Resource name → quantity that a pod may use at most."""

    termination_grace_period_seconds: int
    """Seconds from SIGTERM to SIGKILL: both drain times and a margin."""

    server_connections: int
    """Server connections that all pods share; 0 for any number."""

    certificate: CertificateSpec | None
    """What cert-manager is asked for; None: nothing."""

    service: ServiceSpec
    service_account: str | None
    autoscaling: AutoscalingSpec | None
    """How many pods there are by load; None: as many as `replicas` says."""

    may_promote: bool
    """The pods need the right to the Lease that allows one of them to promote a standby."""

    pod_template: Mapping[str, Any]
    """What goes over the template of the pods."""

    budget: PodDisruptionBudgetSpec
    network: NetworkPolicySpec
    monitoring: MonitoringSpec

    @property
    def least_pods(self) -> int:
        """Pods that are wanted at least."""
        return self.autoscaling.min_replicas if self.autoscaling is not None else self.replicas


def workload(proxy: HeliosProxy) -> Workload:
    """The workload of `proxy`, with the defaults of the configuration for what the spec leaves out."""
    spec = proxy.spec
    drain = DrainConfig.model_validate(mirrored(spec.drain))
    return Workload(
        image=spec.image,
        replicas=spec.replicas,
        listen_port=spec.listen_port or split_address(_DEFAULTS.listen_address)[1],
        admin_port=spec.admin_port or split_address(_DEFAULTS.admin.address)[1],
        read_port=spec.read_listen_port,
        requests={name: str(amount) for name, amount in spec.resources.requests.items()},
        limits={name: str(amount) for name, amount in spec.resources.limits.items()},
        termination_grace_period_seconds=drain.endpoint_delay_seconds + drain.timeout_seconds + GRACE_MARGIN_SECONDS,
        certificate=spec.tls.certificate if spec.tls is not None else None,
        service=spec.service or ServiceSpec(),
        service_account=spec.service_account_name,
        autoscaling=spec.autoscaling,
        may_promote=bool(spec.failover and spec.failover.enabled),
        pod_template=spec.pod_template or {},
        budget=spec.pod_disruption_budget or PodDisruptionBudgetSpec(),
        network=spec.network_policy or NetworkPolicySpec(),
        monitoring=spec.monitoring or MonitoringSpec(),
        server_connections=(spec.limits and spec.limits.max_server_connections) or 0,
    )
