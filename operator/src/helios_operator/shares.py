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
    is_leaving: bool
    share: PodShare | None = None
    """None while it has not said anything."""


@dataclass(frozen=True, slots=True)
class Division:
    """What shall be done."""

    grants: dict[str, int]
    """Pod → the limit it shall have, for every pod that stays and has said something."""
    pods: int
    """How many pods may be asked for; fewer than wanted while those that are there hold too much."""


def divide(total: int, first: int, wanted: int, holders: Sequence[Holder]) -> Division:
    """Divide `total` among `holders`, `wanted` of whom are to stay. `first` is the share of a pod without a grant."""
    staying = [each for each in holders if not each.is_leaving]
    present = [each for each in holders if each.is_running or not each.is_leaving]
    claimed = sum(_claimed(each, first) for each in present)
    leaving = sum(_claimed(each, first) for each in present if each.is_leaving)
    aside = first * (1 + max(0, wanted - len(staying)))
    part = max(first, (total - aside - leaving) // max(1, len(staying)))
    known = {each.name: each.share for each in staying if each.is_running and each.share is not None}
    grants = {name: min(share.limit, part) for name, share in known.items()}
    is_clear = all(each.share is not None for each in present if each.is_running)
    room = total - aside - claimed if is_clear else 0
    for name, share in sorted(known.items(), key=lambda item: (item[1].limit, item[0])):
        more = min(part - share.limit, room)
        if more > 0:
            grants[name] = share.limit + more
            room -= more
    places = (total - first - claimed) // first if is_clear else 0
    return Division(grants, min(wanted, len(staying) + max(0, places)))


def _claimed(holder: Holder, first: int) -> int:
    """A pod that does not run yet begins with its first share."""
    return first if not holder.is_running or holder.share is None else holder.share.claimed
