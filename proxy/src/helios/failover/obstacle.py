"""What is in the way of a promotion, as a word for the metrics. The sentence for people goes with it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Obstacle"]


class Obstacle(StrEnum):
    """One of few, so that each may be a label."""

    SYSTEM = "system"
    """The standby belongs to another database system."""
    TIMELINE = "timeline"
    """The standby has another history than the primary had."""
    RIGHTS = "rights"
    """The monitor's role may not see or do what is needed."""
    QUORUM = "quorum"
    """Too few standbys can be asked: a commit that was acknowledged might be lost."""
    POLICY = "policy"
    """Somebody does not want it."""
    CONFIRM = "confirm"
    """A proxy has not said that it let go of the primary."""
    FENCE = "fence"
    """The primary could not be fenced."""
    LEASE = "lease"
    """The right to promote is not there, or was lost on the way."""
    SERVER = "server"
    """A server did not do what it was told."""
