"""The five kinds of `helios.heliosproxy.dev/v1alpha1`."""

from typing import Final

from helios_crds.base import Resource
from helios_crds.v1alpha1.audit_policy import AuditPolicy
from helios_crds.v1alpha1.helios_proxy import HeliosProxy
from helios_crds.v1alpha1.pool_profile import PoolProfile
from helios_crds.v1alpha1.routing_rule import RoutingRule
from helios_crds.v1alpha1.tenant_quota import TenantQuota

__all__ = ["KINDS", "AuditPolicy", "HeliosProxy", "PoolProfile", "RoutingRule", "TenantQuota"]

KINDS: Final[dict[str, type[Resource]]] = {
    "HeliosProxy": HeliosProxy,
    "PoolProfile": PoolProfile,
    "RoutingRule": RoutingRule,
    "AuditPolicy": AuditPolicy,
    "TenantQuota": TenantQuota,
}
