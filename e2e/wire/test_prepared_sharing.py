"""Clients that share servers share no prepared statement: names, settings and plans stay each client's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.client import Client, brief, full, rows, sqlstates
from harness.frontend import (
    bind,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    parse,
    query,
    sync,
)
from harness.nomad import Nomad
from harness.postgres import PostgresCluster
from harness.proxy import StartProxy
from harness.routes import Route, Script


def run(name: str, *values: str) -> bytes:
    """Bind, Execute and Sync of a statement prepared before."""
    return bind(values, name=name) + execute() + sync()


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_same_name_means_each_clients_own_statement(route: Route) -> None:
    first, second = route.connect(), route.connect()
    first.batch(parse("select 'first'", name="mine"), sync())
    second.batch(parse("select 'second', 2", name="mine"), sync())

    for _ in range(5):
        assert rows(first.batch(run("mine"))) == [["first"]]
        assert rows(second.batch(run("mine"))) == [["second", "2"]]


@pytest.mark.checklist(25)
@pytest.mark.routes("transaction", chunks=("none", "random"), direct=False)
def test_statements_follow_clients_over_the_servers(route: Route) -> None:
    """More clients than servers: everyone runs where the statement was never prepared."""
    clients = [route.connect() for _ in range(8)]
    for number, client in enumerate(clients):
        client.batch(parse(f"select {number}, $1::int, pg_backend_pid()", name="s"), sync())
        client.batch(parse(f"select 'unnamed {number}', $1::int"), sync())

    with in_turn_on_both_servers(route) as turns:
        servers = [run_all(clients, turn) for turn in turns]

    assert all(len(pids) == 1 for pids in servers)
    assert servers[0] != servers[1]
    assert servers == servers[:2] * 3


def run_all(clients: list[Client], turn: int) -> set[str | None]:
    """Everybody runs both statements at once; the servers they ran on."""
    servers = set()
    for client in clients:
        client.send(run("", str(turn)))
    for number, client in enumerate(clients):
        assert rows(client.until_ready()) == [[f"unnamed {number}", str(turn)]]
    for client in clients:
        client.send(run("s", str(turn)))
    for number, client in enumerate(clients):
        [[value, parameter, pid]] = rows(client.until_ready())
        assert (value, parameter) == (str(number), str(turn))
        servers.add(pid)
    return servers


@contextmanager
def in_turn_on_both_servers(route: Route) -> Iterator[Iterator[int]]:
    """Six turns; in each the other one of the pool's two servers is free, because a transaction holds its peer."""
    holders = [route.connect(), route.connect()]

    def turns() -> Iterator[int]:
        holders[0].query("begin")
        for turn in range(6):
            yield turn
            holders[(turn + 1) % 2].query("begin")
            holders[turn % 2].query("commit")

    yield turns()
    holders[0].query("rollback")


@pytest.mark.checklist(30)
@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_plan_with_a_changed_result_type_recovers_at_the_latest_after_one_error(route: Route) -> None:
    client, admin = route.connect(), route.connect()
    admin.query("create table reshaped (a int); insert into reshaped values (1)")
    try:
        client.batch(parse("select * from reshaped", name="star"), sync())
        assert rows(client.batch(run("star"))) == [["1"]]
        admin.query("alter table reshaped add column b int default 2")

        events = client.batch(run("star"))
        if sqlstates(events):
            assert sqlstates(events) == ["0A000"]
        else:
            assert rows(events) == [["1", "2"]]
        client.batch(close_statement("star"), parse("select * from reshaped", name="star"), sync())
        assert rows(client.batch(run("star"))) == [["1", "2"]]
    finally:
        admin.query("drop table reshaped")


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_unnamed_parse_with_its_bind_in_one_batch_stays_unnamed(route: Route) -> None:
    client = route.connect()

    client.extended("select 'never named', $1::int", "1")

    named = client.value("select count(*) from pg_prepared_statements where statement like 'select ''never named%'")
    assert named == "0"


