"""Collect the policies that a HeliosProxy refers to, for `render`. Called by the reconciler."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any, Final

from helios.telemetry.logs import fields
from helios_crds import KINDS, Resource, ResourceError
from helios_crds.parse import parse_as
from helios_operator.names import ProxyKey
from helios_operator.world import World

__all__ = ["PolicyReader", "referred"]

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
        value = self._world.policy(namespace, kind, name)
        if value is None:
            return None
        metadata = value["metadata"]
        place = (metadata["uid"], int(metadata.get("generation") or 0))
        if place not in self._read:
            try:
                self._read[place] = parse_as(KINDS[kind], value)
            except ResourceError as error:
                _log.warning(
                    "policy cannot be read", extra=fields(kind=kind, object=f"{namespace}/{name}", error=error)
                )
                return None
            if len(self._read) > REMEMBERED:
                self._read.popitem(last=False)
        return self._read[place]
