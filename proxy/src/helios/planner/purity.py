"""What calls of functions leave in the session, by the functions' own code. Called by `decide`; pure.

A function is looked into where its code is text that the parsers understand: SQL and PL/pgSQL. It does what its
statements do and what the functions do that they call; a statement that it makes at run time may do anything. What it
sets by a SET clause of its own is taken back by PostgreSQL at its end. Which overload a call means is not worked out:
every one of the name counts.

C code that belongs to an extension counts as leaving nothing. It cannot be looked into, and may keep a state of its
own in the process (an open connection, a cache, hypothetical indexes); but no RESET and no DISCARD takes such a state
back, so that to reset the server after each call would cost much and help nobody. What can be taken back is what C
code does through PostgreSQL: it runs a statement or a function that it is given, or it sets a setting. Those are the
exceptions below, and every function that takes a statement or a function by the type or name of a parameter. C code
outside of extensions is nobody's known code, and may do anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from helios.errors import PlanError
from helios.planner.block import function_statements
from helios.planner.catalog import Catalog, Function
from helios.planner.context import Context
from helios.planner.effects import Findings, Name, examine, note_call
from helios.planner.kinds import kind_of
from helios.planner.parser import Tree, parse_sql_body, parse_statements
from helios.planner.plan import Effect, Kind

__all__ = ["RUN_CODE", "SET_SETTINGS", "add_calls", "findings_of", "written"]

RUN_CODE = frozenset(
    {
        *("dblink", "tablefunc", "xml2"),  # of PostgreSQL itself: take queries as texts without a name
        *("pgrouting", "address_standardizer"),  # read from a query or table given
        *("pg_background", "pg_cron", "pg_task", "pg_tle", "pg_ivm", "pgtap", "pg_partman", "pg_squeeze"),
        *("timescaledb", "citus", "citus_columnar", "pglogical", "spock", "pg_graphql", "age", "anon", "vectorize"),
        *("orafce", "pg_variables", "set_user", "pg_session_jwt", "login_hook"),  # the session is their subject
        *("plv8", "plpython3u", "plperl", "plperlu", "pltcl", "pltclu", "pllua", "plr", "pljava", "plrust"),
    }
)
"""Extensions whose C functions run what they are given, or change the session."""

SET_SETTINGS: dict[tuple[str, str], str] = {
    ("pg_trgm", "set_limit"): "pg_trgm.similarity_threshold",
    ("isn", "isn_weak"): "isn.weak",
}
"""C functions that set a setting: extension and name → the setting."""

_EXAMINED = 4096
"""Functions whose findings are kept."""


def add_calls(findings: Findings, context: Context) -> None:
    """Add to `findings` what its calls do."""
    catalog = context.catalog
    for call in findings.calls:
        if catalog is None:
            findings.add(Effect.UNKNOWN, f"{written(call)} is not built in and may do anything")
        else:
            _add_call(call, catalog, findings, context)


def _add_call(call: Name, catalog: Catalog, findings: Findings, context: Context) -> None:
    """Add what a call does, with all that is called by it, each once."""
    for name, overloads in _reached(call, catalog):
        if not overloads:
            context.lacks = True
            findings.add(Effect.UNKNOWN, f"{written(name)} is not in the catalog and may do anything")
        for function in overloads:
            found = findings_of(function)
            for effect, reason in found.reasons.items():
                findings.add(effect, f"{written(name)} {reason}" if name == call else _through(call, name, reason))
            findings.settings |= found.settings
            findings.defines |= found.defines
            findings.mutable |= found.mutable


def _reached(call: Name, catalog: Catalog) -> Iterator[tuple[Name, tuple[Function, ...]]]:
    """The name that is called and every one that is called from there, each once, with its overloads."""
    seen, waiting = {call}, [call]
    while waiting:
        name = waiting.pop()
        overloads = catalog.overloads(name)
        yield name, overloads
        for function in overloads:
            further = findings_of(function).calls.keys() - seen
            seen |= further
            waiting.extend(sorted(further))


@lru_cache(_EXAMINED)
def findings_of(function: Function) -> Findings:
    """What one function does by itself, and which ones it calls. Its reasons continue a sentence that names it."""
    found = Findings()
    try:
        _look_into(function, found)
        if function.defaults is not None:
            _examine_all(parse_statements(f"SELECT {function.defaults}"), found)
    except PlanError:
        found.add(Effect.UNKNOWN, "has a body that cannot be parsed")
    return found


def _look_into(function: Function, found: Findings) -> None:
    if function.support:
        for support in function.support:
            note_call(support, found)
    elif function.body is not None:
        _examine_all([parse_sql_body(function.body)], found)
    elif function.language == "sql" and function.source is not None:
        _examine_all(parse_statements(function.source), found)
    elif function.language == "plpgsql" and function.source is not None:
        statements = function_statements(function.source)
        if statements is None:
            found.add(Effect.UNKNOWN, "runs a statement made at run time")
        _examine_all(statements or [], found)
    elif function.language in ("c", "internal"):
        _judge(function, found)
    else:
        found.add(Effect.UNKNOWN, f"is written in {function.language} and not looked into")


def _judge(function: Function, found: Findings) -> None:
    """What a function in C does, by whose it is."""
    found.mutable |= function.is_volatile
    if function.extension is None:
        found.add(Effect.UNKNOWN, "is written in C, belongs to no extension and may do anything")
    elif function.extension in RUN_CODE or function.takes_code:
        found.add(Effect.UNKNOWN, f"of extension {function.extension} may run what it is given")
    elif setting := SET_SETTINGS.get((function.extension, function.name)):
        found.add(Effect.SETTINGS, f"sets {setting} beyond the transaction")
        found.settings.add(setting)


def _examine_all(statements: list[Tree], found: Findings) -> None:
    """Note what statements do. The reasons of `examine` are sentences, which go on here."""
    own = Findings()
    for statement in statements:
        kind = kind_of(statement, examine(statement, own))
        if kind is not Kind.READ:
            own.stay(f"a statement of kind {kind}")
    if own.primary:
        found.stay(f"contains: {own.primary}")
    for effect, reason in own.reasons.items():
        found.add(effect, f"contains: {reason}")
    found.settings |= own.settings
    found.calls |= own.calls
    found.relations |= own.relations
    found.own |= own.own
    found.operators |= own.operators
    found.defines |= own.defines
    found.mutable |= own.mutable


def written(name: Name) -> str:
    """A call as reasons name it."""
    return f"{'.'.join(name)}()"


def _through(call: Name, name: Name, reason: str) -> str:
    return f"{written(call)} calls {written(name)}, which {reason}"
