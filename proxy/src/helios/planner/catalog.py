"""The functions of one database, as its catalog had them at one moment. Made by `helios.topology.catalog_reader`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Catalog", "Function"]


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


@dataclass(frozen=True)
class Catalog:
    """All functions that are not PostgreSQL's own ones in pg_catalog. Two with the same `version` are equal."""

    version: str
    functions: tuple[Function, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, tuple[Function, ...]]:
        return _grouped(self.functions)

    def overloads(self, name: tuple[str, ...]) -> tuple[Function, ...]:
        """Every function that a call under this name may mean: those of all schemas unless it names one."""
        found = self._by_name.get(name[-1], ())
        return tuple(each for each in found if each.schema == name[-2]) if len(name) > 1 else found


def _grouped(functions: Iterable[Function]) -> dict[str, tuple[Function, ...]]:
    grouped: dict[str, list[Function]] = {}
    for function in functions:
        grouped.setdefault(function.name, []).append(function)
    return {name: tuple(each) for name, each in grouped.items()}
