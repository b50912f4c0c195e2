"""Catalogs of a real server: what is read of functions, when it is read again, and when nothing is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from harness.postgres import DATABASE, MONITOR, PASSWORDS, PostgresCluster, start_cluster
from helios.config import ProxyConfig
from helios.core import NodeView
from helios.planner.catalog import Catalog, Function
from helios.planner.context import Context
from helios.planner.decide import plan
from helios.topology import catalogs as module
from helios.topology.catalog_reader import CatalogFailure, read_catalog
from helios.topology.catalogs import Catalogs
from helios.topology.credentials import Login

LOGIN = Login(MONITOR, DATABASE, "test", PASSWORDS[MONITOR])
SECONDS = 10.0

FUNCTIONS = """
create schema other;
create type pair as (a int, b text);
create table rows (id int, p pair);
create function plain(a int, b text default lower('X')) returns int language plpgsql as $$
  declare r rows; s rows%rowtype; n rows.id%type; begin select * into r from rows; r.id := a; return r.id; end $$;
create function other.many(variadic p text[]) returns setof pair language plpgsql
  security definer set search_path = public set work_mem = '1MB' as $$
  begin return query select (p).* from rows; end $$;
create function tabular(a anyelement, out b anyelement, inout c pair) language plpgsql as $$ begin b := a; end $$;
create procedure proc(inout a int) language plpgsql as $$ begin a := 1; commit; end $$;
create function quoting() returns text language plpgsql as $_$ begin return '$$ $function$'; end $_$;
create function plain_sql() returns int language sql as $$ select plain(1) $$;
create function atomic(a int) returns int begin atomic select other_step(a) from rows; select plain(a, 'b'); end;
create function returned(a int) returns text return set_config('a.b', a::text, true);
create function dirty() returns text return set_config('a.b', 'c', false);
create aggregate total (int) (sfunc = other_step, stype = int, initcond = '0');
create function noticed() returns trigger language plpgsql as $$ begin new.id := 1; return new; end $$;
create function long_body() returns int language sql as $body$ select 1 /* {long} */ $body$;
""".format(long="x" * 300_000)

CLEAN = "plain('1') other.many('a','b') tabular(1,null) proc(1) quoting() plain_sql() atomic(1) returned(1) total(id)"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCluster]:
    """A server of this file's own."""
    cluster = start_cluster(with_standby=False)
    try:
        cluster.execute("create function other_step(a int, b int default 0) returns int language sql as 'select a + b'")
        cluster.execute(FUNCTIONS)
        yield cluster
    finally:
        cluster.stop()


async def read(
    server: PostgresCluster,
    known: Catalog | None = None,
    login: Login = LOGIN,
    with_tables: bool = False,
    with_numbered: bool = False,
) -> Catalog:
    host, port = server.primary.host, server.primary.port
    return await read_catalog(host, port, (), login, SECONDS, known, with_tables, with_numbered)


async def test_definitions_as_the_server_writes_them_are_understood(server: PostgresCluster) -> None:
    catalog = await read(server)
    for call in CLEAN.split():
        text = f"call {call}" if call.startswith("proc") else f"select {call}"
        assert plan(text, Context(lambda: catalog)).reasons == (), call

    def effects(call: str) -> tuple[str, ...]:
        return plan(f"select {call}", Context(lambda: catalog)).effects

    assert effects("dirty()") == ("settings",)
    assert effects("noticed()") == effects("long_body()") == effects("not_there()") == ("unknown",)
    assert effects("information_schema._pg_expandarray(array[1])") == ()


async def test_what_is_read_of_a_function(server: PostgresCluster) -> None:
    catalog = await read(server)

    (many,) = catalog.overloads(("many",))
    assert (many.schema, many.language, many.extension, many.body) == ("other", "plpgsql", None, None)
    assert many.source is not None and "VARIADIC p text[]" in many.source
    (total,) = catalog.overloads(("public", "total"))
    assert total.support == (("public", "other_step"),)
    (plain,) = catalog.overloads(("plain",))
    assert plain.defaults == "lower('X'::text)"
    assert catalog.overloads(("other", "plain")) == ()
    (handler,) = catalog.overloads(("plpgsql_call_handler",)) or (Function("", "", "c", extension="plpgsql"),)
    assert (handler.language, handler.extension) == ("c", "plpgsql")


