"""Patterns made of the resources: a proxy for a primary and its standbys, and one with a quota for each tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from helios_cdktf.resources import Instance, PoolProfile, TenantQuota
from helios_cdktf.toolkit import Construct

__all__ = ["HighlyAvailableProxy", "TenantedProxy"]

MIN_REPLICAS: Final = 2
"""One pod may leave while another serves."""


class HighlyAvailableProxy(Construct):  # type: ignore[misc] # constructs is not imported by name
    """Two pods or more in transaction mode before a primary and its standbys; reads go to the standbys."""

    def __init__(
        self,
        scope: Any,
        id: str,
        *,
        name: str,
        primary: str,
        standbys: Sequence[str],
        replicas: int = MIN_REPLICAS,
        max_connections: int | None = None,
        **instance: Any,
    ) -> None:
        """`instance` goes to the Instance as it is. Raises ValueError for fewer than two replicas."""
        if replicas < MIN_REPLICAS:
            raise ValueError(f"{id}: {replicas} replicas are not highly available; write at least {MIN_REPLICAS}")
        super().__init__(scope, id)
        self.profile = PoolProfile(
            self, "profile", name=f"{name}-pool", mode="transaction", max_pool_size=max_connections
        )
        nodes = [{"host": primary, "role": "primary"}, *({"host": host, "role": "standby"} for host in standbys)]
        settings = {"nodes": nodes, "routing": {"read_write_split": bool(standbys)}, "replicas": replicas, **instance}
        self.instance = Instance(self, "instance", name=name, pool_profile_ref=self.profile.output("name"), **settings)


class TenantedProxy(Construct):  # type: ignore[misc] # constructs is not imported by name
    """A proxy with a TenantQuota for each tenant. This version of Helios refuses to run a proxy that refers to quotas,
    so they are only referred to with `enforced`."""

    def __init__(
        self,
        scope: Any,
        id: str,
        *,
        name: str,
        tenants: Mapping[str, Mapping[str, Any]],
        enforced: bool = False,
        **instance: Any,
    ) -> None:
        """`tenants` is the name of each quota and its attributes; `instance` goes to the Instance as it is."""
        super().__init__(scope, id)
        self.quotas = [
            TenantQuota(self, f"quota-{tenant}", name=tenant, **limits) for tenant, limits in tenants.items()
        ]
        refs = [quota.output("name") for quota in self.quotas] if enforced else None
        self.instance = Instance(self, "instance", name=name, tenant_quota_refs=refs, **instance)
