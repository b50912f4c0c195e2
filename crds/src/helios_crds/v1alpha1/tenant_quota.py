"""TenantQuota: what one tenant may use. Not acted on by this version, hence refused when referenced."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from helios_crds.base import Column, Names, PolicyStatus, Resource, SpecModel
from helios_crds.markers import NotActedOn, Rule
from helios_crds.problems import Severity

__all__ = ["TenantQuota", "TenantQuotaSpec"]

_LIMITS: Final = (
    "maxConcurrentConnections",
    "maxQueriesPerMinute",
    "maxBytesReadPerMinute",
    "costBudgetDollarsPerDay",
)


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
    """Client connections at one time."""

    max_queries_per_minute: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    """Statements a minute."""

    max_bytes_read_per_minute: Annotated[int | None, Field(ge=1, le=1 << 50)] = None
    """Bytes of result rows a minute. Write plain digits: kubectl takes `100_000_000` for a number, others do not."""

    cost_budget_dollars_per_day: Annotated[int | None, Field(ge=0, le=1_000_000_000)] = None
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
    spec_not_acted_on: ClassVar[NotActedOn | None] = NotActedOn(Severity.ERROR, "no tenant would be limited")

    kind: Literal["TenantQuota"]
    """`TenantQuota`."""
    spec: TenantQuotaSpec
    """The limits."""
    status: PolicyStatus | None = None
    """What the operator observed."""
