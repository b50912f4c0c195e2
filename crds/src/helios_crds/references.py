"""What a HeliosProxy refers to, found. Made by `helios play` and the operator, read by `render`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from helios.config import NodeConfig
from helios_crds.base import Resource
from helios_crds.v1alpha1 import AuditPolicy, PoolProfile, RoutingRule, TenantQuota

__all__ = ["References"]


@dataclass(frozen=True)
class References:
    """Objects of the proxy's namespace by name; more than the proxy refers to does no harm."""

    pool_profiles: Mapping[str, PoolProfile] = field(default_factory=dict)
    routing_rules: Mapping[str, RoutingRule] = field(default_factory=dict)
    audit_policies: Mapping[str, AuditPolicy] = field(default_factory=dict)
    tenant_quotas: Mapping[str, TenantQuota] = field(default_factory=dict)

    secrets: Mapping[str, Collection[str]] | None = None
    """Keys of each Secret by its name, never their content. None: not known, so nothing is called missing."""

    discovered: Mapping[str, tuple[NodeConfig, ...]] = field(default_factory=dict)
    """Nodes found for each cluster that names none, by the cluster's name; see `RenderResult.discoveries`."""

    undiscovered: Mapping[str, str] = field(default_factory=dict)
    """Why none were found for one of the others, where more is known than that."""

    client_shares: Mapping[str, int] | None = None
    """Clients that each pod may have, by the name of a TenantQuota that limits them; for one that is missing there is
    no room. None: nobody else refers to them."""

    @classmethod
    def among(
        cls,
        resources: Iterable[Resource],
        secrets: Mapping[str, Collection[str]] | None = None,
        discovered: Mapping[str, tuple[NodeConfig, ...]] | None = None,
        undiscovered: Mapping[str, str] | None = None,
    ) -> References:
        """The references that `resources`, all of one namespace, can satisfy."""
        pool: dict[str, PoolProfile] = {}
        rules: dict[str, RoutingRule] = {}
        audit: dict[str, AuditPolicy] = {}
        quotas: dict[str, TenantQuota] = {}
        for resource in resources:
            match resource:
                case PoolProfile():
                    pool[resource.name] = resource
                case RoutingRule():
                    rules[resource.name] = resource
                case AuditPolicy():
                    audit[resource.name] = resource
                case TenantQuota():
                    quotas[resource.name] = resource
        return cls(pool, rules, audit, quotas, secrets, discovered or {}, undiscovered or {})
