"""What the control plane tells of failovers: plain data for the admin API and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from helios.errors import HeliosError
from helios.failover.obstacle import Obstacle
from helios.failover.record import Loss

__all__ = ["FailoverStatus", "SwitchoverFailure"]


class SwitchoverFailure(HeliosError):
    """The primary is the same as before; the message says why."""


@dataclass(frozen=True)
class FailoverStatus:
    """One cluster."""

    cluster: str
    enabled: bool
    policy: str
    holds_lease: bool
    """This proxy may promote."""
    hold: str | None
    """Why no transaction may begin."""
    verdict: str | None
    """Whether the primary counts as gone; None while it answers."""
    step: str | None
    """What of a failover or switchover is under way."""
    refused: str | None
    """Why nobody is promoted."""
    obstacle: Obstacle | None
    """What that is about."""
    promoting: str | None
    promotions: int
    last_promotion_at: datetime | None
    """By this proxy."""
    fence: str | None
    """Which one the former primary was given."""
    fenced: tuple[str, ...]
    xid_bound: int | None
    losses: tuple[Loss, ...]