async def test_an_unchanged_catalog_is_not_read_again(server: PostgresCluster) -> None:
    first = await read(server)
    assert await read(server, first) is first

    server.execute("create or replace function replaced() returns int return 1")
    second = await read(server, first)
    server.execute("create or replace function replaced() returns int return 2")
    third = await read(server, second)

    assert len({first.version, second.version, third.version}) == 3
    assert [each.body for each in third.overloads(("replaced",))] == ["RETURN 2"]


TABLES = """
create extension vector;
create table parts (id int, day date, primary key (id, day)) partition by range (id);
create table parts_1 partition of parts for values from (0) to (3000);
create table parts_2 partition of parts for values from (3000) to (9000);
create index on parts (day);
create index on parts (lower(id::text));
insert into parts select n, current_date from generate_series(1, 5000) n;
create table small (id int primary key);
create table embedded (id int, gone vector(2), near vector(2), half halfvec(2));
alter table embedded drop column gone;
analyze;
"""


async def test_what_is_read_of_tables_where_kinds_of_work_are_told_apart(server: PostgresCluster) -> None:
    server.execute(TABLES)
    without = await read(server)
    catalog = await read(server, without, with_tables=True)

    (parts,) = catalog.tables_of(("public", "parts"))
    assert (parts.rows, parts.leading, parts.vectors) == (5000, frozenset({"id", "day"}), frozenset())
    assert [table.rows for table in catalog.tables_of(("parts_1",))] == [2999]
    (embedded,) = catalog.tables_of(("embedded",))
    assert (embedded.leading, embedded.vectors) == (frozenset(), frozenset({"near", "half"}))
    assert catalog.tables_of(("small",)) == without.tables_of(("parts",)) == ()
    assert await read(server, catalog, with_tables=True) is catalog


async def test_a_table_that_grows_outdates_plans_when_it_has_doubled(server: PostgresCluster) -> None:
    server.execute("create table growing as select n from generate_series(1, 2000) n; analyze growing")
    first = await read(server, with_tables=True)
    server.execute("insert into growing select n from generate_series(1, 1900) n; analyze growing")
    assert await read(server, first, with_tables=True) is first

    server.execute("insert into growing select n from generate_series(1, 200) n; analyze growing")
    second = await read(server, first, with_tables=True)

    assert second.version != first.version
    assert [table.rows for table in second.tables_of(("growing",))] == [4100]


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (replace(LOGIN, password="wrong"), "password of user"),
        (replace(LOGIN, database="nowhere"), 'database "nowhere" does not exist'),
    ],
)
async def test_a_failure_says_why(server: PostgresCluster, login: Login, words: str) -> None:
    with pytest.raises(CatalogFailure, match=words):
        await read(server, login=login)


async def test_columns_that_sequences_fill_are_read_where_they_are_wanted(server: PostgresCluster) -> None:
    server.execute("""
        create sequence other.shared;
        create table "Filled" (gone int, a text, id int generated always as identity, b bigserial unique, "c" smallint
            default nextval('other.shared'), d int default 2 * nextval('other.shared'), e text
            default nextval('other.shared')::text, f int default 7);
        alter table "Filled" drop column gone;
    """)

    catalog = await read(server, with_numbered=True)

    told = [
        (each.name, each.position, each.sequence, each.is_unique) for each in catalog.numbered_of(("public", "Filled"))
    ]
    assert told == [
        ("id", 2, 'public."Filled_id_seq"', False),
        ("b", 3, 'public."Filled_b_seq"', True),
        ("c", 4, "other.shared", False),
    ]
    assert catalog.numbered_of(("Filled",)) == catalog.numbered_of(("public", "Filled"))
    assert catalog.numbered_of(("other", "Filled")) == catalog.numbered_of(("filled",)) == ()
    assert await read(server, catalog, with_numbered=True) is catalog
    assert (await read(server)).numbered == ()
    server.execute('alter table "Filled" alter column b drop default')
    later = await read(server, catalog, with_numbered=True)
    assert [each.name for each in later.numbered_of(("Filled",))] == ["id", "c"]


async def test_a_server_that_does_not_listen_is_a_failure() -> None:
    with pytest.raises(CatalogFailure, match="connection refused"):
        await read_catalog("127.0.0.1", 1, (), LOGIN, SECONDS, None)


