"""Reads what plans depend on in one database: functions, operators, and relations that are more than a table.

Over a connection of its own that is closed afterwards. Called by `catalogs`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from helios.planner.catalog import Catalog, Function, Numbered, Operator, Relation, Table
from helios.planner.scan import VECTOR_TYPES
from helios.topology.connection import FAILURES, Connection, cause, connect
from helios.topology.credentials import Login

__all__ = ["CatalogFailure", "read_catalog", "settled"]

_APPLICATION_NAME = "helios catalog"

_SEARCH_PATH = "pg_catalog, pg_temp"
"""So that no name below means an object of somebody else's, and that PostgreSQL writes those in bodies qualified."""

# PostgreSQL's own functions are built into the planner; what it keeps in information_schema is SQL like any other.
_CHOSEN = """
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog' OR p.oid >= 16384
"""

_RELATIONS = """
WITH RECURSIVE members (root, member) AS (
    SELECT inhparent, inhrelid FROM pg_inherits
    UNION SELECT m.root, i.inhrelid FROM members m JOIN pg_inherits i ON i.inhparent = m.member
), relations AS (
    SELECT c.oid, c.xmin, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity,
           (SELECT max(r.xmin::text) FROM pg_rewrite r WHERE r.ev_class = c.oid) AS rule,
           CASE WHEN c.relkind = 'f' THEN 'is a foreign table'
                WHEN c.relpersistence = 'u' THEN 'is unlogged, so that a standby does not have it'
                WHEN EXISTS (SELECT FROM members m JOIN pg_class p ON p.oid = m.member
                             WHERE m.root = c.oid AND (p.relkind = 'f' OR p.relpersistence = 'u'))
                THEN 'has a part that is a foreign table or unlogged' END AS obstacle
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), chosen_relations AS (
    SELECT * FROM relations WHERE relkind = 'v' OR relrowsecurity OR obstacle IS NOT NULL
)
"""

# Every change of a function, an operator, a view or a policy makes a new version of its row, whose xmin no earlier
# version had. That of a table's own row tells of much else.
_VERSION = f"""
{_RELATIONS}, marks (mark) AS (
    SELECT concat_ws(' ', p.oid, p.xmin, n.nspname) {_CHOSEN}
    UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', oid, nspname, relname, relrowsecurity, rule, obstacle) FROM chosen_relations
    UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_policy
)
SELECT count(*) || ':' || coalesce(sum(hashtextextended(mark, 0)), 0) FROM marks
"""  # noqa: S608 - made of constants

_READ_OPERATORS = """
SELECT o.oprname AS name, n.nspname AS schema, p.proname AS function
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE o.oid >= 16384
"""

_READ_RELATIONS = f"""
{_RELATIONS}
SELECT c.nspname AS schema, c.relname AS name, coalesce(c.obstacle, '') AS obstacle,
       CASE WHEN c.relkind = 'v' THEN ARRAY[pg_get_viewdef(c.oid)] ELSE '{{}}' END
       || ARRAY(SELECT 'SELECT ' || pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p
                WHERE p.polrelid = c.oid AND c.relrowsecurity AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL)
       AS queries
FROM chosen_relations c
"""  # noqa: S608 - made of constants

_NOTABLE_ROWS = 1_000
"""Smaller tables are told apart from nothing; `routing.workload.large_table_rows` is no less."""

