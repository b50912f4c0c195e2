"""`synchronous_standby_names`: who must have a commit before it is acknowledged. Pure.

Called by `candidate` (how many standbys must be heard from before one may be promoted) and by `steps` (what the new
primary is told).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ANYBODY", "Synchronous", "parse"]

ANYBODY = "*"
_METHOD = re.compile(
    r"\s*(?:(?P<method>any|first)\s+)?(?P<number>\d+)\s*\((?P<names>.*)\)\s*", re.IGNORECASE | re.DOTALL
)
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*(?:,|$)')


@dataclass(frozen=True)
class Synchronous:
    """What PostgreSQL waits for: `number` of the standbys with these names. Without names it waits for nobody."""

    number: int = 0
    names: tuple[str, ...] = ()
    is_any: bool = False
    """Any of them; else the first ones of those that are connected."""

    def holds(self, name: str) -> bool:
        """Whether a standby of this application_name is one of them."""
        return ANYBODY in self.names or name.lower() in {each.lower() for each in self.names}

    def quorum(self, standbys: Sequence[str]) -> int:
        """From how many of them one must hear to have heard from one that has every acknowledged commit.

        `standbys` are all there are; a name that none of them has counts as one that is not heard from.
        """
        if not self.names:
            return 0
        count = len(standbys) if ANYBODY in self.names else len(self.names)
        return max(1, count - self.number + 1)

    def after(self, promoted: str, live: Sequence[str]) -> Synchronous:
        """The same for a new primary, with `live` the standbys that can follow it.

        Commits must neither hang for one that is gone nor need fewer than there are for them.
        """
        if not self.names:
            return self
        able = [name for name in live if name != promoted]
        if ANYBODY in self.names:
            return Synchronous(min(self.number, len(able)), (ANYBODY,) if able else (), self.is_any)
        listed = [name for name in able if self.holds(name)]
        # Who was promoted leaves a gap in the list; others may fill it.
        names = listed if len(listed) >= self.number else listed + [name for name in able if name not in listed]
        number = min(self.number, len(names))
        return Synchronous(number, tuple(names) if number else (), self.is_any)

    def is_narrower(self, wanted: Synchronous) -> bool:
        """Whether fewer have a commit before it is acknowledged, or fewer may be those."""
        return self.number < wanted.number or len(self.names) < len(wanted.names)

    def widened(self, wanted: Synchronous, back: Sequence[str]) -> Synchronous:
        """With those that are back, up to what is `wanted`."""
        new = [name for name in back if not self.holds(name)]
        if ANYBODY in wanted.names:
            number = max(self.number, min(wanted.number, len(back)))
            return Synchronous(number, (ANYBODY,), self.is_any) if number else self
        names = (*self.names, *new[: max(0, len(wanted.names) - len(self.names))])
        number = max(self.number, min(wanted.number, len(names)))
        return Synchronous(number, names, wanted.is_any)

    def __str__(self) -> str:
        """As PostgreSQL takes it."""
        if not self.names:
            return ""
        quoted = ", ".join('"' + name.replace('"', '""') + '"' if name != ANYBODY else name for name in self.names)
        return f"{'ANY' if self.is_any else 'FIRST'} {self.number} ({quoted})"


def parse(text: str) -> Synchronous:
    """Read the setting; what PostgreSQL has accepted is never refused."""
    found = _METHOD.fullmatch(text)
    if found is None:
        names = _names(text)
        return Synchronous(1 if names else 0, names)
    method = (found["method"] or "first").lower()
    return Synchronous(int(found["number"]), _names(found["names"]), is_any=method == "any")


def _names(text: str) -> tuple[str, ...]:
    found = _NAME.findall(text)
    return tuple(quoted.replace('""', '"') if quoted else bare for quoted, bare in found if quoted or bare)
