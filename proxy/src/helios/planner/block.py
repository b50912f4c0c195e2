"""The SQL inside PL/pgSQL. Called by `effects` for DO and by `purity` for functions; hands back trees to look into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helios.errors import PlanError
from helios.planner.parser import Tree, parse_block, parse_function, parse_statements, split_assignment

__all__ = ["block_statements", "function_statements"]

_STATEMENT, _TYPE, _EXPRESSION = 0, 1, 2
"""Values of PostgreSQL's RawParseMode; higher ones are assignments."""

_DYNAMIC = frozenset({"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"})
"""Statements that run a text made at run time; `dynquery` is the same inside OPEN and RETURN QUERY."""


def block_statements(body: str) -> list[Tree] | None:
    """Every statement and expression of a block as statements; None if the block runs SQL made at run time.

    Raises:
        PlanError: the block, or something in it, cannot be parsed.
    """
    return _statements_of(parse_block(body))


def function_statements(definition: str) -> list[Tree] | None:
    """As `block_statements`, of a CREATE FUNCTION or PROCEDURE."""
    return _statements_of(parse_function(definition))


def _statements_of(parsed: list[dict[str, Any]]) -> list[Tree] | None:
    found: list[Tree] = []
    waiting: list[Any] = [parsed]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if not part.keys().isdisjoint(_DYNAMIC) or "dynquery" in part:
                return None
            if "query" in part and "parseMode" in part:
                for text in _statements(part["query"], part["parseMode"]):
                    found.extend(parse_statements(text))
            waiting.extend(part.values())
    return found


def _statements(text: str, mode: int) -> Iterator[str]:
    """An embedded piece of SQL as texts that the SQL parser takes."""
    if mode == _STATEMENT:
        yield text
    elif mode == _EXPRESSION:
        yield f"SELECT {text}"
    elif mode == _TYPE:
        raise PlanError("a type name where a statement should be")
    else:
        for side in split_assignment(text):
            yield f"SELECT {side}"
