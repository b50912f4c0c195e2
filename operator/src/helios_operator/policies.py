"""The status of a PoolProfile, RoutingRule, AuditPolicy or TenantQuota: is it accepted, and who uses it.

`PolicyTeller.look` is called by workers of the policies' own queue, after a policy or a reference to it has changed.
What a policy says is acted on by the look at each HeliosProxy that refers to it, never here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from helios.kube import Client, Conflict, NotFound
from helios.telemetry.logs import fields
from helios_crds import KINDS, ResourceError
from helios_crds.base import MAX_USED_BY
from helios_crds.parse import parse_as
from helios_crds.unsupported import unsupported
from helios_operator.conditions import Finding, conditions_of, told
from helios_operator.names import CUSTOM, PROXY, STATUS_MANAGER
from helios_operator.records import Stored
from helios_operator.world import Placed, World

__all__ = ["PolicyTeller", "policy_status"]

_log = logging.getLogger(__name__)
Json = dict[str, Any]


def policy_status(kind: str, policy: Stored, users: Iterable[str], before: Mapping[str, Any], now: datetime) -> Json:
    """The whole status of a policy that HeliosProxies named `users` refer to; `before` is its present one. Pure."""
    named = [{"kind": PROXY.name, "name": name} for name in sorted(users)[:MAX_USED_BY]]
    status: Json = {
        "observedGeneration": policy.generation,
        "conditions": conditions_of([_accepted(kind, policy)], policy.generation, before, now),
    }
    return status | ({"usedBy": named} if named else {})


def _accepted(kind: str, policy: Stored) -> Finding:
    try:
        resource = parse_as(KINDS[kind], policy.value)
    except ResourceError as error:
        return Finding("Accepted", "False", error.problems[0].reason.value, told(error.problems))
    if ignored := unsupported(resource):
        return Finding("Accepted", "False", ignored[0].reason.value, told(ignored))
    return Finding("Accepted", "True", "Valid", "it is valid, and this version of Helios acts on all of it")


class PolicyTeller:
    """Writes the status of policies."""

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world

    async def look(self, place: Placed) -> None:
        """Write the status of the policy at (namespace, kind, name) if it says anything new."""
        policy = self._world.policy(*place)
        if policy is None or policy.deleting:
            return
        namespace, kind, name = place
        users = (key.name for key in self._world.proxies_of(*place))
        before = self._world.status(place, policy)
        status = policy_status(kind, policy, users, before, datetime.now(UTC))
        if status == before:
            return
        metadata = {"name": name, "namespace": namespace, "uid": policy.uid}
        value = {"apiVersion": CUSTOM[kind].api_version, "kind": kind, "metadata": metadata, "status": status}
        try:
            answer = await self._client.apply(CUSTOM[kind], value, STATUS_MANAGER, subresource="status")
        except (NotFound, Conflict) as error:
            # It went, or another one has its name; the stream tells.
            _log.info("policy is gone", extra=fields(kind=kind, object=f"{namespace}/{name}", error=error))
            return
        self._world.wrote_status(place, int(answer["metadata"]["resourceVersion"]), answer["status"])
