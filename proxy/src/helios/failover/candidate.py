"""Which standby may take the place of a primary, or why none may. Pure.

Called by `controller` with what the standbys said once the primary's connections were closed. A standby may only be
promoted if it has every commit that was acknowledged: that is so for the one that has received most, once enough of
the synchronous ones are heard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from helios.config import PromotionPolicy
from helios.failover.obstacle import Obstacle
from helios.failover.synchronous import Synchronous

__all__ = ["Choice", "Former", "Refusal", "Standby", "choose"]


@dataclass(frozen=True)
class Standby:
    """What a standby said when it was asked for this."""

    name: str
    application_name: str
    """By which its primary knows it."""
    received: int
    """End of the WAL that it has on disk, bytes."""
    replayed: int
    system_identifier: str | None
    timeline: int | None
    """That it streamed when the monitor last saw it stream."""
    known_timeline: int | None
    """The latest of which it has the history."""
    priority: int
    may_see: bool
    """The monitor's role is a member of pg_monitor, without which it is told half of this."""
    may_promote: bool
    """The monitor's role may call `pg_promote`."""
    may_configure: bool
    """It may set `synchronous_standby_names` and `primary_conninfo`."""


@dataclass(frozen=True)
class Former:
    """What is known of the primary that is to be replaced."""

    name: str
    system_identifier: str | None
    timeline: int | None
    began_at: int | None
    """Where its timeline parts from the one before, bytes, if a promotion of ours began it."""
    written: int
    """End of its WAL as last seen, bytes."""
    synchronous: Synchronous
    standbys: tuple[str, ...]
    """Nodes of the cluster beside it."""

    @property
    def is_synchronous(self) -> bool:
        """Whether its commits waited for standbys."""
        return bool(self.synchronous.names)


@dataclass(frozen=True)
class Choice:
    """Who is promoted."""

    standby: Standby


@dataclass(frozen=True)
class Refusal:
    """Why nobody is."""

    reason: str
    obstacle: Obstacle


def choose(
    former: Former, heard: Sequence[Standby], policy: PromotionPolicy, only: str | None = None
) -> Choice | Refusal:
    """Decide; `only` is the one that somebody wants."""
    if policy is PromotionPolicy.NEVER:
        return Refusal("policy is never: somebody else has to promote a standby", Obstacle.POLICY)
    fit: list[Standby] = []
    faults: list[Refusal] = []
    for standby in heard:
        fault = _unfit(former, standby)
        if fault is None:
            fit.append(standby)
        else:
            faults.append(fault)
    if not fit:
        return _refusal(faults or [Refusal("no standby answers", Obstacle.QUORUM)])
    synchronous = [standby for standby in fit if former.synchronous.holds(standby.application_name)]
    quorum = former.synchronous.quorum(former.standbys)
    if len(synchronous) < quorum:
        known = f"{len(synchronous)} of the synchronous standbys ({former.synchronous}) can be asked"
        missing = f"{known}, and {quorum} must be, or a commit that was acknowledged might be lost"
        return _refusal([Refusal(missing, faults[0].obstacle if faults else Obstacle.QUORUM), *faults])
    # Whoever has received most has everything that was acknowledged; and one that had more than the new primary, and be
    # it bytes that nobody waited for, could not follow it.
    most = max(standby.received for standby in fit)
    able = [standby for standby in fit if standby.received == most and only in (None, standby.name)]
    if not able:
        return _refusal([Refusal(f"{only} has not received as much as others", Obstacle.POLICY), *faults])
    rank = _RANKS[policy]
    best = max(able, key=lambda standby: (*rank(standby, former), _negated(standby.name)))
    if not best.may_promote:
        reason = f"the monitor's role may not call pg_promote on {best.name}; grant EXECUTE on it"
        return Refusal(reason, Obstacle.RIGHTS)
    if not best.may_configure:
        grant = "grant ALTER SYSTEM on primary_conninfo and synchronous_standby_names, and EXECUTE on pg_reload_conf"
        return Refusal(f"the monitor's role may not configure {best.name}; {grant}", Obstacle.RIGHTS)
    return Choice(best)


def _refusal(found: Sequence[Refusal]) -> Refusal:
    """All of it; the first counts."""
    return Refusal("; ".join(each.reason for each in found), found[0].obstacle)


def _unfit(former: Former, standby: Standby) -> Refusal | None:
    """Why it cannot be promoted at all."""
    name, right = standby.name, "grant pg_monitor to the monitor's role"
    if not standby.may_see:
        return Refusal(f"{name} does not say how far it is; {right}", Obstacle.RIGHTS)
    if None in (former.system_identifier, standby.system_identifier):
        return Refusal(f"{name}: its system identifier is not known; {right}", Obstacle.RIGHTS)
    if standby.system_identifier != former.system_identifier:
        reason = f"{name} belongs to another database system ({standby.system_identifier})"
        return Refusal(reason, Obstacle.SYSTEM)
    if not _has_followed(former, standby):
        reason = f"{name} is on timeline {standby.timeline}, {former.name} was on {former.timeline}"
        return Refusal(reason, Obstacle.TIMELINE)
    if former.began_at is not None and standby.received < former.began_at:
        return Refusal(f"{name} has not received all that {former.name} began with", Obstacle.TIMELINE)
    return None


def _has_followed(former: Former, standby: Standby) -> bool:
    """Whether it was on its timeline, or may have been since it was last seen: what it has received tells."""
    if former.timeline is None:
        return False
    is_known = former.began_at is not None and standby.known_timeline == former.timeline
    return is_known or standby.timeline == former.timeline


def _by_sync(standby: Standby, former: Former) -> tuple[int, ...]:
    return int(former.synchronous.holds(standby.application_name)), standby.priority


def _by_lag(standby: Standby, _former: Former) -> tuple[int, ...]:
    return standby.replayed, standby.priority


def _by_priority(standby: Standby, _former: Former) -> tuple[int, ...]:
    return standby.priority, standby.replayed


_RANKS: dict[PromotionPolicy, Callable[[Standby, Former], tuple[int, ...]]] = {
    PromotionPolicy.PREFER_SYNC: _by_sync,
    PromotionPolicy.LEAST_LAG: _by_lag,
    PromotionPolicy.PRIORITY: _by_priority,
}


def _negated(name: str) -> tuple[int, ...]:
    """Of equals the first by name, whoever asks."""
    return tuple(-ord(letter) for letter in name)
