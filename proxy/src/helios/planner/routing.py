"""Where a statement may run: on the primary, or on any node that is fresh enough. Called by `decide`; pure.

A read is what only reads by its form and in everything that it calls: functions, operators, views, row policies. What
claims to be STABLE or IMMUTABLE is believed unless its code shows otherwise, since PostgreSQL believes it as well; what
is VOLATILE must have code that can be read and only reads. A claim that is wrong costs an error 25006 of the standby.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from helios.errors import PlanError
from helios.planner.catalog import Catalog, Function, Relation
from helios.planner.context import Context
from helios.planner.effects import Findings, Name, examine
from helios.planner.kinds import kind_of
from helios.planner.node_bound import is_own_relation
from helios.planner.parser import Tree, parse_statements
from helios.planner.plan import Kind, Origin, Route, Routing, Workload
from helios.planner.purity import findings_of, written
from helios.planner.wish import Wish, wish_of
from helios.planner.workload import Judgement, Workloads, workload_of

__all__ = ["decide_routing", "tables_of"]

_UNSPLIT = "reads are not told from writes here"
"""Of a plan for a context in which nobody asks."""

_READS = "it only reads"

_READING = (Kind.READ, Kind.COPY)
"""Kinds whose statements may only read; `effects` says of COPY what it does."""

_EXAMINED = 4096
"""Relations whose findings are kept."""


def decide_routing(
    statements: list[Tree], kind: Kind, effects: tuple[str, ...], findings: Findings, context: Context
) -> Routing:
    """Where a text runs, in its context. `effects` are the reasons of what it may leave in its session."""
    wish = wish_of(context.policy.hints, context.policy.rules)
    base = Routing(
        Route.PRIMARY,
        _UNSPLIT,
        timeout_ms=wish.timeout_ms,
        notices=wish.notices,
        has_token=wish.has_token,
        write_mode=wish.write_mode,
    )
    if wish.route is Route.PRIMARY:
        return replace(base, reason=wish.said, origin=wish.origin)
    workloads = context.policy.workloads
    if wish.workload is not None and (workloads is None or wish.workload not in workloads.targets):
        if wish.origin is Origin.HINT:
            base = replace(base, notices=(*base.notices, f"{wish.said} has no effect: no node is meant for that"))
        wish = replace(wish, workload=None)
    if wish.route is None and not context.policy.is_split and workloads is None:
        return base
    if why := _own_reason(kind, effects, findings) or _reason_beyond(findings, context):
        # A name that is wrong is worth an error here as well.
        node = wish.node if wish.origin is Origin.HINT else None
        return replace(base, reason=why, node=node, notices=_told(wish, why))
    read = replace(base, node=wish.node, consistency=wish.consistency, max_lag_ms=wish.max_lag_ms)
    if wish.route is not None:
        return replace(read, route=wish.route, reason=f"{_READS}, and {wish.said}", origin=wish.origin)
    if wish.workload is not None:
        reason = f"{_READS}, and {wish.said}"
        return replace(read, route=Route.ANY, reason=reason, origin=wish.origin, workload=wish.workload)
    return _by_workload(read, statements, findings, context)


def _by_workload(read: Routing, statements: list[Tree], findings: Findings, context: Context) -> Routing:
    """A read of which nobody says where it goes: by its kind, where nodes of their own answer that."""
    workloads = context.policy.workloads
    if workloads is not None and workloads.targets:
        judged = _judged(workloads, statements, findings, context)
        if judged.workload in workloads.targets:
            reason = f"{_READS}, and {judged.reason}"
            return replace(read, route=Route.ANY, reason=reason, origin=Origin.WORKLOAD, workload=judged.workload)
    if not context.policy.is_split:
        return replace(read, route=Route.PRIMARY, reason=_UNSPLIT)
    return replace(read, route=Route.ANY, reason=_READS)


def tables_of(findings: Findings, context: Context) -> tuple[str, ...]:
    """The relations that a text uses, where it is counted how often they are."""
    workloads = context.policy.workloads
    if workloads is None or Workload.COLD not in workloads.targets:
        return ()
    names = {name[1:] if name[0] == "public" else name for name in _named(findings, context)}
    return tuple(sorted(map(_dotted, names)))


def _named(findings: Findings, context: Context) -> tuple[Name, ...]:
    """Every relation that a text names, or what it brings along; none of PostgreSQL's, none that it defines itself."""
    if all(is_own_relation(name) for name in findings.relations):
        return ()
    catalog = context.catalog
    reached = () if catalog is None else (found for _, found in _reached(findings, catalog))
    named = dict.fromkeys(
        name
        for found in (findings, *reached)
        for name in found.relations
        if not is_own_relation(name) and (len(name) > 1 or name[0] not in found.own)
    )
    return tuple(named)


