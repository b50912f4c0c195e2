"""The decision who is primary, by evidence: a pure function over what each node last said.

Called by `monitor` after every reading. A configured role is not looked at: it is a hint for people. Only a node
that itself says "not in recovery" can be primary, and only while it is the only one that says so; two such nodes
mean two histories, and a proxy that guessed would lose one of them. Nor can one be whose history another node has left
behind: a fenced one, and one on an earlier timeline than a standby of the same system follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Election", "Observation", "elect"]


@dataclass(frozen=True)
class Observation:
    """What is known about one node when the decision is made."""

    name: str
    reachable: bool
    """It answered, and has not failed as often as `monitor.failure_threshold` since."""
    fresh: bool
    """Its last poll succeeded. A claim that is not fresh yields to a fresh one: that is what a promotion looks like."""
    in_recovery: bool | None = None
    """What it last said; None before its first answer."""
    timeline: int | None = None
    system_identifier: str | None = None
    """None where the monitor's role may not read it."""
    error: str | None = None
    """Why the last poll failed."""
    fenced: bool = False
    """Another node has become primary in its place, and it has not become a standby since."""


@dataclass(frozen=True)
class Election:
    """The outcome for one cluster."""

    primary: str | None
    """The node's name, or None: clients wait."""
    reason: str | None
    """One sentence why there is no primary; None if there is one."""
    strangers: frozenset[str] = frozenset()
    """Nodes that answer but were made by another `initdb` than the primary: not to be used."""
    rivals: frozenset[str] = frozenset()
    """Nodes that all accept writes of the same database system: none of them may go on."""


def elect(observations: Sequence[Observation]) -> Election:
    """Decide who is primary of one cluster."""
    claims = [node for node in observations if node.reachable and node.in_recovery is False and not node.fenced]
    contenders = [node for node in claims if node.fresh] or claims
    match contenders:
        case []:
            return Election(primary=None, reason=_why_nobody(observations))
        case [primary] if (ahead := _on_later_timeline(primary, observations)) is not None:
            return Election(primary=None, reason=_why_not_outdated(primary, ahead), rivals=frozenset({primary.name}))
        case [primary]:
            return Election(primary=primary.name, reason=None, strangers=_strangers(primary, observations))
        case _:
            return Election(primary=None, reason=_why_not_several(contenders), rivals=_of_one_system(contenders))


def _strangers(primary: Observation, observations: Sequence[Observation]) -> frozenset[str]:
    if primary.system_identifier is None:
        return frozenset()
    return frozenset(
        node.name
        for node in observations
        if node is not primary and node.system_identifier not in (None, primary.system_identifier)
    )


def _on_later_timeline(claimant: Observation, observations: Sequence[Observation]) -> Observation | None:
    """A standby of the same system that follows a primary which came after this one."""
    if claimant.timeline is None or claimant.system_identifier is None:
        return None
    return next(
        (
            node
            for node in observations
            if node.fresh
            and node.in_recovery
            and node.system_identifier == claimant.system_identifier
            and node.timeline is not None
            and node.timeline > claimant.timeline
        ),
        None,
    )


def _why_not_outdated(claimant: Observation, ahead: Observation) -> str:
    return (
        f"{claimant.name} accepts writes on timeline {claimant.timeline}, but {ahead.name} follows timeline "
        f"{ahead.timeline}: another node has been promoted since; clients wait for that one"
    )


def _of_one_system(contenders: Sequence[Observation]) -> frozenset[str]:
    systems = {node.system_identifier for node in contenders} - {None}
    return frozenset(node.name for node in contenders) if len(systems) <= 1 else frozenset()


def _why_nobody(observations: Sequence[Observation]) -> str:
    if not observations:
        return "no node is configured and enabled"
    return "no node is primary: " + ", ".join(_described(node) for node in observations)


def _described(node: Observation) -> str:
    if node.error is not None:
        return f"{node.name} cannot be asked ({node.error})"
    if node.in_recovery is None:
        return f"{node.name} has not answered yet"
    if not node.in_recovery:
        return f"{node.name} is fenced, since another node took its place"
    return f"{node.name} is a standby"


def _why_not_several(contenders: Sequence[Observation]) -> str:
    names = " and ".join(f"{node.name}{_on_timeline(node)}" for node in contenders)
    systems = {node.system_identifier for node in contenders} - {None}
    others = "; they are different database systems" if len(systems) > 1 else ""
    return f"{names} all accept writes{others}; clients wait until only one does: stop the wrong one or rejoin it"


def _on_timeline(node: Observation) -> str:
    return "" if node.timeline is None else f" (timeline {node.timeline})"