_READ_TABLES = f"""
{_RELATIONS}, sizes AS (
    SELECT r.oid, r.nspname, r.relname,
           CASE WHEN r.relkind = 'p' THEN 0 ELSE greatest(c.reltuples, 0) END
           + coalesce((SELECT sum(greatest(p.reltuples, 0)) FROM members m JOIN pg_class p ON p.oid = m.member
                       WHERE m.root = r.oid AND p.relkind <> 'p'), 0) AS rows,
           ARRAY(SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                 WHERE a.attrelid = r.oid AND a.attnum > 0 AND t.typname = ANY ($1::text[]) ORDER BY 1) AS vectors
    FROM relations r JOIN pg_class c ON c.oid = r.oid WHERE r.relkind IN ('r', 'm', 'p')
)
SELECT nspname AS schema, relname AS name, rows::float8 AS rows, vectors,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_index i
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = sizes.oid AND i.indisvalid AND i.indpred IS NULL) AS leading
FROM sizes WHERE rows >= {_NOTABLE_ROWS} OR vectors <> '{{}}' ORDER BY oid
"""  # noqa: S608 - made of constants

_READ_NUMBERED = """
WITH filled (relation, place, sequence) AS (
    SELECT p.refobjid, p.refobjsubid, p.objid
    FROM pg_depend p JOIN pg_attribute a ON a.attrelid = p.refobjid AND a.attnum = p.refobjsubid AND a.attidentity <> ''
    WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.deptype = 'i'
    UNION SELECT d.adrelid, d.adnum, p.refobjid
    FROM pg_attrdef d JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
    WHERE p.refclassid = 'pg_class'::regclass AND p.deptype = 'n'
      AND pg_get_expr(d.adbin, d.adrelid) ~ '^nextval[(]''.*''::regclass[)]$'
)
SELECT n.nspname AS schema, c.relname AS table, a.attname AS name, format('%I.%I', sn.nspname, s.relname) AS sequence,
       (SELECT count(*) FROM pg_attribute b
        WHERE b.attrelid = c.oid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped) AS position,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
               AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum AND i.indpred IS NULL) AS is_unique
FROM filled f
JOIN pg_class c ON c.oid = f.relation AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = f.relation AND a.attnum = f.place
                       AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
JOIN pg_class s ON s.oid = f.sequence AND s.relkind = 'S'
JOIN pg_namespace sn ON sn.oid = s.relnamespace
ORDER BY c.oid, a.attnum
"""

_READ = """
WITH chosen AS (SELECT p.*, n.nspname {chosen})
SELECT p.nspname AS schema, p.proname AS name, l.lanname AS language,
       CASE WHEN octet_length(p.prosrc) > {longest} THEN NULL
            WHEN l.lanname = 'plpgsql' THEN pg_get_functiondef(p.oid)
            WHEN l.lanname = 'sql' THEN p.prosrc END AS source,
       {body} AS body,
       pg_get_expr(p.proargdefaults, 0) AS defaults,
       e.extname AS extension,
       ARRAY(SELECT ARRAY[sn.nspname, s.proname]::text[]
             FROM pg_proc s JOIN pg_namespace sn ON sn.oid = s.pronamespace
             WHERE s.oid = ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                                      a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[])) AS support,
       p.proargtypes::oid[] && ARRAY['regproc', 'regprocedure']::regtype[]::oid[]
       OR 'text'::regtype = ANY (p.proargtypes::oid[])
          AND EXISTS (SELECT FROM unnest(p.proargnames, p.proargmodes) AS argument (name, mode)
                      WHERE coalesce(mode, 'i') IN ('i', 'b', 'v') AND name ~* '(sql|query|command|statement)$')
       AS takes_code, p.provolatile = 'v' AS is_volatile
FROM chosen p JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                         AND d.refclassid = 'pg_extension'::regclass
LEFT JOIN pg_extension e ON e.oid = d.refobjid
"""

_LONGEST = 256 * 1024
"""Bytes of the longest body that is read; the planner takes no longer text."""

_BODIES_SINCE = 14
"""The release that brought bodies in standard SQL."""


class CatalogFailure(Exception):
    """The catalog could not be read; the message is the cause, fit for a person."""


