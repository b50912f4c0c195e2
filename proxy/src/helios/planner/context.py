"""What a plan may depend on besides the text, and which of it was looked at.

A plan holds for every context that agrees in the fields named by `Context.reads`, so a field that is read without need
multiplies plans. Kind and session effects depend on the text alone: `decide.plan` reads nothing yet.
"""

from __future__ import annotations

__all__ = ["Context"]


class Context:
    """One context; made for one call of `decide.plan`."""

    def __init__(self, database: str | None = None) -> None:
        self._database = database
        self._reads: set[str] = set()

    @property
    def database(self) -> str | None:
        """Name of the database that the statement is for; None where it is not known."""
        self._reads.add("database")
        return self._database

    @property
    def reads(self) -> frozenset[str]:
        """Names of the fields that were read."""
        return frozenset(self._reads)