@pytest.mark.checklist(20)
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_pipelined_parse_of_a_known_statement_waits_its_turn(route: Route) -> None:
    """The reply to a Parse that needs no server must not overtake the replies before it."""
    teacher, pupil = route.connect(), route.connect()
    teacher.batch(parse("select 'known'", name="known"), sync())
    teacher.batch(run("known"))

    events = pupil.batch(query("select 'first'"), parse("select 'known'", name="known"), run("known"), ready=2)

    assert brief(events) == [
        "RowDescription ?column?",
        "DataRow first",
        "CommandComplete SELECT 1",
        "ReadyForQuery I",
        "ParseComplete",
        "BindComplete",
        "DataRow known",
        "CommandComplete SELECT 1",
        "ReadyForQuery I",
    ]


@pytest.mark.checklist(25)
def test_unnamed_statement_outlives_the_settings_of_another_client(start_proxy: StartProxy) -> None:
    """Setting a server up for a client is a Query of ours, and a Query ends the server's unnamed statement."""
    proxy = start_proxy(pool={"max_size": 1})
    with Client(proxy.target()) as client, Client(proxy.target().with_options(work_mem="11MB")) as other:
        for turn in range(3):
            client.batch(parse(f"select 'mine', {turn}"), sync())
            other.batch(parse("select 1", name=f"named {turn}"), bind(name=f"named {turn}"), execute(), sync())

            events = client.batch(run(""))

            assert (sqlstates(events), rows(events)) == ([], [["mine", str(turn)]])


TENANTS = """
create schema red; create table red.paint as select 1 as a;
create schema blue; create table blue.paint as select 'two'::text as b, 2 as c;
"""


@pytest.mark.routes("session", "transaction", "statement", chunks=("none",))
def test_same_text_under_different_search_paths(route: Route, postgres: PostgresCluster) -> None:
    """Schema per tenant: one text means each client's own table, of another shape, on whatever server it runs."""
    red, blue = route.connect(search_path="red"), route.connect(search_path="blue")
    with Client(postgres.direct()) as owner:
        owner.query(TENANTS)
        try:
            for _ in range(4):
                for client, expected in ((red, [["1"]]), (blue, [["two", "2"]])):
                    client.batch(close_statement("paint"), parse("select * from paint", name="paint"), sync())
                    for _ in range(3):
                        events = client.batch(bind(name="paint"), describe_portal(), execute(), sync())
                        assert (sqlstates(events), rows(events)) == ([], expected)
                    assert rows(client.extended("select * from paint")) == expected
        finally:
            owner.query("drop schema red, blue cascade")


LITERALS = "select date '2026-03-01' - '01/02/2026'::date, extract(epoch from '2026-01-01 00:00'::timestamptz)::int"


@pytest.mark.routes("session", "transaction", "statement", chunks=("none",))
def test_literals_are_read_with_each_clients_own_settings(route: Route) -> None:
    """PostgreSQL reads date and time literals while it prepares, so a shared copy would give another client's dates."""
    european = route.connect(DateStyle="ISO, DMY", TimeZone="Asia/Tokyo")
    american = route.connect(DateStyle="ISO, MDY", TimeZone="America/Lima")
    expected = {european: [["28", "1767193200"]], american: [["58", "1767243600"]]}

    for _ in range(3):
        for client, own in expected.items():
            client.batch(close_statement("dates"), parse(LITERALS, name="dates"), sync())
            assert rows(client.batch(run("dates"))) == own
    for _ in range(3):
        for client, own in expected.items():
            assert rows(client.batch(run("dates"))) == own
            assert rows(client.extended(LITERALS)) == own


@pytest.mark.checklist(30)
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_same_text_is_prepared_again_in_the_transaction_that_saw_its_plan_change(
    route: Route, postgres: PostgresCluster
) -> None:
    """What pgjdbc does with autosave: back to the savepoint, close, and prepare the text under another name."""
    client, other = route.connect(), route.connect()
    other.query("begin")  # so that the client always gets the other server
    table = f"healed_{route.kind.mode}_{route.kind.chunk}"  # no statement of another run names it
    with Client(postgres.direct()) as owner:
        owner.query(f"create table {table} (a int); insert into {table} values (1)")
        try:
            client.batch(parse(f"select * from {table}", name="s"), bind(name="s"), execute(), sync())
            owner.query(f"alter table {table} add column b text")
            client.query("begin; savepoint a")
            assert sqlstates(client.batch(bind(name="s"), execute(), sync())) == ["0A000"]
            client.query("rollback to a")

            events = client.batch(
                close_statement("s"), parse(f"select * from {table}", name="t"), bind(name="t"), execute(), sync()
            )

            assert (sqlstates(events), rows(events)) == ([], [["1", None]])
            assert sqlstates(client.query("commit")) == []
            other.query("rollback")
            assert rows(client.batch(bind(name="t"), execute(), sync())) == [["1", None]]
        finally:
            client.query("rollback")
            other.query("rollback")
            owner.query(f"drop table {table}")