class Kept:
    """Catalogs of the server, and what they said is out of date."""

    def __init__(self, server: PostgresCluster) -> None:
        self.node: NodeView | None = NodeView(
            name="a", host=server.primary.host, port=server.primary.port, healthy=True
        )
        self.outdated: list[tuple[str, str]] = []
        self.catalogs = Catalogs(lambda _: self.node, lambda *key: self.outdated.append(key))
        self.configure(60)

    def configure(self, interval_seconds: int) -> None:
        config = ProxyConfig.model_validate({"planner": {"catalog_interval_seconds": interval_seconds}})
        self.catalogs.configure(config, {"main": LOGIN})

    def get(self, defined: int = 1) -> Catalog | None:
        return self.catalogs.catalog("main", DATABASE, defined)

    async def known(self, defined: int = 1) -> Catalog:
        await self.until(lambda: self.get(defined) is not None)
        catalog = self.get(defined)
        assert catalog is not None
        return catalog

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - some conditions are the server's
                await asyncio.sleep(0.01)


@pytest.fixture
async def kept(server: PostgresCluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr(module, "_GAP_SECONDS", 0.01)
    made = Kept(server)
    yield made
    await made.catalogs.stop()


async def test_the_first_question_is_answered_at_once_and_read_behind_it(kept: Kept) -> None:
    assert kept.get() is None
    assert kept.outdated == []

    catalog = await kept.known()

    assert catalog.overloads(("plain",))
    assert kept.outdated == [("main", DATABASE)]
    counts = kept.catalogs.counts()
    assert (counts.kept, counts.reads, counts.failures) == (1, 1, 0)
    assert counts.age_seconds is not None and 0 <= counts.age_seconds < SECONDS


async def test_a_later_definition_is_read_before_anything_is_known_again(kept: Kept) -> None:
    await kept.known(defined=1)

    assert kept.get(defined=2) is None
    await kept.known(defined=2)

    assert kept.outdated == [("main", DATABASE)] * 2
    assert kept.get(defined=1) is not None


async def test_a_missing_function_has_it_looked_for(kept: Kept, server: PostgresCluster) -> None:
    await kept.known()
    kept.catalogs.lacks("main", DATABASE)
    await kept.until(lambda: kept.catalogs.counts().reads == 2)
    assert kept.outdated == [("main", DATABASE)]

    server.execute("create or replace function looked_for() returns int return 1")
    kept.catalogs.lacks("main", DATABASE)
    await kept.until(lambda: len(kept.outdated) == 2)

    assert (await kept.known()).overloads(("looked_for",))


async def test_every_interval_is_looked_for_changes(kept: Kept, server: PostgresCluster) -> None:
    kept.configure(1)
    await kept.known()

    server.execute("create or replace function noticed_late() returns int return 1")
    await kept.until(lambda: len(kept.outdated) == 2)

    assert (await kept.known()).overloads(("noticed_late",))


async def test_what_cannot_be_read_any_more_is_not_known(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    await kept.known()
    node, kept.node = kept.node, None

    kept.catalogs.lacks("main", DATABASE)
    await kept.until(lambda: kept.get() is None and kept.catalogs.counts().failures >= 3)
    assert kept.outdated == [("main", DATABASE)] * 2
    assert caplog.text.count("functions are not known") == 1

    kept.node = node
    await kept.known()
    assert kept.outdated == [("main", DATABASE)] * 3


async def test_a_reading_that_failed_is_tried_again_though_nobody_asks(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked has a plan by now that knows nothing of functions, and keeps it until they are known."""
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    node, kept.node = kept.node, None
    assert kept.get() is None
    await kept.until(lambda: kept.catalogs.counts().failures >= 2)

    kept.node = node
    await kept.until(lambda: kept.outdated == [("main", DATABASE)])

    assert (kept.catalogs.counts().reads, kept.get() is None) == (1, False)


async def test_a_database_that_nobody_asks_about_is_forgotten(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_INTERVALS", 1)
    kept.configure(1)
    await kept.known()

    await kept.until(lambda: kept.catalogs.counts().kept == 0)

    assert kept.outdated == [("main", DATABASE)] * 2
    assert (await kept.known()).functions


async def test_nothing_is_begun_after_the_end(kept: Kept) -> None:
    await kept.catalogs.stop()

    assert kept.get() is None
    await asyncio.sleep(0)
    assert kept.catalogs.counts().kept == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("catalog of")]
