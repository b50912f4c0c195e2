"""TenantQuota: what one tenant may use, over all HeliosProxies that refer to it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from helios_crds.base import Column, Names, PolicyStatus, Resource, SpecModel
from helios_crds.markers import Rule, not_acted_on
from helios_crds.problems import Severity

__all__ = ["TenantQuota", "TenantQuotaSpec"]

_LIMITS: Final = (
    "maxConcurrentConnections",
    "maxQueriesPerMinute",
    "maxBytesReadPerMinute",
    "costBudgetDollarsPerDay",
)

_LATER: Final = not_acted_on(Severity.ERROR, "no tenant would be limited")


class TenantQuotaSpec(SpecModel):
    """Limits of one tenant; what is left out is not limited."""

    rules = (
        Rule(
            "quota-not-empty",
            " || ".join(f"has(self.{name})" for name in _LIMITS),
            f"must have at least one of {', '.join(_LIMITS)}",
            lambda spec, _old: any(name in spec for name in _LIMITS),
        ),
    )

    max_concurrent_connections: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Client connections at one time, of all HeliosProxies of the namespace that refer to this quota together. The
    operator divides them: a pod has as many as `limits.maxClientConnections` of its HeliosProxy says, where that is
    left out an equal part of the rest. One more pod of each counts, for updates. Older ones go first; one that there is
    no room for is refused. A process beside an application (sidecar) has what a pod has, and is not counted."""

    max_queries_per_minute: Annotated[int | None, Field(ge=1, le=1_000_000_000), _LATER] = None
    """Statements a minute."""

    max_bytes_read_per_minute: Annotated[int | None, Field(ge=1, le=1 << 50), _LATER] = None
    """Bytes of result rows a minute. Write plain digits: kubectl takes `100_000_000` for a number, others do not."""

    cost_budget_dollars_per_day: Annotated[int | None, Field(ge=0, le=1_000_000_000), _LATER] = None
    """Whole US dollars a day that statements of this tenant may cost."""


class TenantQuota(Resource):
    """What one tenant may use."""

    names: ClassVar[Names] = Names(
        "tenantquotas",
        ("tq",),
        (
            Column("Connections", ".spec.maxConcurrentConnections", "integer"),
            Column("Queries/min", ".spec.maxQueriesPerMinute", "integer"),
            Column("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Reason", '.status.conditions[?(@.type=="Accepted")].reason', priority=1),
        ),
    )
    kind: Literal["TenantQuota"]
    """`TenantQuota`."""
    spec: TenantQuotaSpec
    """The limits."""
    status: PolicyStatus | None = None
    """What the operator observed."""
