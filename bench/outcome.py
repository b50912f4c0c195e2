"""What a figure is given and what it hands back. Used by `figures`, `report` and `run`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from load import Patience

__all__ = ["Effort", "Outcome", "Ratio", "Table"]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    seconds: int
    """Of each run of pgbench."""

    pairs: int
    """Runs on each side."""

    patience: Patience


@dataclass(frozen=True)
class Ratio:
    """One line of the first table."""

    name: str
    values: Sequence[float]
    """One for each pair of runs."""

    target: float | None = None
    """The most that the median may be; None: for information."""

    is_count: bool = False
    """A plain number rather than a ratio."""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.value <= self.target


@dataclass(frozen=True)
class Table:
    """A table of details."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass
class Outcome:
    """What a figure found."""

    ratios: list[Ratio] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    configs: dict[str, str] = field(default_factory=dict)
    """Configuration files in force, by a short title."""

    skipped: str = ""
    """Why it was not measured, if a program is missing that only this figure needs."""
