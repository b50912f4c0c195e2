"""Collect the policies that a HeliosProxy refers to, for `render`. Called by the reconciler."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any, Final

from helios.telemetry.logs import fields
from helios_crds import KINDS, Resource, ResourceError
from helios_crds.parse import parse_as
from helios_operator.names import ProxyKey
from helios_operator.world import Placed, World

__all__ = ["PolicyReader", "places_of", "referred"]

_log = logging.getLogger(__name__)
REMEMBERED: Final = 1_024


def referred(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind, name) of every policy that a spec, as it was written, names."""
    found: list[tuple[str, str]] = []
    for field, kind in (("poolProfileRef", "PoolProfile"), ("auditPolicyRef", "AuditPolicy")):
        if ref := spec.get(field):
            found.append((kind, ref["name"]))
    for field, kind in (("routingRuleRefs", "RoutingRule"), ("tenantQuotaRefs", "TenantQuota")):
        found += [(kind, ref["name"]) for ref in spec.get(field) or ()]
    return found


def places_of(key: ProxyKey, spec: dict[str, Any]) -> list[Placed]:
    """Everything whose change concerns a HeliosProxy with this spec: policies, and where its nodes are found.

    The latter are those that `helios_crds.render.discoveries` names for a resource that was read: a Service, or, with
    the provider for its kind, a cluster that somebody else looks after.
    """
    clusters = spec.get("clusters") or ()
    if clusters:
        found = [_source(each, each["discovery"]) for each in clusters if each.get("discovery")]
    else:
        found = [] if spec.get("nodes") else [("Service", f"{key.name}-backends")]
    return [(key.namespace, kind, name) for kind, name in (*referred(spec), *found)]


def _source(cluster: dict[str, Any], discovery: dict[str, Any]) -> tuple[str, str]:
    if "clusterName" in discovery:
        return str(cluster.get("provider")), discovery["clusterName"]
    return "Service", discovery["serviceName"]


class PolicyReader:
    """Policies as models; one that was read stays read until it changes, since thousands of proxies may share it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read: OrderedDict[tuple[str, int], Resource] = OrderedDict()

    def policies(self, key: ProxyKey, spec: dict[str, Any]) -> list[Resource]:
        """Those that exist and are valid; one that this version cannot read counts as missing, and the log says why."""
        found = (self._policy(key.namespace, kind, name) for kind, name in referred(spec))
        return [each for each in found if each is not None]

    def _policy(self, namespace: str, kind: str, name: str) -> Resource | None:
        stored = self._world.policy(namespace, kind, name)
        if stored is None:
            return None
        place = (stored.uid, stored.generation)
        if place not in self._read:
            try:
                self._read[place] = parse_as(KINDS[kind], stored.value)
            except ResourceError as error:
                _log.warning(
                    "policy cannot be read", extra=fields(kind=kind, object=f"{namespace}/{name}", error=error)
                )
                return None
            if len(self._read) > REMEMBERED:
                self._read.popitem(last=False)
        return self._read[place]
