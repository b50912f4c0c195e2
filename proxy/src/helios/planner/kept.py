"""Numbers of sequences that a statement tells its client: which they are, and how the statement is written so that it
has them given. Called by `decide`; pure.

A number that a client has seen must be the same when its transaction is run again, and a sequence never gives it twice.
So the statement is not run again as it is: the rows of an INSERT get their numbers, and `SELECT nextval(…)` is not
asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from helios.planner.catalog import Numbered
from helios.planner.context import Context
from helios.planner.effects import Name
from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Kept, Place

__all__ = ["kept_of"]

_ALONE = frozenset({"target_list", "limit_option", "op"})
"""Fields of a SELECT that does nothing but compute its columns; two of them are always set."""

_VALUES = frozenset({"values_lists", "limit_option", "op"})


def kept_of(statements: Sequence[Tree], context: Context) -> Kept | None:
    """For a text of these statements; None where no number is told that could be given again."""
    if len(statements) != 1 or not context.policy.keeps:
        return None
    (statement,) = statements
    if name_of(statement) == "SelectStmt":
        return _asked(statement)
    if name_of(statement) == "InsertStmt":
        return _inserted(statement, context)
    return None


def _asked(select: Tree) -> Kept | None:
    """Of `SELECT nextval('…')`."""
    if not _has_only(select, _ALONE) or len(select.target_list) != 1:
        return None
    target = select.target_list[0].res_target
    if target.val.WhichOneof("node") != "func_call":
        return None
    call = target.val.func_call
    name = tuple(part.string.sval for part in call.funcname)
    if name not in (("nextval",), ("pg_catalog", "nextval")) or len(call.args) != 1:
        return None
    sequence = _text(call.args[0])
    return Kept(0, _quoted(target.name or "nextval"), sequence, False, Place.ALONE) if sequence else None


def _text(argument: Tree) -> str:
    """A string, also as `'…'::regclass`; empty for anything else."""
    if argument.WhichOneof("node") == "type_cast":
        argument = argument.type_cast.arg
    return str(argument.a_const.sval.sval) if argument.WhichOneof("node") == "a_const" else ""


def _inserted(insert: Tree, context: Context) -> Kept | None:
    """Of an INSERT that returns what a sequence has filled a column with."""
    returning = insert.returning_clause
    if insert.HasField("with_clause") or not returning.exprs or returning.options:
        return None
    if choice(insert, "override") not in ("OVERRIDING_NOT_SET", "OVERRIDING_SYSTEM_VALUE"):
        return None
    relation = insert.relation
    for numbered in _numbered((relation.schemaname, relation.relname), context):
        column = _column_of(returning.exprs, numbered)
        place = _place_of(insert, numbered)
        if column is not None and place is not None:
            return Kept(column, _quoted(numbered.name), numbered.sequence, numbered.is_unique, *place)
    return None


def _numbered(name: Name, context: Context) -> Sequence[Numbered]:
    """The columns of a table that sequences fill, in order; none where it is not known which table is meant."""
    catalog = context.catalog
    if catalog is None:
        return ()
    found = catalog.numbered_of(name if name[0] else name[1:])
    if not found:
        # It may be a new table.
        context.lacks = True
    return found if len({each.schema for each in found}) == 1 else ()


def _column_of(targets: Sequence[Tree], numbered: Numbered) -> int | None:
    """Which column of the result is this one of the table."""
    for at, target in enumerate(targets):
        if target.res_target.val.WhichOneof("node") != "column_ref":
            continue
        last = target.res_target.val.column_ref.fields[-1]
        if last.WhichOneof("node") == "a_star":
            return at + numbered.position - 1
        if last.string.sval == numbered.name:
            return at
    return None


def _place_of(insert: Tree, numbered: Numbered) -> tuple[Place, int] | None:
    """Where the numbers are to be written; None where the client gives them, or nobody knows which row has which."""
    if not insert.HasField("select_stmt"):
        return Place.NOTHING, 0
    names = [column.res_target.name for column in insert.cols]
    rows = _rows(insert.select_stmt.select_stmt)
    if rows is None:
        is_lacking = bool(names) and numbered.name not in names
        return (Place.QUERY, 0) if is_lacking and _orders(insert.select_stmt.select_stmt) else None
    if names and numbered.name not in names:
        return Place.ROWS, 0
    at = names.index(numbered.name) if names else numbered.position - 1
    is_default = all(len(row) > at and row[at].WhichOneof("node") == "set_to_default" for row in rows)
    return (Place.DEFAULT, at) if is_default else None


def _rows(select: Tree) -> list[Sequence[Tree]] | None:
    """The rows of a plain VALUES."""
    return [each.list.items for each in select.values_lists] if _has_only(select, _VALUES) else None


def _orders(select: Tree) -> bool:
    """Whether a query reads one VALUES and nothing else, so that its rows always come in the same order."""
    if not _has_only(select, _ALONE | {"from_clause", "sort_clause"}) or len(select.from_clause) != 1:
        return False
    source = select.from_clause[0]
    if source.WhichOneof("node") != "range_subselect" or source.range_subselect.lateral:
        return False
    return _rows(source.range_subselect.subquery.select_stmt) is not None


def _has_only(select: Tree, fields: frozenset[str]) -> bool:
    """Whether no other fields of a SELECT are set."""
    return choice(select, "op") == "SETOP_NONE" and {field.name for field, _ in select.ListFields()} <= fields


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
