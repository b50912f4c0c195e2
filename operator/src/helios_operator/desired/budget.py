"""PodDisruptionBudget `<name>`: how many pods a node's drain may take at once."""

from __future__ import annotations

from typing import Any

from helios.kube.kinds import POD_DISRUPTION_BUDGET
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner
from helios_operator.names import pod_labels

__all__ = ["disruption_budget"]


def disruption_budget(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """The budget; None where it is switched off, or a single pod could then never be evicted."""
    if not work.budget.enabled or work.least_pods < 2:
        return None
    made = owner.child(POD_DISRUPTION_BUDGET, owner.key.name)
    spec = {
        "maxUnavailable": work.budget.max_unavailable,
        "selector": {"matchLabels": pod_labels(owner.key)},
        # A pod that is broken anyway does not keep its node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {**made, "spec": spec}