@pytest.mark.checklist(30)
@pytest.mark.routes("transaction", "statement", chunks=("none", "7"))
def test_text_prepared_after_a_definition_has_changed_is_read_anew(route: Route) -> None:
    """Another client's older plan must not answer: directly, a Parse after the change never fails."""
    clients = [route.connect() for _ in range(3)]
    for definition in ("select 1 as a", "select 1 as a, 'x'::text as b", "select now() as a"):
        clients[0].query(f"drop table if exists redefined; create table redefined as {definition}")
        for client in clients:
            for _ in range(3):
                events = client.batch(
                    parse("select * from redefined", name="r"), bind(name="r"), execute(), close_statement("r"), sync()
                )
                assert sqlstates(events) == []
                assert len(rows(events)[0]) == definition.count(" as ")
    clients[0].query("drop table redefined")


TOLD = "select a + 0 as a from told"


def told_by_the_statement(c: Client) -> None:
    c.batch(parse(TOLD, name="s"), describe_statement("s"), sync())
    use_while_it_changes(c)


def told_by_the_portal(c: Client) -> None:
    c.batch(parse(TOLD, name="s"), bind(name="s"), describe_portal(), execute(), sync())
    use_while_it_changes(c)


def use_while_it_changes(c: Client) -> None:
    for change in (
        "select 1",
        "alter table told add column b text",
        "drop table told; create table told as select 1 as a",
        "alter table told alter column a type bigint",
        "select 2",
    ):
        c.query(change)
        for _ in range(3):
            c.batch(run("s"))
    c.query("begin")
    c.batch(run("s"))
    c.query("rollback")
    c.batch(close_statement("s"), parse(TOLD, name="s"), sync())
    for _ in range(3):
        c.batch(run("s"))
    c.query("alter table told alter column a type int")


@pytest.mark.checklist(30)
@pytest.mark.routes("transaction", chunks=("none", "7"), direct=False)
@pytest.mark.parametrize("script", [told_by_the_statement, told_by_the_portal], ids=lambda script: script.__name__)
def test_client_never_gets_other_columns_than_it_was_told(
    route: Route, postgres: PostgresCluster, script: Script
) -> None:
    seen = []
    with Client(postgres.direct()) as owner:
        owner.query("create table told as select 1 as a")
        try:
            for client in (Client(postgres.direct()), Nomad(route.target())):
                with client:
                    client.transcript.clear()
                    script(client)
                    seen.append(full(client.transcript))
        finally:
            owner.query("drop table told")

    assert seen[1] == seen[0]


@pytest.mark.checklist(30)
@pytest.mark.routes("transaction", chunks=("none",), direct=False)
def test_client_that_asks_for_the_columns_gets_the_new_ones(route: Route) -> None:
    """Healed where PostgreSQL gives up; what it is told then is what it gets from now on."""
    described = bind(name="s") + describe_portal() + execute() + sync()
    with Nomad(route.target()) as client:
        client.query("create table told as select 1 as a")
        try:
            client.batch(parse(TOLD, name="s"), described)
            client.batch(run("s"))
            client.query("alter table told alter column a type bigint")
            errors = [sqlstates(client.batch(described)) for _ in range(3)]
            assert errors[2] == []
            assert set(map(tuple, errors[:2])) <= {(), ("0A000",)}
            for _ in range(3):
                events = client.batch(run("s"))
                assert (sqlstates(events), rows(events)) == ([], [["1"]])
            client.query("begin")
            assert rows(client.batch(described)) == [["1"]]
            client.query("commit")
        finally:
            client.query("drop table told")
