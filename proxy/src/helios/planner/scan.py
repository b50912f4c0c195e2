"""What each SELECT of a text reads and computes, as far as it tells kinds of work apart. Called by `workload`; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from helios.planner.parser import Tree, children, choice, name_of

__all__ = ["AGGREGATES", "EXTREMES", "VECTOR_TYPES", "Distance", "Scan", "Source", "scans_of"]

VECTOR_TYPES: Final = frozenset({"vector", "halfvec", "sparsevec"})
"""Types of pgvector that hold vectors."""

DISTANCES: Final = frozenset({"<->", "<#>", "<=>", "<+>", "<~>", "<%>"})
"""Its distances: Euclidean, inner product, cosine, taxicab, Hamming, Jaccard."""

EXTREMES: Final = frozenset({"min", "max"})

AGGREGATES: Final = frozenset(
    {
        *("any_value", "array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "every"),
        *("json_agg", "json_agg_strict", "json_object_agg", "json_object_agg_strict", "json_object_agg_unique"),
        *("json_object_agg_unique_strict", "jsonb_agg", "jsonb_agg_strict", "jsonb_object_agg"),
        *("jsonb_object_agg_strict", "jsonb_object_agg_unique", "jsonb_object_agg_unique_strict", "range_agg"),
        *("range_intersect_agg", "string_agg", "sum", "xmlagg", "corr", "covar_pop", "covar_samp", "regr_avgx"),
        *("regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy"),
        *("stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp", "mode", "percentile_cont"),
        *("percentile_disc",),
    }
)
"""PostgreSQL's own aggregates, but for `min` and `max`, which an index may answer."""

Column: TypeAlias = tuple[str, str]
"""The alias that it is written with, empty for none, and its name."""


@dataclass(frozen=True, slots=True)
class Source:
    """A relation that a SELECT reads."""

    alias: str
    name: tuple[str, ...]
    """Its schema first, if there is one."""


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance that is computed."""

    operator: str
    columns: frozenset[str]
    """Columns beside the operator."""
    has_vector: bool
    """What is beside it says by a cast that it is a vector."""
    orders: bool
    """The nearest are taken: it is in ORDER BY, and there is a LIMIT."""


@dataclass(slots=True)
class Scan:
    """One SELECT, without those inside it."""

    sources: list[Source] = field(default_factory=list)
    is_analytic: bool = False
    """It groups, has a window, or calls an aggregate of PostgreSQL's own."""
    calls: set[str] = field(default_factory=set)
    """Names of functions that are not such aggregates."""
    extremes: set[str] = field(default_factory=set)
    """Columns of which it asks the least or greatest; empty text for an expression."""
    equalities: list[tuple[Column, Column | None]] = field(default_factory=list)
    """Conditions that all rows meet: a column equals another, or a value (None)."""
    distances: list[Distance] = field(default_factory=list)


def scans_of(statements: Iterable[Tree]) -> Iterator[Scan]:
    """Every SELECT of some statements that reads or computes anything, without the names that they give themselves."""
    waiting = list(statements)
    found: list[Scan] = []
    own: set[str] = set()
    while waiting:
        tree = waiting.pop()
        if name_of(tree) == "SelectStmt":
            found.append(_scan(tree, waiting))
            continue
        if name_of(tree) == "CommonTableExpr":
            own.add(tree.ctename)
        waiting.extend(children(tree))
    for scan in found:
        scan.sources = [source for source in scan.sources if source.name[:-1] or source.name[0] not in own]
        yield scan


def _scan(select: Tree, inner: list[Tree]) -> Scan:
    """One SELECT; what it has inside is added to `inner`."""
    scan = Scan(is_analytic=bool(select.group_clause or select.window_clause))
    _conditions(select.where_clause, scan)
    has_limit = select.HasField("limit_count")
    waiting = [(child, has_limit and name_of(child) == "SortBy") for child in children(select)]
    while waiting:
        tree, is_order = waiting.pop()
        name = name_of(tree)
        if name in ("SelectStmt", "CommonTableExpr"):
            inner.append(tree)
            continue
        if name == "RangeVar":
            _source(tree, scan)
        elif name == "JoinExpr":
            _conditions(tree.quals, scan)
        elif name == "FuncCall":
            _call(tree, scan)
        elif name == "A_Expr":
            _operator(tree, is_order, scan)
        waiting.extend((child, is_order) for child in children(tree))
    return scan


def _source(relation: Tree, scan: Scan) -> None:
    name, schema = relation.relname, relation.schemaname
    alias = relation.alias.aliasname or name
    scan.sources.append(Source(alias, (schema, name) if schema else (name,)))


def _call(call: Tree, scan: Scan) -> None:
    name = call.funcname[-1].string.sval if call.funcname else ""
    if call.HasField("over") or name in AGGREGATES:
        scan.is_analytic = True
    elif name in EXTREMES:
        column = _column(call.args[0]) if len(call.args) == 1 else None
        scan.extremes.add("" if column is None else column[1])
    else:
        scan.calls.add(name)


def _operator(expression: Tree, is_order: bool, scan: Scan) -> None:
    operator = expression.name[-1].string.sval if expression.name else ""
    if operator not in DISTANCES:
        return
    sides = (expression.lexpr, expression.rexpr)
    columns = frozenset(column[1] for column in map(_column, sides) if column is not None)
    scan.distances.append(Distance(operator, columns, any(map(_is_vector, sides)), is_order))


def _is_vector(node: Tree) -> bool:
    """Whether an operand is cast to a vector."""
    if node.WhichOneof("node") != "type_cast":
        return False
    names = node.type_cast.type_name.names
    return bool(names) and names[-1].string.sval in VECTOR_TYPES


def _conditions(node: Tree, scan: Scan) -> None:
    """Add the equalities among conditions that are joined by AND."""
    kind = node.WhichOneof("node")
    if kind == "bool_expr" and choice(node.bool_expr, "boolop") == "AND_EXPR":
        for each in node.bool_expr.args:
            _conditions(each, scan)
    elif kind == "a_expr" and _compares(node.a_expr):
        _equality(node.a_expr, scan)


def _compares(expression: Tree) -> bool:
    """Whether it is true of equal sides, or where one side is among the other."""
    is_equality = [part.string.sval for part in expression.name] == ["="]
    return is_equality and choice(expression, "kind") in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY")


def _equality(expression: Tree, scan: Scan) -> None:
    """A column of this SELECT and what it equals: another column, or something without one."""
    left, right = _column(expression.lexpr), _column(expression.rexpr)
    if left is not None and right is not None:
        scan.equalities += [(left, right), (right, left)]
    elif left is not None and _is_value(expression.rexpr):
        scan.equalities.append((left, None))
    elif right is not None and _is_value(expression.lexpr):
        scan.equalities.append((right, None))


def _column(node: Tree) -> Column | None:
    if node.WhichOneof("node") != "column_ref":
        return None
    parts = [field.string.sval for field in node.column_ref.fields]
    return (parts[-2] if len(parts) > 1 else "", parts[-1])


def _is_value(node: Tree) -> bool:
    """Whether no column and no query is in it."""
    waiting = list(children(node)) if node.WhichOneof("node") else []
    while waiting:
        tree = waiting.pop()
        if name_of(tree) in ("ColumnRef", "SubLink", "SelectStmt"):
            return False
        waiting.extend(children(tree))
    return True
