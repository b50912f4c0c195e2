"""What the providers tell a user: a severity, one sentence, what to do about it, and the attribute it is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Diagnostic", "IacError", "Level", "Step"]

Step = str | int
"""The name of an attribute or a key of a map (str), or the number of a list's item (int)."""


class Level(StrEnum):
    """What follows."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Diagnostic:
    """One finding."""

    summary: str
    """What is wrong, with the value."""
    detail: str = ""
    """What would be right, or what to do."""
    path: tuple[Step, ...] = ()
    """The attribute, in Terraform's names; empty: the resource as a whole."""
    level: Level = Level.ERROR

    def __str__(self) -> str:
        return f"{self.summary}: {self.detail}" if self.detail else self.summary


class IacError(Exception):
    """An operation cannot be done; carries what the user is told."""

    def __init__(self, summary: str, detail: str = "", path: tuple[Step, ...] = ()) -> None:
        self.diagnostic = Diagnostic(summary, detail, path)
        super().__init__(str(self.diagnostic))