def _judged(workloads: Workloads, statements: list[Tree], findings: Findings, context: Context) -> Judgement:
    named = _named(findings, context)
    catalog = context.catalog if named else None
    if catalog is None:
        return workload_of(workloads, statements, (), named, None)
    views = [query for name in named for each in catalog.relations_of(name) for query in each.queries]
    return workload_of(workloads, statements, views, named, catalog)


def _told(wish: Wish, why: str) -> tuple[str, ...]:
    """The notices of a statement that stays on the primary though a hint asks for another node."""
    if wish.origin is not Origin.HINT or wish.route is None:
        return wish.notices
    return (*wish.notices, f"{wish.said} has no effect, this statement goes to the primary: {why}")


def _own_reason(kind: Kind, effects: tuple[str, ...], findings: Findings) -> str:
    """Why the text itself keeps the statement on the primary; empty for no reason."""
    if findings.primary:
        return findings.primary
    return "".join(effects[:1]) if kind in _READING else f"a statement of kind {kind} may write"


def _reason_beyond(findings: Findings, context: Context) -> str:
    """The same of what the text calls and reads."""
    names = [name for name in findings.relations if not is_own_relation(name)]
    if not names and not findings.calls and not findings.operators:
        return ""
    catalog = context.catalog
    if catalog is None:
        return "the definitions of this database are not known yet" if names or findings.calls else ""
    for what, further in _reached(findings, catalog):
        if further.primary:
            return f"{what} {further.primary}"
        for reason in further.reasons.values():
            return f"{what} {reason}"
    return ""


def _reached(findings: Findings, catalog: Catalog) -> Iterator[tuple[str, Findings]]:
    """Everything that a text brings along, each once: what it is called, and what is found in it."""
    seen: set[Function | Relation] = set()
    waiting = [findings]
    while waiting:
        each = waiting.pop()
        calls = [*each.calls, *(name for operator in each.operators for name in catalog.functions_behind(operator))]
        for function in (function for call in calls for function in catalog.overloads(call)):
            if function not in seen:
                seen.add(function)
                waiting.append(_of_function(function))
                yield written((function.schema, function.name)), waiting[-1]
        for relation in (relation for name in each.relations for relation in catalog.relations_of(name)):
            if relation not in seen:
                seen.add(relation)
                waiting.append(_of_relation(relation))
                yield _dotted((relation.schema, relation.name)), waiting[-1]


@lru_cache(_EXAMINED)
def _of_function(function: Function) -> Findings:
    """What is found in a function, with its claim: code that cannot be read is as volatile as it says."""
    found = findings_of(function)
    has_code = function.body is not None or function.source is not None or bool(function.support)
    if has_code or not function.is_volatile or found.primary:
        return found
    return Findings(primary="is VOLATILE, and its code cannot be read")


@lru_cache(_EXAMINED)
def _of_relation(relation: Relation) -> Findings:
    """What is found in a view's query and in row policies. Its reasons continue a sentence that names the relation."""
    found = Findings(primary=relation.obstacle)
    inside = Findings()
    try:
        for statement in (statement for query in relation.queries for statement in parse_statements(query)):
            if kind_of(statement, examine(statement, inside)) is not Kind.READ:
                inside.stay("a statement that does not only read")
    except PlanError:
        found.stay("has a definition that cannot be parsed")
    if inside.primary:
        found.stay(f"contains: {inside.primary}")
    found.reasons.update({effect: f"contains: {reason}" for effect, reason in inside.reasons.items()})
    found.calls, found.relations, found.operators = inside.calls, inside.relations, inside.operators
    found.own = inside.own
    return found


def _dotted(name: Name) -> str:
    return ".".join(name)
