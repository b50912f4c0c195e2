"""What a source of membership offers. Asked by `watch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Hint", "Member", "Provider", "ProviderFailure"]


class ProviderFailure(Exception):
    """The source could not be asked; the message is the cause, fit for a person."""


@dataclass(frozen=True)
class Member:
    """One server."""

    name: str
    host: str
    port: int


@dataclass(frozen=True)
class Hint:
    """What a source says at one moment."""

    members: tuple[Member, ...]
    leader: str | None = None
    """Name of the member that it takes for the primary; a reason to look, not to believe."""
    hold: str | None = None
    """Why no transaction should begin for now: it is about to change who leads."""


class Provider(Protocol):
    """One source of one cluster."""

    async def look(self) -> Hint:
        """Ask once. `ProviderFailure`."""
