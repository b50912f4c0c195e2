"""What a plan may depend on besides the text, and which of it was looked at.

A plan holds for every context that agrees in the fields named by `Context.reads`, so a field that is read without need
multiplies plans. Kind and session effects depend on the text alone, except for calls of functions that are not built
in: `decide.plan` reads the database's catalog for those. Where reads may go to standbys, it also reads the catalog for
relations and operators. A policy is the same for all contexts of one class, which the engine makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from helios.planner.catalog import Catalog
from helios.planner.wish import Hint, Rule
from helios.planner.workload import Workloads

__all__ = ["PRIMARY_ONLY", "Context", "Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a configuration says, and a text's comments say of routing."""

    is_split: bool = False
    """Reads may go to standbys without anybody asking for it."""
    hints: tuple[Hint, ...] = ()
    """Of the text, in their order."""
    rules: tuple[Rule, ...] = ()
    """Those that hold for the text, in the order in which they count."""
    workloads: Workloads | None = None
    """Kinds of reads that nodes of their own answer; None: none are told apart."""
    keeps: bool = False
    """Transactions are run again, with the numbers of sequences that their clients have seen."""


PRIMARY_ONLY: Final = Policy()


class Context:
    """One context; made for one call of `decide.plan`."""

    def __init__(self, catalog: Callable[[], Catalog | None] = lambda: None, policy: Policy = PRIMARY_ONLY) -> None:
        """`catalog` is called if the plan depends on it."""
        self._catalog = catalog
        self.policy = policy
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
