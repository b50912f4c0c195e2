"""How the client connections of a TenantQuota are divided among the HeliosProxies that refer to it. Pure.

Called by the operator, which knows all of them, and by `render` where there is one only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from helios_crds.v1alpha1.helios_proxy import DEFAULT_REPLICAS

__all__ = ["Claim", "claim_of", "divide_clients"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one HeliosProxy wants."""

    name: str
    created: str
    """When it was made, in words that sort; empty for one that is about to be."""
    pods: int
    """Its pods at most, with the one more of a rolling update."""
    stated: int | None
    """Clients that each may have by `limits.maxClientConnections`; None: what is left."""
    held: int = 0
    """Clients that its present pods may have, which stay its own where there is no room for all it wants."""


def claim_of(name: str, spec: Mapping[str, Any], created: str, present: int = -1) -> Claim:
    """The claim of a HeliosProxy whose spec was written as `spec`.

    `present`: the pods that it has now, without the one more of a rolling update, so one less than none at first.
    """
    scaled = spec.get("autoscaling")
    wanted = scaled["maxReplicas"] if scaled else spec.get("replicas", DEFAULT_REPLICAS)
    stated = (spec.get("limits") or {}).get("maxClientConnections")
    return Claim(name, created, max(wanted, present) + 1, stated, (present + 1) * (stated or 1))


def divide_clients(total: int, claims: Iterable[Claim]) -> dict[str, int]:
    """Name → clients that each of its pods may have; for one that is missing there is no room.

    Older ones go first: with as many as they state, or one a pod. What is left then is spread evenly over the pods of
    those that state nothing. All pods together have no more than `total`, unless that was
    lowered below what they had.
    """
    served, left = [], total
    for claim in sorted(claims, key=lambda each: (not each.created, each.created, each.name)):
        least = claim.pods * (claim.stated or 1)
        if least <= left:
            served.append(claim)
        left -= least if least <= left else min(left, claim.held)
    sharing = sum(claim.pods for claim in served if claim.stated is None)
    return {claim.name: claim.stated or 1 + left // sharing for claim in served}
