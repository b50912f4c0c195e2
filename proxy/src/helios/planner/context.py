"""What a plan may depend on besides the text, and which of it was looked at.

A plan holds for every context that agrees in the fields named by `Context.reads`, so a field that is read without need
multiplies plans. Kind and session effects depend on the text alone, except for calls of functions that are not built
in: `decide.plan` reads the database's catalog for those. Where reads may go to standbys, it also reads the catalog for
relations and operators.
"""

from __future__ import annotations

from collections.abc import Callable

from helios.planner.catalog import Catalog

__all__ = ["Context"]


class Context:
    """One context; made for one call of `decide.plan`."""

    def __init__(self, catalog: Callable[[], Catalog | None] = lambda: None, is_split: bool = False) -> None:
        """`catalog` is called if the plan depends on it; `is_split`: reads may go to standbys."""
        self._catalog = catalog
        self.is_split = is_split
        self._reads: set[str] = set()
        self.lacks = False
        """Whether a function was called that the catalog does not have."""

    @property
    def catalog(self) -> Catalog | None:
        """The functions of the database that the statement is for; None where they are not known now."""
        self._reads.add("catalog")
        return self._catalog()

    @property
    def reads(self) -> frozenset[str]:
        """Names of the fields that were read."""
        return frozenset(self._reads)
