"""HorizontalPodAutoscaler `<name>`: how many pods the Deployment has, by their load."""

from __future__ import annotations

from typing import Any

from helios.kube.kinds import AUTOSCALER, DEPLOYMENT
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner

__all__ = ["autoscaler"]


def autoscaler(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """The autoscaler; None where `replicas` says how many pods there are."""
    scaled = work.autoscaling
    if scaled is None:
        return None
    made = owner.child(AUTOSCALER, owner.key.name)
    target = {"type": "Utilization", "averageUtilization": scaled.target_cpu_percent}
    spec = {
        "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": owner.key.name},
        "minReplicas": scaled.min_replicas,
        "maxReplicas": scaled.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return {**made, "spec": spec}
