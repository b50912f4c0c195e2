"""What the operator may do, and no more. Written into install.yaml by `install`; a test reads the audit log.

Secrets are read by name, never listed or watched: the operator may not hold every Secret of a cluster in memory. What
it has of Leases it hands on to the pods that may promote a standby, and nobody can give what he has not.
"""

from __future__ import annotations

from typing import Any, Final

from helios.kube import Kind
from helios.kube.kinds import (
    AUTOSCALER,
    CERTIFICATE,
    CLOUDNATIVE_PG_CLUSTER,
    CONFIG_MAP,
    CRUNCHY_CLUSTER,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    EVENT,
    LEASE,
    MUTATING_WEBHOOKS,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    POD_MONITOR,
    PROMETHEUS_RULE,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    VALIDATING_WEBHOOKS,
    ZALANDO_CLUSTER,
)
from helios_operator.names import CUSTOM, WEBHOOKS

__all__ = ["CLUSTER_RULES", "NAMESPACE_RULES"]

WATCH: Final = ("list", "watch")
OWN: Final = ("create", "get", "list", "patch", "watch")
ON_DEMAND: Final = ("create", "delete", "get", "list", "patch", "watch")


def _rule(kinds: list[Kind], verbs: tuple[str, ...], part: str = "") -> dict[str, Any]:
    resources = [f"{kind.plural}/{part}" if part else kind.plural for kind in kinds]
    return {"apiGroups": [kinds[0].group], "resources": resources, "verbs": list(verbs)}


CLUSTER_RULES: Final = [
    _rule(list(CUSTOM.values()), ("get", *WATCH)),
    _rule(list(CUSTOM.values()), ("patch",), "status"),
    _rule([CONFIG_MAP], OWN),
    _rule([SERVICE], ON_DEMAND),
    _rule([DEPLOYMENT], OWN),
    _rule([POD_DISRUPTION_BUDGET], ON_DEMAND),
    _rule([AUTOSCALER], ON_DEMAND),
    _rule([NETWORK_POLICY], ON_DEMAND),
    _rule([SERVICE_ACCOUNT], ON_DEMAND),
    _rule([ROLE, ROLE_BINDING], ON_DEMAND),
    _rule([LEASE], ("create", "get", "patch")),
    _rule([POD_MONITOR, PROMETHEUS_RULE, SERVICE_MONITOR], ON_DEMAND),
    _rule([CERTIFICATE], ON_DEMAND),
    _rule([SECRET], ("create", "get", "patch")),
    _rule([POD], WATCH),
    _rule([ENDPOINT_SLICE], WATCH),
    _rule([ENDPOINTS], ("get", *WATCH)),
    _rule([CLOUDNATIVE_PG_CLUSTER], WATCH),
    _rule([CRUNCHY_CLUSTER], WATCH),
    _rule([ZALANDO_CLUSTER], WATCH),
    _rule([EVENT], ("create",)),
    {**_rule([MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS], ("get", "patch")), "resourceNames": [WEBHOOKS]},
]
"""In every namespace."""

NAMESPACE_RULES: Final = [_rule([LEASE], ("create", "get", "patch"))]
"""In the operator's own namespace."""
