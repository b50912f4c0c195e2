"""Reads on standbys: `[routing] read_write_split`, on a primary with a streaming standby."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from harness import frontend
from harness.client import Client, brief, rows, sqlstates
from harness.frontend import bind, close_statement, describe_statement, execute, parse, query, sync
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, StartProxy
from harness.replay import paused_replay
from harness.wait import until

WHO = "select current_setting('cluster_name')"
"""A read that tells which server answers it."""

Ask = Callable[[Client, str], str | None]


def simple(client: Client, sql: str) -> str | None:
    return client.value(sql)


def extended(client: Client, sql: str) -> str | None:
    events = client.extended(sql)
    assert not sqlstates(events), brief(events)
    return rows(events)[0][0]


def prepared(client: Client, sql: str) -> str | None:
    """As a driver that prepares in a batch of its own."""
    made = client.batch(parse(sql, "s"), describe_statement("s"), sync())
    events = client.batch(bind(name="s"), execute(), sync())
    closed = client.batch(close_statement("s"), sync())
    assert not sqlstates([*made, *events, *closed]), brief([*made, *events, *closed])
    return rows(events)[0][0]


ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])


@pytest.fixture
def split(start_proxy: StartProxy) -> HeliosProcess:
    """A proxy that sends reads to the standby, however slow the machine is."""
    return ready(start_proxy(routing={"read_write_split": True, "max_lag_ms": 0}))


def ready(proxy: HeliosProcess) -> HeliosProcess:
    """Once its standby has been found, and plans are made."""

    def is_used() -> bool:
        with Client(proxy.target()) as client:
            return client.value(WHO) == "standby-1"

    until(is_used, "reads to go to the standby")
    return proxy


def on_standby(postgres: PostgresCluster) -> Client:
    assert postgres.standby is not None
    return Client(superuser_of(postgres.standby))


@ASKS
def test_reads_go_to_the_standby_and_writes_to_the_primary(split: HeliosProcess, ask: Ask) -> None:
    with Client(split.target()) as client:
        until(lambda: ask(client, WHO) == "standby-1", "a read on the standby")
        assert ask(client, f"with w as (insert into notes values (7001, 'x') returning 1) {WHO} from w") == "primary"
        assert ask(client, "select body from notes where id = 7001") == "x"
        assert ask(client, f"with w as (delete from notes where id = 7001 returning 1) {WHO} from w") == "primary"
        assert ask(client, "select count(*) from notes where id = 7001") == "0"


@ASKS
def test_a_session_sees_what_it_wrote_while_the_standby_stands_still(
    split: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    with Client(split.target()) as client, Client(split.target()) as other, paused_replay(postgres):
        until(lambda: ask(other, WHO) == "standby-1", "the other's reads on the standby")
        for turn in range(20):
            client.query(f"insert into notes values (7100, '{turn}') on conflict (id) do update set body = '{turn}'")
            assert ask(client, "select body from notes where id = 7100") == str(turn)
            assert ask(client, WHO) == "primary"
        assert ask(other, WHO) == "standby-1", "it has written nothing"
    with Client(split.target()) as client:
        client.query("delete from notes where id = 7100")
        until(lambda: ask(client, WHO) == "standby-1", "the standby to have caught up")
        assert ask(client, "select count(*) from notes where id = 7100") == "0"


def test_writes_and_reads_of_many_are_never_stale(split: HeliosProcess) -> None:
    """Each writes a number and reads it back at once and a moment later, all the time."""
    stale: list[str] = []
    from_standby: list[int] = []

    def work(id: int) -> None:
        count = 0
        with Client(split.target(), deadline=30) as client:
            for turn in range(60):
                client.query(
                    f"insert into notes values ({id}, '{turn}') on conflict (id) do update set body = '{turn}'"
                )
                for _ in range(6):  # so many that one waits for the standby
                    found = rows(
                        client.query(f"select body, current_setting('cluster_name') from notes where id = {id}")
                    )
                    count += found[0][1] == "standby-1"
                    if found[0][0] != str(turn):
                        stale.append(f"{id}: {found} instead of {turn}")
            client.query(f"delete from notes where id = {id}")
        from_standby.append(count)

    workers = [threading.Thread(target=work, args=(7200 + n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not stale, stale[:5]
    assert len(from_standby) == len(workers)
    assert sum(from_standby) > 0


@ASKS
def test_a_transaction_that_only_reads_is_the_standbys(split: HeliosProcess, ask: Ask) -> None:
    def run(client: Client, sql: str) -> list[str]:
        return sqlstates(client.query(sql) if ask is simple else client.extended(sql))

    with Client(split.target()) as client:
        until(lambda: ask(client, WHO) == "standby-1", "a read on the standby")
        for begin in ("begin read only", "start transaction isolation level repeatable read, read only"):
            assert run(client, begin) == []
            assert ask(client, WHO) == "standby-1"
            assert run(client, "delete from notes") == ["25006"]
            assert run(client, "select 1") == ["25P02"]
            assert run(client, "rollback") == []
        for begin in ("begin", "begin read write", "begin isolation level serializable read only"):
            assert run(client, begin) == []
            assert ask(client, WHO) == "primary"
            assert run(client, "commit") == []
        assert run(client, "set default_transaction_read_only = on") == []
        until(lambda: ask(client, WHO) == "standby-1", "a read on the standby again")
        assert run(client, "begin") == []
        assert ask(client, WHO) == "standby-1"
        assert run(client, "commit") == []
        assert run(client, "begin read write") == []
        assert ask(client, WHO) == "primary"
        assert run(client, "rollback") == []


@ASKS
def test_a_read_survives_its_standbys_connection(split: HeliosProcess, postgres: PostgresCluster, ask: Ask) -> None:
    """The server process ends before it has answered: the primary answers."""
    slow = "select name, pg_sleep(3) from items where id = 1"
    with Client(split.target(), deadline=20) as client, on_standby(postgres) as admin:
        until(lambda: ask(client, f"{WHO} from items where id = 1") == "standby-1", "a read on the standby")
        assert ask(client, slow.replace("(3)", "(0)")) == "item 1", "its plan is known"
        answers: list[str | None] = []
        reader = threading.Thread(target=lambda: answers.append(ask(client, slow)))
        reader.start()
        end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like '%pg_sleep(3)%' "
        until(lambda: admin.value(f"{end} and pid <> pg_backend_pid() and state = 'active'") == "1", "the read to run")
        reader.join()
        assert answers == ["item 1"]
        assert ask(client, "select 1") == "1"


def test_requests_sent_ahead_are_answered_in_order(split: HeliosProcess) -> None:
    with Client(split.target()) as client:
        until(lambda: client.value(WHO) == "standby-1", "a read on the standby")
        write = "insert into notes values (7300, 'a')"
        events = client.batch(
            query(WHO),
            query(write),
            query("select body from notes where id = 7300"),
            query("select nonsense"),
            query("delete from notes where id = 7300"),
            *frontend_pipeline(),
            ready=8,
        )
        assert [row[0] for row in rows(events)] == ["standby-1", "a", "1", "2", "b"]
        assert sqlstates(events) == ["42703"]


def frontend_pipeline() -> tuple[bytes, ...]:
    return (
        frontend.extended("select 1"),
        frontend.extended("with w as (insert into notes values (7301, 'b') returning body) select 2"),
        frontend.extended("with w as (delete from notes where id = 7301 returning body) select body from w"),
    )


@ASKS
def test_what_a_standby_refuses_runs_on_the_primary(split: HeliosProcess, postgres: PostgresCluster, ask: Ask) -> None:
    """A function that says it is STABLE and is not: the client sees nothing of the standby's error."""
    postgres.execute(
        "create sequence if not exists lied; grant all on sequence lied to public;"
        "create or replace function lies() returns text stable language plpgsql as "
        "$$begin execute 'select nextval(''lied'')'; return current_setting('cluster_name'); end$$"
    )
    try:
        with Client(split.target()) as client:
            until(lambda: ask(client, WHO) == "standby-1", "a read on the standby")
            for _ in range(3):
                assert ask(client, "select lies()") == "primary"
            assert ask(client, "select 1") == "1"
    finally:
        postgres.execute("drop function lies(); drop sequence lied")


@pytest.mark.parametrize("message", [query, frontend.extended])
def test_a_listener_hears_what_comes_while_a_standby_is_asked_in_vain(
    split: HeliosProcess, postgres: PostgresCluster, message: Callable[[str], bytes]
) -> None:
    """The standby's answer is dropped, and not the notification that came meanwhile."""
    postgres.execute(
        "create sequence if not exists lied; grant all on sequence lied to public;"
        "create or replace function lies_late() returns text stable language plpgsql as $$begin perform pg_sleep(0.5);"
        " execute 'select nextval(''lied'')'; return current_setting('cluster_name'); end$$"
    )
    try:
        with Client(split.target()) as client, Client(postgres.direct()) as speaker:
            client.query("listen news")
            until(lambda: client.value(WHO) == "standby-1", "a read on the standby")

            client.send(message("select lies_late()"))
            speaker.query("notify news, 'meanwhile'")

            assert rows(client.until_ready()) == [["primary"]]
            if not any(event.kind == "NotificationResponse" for event in client.transcript):
                client.receive()
            heard = [event.brief for event in client.transcript if event.kind == "NotificationResponse"]
            assert heard == ["NotificationResponse news meanwhile"]
    finally:
        postgres.execute("drop function lies_late(); drop sequence lied")
