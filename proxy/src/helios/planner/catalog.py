"""What of one database a plan may depend on, as its catalog had it at one moment: functions, operators, relations that
are more than a table, tables by which kinds of work are told apart, and columns that sequences fill. Made by
`helios.topology.catalog_reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

__all__ = ["Catalog", "Function", "Numbered", "Operator", "Relation", "Table"]


@dataclass(frozen=True, slots=True)
class Function:
    """A row of pg_proc: a function, procedure, aggregate or window function. Overloads are rows of their own."""

    schema: str
    name: str
    language: str
    source: str | None = None
    """In PL/pgSQL its whole definition, as pg_get_functiondef() writes it; in SQL its body, if that is a string. None
    for other languages and where it is too long to be looked into."""
    body: str | None = None
    """Its body in standard SQL, `RETURN …` or `BEGIN ATOMIC … END`, every name in it qualified."""
    defaults: str | None = None
    """The default values of its parameters, separated by commas."""
    extension: str | None = None
    """The extension that it is a part of."""
    support: tuple[tuple[str, str], ...] = ()
    """Schema and name of each function that an aggregate is made of; empty for what is none."""
    takes_code: bool = False
    """One of its parameters is by type or name a function or a statement, which it may run."""
    is_volatile: bool = True
    """It does not claim to leave the database as it is."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of pg_operator that is not PostgreSQL's own."""

    name: str
    function: tuple[str, str]
    """Schema and name of the function behind it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A view, a relation with row policies, or one that a standby cannot read."""

    schema: str
    name: str
    obstacle: str = ""
    """Why it must be read on the primary, as the end of a sentence; empty where nothing of itself forbids a standby."""
    queries: tuple[str, ...] = ()
    """What is run with it where it is read: a view's query, the conditions of row policies as queries."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that kinds of work are told by: it is not small, or holds vectors."""

    schema: str
    name: str
    rows: int
    """As PostgreSQL estimates them, with those of its parts."""
    leading: frozenset[str] = frozenset()
    """Columns that an index begins with."""
    vectors: frozenset[str] = frozenset()
    """Columns that hold vectors."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A column of integers that a sequence fills where nothing is given: serial, identity, or by a default."""

    schema: str
    name: str
    """The column's."""
    table: str
    position: int
    """Among the table's columns, from 1."""
    sequence: str
    """With its schema, as `regclass` reads it."""
    is_unique: bool = False
    """No two rows have the same, whatever else they have."""


@dataclass(frozen=True)
class Catalog:
    """All that is not PostgreSQL's own in pg_catalog. Two with the same `version` are equal."""

    version: str
    functions: tuple[Function, ...] = ()
    operators: tuple[Operator, ...] = ()
    relations: tuple[Relation, ...] = ()
    tables: tuple[Table, ...] = ()
    """Empty where nobody tells kinds of work apart."""
    numbered: tuple[Numbered, ...] = ()
    """In the order of their tables' columns; empty where no transaction is run again."""

    @cached_property
    def _functions(self) -> dict[str, tuple[Function, ...]]:
        return _by_name(self.functions)

    @cached_property
    def _operators(self) -> dict[str, tuple[Operator, ...]]:
        return _by_name(self.operators)

    @cached_property
    def _relations(self) -> dict[str, tuple[Relation, ...]]:
        return _by_name(self.relations)

    @cached_property
    def _tables(self) -> dict[str, tuple[Table, ...]]:
        return _by_name(self.tables)

    @cached_property
    def _numbered(self) -> dict[str, tuple[Numbered, ...]]:
        return _grouped(self.numbered, lambda each: each.table)

    def overloads(self, name: tuple[str, ...]) -> tuple[Function, ...]:
        """Every function that a call under this name may mean: those of all schemas unless it names one."""
        return _in_schema(self._functions.get(name[-1], ()), name)

    def relations_of(self, name: tuple[str, ...]) -> tuple[Relation, ...]:
        """Every relation of ours that this name may mean; none of them for a plain table."""
        return _in_schema(self._relations.get(name[-1], ()), name)

    def tables_of(self, name: tuple[str, ...]) -> tuple[Table, ...]:
        """Every table that this name may mean; none of them for a small one without vectors."""
        return _in_schema(self._tables.get(name[-1], ()), name)

    def numbered_of(self, name: tuple[str, ...]) -> tuple[Numbered, ...]:
        """The columns that sequences fill of every table that this name may mean."""
        return _in_schema(self._numbered.get(name[-1], ()), name)

    def functions_behind(self, operator: str) -> Iterator[tuple[str, str]]:
        """Schema and name of each function that an operator of this name may call, beside PostgreSQL's own."""
        return (each.function for each in self._operators.get(operator, ()))


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _Placed(Protocol):
    @property
    def schema(self) -> str: ...


N = TypeVar("N", bound=_Named)
T = TypeVar("T")
P = TypeVar("P", bound=_Placed)


def _by_name(items: Iterable[N]) -> dict[str, tuple[N, ...]]:
    return _grouped(items, lambda item: item.name)


def _grouped(items: Iterable[T], name_of: Callable[[T], str]) -> dict[str, tuple[T, ...]]:
    grouped: dict[str, list[T]] = {}
    for item in items:
        grouped.setdefault(name_of(item), []).append(item)
    return {name: tuple(each) for name, each in grouped.items()}


def _in_schema(found: tuple[P, ...], name: tuple[str, ...]) -> tuple[P, ...]:
    return tuple(each for each in found if each.schema == name[-2]) if len(name) > 1 else found
