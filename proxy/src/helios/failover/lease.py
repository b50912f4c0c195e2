"""The right to promote, and what all proxies that share it must know: what every kind of lease offers.

Used by `controller` (`refresh`, `close`) and `decisions`; kinds are `file_lease` and `kube_lease`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from helios.errors import HeliosError
from helios.failover.obstacle import Obstacle
from helios.failover.record import Record

__all__ = ["Lease", "LeaseError"]


class LeaseError(HeliosError):
    """The lease or what is kept beside it cannot be used."""

    obstacle = Obstacle.LEASE


class Lease(Protocol):
    """At most one process holds it. What is decided is written down before it is done, so that the next holder goes on
    from there; each process says how far it has followed."""

    problem: str | None
    """Why nothing can be decided now; None while all is well."""

    @property
    def look_seconds(self) -> float:
        """Between two calls of `refresh`."""

    @property
    def lapsed(self) -> str | None:
        """Why others may promote without waiting for this process any more; None while they may not."""

    @property
    def is_held(self) -> bool:
        """Whether this process may promote at this moment, for certain."""

    @property
    def records(self) -> Mapping[str, Record]:
        """What is decided, by cluster, as last read."""

    async def refresh(self) -> None:
        """Take or keep the lease if that is possible and read what is decided; `problem` says what is in the way."""

    async def write(self, cluster: str, record: Record) -> None:
        """Decide; it is written for good when this returns. `LeaseError` if that fails or the lease is not held."""

    async def follow(self, cluster: str, term: int) -> None:
        """Say that this process acts by what was decided in `term`. `LeaseError` if it cannot be said."""

    async def stragglers(self, cluster: str, term: int) -> list[str]:
        """Processes that may use servers and do not act by what was decided in `term`. `LeaseError`."""

    async def close(self) -> None:
        """Give everything back."""
