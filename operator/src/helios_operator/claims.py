"""Names that only one HeliosProxy can have: `web` and `web-admin` both want a Service `web-admin`. Pure.

Called by `judge`, so by the reconciler and by the webhook alike. The older one keeps what both claim; of the other
nothing is made, so that neither takes the other's clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from helios_crds import HeliosProxy
from helios_crds.problems import Problem, Reason
from helios_crds.render import discoveries
from helios_operator.names import PROXY, ProxyKey
from helios_operator.records import Stored

__all__ = ["claim_problems", "rivals"]

SUFFIXES: Final = tuple(name.removeprefix("x") for name in (ProxyKey("", "x").admin, ProxyKey("", "x").peers))
"""What the names of a proxy's further Services end with."""


def rivals(key: ProxyKey) -> list[ProxyKey]:
    """HeliosProxies, if there are such, that would have a Service of the same name as one of `key`."""
    longer = [f"{key.name}{suffix}" for suffix in SUFFIXES]
    shorter = [key.name.removesuffix(suffix) for suffix in SUFFIXES if key.name.endswith(suffix)]
    return [ProxyKey(key.namespace, name) for name in (*longer, *shorter) if name]


def claim_problems(
    key: ProxyKey, resource: HeliosProxy, since: str, others: Mapping[ProxyKey, Stored]
) -> list[Problem]:
    """What of the names that it wants is another one's, or leads back to itself.

    `since`: when it was created, empty for one that is about to be; `others`: those of its `rivals` that exist.
    """
    problems = [
        _problem(f"Service/{_shared(key, other)} belongs to {PROXY.name}/{other.name}, which is older", "metadata.name")
        for other, stored in sorted(others.items())
        if not stored.deleting and (not since or (stored.created, other) < (since, key))
    ]
    for each in discoveries(resource):
        if each.provider is None and each.name in (*_services(key), key.readers):
            message = f"nodes behind {each.source} would be the pods of this proxy itself"
            problems.append(Problem(message, "spec", "name the Service of the servers", reason=Reason.CONFIG_INVALID))
    return problems


def _problem(message: str, field: str) -> Problem:
    return Problem(message, field, "give one of them another name", reason=Reason.NAME_CLAIMED)


def _services(key: ProxyKey) -> tuple[str, ...]:
    return (key.name, *(f"{key.name}{suffix}" for suffix in SUFFIXES))


def _shared(one: ProxyKey, other: ProxyKey) -> str:
    return next(name for name in _services(one) if name in _services(other))
