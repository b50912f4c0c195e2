"""PostgreSQL proves the effects: whatever a statement leaves in a session, the planner had said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from planner_corpus import CORPUS, PREPARED_OBJECTS, Row
from write_builtin_functions import QUERY

from harness.client import Client, rows
from harness.postgres import PostgresCluster, start_cluster
from helios.planner.builtin import SESSION_FUNCTIONS, builtin_names
from helios.planner.context import Context
from helios.planner.decide import plan

LEFT = """
select 'settings', name || '=' || setting from pg_settings where source = 'session'
  and name not like 'transaction\\_%'
union all select 'settings', name || '=' || current_setting(name, true)
  from unnest(array['helios.a', 'helios.b', 'helios.hidden', 'helios.c']) name where current_setting(name, true) <> ''
union all select 'settings', session_user || '/' || current_user
union all select 'advisory', concat_ws('/', classid, objid, objsubid, mode) from pg_locks
  where locktype = 'advisory' and pid = pg_backend_pid()
union all select 'cursor', name from pg_cursors where is_holdable
union all select 'listen', channel from pg_listening_channels() channel
union all select 'prepare', name from pg_prepared_statements
union all select 'temp', oid::regclass::text from pg_class where relnamespace = pg_my_temp_schema()
union all select 'temp', oid::regtype::text from pg_type where typnamespace = pg_my_temp_schema()
union all select 'temp', oid::regprocedure::text from pg_proc where pronamespace = pg_my_temp_schema()
union all select 'temp', oid::regoperator::text from pg_operator where oprnamespace = pg_my_temp_schema()
union all select 'temp', collname from pg_collation where collnamespace = pg_my_temp_schema()
union all select 'temp', dictname from pg_ts_dict where dictnamespace = pg_my_temp_schema()
union all select 'temp', stxname from pg_statistic_ext where stxnamespace = pg_my_temp_schema()
union all select 'temp', opfname from pg_opfamily where opfnamespace = pg_my_temp_schema()
union all select 'unknown', slot_name from pg_replication_slots where temporary and active_pid = pg_backend_pid()
union all select 'load', file_name from pg_get_loaded_modules() where file_name like 'pgoutput%'
"""
"""What the session holds: effect, item. Two things count as nothing: a placeholder that SET LOCAL left
empty, and the characteristics of a transaction, which PostgreSQL sets back and still calls the session's."""

CHANGERS = {"settings": {"reset"}}
"""Effects that explain a change of any kind, beside its own."""
REMOVERS = {"prepare": {"deallocate"}, "advisory": {"release"}, "listen": {"release"}}
"""Effects that explain why something is gone, beside its own and `discard`."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCluster]:
    """A server of this file's own, because the corpus changes settings of roles and databases."""
    cluster = start_cluster(with_standby=False)
    yield cluster
    cluster.stop()


def left(client: Client) -> set[tuple[str, str]]:
    """What the session holds now."""
    return {(str(effect), str(item)) for effect, item in rows(client.query(LEFT))}


def run(client: Client, sql: str) -> list[str]:
    """Run a text and end its transaction; the errors."""
    return [event.text for event in client.query(sql) if event.kind == "ErrorResponse"]


MAY_FAIL = {
    "select dblink('x', 'y')",  # the extension is not installed
    "create extension vector",  # it may be missing
    "do language plpython3u 'pass'",  # so is this language
    "do $$ begin this is no statement end $$",
    *(row.sql for row in CORPUS if "xml" in row.sql),  # a server may be built without XML
}
"""Statements of the corpus that this server refuses."""


def test_nothing_is_left_that_the_planner_did_not_say(server: PostgresCluster) -> None:
    wrong: dict[str, object] = {}
    failed: dict[str, list[str]] = {}
    shown: set[str] = set()
    for row in CORPUS:
        errors, changed = change(server, row)
        effects = {str(effect) for effect in plan(row.sql, Context()).effects}
        if errors:
            failed[row.sql] = errors
        shown |= {effect for effect, _, _ in changed}
        unsaid = [
            (effect, item, when)
            for effect, item, when in changed
            if effects.isdisjoint(
                {effect, "unknown", *CHANGERS.get(effect, ()), *(REMOVERS.get(effect, ()) if when == "gone" else ())}
            )
            and not (when == "gone" and "discard" in effects)
        ]
        if unsaid:
            wrong[row.sql] = unsaid

    assert wrong == {}
    assert shown == {"settings", "advisory", "cursor", "listen", "prepare", "temp", "unknown", "load"}
    assert sorted(failed.keys() - MAY_FAIL) == []


def change(server: PostgresCluster, row: Row) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Run one statement in a session of its own, on fresh objects; its errors, and what changed in the session."""
    server.execute(PREPARED_OBJECTS)
    with Client(server.superuser(), deadline=30) as client:
        assert run(client, row.before) == [], row
        before = left(client)
        errors = run(client, row.sql)
        run(client, "rollback" if errors else "commit")
        after = left(client)
    gone = [(effect, item, "gone") for effect, item in before - after]
    return errors, gone + [(effect, item, "left") for effect, item in after - before]


def test_list_of_built_in_functions_is_the_server_s(server: PostgresCluster) -> None:
    functions = dict(line.split() for line in (server.value(QUERY, "postgres") or "").split("\n"))

    assert len(functions) > 2000
    assert functions == builtin_names()


def test_functions_that_take_a_query_or_may_be_temporary_are_known(server: PostgresCluster) -> None:
    names = server.value(
        """
        select string_agg(distinct proname, ' ') from pg_proc where pronamespace = 'pg_catalog'::regnamespace
        and exists (select from unnest(proargnames, proargmodes) as argument (name, mode)
                    where coalesce(mode, 'i') = 'i' and name in ('query', 'sql', 'sqlquery', 'temporary'))
        """
    )

    assert names
    assert set(names.split()) - SESSION_FUNCTIONS.keys() == set()
