"""The decision who is primary, by evidence: a pure function over what each node last said.

Called by `monitor` after every reading. A configured role is not looked at: it is a hint for people. Only a node
that itself says "not in recovery" can be primary, and only while it is the only one that says so; two such nodes
mean two histories, and a proxy that guessed would lose one of them.
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


@dataclass(frozen=True)
class Election:
    """The outcome for one cluster."""

    primary: str | None
    """The node's name, or None: clients wait."""
    reason: str | None
    """One sentence why there is no primary; None if there is one."""
    strangers: frozenset[str] = frozenset()
    """Nodes that answer but were made by another `initdb` than the primary: not to be used."""


def elect(observations: Sequence[Observation]) -> Election:
    """Decide who is primary of one cluster."""
    claims = [node for node in observations if node.reachable and node.in_recovery is False]
    contenders = [node for node in claims if node.fresh] or claims
    match contenders:
        case []:
            return Election(primary=None, reason=_why_nobody(observations))
        case [primary]:
            return Election(primary=primary.name, reason=None, strangers=_strangers(primary, observations))
        case _:
            return Election(primary=None, reason=_why_not_several(contenders))


def _strangers(primary: Observation, observations: Sequence[Observation]) -> frozenset[str]:
    if primary.system_identifier is None:
        return frozenset()
    return frozenset(
        node.name
        for node in observations
        if node is not primary and node.system_identifier not in (None, primary.system_identifier)
    )


def _why_nobody(observations: Sequence[Observation]) -> str:
    if not observations:
        return "no node is configured and enabled"
    return "no node is primary: " + ", ".join(_described(node) for node in observations)


def _described(node: Observation) -> str:
    if node.error is not None:
        return f"{node.name} cannot be asked ({node.error})"
    if node.in_recovery is None:
        return f"{node.name} has not answered yet"
    return f"{node.name} is a standby"


def _why_not_several(contenders: Sequence[Observation]) -> str:
    names = " and ".join(f"{node.name}{_on_timeline(node)}" for node in contenders)
    systems = {node.system_identifier for node in contenders} - {None}
    others = "; they are different database systems" if len(systems) > 1 else ""
    return f"{names} all accept writes{others}; clients wait until only one does: stop the wrong one or rejoin it"


def _on_timeline(node: Observation) -> str:
    return "" if node.timeline is None else f" (timeline {node.timeline})"