async def read_catalog(
    host: str,
    port: int,
    addresses: Sequence[str],
    login: Login,
    timeout_seconds: float,
    known: Catalog | None,
    with_tables: bool = False,
    with_numbered: bool = False,
) -> Catalog:
    """The catalog of the database of `login`; `known` itself if it still has their version. `with_tables` also reads
    what kinds of work are told apart by, `with_numbered` which columns sequences fill.

    Raises:
        CatalogFailure: the server cannot be asked, does not let this login in or does not answer in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await connect(
                host,
                port,
                addresses,
                login,
                timeout_seconds,
                application_name=_APPLICATION_NAME,
                search_path=_SEARCH_PATH,
            )
            try:
                return await _read(connection, known, with_tables, with_numbered)
            finally:
                # Without a word: a server that does not listen must not hold this up.
                connection.terminate()
    except TimeoutError as error:
        raise CatalogFailure(f"no answer within {timeout_seconds:.0f} s") from error
    except FAILURES as error:
        raise CatalogFailure(cause(error, login)) from error


async def _read(connection: Connection, known: Catalog | None, with_tables: bool, with_numbered: bool) -> Catalog:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        tables: tuple[Table, ...] = ()
        if with_tables:
            rows = await connection.fetch(_READ_TABLES, list(VECTOR_TYPES))
            tables = settled(tuple(map(_table, rows)), known.tables if known is not None else ())
        numbered: tuple[Numbered, ...] = ()
        if with_numbered:
            numbered = tuple(Numbered(**row) for row in await connection.fetch(_READ_NUMBERED))
        version = f"{await connection.fetchval(_VERSION)}:{_mark(tables)}:{_digest(numbered)}"
        if known is not None and known.version == version:
            return known
        has_bodies = connection.get_server_version().major >= _BODIES_SINCE
        body = "CASE WHEN l.lanname = 'sql' THEN pg_get_function_sqlbody(p.oid) END" if has_bodies else "NULL"
        functions = await connection.fetch(_READ.format(chosen=_CHOSEN, longest=_LONGEST, body=body))
        operators = await connection.fetch(_READ_OPERATORS)
        relations = await connection.fetch(_READ_RELATIONS)
    return Catalog(
        version,
        tuple(map(_function, functions)),
        tuple(map(_operator, operators)),
        tuple(map(_relation, relations)),
        tables,
        numbered,
    )


def settled(tables: tuple[Table, ...], known: tuple[Table, ...]) -> tuple[Table, ...]:
    """`tables` with the rows that are known, unless they have halved or doubled since: plans depend on this, and must
    not be made anew each time that a table grows."""
    before = {(table.schema, table.name): table.rows for table in known}

    def rows(table: Table) -> int:
        old = before.get((table.schema, table.name), table.rows)
        return old if old <= 2 * table.rows and table.rows <= 2 * old else table.rows

    return tuple(replace(table, rows=rows(table)) for table in tables)


def _mark(tables: tuple[Table, ...]) -> str:
    """The same for the same tables."""
    told = [(each.schema, each.name, each.rows, sorted(each.leading), sorted(each.vectors)) for each in tables]
    return _digest(told)


def _digest(told: Sequence[object]) -> str:
    """The same for equal ones; empty for none."""
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16] if told else ""


def _table(row: asyncpg.Record) -> Table:
    return Table(row["schema"], row["name"], int(row["rows"]), frozenset(row["leading"]), frozenset(row["vectors"]))


def _function(row: asyncpg.Record) -> Function:
    return Function(
        schema=row["schema"],
        name=row["name"],
        language=row["language"],
        source=row["source"],
        body=row["body"],
        defaults=row["defaults"],
        extension=row["extension"],
        support=tuple((schema, name) for schema, name in row["support"]),
        takes_code=row["takes_code"],
        is_volatile=row["is_volatile"],
    )


def _operator(row: asyncpg.Record) -> Operator:
    return Operator(row["name"], (row["schema"], row["function"]))


def _relation(row: asyncpg.Record) -> Relation:
    return Relation(row["schema"], row["name"], row["obstacle"], tuple(row["queries"]))
