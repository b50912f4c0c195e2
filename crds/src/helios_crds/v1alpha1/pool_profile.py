"""PoolProfile: pool settings that several HeliosProxies share. `render` puts them below the inline ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from helios.config import PoolConfig, PoolMode, PreparedStatements
from helios_crds.base import Column, Names, PolicyStatus, Resource, SpecModel
from helios_crds.markers import Rule, mirrors

__all__ = ["PoolProfile", "PoolProfileSpec"]


def _min_at_most_max(spec: Any, _old: Any) -> bool:
    low, high = spec.get("minIdle"), spec.get("maxPoolSize")
    return not (isinstance(low, int) and isinstance(high, int)) or low <= high


class PoolProfileSpec(SpecModel):
    """Settings of server connections. Each one is optional; an inline `spec.pool` of the HeliosProxy goes before it."""

    rules = (
        Rule(
            "pool-profile-min-max",
            "!has(self.minIdle) || !has(self.maxPoolSize) || self.minIdle <= self.maxPoolSize",
            "minIdle must not exceed maxPoolSize",
            _min_at_most_max,
        ),
    )

    mode: Annotated[PoolMode | None, mirrors(PoolConfig, "mode")] = None
    max_pool_size: Annotated[int | None, mirrors(PoolConfig, "max_size")] = None
    min_idle: Annotated[int | None, mirrors(PoolConfig, "min_idle")] = None
    reserve_size: Annotated[int | None, mirrors(PoolConfig, "reserve_size")] = None
    reserve_timeout_seconds: Annotated[int | None, mirrors(PoolConfig, "reserve_timeout_seconds")] = None
    idle_timeout_seconds: Annotated[int | None, mirrors(PoolConfig, "idle_timeout_seconds")] = None
    max_lifetime_seconds: Annotated[int | None, mirrors(PoolConfig, "max_lifetime_seconds")] = None
    acquire_timeout_seconds: Annotated[int | None, mirrors(PoolConfig, "acquire_timeout_seconds")] = None
    prepared_statement_mode: Annotated[PreparedStatements | None, mirrors(PoolConfig, "prepared_statements")] = None
    reset_query: Annotated[str | None, mirrors(PoolConfig, "reset_query")] = None
    application_name_add_host: Annotated[bool | None, mirrors(PoolConfig, "application_name_add_host")] = None
    pin_notices: Annotated[bool | None, mirrors(PoolConfig, "pin_notices")] = None


class PoolProfile(Resource):
    """Pool settings that several HeliosProxies of the namespace share."""

    names: ClassVar[Names] = Names(
        "poolprofiles",
        ("pp",),
        (
            Column("Mode", ".spec.mode"),
            Column("Max", ".spec.maxPoolSize", "integer"),
            Column("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Reason", '.status.conditions[?(@.type=="Accepted")].reason', priority=1),
        ),
    )

    kind: Literal["PoolProfile"]
    """`PoolProfile`."""
    spec: PoolProfileSpec
    """The settings."""
    status: PolicyStatus | None = None
    """What the operator observed."""
