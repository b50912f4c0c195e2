"""`[routing.workload]`: kinds of reads that nodes of their own answer.

Read by the planner and, through the snapshot, by the engine.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from helios.config.base import HeliosModel, PositiveSeconds

__all__ = ["Glob", "WorkloadConfig"]

Glob = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""A text in which `*` stands for any characters and `?` for one."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Globs = Annotated[tuple[Glob, ...], Field(max_length=64), BeforeValidator(_listed)]
"""A single one may stand without brackets."""


class WorkloadConfig(HeliosModel):
    """Kinds of reads that nodes of their own answer."""

    oltp_target: Globs = ()
    """Nodes that answer reads which are of no other kind, by name; globs (`*`, `?`) name a group. Also one of weight 0,
    which then has nothing else to do. Empty: any standby, where reads are split."""

    olap_target: Globs = ()
    """The same for reads that aggregate large tables. Empty: they are reads like others."""

    vector_target: Globs = ()
    """The same for reads that search by distances between vectors."""

    cold_target: Globs = ()
    """The same for reads of no other kind over tables that are seldom used, where reads are split. Empty: it is not
    counted which are."""

    oltp_patterns: Globs = ()
    """Tables whose reads are of no other kind, whatever they do with them: globs over the name, with its schema where
    they hold a dot. Of a statement over tables of several patterns vector goes before OLAP, and that before OLTP."""

    olap_patterns: Globs = ()
    """Tables whose reads are OLAP, by the same globs."""

    vector_patterns: Globs = ()
    """Tables whose reads are searches by vectors, by the same globs."""

    large_table_rows: Annotated[int, Field(strict=True, ge=1_000, le=1 << 40)] = 100_000
    """Rows, as PostgreSQL estimates them, from which a table is large: what aggregates only smaller ones is no OLAP. A
    hundred thousand are read in some ten milliseconds, which nobody needs another node for."""

    cold_below_per_minute: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1
    """Statements a minute below which a table is cold; one that is cold is warm again from twice as many. One, since a
    table that is used every minute belongs into the memory of the nodes that everybody uses."""

    temperature_half_life_seconds: PositiveSeconds = 3_600
    """Seconds after which what was counted counts half. An hour: a table that is read once a day is cold, one that is
    not read during a coffee break is not. A table of which nothing is known is warm at first, for at least as long."""

    @property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """Kind of read → the nodes that answer it, for the kinds that have any."""
        kinds = {
            "oltp": self.oltp_target,
            "olap": self.olap_target,
            "vector": self.vector_target,
            "cold": self.cold_target,
        }
        return {kind: nodes for kind, nodes in kinds.items() if nodes}

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """Kind of read → the tables whose reads are of it; the kind that goes first first."""
        kinds = {"vector": self.vector_patterns, "olap": self.olap_patterns, "oltp": self.oltp_patterns}
        return {kind: tables for kind, tables in kinds.items() if tables}
