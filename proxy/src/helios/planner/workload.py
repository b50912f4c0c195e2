"""What kind of work a read is: OLTP, OLAP, or a search by vectors. Called by `routing` where nodes of their own answer
some kinds; pure.

By the tables first, where a pattern says so, then by the tree and the catalog: what aggregates a large table is OLAP,
unless it picks few of its rows by an index; what computes a distance from a column that holds vectors is a search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from helios.errors import PlanError
from helios.planner.catalog import Catalog, Table
from helios.planner.parser import Tree, parse_statements
from helios.planner.plan import Workload
from helios.planner.scan import Scan, scans_of

__all__ = ["Judgement", "Workloads", "workload_of"]

_EXAMINED = 4096
"""Views whose scans are kept, and globs."""

_CORE_DISTANCES: Final = frozenset({"<->"})
"""Distances that PostgreSQL has as well, of points and phrases: a vector beside one tells."""


@dataclass(frozen=True, slots=True)
class Workloads:
    """What a configuration says of kinds of reads."""

    targets: Mapping[Workload, tuple[str, ...]] = field(default_factory=dict)
    """Kind → globs over the names of the nodes that answer it."""
    patterns: Mapping[Workload, tuple[str, ...]] = field(default_factory=dict)
    """Kind → globs over tables; the kind that goes first first."""
    large_table_rows: int = 0
    """Rows from which a table is large."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What kind, and why: the end of a sentence that says that it only reads."""

    workload: Workload
    reason: str


def workload_of(
    workloads: Workloads,
    statements: Iterable[Tree],
    views: Iterable[str],
    relations: Iterable[tuple[str, ...]],
    catalog: Catalog | None,
) -> Judgement:
    """The kind of statements that only read; `views` are the queries of the views that they read, `relations` all that
    they bring along."""
    names = list(relations)
    for kind, globs in workloads.patterns.items():
        for name in names:
            if any(_matches(glob, name) for glob in globs):
                return Judgement(kind, f"{'.'.join(name)} is among its {kind}_patterns")
    if catalog is not None:
        scans = [*scans_of(statements), *(scan for query in views for scan in _scans(query))]
        if reason := _distance(scans, catalog):
            return Judgement(Workload.VECTOR, reason)
        if reason := _aggregation(scans, catalog, workloads.large_table_rows):
            return Judgement(Workload.OLAP, reason)
    return Judgement(Workload.OLTP, "is of no other kind")


def _matches(glob: str, name: tuple[str, ...]) -> bool:
    """One with a dot is over schema and name, where a name without a schema is in `public`."""
    if "." not in glob:
        return _pattern(glob).fullmatch(name[-1]) is not None
    return _pattern(glob).fullmatch(".".join(name if len(name) > 1 else ("public", *name))) is not None


@lru_cache(_EXAMINED)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(re.escape(glob).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


@lru_cache(_EXAMINED)
def _scans(view: str) -> tuple[Scan, ...]:
    try:
        return tuple(scans_of(parse_statements(view)))
    except PlanError:
        return ()


def _distance(scans: list[Scan], catalog: Catalog) -> str:
    """Why it searches by vectors; empty if it does not."""
    tables = [table for scan in scans for source in scan.sources for table in catalog.tables_of(source.name)]
    vectors = {column for table in tables for column in table.vectors}
    for distance in (distance for scan in scans for distance in scan.distances):
        if distance.has_vector or distance.columns & vectors:
            return f"computes distances between vectors ({distance.operator})"
        is_nobodys = distance.operator not in _CORE_DISTANCES and not distance.columns
        if distance.orders and is_nobodys and any(catalog.functions_behind(distance.operator)):
            return f"takes the nearest by {distance.operator}"
    return ""


def _aggregation(scans: list[Scan], catalog: Catalog, least_rows: int) -> str:
    """Why it is OLAP; empty if it is not."""

    def is_aggregate(name: str) -> bool:
        return any(function.support for function in catalog.overloads((name,)))

    if not any(scan.is_analytic or any(map(is_aggregate, scan.calls)) for scan in scans):
        return _extremes(scans, catalog, least_rows)
    for scan in scans:
        for table in _read_widely(scan, catalog):
            if table.rows >= least_rows:
                return f"aggregates {table.schema}.{table.name}, which is large"
    return ""


def _extremes(scans: list[Scan], catalog: Catalog, least_rows: int) -> str:
    """The same for `min()` and `max()` alone, which an index answers that begins with their column."""
    for scan in scans:
        for table in _read_widely(scan, catalog) if scan.extremes else ():
            if table.rows >= least_rows and not scan.extremes <= table.leading:
                return f"aggregates {table.schema}.{table.name}, which is large"
    return ""


def _read_widely(scan: Scan, catalog: Catalog) -> Iterable[Table]:
    """The tables of a SELECT of which it picks no rows by an index, with a value or with what others hold."""
    found = {source.alias: catalog.tables_of(source.name) for source in scan.sources}
    picked: set[str] = set()

    def is_leading(alias: str, column: str) -> bool:
        return any(column in table.leading for table in found[alias])

    def owners(alias: str, column: str) -> list[str]:
        return [alias] if alias in found else [each for each in found if is_leading(each, column)] if not alias else []

    def is_known(other: tuple[str, str] | None) -> bool:
        # A column of a SELECT around this one is a value here.
        return other is None or (other[0] not in found and bool(other[0])) or other[0] in picked

    grew = True
    while grew:
        before = len(picked)
        for (alias, column), other in scan.equalities:
            if is_known(other):
                picked.update(each for each in owners(alias, column) if is_leading(each, column))
        grew = len(picked) > before
    return [table for alias, tables in found.items() if alias not in picked for table in tables]
