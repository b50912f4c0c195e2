"""How a total of server connections is divided among the pods of a proxy. Pure; called by the reconciler.

What a pod may have is taken away before it is given to another: the sum of what all may have, with the connections that
some still have beyond it, never exceeds the total. A pod that nobody has spoken to yet has its first share, and that
much is kept aside for each pod that is missing and for one more that may come any moment, as in a rolling update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Division", "Holder", "PodShare", "divide"]


@dataclass(frozen=True, slots=True)
class PodShare:
    """What a pod said last."""

    limit: int
    """Server connections it may have."""
    excess: int = 0
    """Those it has beyond, which end with the transactions that use them."""
    is_granted: bool = True
    """Whether that limit was granted; else it is its first share, and another document may change it."""

    @property
    def claimed(self) -> int:
        """What others cannot have."""
        return self.limit + self.excess


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod, as far as its share goes."""

    name: str
    is_running: bool
    """Whether it may have server connections; a sidecar not before what follows it was started."""
    is_leaving: bool
    share: PodShare | None = None
    """None while it has not said anything."""
    is_sidecar: bool = False
    """It came with an application and asked nobody; until a share is granted to it nothing uses it."""


@dataclass(frozen=True, slots=True)
class Division:
    """What shall be done."""

    grants: dict[str, int]
    """Pod → the limit it shall have, for every pod that stays and has said something."""
    pods: int
    """How many pods may be asked for; fewer than wanted while those that are there hold too much."""


def divide(total: int, first: int, wanted: int, holders: Sequence[Holder]) -> Division:
    """Divide `total` among `holders`; of those that are no sidecars `wanted` are to stay.

    `first` is the share of a pod without a grant. Nothing is kept aside for sidecars that may come: they wait.
    """
    pods = [each for each in holders if not each.is_sidecar]
    staying = [each for each in pods if not each.is_leaving]
    sidecars = [each for each in holders if each.is_sidecar and not each.is_leaving and each.share is not None]
    present = [each for each in holders if each.is_running or not each.is_leaving]
    claimed = sum(_claimed(each, first) for each in present)
    leaving = sum(_claimed(each, first) for each in present if each.is_leaving)
    aside = first * (1 + max(0, wanted - len(staying))) if wanted or staying else 0
    rest = total - aside - leaving
    part = rest // max(1, len(staying) + len(sidecars))
    if part < first and staying:
        # Pods have that much anyway, so sidecars divide what is left.
        part = max(1, (rest - first * len(staying)) // max(1, len(sidecars)))
    known = {each.name: each.share for each in staying if each.is_running and each.share is not None}
    parts = dict.fromkeys(known, max(first, part)) | {each.name: max(1, part) for each in sidecars}
    limits = {name: share.limit for name, share in known.items()} | {each.name: _held(each) for each in sidecars}
    grants = {name: min(limit, parts[name]) for name, limit in limits.items() if limit}
    is_clear = all(each.share is not None for each in present if each.is_running)
    room = total - aside - claimed if is_clear else 0
    for name, limit in sorted(limits.items(), key=lambda item: (item[1], item[0])):
        more = min(parts[name] - limit, room)
        if more > 0:
            grants[name] = limit + more
            room -= more
    places = (total - first - claimed) // first if is_clear else 0
    return Division(grants, min(wanted, len(staying) + max(0, places)))


def _claimed(holder: Holder, first: int) -> int:
    """A pod that does not run yet begins with its first share, a sidecar with nothing that is used."""
    if holder.is_sidecar:
        return _held(holder) + (holder.share.excess if holder.share is not None else 0)
    return first if not holder.is_running or holder.share is None else holder.share.claimed


def _held(sidecar: Holder) -> int:
    """What a sidecar may have that is in use; one that was granted nothing has clients only after a restart."""
    share = sidecar.share
    return share.limit if share is not None and (share.is_granted or sidecar.is_running) else 0
