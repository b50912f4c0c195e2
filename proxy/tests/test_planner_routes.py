"""PostgreSQL proves the routes: what a hot standby or a read-only transaction refuses is never called a read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from planner_corpus import CORPUS

from harness.client import Client, sqlstates
from harness.postgres import PostgresCluster, start_cluster, superuser_of
from harness.wait import until
from helios.planner.catalog import Catalog
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.explain import NO_OBJECTS
from helios.planner.plan import Access, Block, Plan, Rerun, Route, Verb
from helios.topology.catalog_reader import read_catalog
from helios.topology.credentials import Login

FOLDER = Path(__file__).parent / "reads"
DATABASE = "shop"
REFUSALS = {"25006", "0A000", "55000", "XX000"}
"""Read-only transaction; what recovery does not have, or does not allow; a transaction id that it cannot assign."""
DEADLINE = 30


@dataclass(frozen=True)
class Shop:
    """A primary and a hot standby with the objects of `reads/objects.sql`, and what the planner knows of them."""

    cluster: PostgresCluster
    catalog: Catalog

    def plan(self, sql: str) -> Plan:
        """The plan where reads may go to standbys."""
        return plan(sql, Context(lambda: self.catalog, policy=Policy(is_split=True)))

    def on_standby(self) -> Client:
        """A session on the standby."""
        server = self.cluster.standby
        assert server is not None, "started with one"
        return Client(superuser_of(server, DATABASE), deadline=DEADLINE)

    def read_only(self) -> Client:
        """A session on the primary that may not write."""
        client = Client(self.cluster.superuser(DATABASE), deadline=DEADLINE)
        client.query("set default_transaction_read_only = on")
        return client

    def refusal(self, sql: str) -> str:
        """Who refuses a text: standby, read-only transaction, or nobody (empty)."""
        for who, connect in (("standby", self.on_standby), ("read-only", self.read_only)):
            with connect() as client:
                if REFUSALS & set(sqlstates(client.query(sql))):
                    return who
        return ""


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    cluster = start_cluster()
    try:
        cluster.execute(f"create database {DATABASE}", "postgres")
        cluster.execute((FOLDER / "objects.sql").read_text(), DATABASE)
        server = cluster.primary
        login = Login(server.superuser, DATABASE, "this test", server.password)
        catalog = asyncio.run(read_catalog(server.host, server.port, (), login, DEADLINE, None))
        made = Shop(cluster, catalog)
        position = cluster.value("select pg_current_wal_flush_lsn()", DATABASE)
        assert cluster.standby is not None, "started with one"
        with Client(superuser_of(cluster.standby, "postgres")) as client:
            until(
                lambda: client.value(f"select pg_last_wal_replay_lsn() >= '{position}'") == "t", "the standby follows"
            )
        yield made
    finally:
        cluster.stop()


def lines(name: str) -> list[str]:
    """The statements of a file that holds one a line."""
    return [line for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("-- ")]


def texts(name: str) -> list[str]:
    """The statements of a file in which they are separated by lines with a semicolon."""
    body = (FOLDER / name).read_text()
    return [text.strip() for text in body.partition("\n")[2].split("\n;\n")]


def test_what_is_refused_is_never_called_a_read(shop: Shop) -> None:
    statements = [line.removeprefix("! ") for line in lines("statements.sql")]
    statements += [row.sql for row in CORPUS if not row.before]
    refused = {sql: who for sql in statements if (who := shop.refusal(sql))}

    assert len(refused) >= 350
    assert {sql: who for sql, who in refused.items() if shop.plan(sql).routing.route is Route.ANY} == {}


def test_what_the_primary_alone_can_tell_stays_there(shop: Shop) -> None:
    plans = {sql: shop.plan(sql) for sql in lines("primary_only.sql")}

    assert [sql for sql, made in plans.items() if made.routing.route is Route.ANY] == []
    assert all(made.routing.reason for made in plans.values())


def test_reads_as_programs_send_them_are_called_reads(shop: Shop) -> None:
    reads = [text for name in ("psql", "sqlalchemy", "django", "tools") for text in texts(f"{name}.sql")]
    errors: dict[str, Sequence[str]] = {}
    with shop.on_standby() as client:
        for sql in reads:
            if states := sqlstates(client.query(sql)):
                errors[sql] = states
    kept = {sql: made.routing.reason for sql in reads if (made := shop.plan(sql)).routing.route is Route.PRIMARY}

    assert errors == {}, "these are real"
    assert len(reads) >= 300
    assert len(kept) <= 0.03 * len(reads), kept


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select * from watched", "public.log_read() contains: INSERT writes"),
        ("select * from reporting.top_customers", "it only reads"),
        ("select * from cache", "public.cache is unlogged, so that a standby does not have it"),
        ("select * from metrics_hot", "public.metrics_hot has a part that is a foreign table or unlogged"),
        ("select id from products where id === 3", "public.logged() contains: INSERT writes"),
        ("select claims_stable()", "public.claims_stable() contains: nextval() changes something, or tells of the "),
        ("select * from secrets", "public.log_read() contains: INSERT writes"),
        ("select * from documents", "it only reads"),
        ("select no_such_function()", "no_such_function() is not in the catalog and may do anything"),
        ("show server_version", "SHOW tells of the server that it runs on"),
        ("select * from t for update", "SELECT … FOR locks rows"),
    ],
)
def test_reasons_name_what_keeps_a_statement_on_the_primary(shop: Shop, sql: str, reason: str) -> None:
    assert shop.plan(sql).routing.reason.startswith(reason)


def test_what_is_not_known_yet_stays_on_the_primary() -> None:
    made = plan("select * from orders", Context(policy=Policy(is_split=True)))

    assert (made.routing.route, made.routing.reason) == (
        Route.PRIMARY,
        "the definitions of this database are not known yet",
    )
    assert plan("select * from pg_class", Context(policy=Policy(is_split=True))).routing.route is Route.ANY


def test_where_reads_are_not_split_nothing_but_calls_asks_for_the_catalog() -> None:
    context = Context()

    assert plan("select * from orders where a <-> b < 1", context).routing.route is Route.PRIMARY
    assert context.reads == frozenset()


@pytest.mark.parametrize(
    ("sql", "block"),
    [
        ("begin", Block(Verb.BEGIN)),
        ("start transaction isolation level repeatable read", Block(Verb.START, Access.SNAPSHOT)),
        ("begin isolation level read committed", Block(Verb.BEGIN)),
        ("start transaction isolation level repeatable read, read only", Block(Verb.START, Access.READ_ONLY)),
        ("BEGIN READ ONLY", Block(Verb.BEGIN, Access.READ_ONLY)),
        ("begin isolation level read committed, read only, deferrable", Block(Verb.BEGIN, Access.READ_ONLY)),
        ("begin read write", Block(Verb.BEGIN, Access.READ_WRITE)),
        ("begin isolation level serializable, read only", Block(Verb.BEGIN, Access.SERIALIZABLE)),
        ("set transaction read only", Block(Verb.SET, Access.READ_ONLY)),
        ("set local transaction isolation level serializable", Block(Verb.SET, Access.SERIALIZABLE)),
        ("commit", Block(Verb.COMMIT)),
        ("end work", Block(Verb.COMMIT)),
        ("abort", Block(Verb.ROLLBACK)),
        ("rollback", Block(Verb.ROLLBACK)),
        ("begin read only; select 1", None),
        ("commit and chain", None),
        ("rollback to a", None),
        ("prepare transaction 'a'", None),
        ("set transaction snapshot '00000003-0000001B-1'", None),
        ("set session characteristics as transaction read only", None),
        ("set transaction_read_only = on", None),
        ("select 1", None),
    ],
)
def test_what_is_done_with_a_transaction_block(sql: str, block: Block | None) -> None:
    assert plan(sql, Context(policy=Policy(is_split=True))).block == block


@pytest.mark.parametrize(
    ("sql", "rerun"),
    [
        ("select now(), nextval('s')", Rerun.LOOKS),
        ("insert into t values (1) returning id", Rerun.ROWS),
        ("select * from t for update", Rerun.ROWS),
        ("with gone as (delete from t returning id) select * from gone", Rerun.ROWS),
        ("insert into t values (1); insert into t values (2)", Rerun.REPEATS),
        ("call p()", Rerun.NEVER),
        ("create table u (id int)", Rerun.REPEATS),
        ("begin; savepoint a; rollback to a", Rerun.REPEATS),
        ("rollback and chain", Rerun.REPEATS),
        ("commit", Rerun.COMMITS),
        ("insert into t values (1); end and chain", Rerun.COMMITS),
        ("prepare transaction 'x'", Rerun.COMMITS),
        ("commit prepared 'x'", Rerun.ENDS),
        ("rollback prepared 'x'", Rerun.ENDS),
        ("commit prepared 'x'; commit prepared 'y'", Rerun.COMMITS),
        ("copy t from stdin", Rerun.NEVER),
        ("select 1; copy t to program 'mail'", Rerun.NEVER),
        ("listen x", Rerun.NEVER),
        ("load 'auto_explain'", Rerun.NEVER),
        ("select unknown_function()", Rerun.NEVER),
        ("do 'begin execute ''commit''; end'", Rerun.NEVER),
    ],
)
def test_what_becomes_of_a_text_in_a_transaction_that_is_run_again(sql: str, rerun: Rerun) -> None:
    assert plan(sql, Context(lambda: NO_OBJECTS)).rerun is rerun
