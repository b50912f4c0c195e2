"""A transaction whose server is lost goes on on another one, with the answers that it had, or its client is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.asks import Ask, extended, named, simple
from harness.backend import Event
from harness.client import Client, ClosedError, Connection, brief, rows, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.frontend import cancel_request, copy_data, query
from harness.postgres import APP, PostgresCluster, start_cluster, superuser_of
from harness.proxy import HeliosProcess, base_settings
from harness.replay import counts, end_server
from harness.wait import until

PATIENCE = 15

ASKS = pytest.mark.parametrize("ask", [simple, extended, named])


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """It runs transactions again, and has servers enough."""
    folder = tmp_path_factory.mktemp("replay")
    postgres.execute("create table replayed (id int primary key, body text); grant all on replayed to public")
    replay = {"enabled": True, "notices": True, "journal": {"max_entries": 20, "max_bytes": 100_000}}
    pool = {"max_size": 6, "acquire_timeout_seconds": PATIENCE}
    with HeliosProcess(folder, base_settings(postgres, folder, transaction_replay=replay, pool=pool)) as process:
        yield process
    postgres.execute("drop table replayed")


@pytest.fixture
def client(proxy: HeliosProcess, postgres: PostgresCluster) -> Iterator[Client]:
    postgres.execute("truncate replayed; insert into replayed select n, 'old' from generate_series(1, 9) n")
    with Client(proxy.target(), deadline=PATIENCE) as client:
        client.query("set application_name = 'replayed'")
        yield client


def counted(proxy: HeliosProcess, reason: str) -> int:
    number: int = counts(proxy)["diverged"][reason]
    return number


def notices(client: Client) -> list[str]:
    """The reasons in the notices that a client has had, each with a sentence of why."""
    found = [event.fields for event in client.transcript if event.kind == "NoticeResponse"]
    assert all((fields["V"], fields["C"]) == ("NOTICE", "00000") and fields["D"] for fields in found)
    return [fields["M"].removeprefix("transaction is lost with its server: ") for fields in found]


def done(events: list[Event]) -> list[str]:
    """What was done or said, and the status behind it."""
    return [event.brief for event in events if event.kind in ("CommandComplete", "ErrorResponse", "ReadyForQuery")]


@ASKS
def test_a_transaction_outlives_its_server(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    for sql in (
        "begin isolation level repeatable read",
        "set local work_mem = '7MB'",
        "select id from replayed order by id for update",
        "insert into replayed values (100, 'new') returning id, body",
        "savepoint a",
        "select 1/0",
        "rollback to a",
        "create temporary table mine (n int) on commit drop",
        "insert into mine values (7)",
        "declare c cursor for select id from replayed order by id",
        "fetch 3 from c",
    ):
        ask(client, sql)
    pid = rows(ask(client, "select 7"))  # the last answer is no different

    end_server(postgres, "replayed")

    assert pid == [["7"]]
    assert rows(ask(client, "fetch 2 from c")) == [["4"], ["5"]]
    assert rows(ask(client, "select n + 0 from mine")) == [["7"]]
    assert rows(ask(client, "show work_mem")) == [["7MB"]]
    assert rows(ask(client, "show transaction_isolation")) == [["repeatable read"]]
    end_server(postgres, "replayed")
    assert rows(ask(client, "select body from replayed where id = 100")) == [["new"]]
    assert not sqlstates(ask(client, "commit"))
    assert postgres.value("select count(*) from replayed where id = 100") == "1"
    assert rows(ask(client, "show lock_timeout")) == [["0"]]
    assert not notices(client)
    after = counts(proxy)
    assert after["enabled"]
    assert after["completed"] == before["completed"] + 2
    assert after["statements"] >= before["statements"] + 24
    assert (after["diverged"], after["active"]) == (before["diverged"], 0)


@ASKS
def test_another_answer_is_told_by_an_error_and_nothing_is_done(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    reads = ["select count(*) from replayed", "select 'x'", "select body from replayed where id = 3"]
    for place in range(3):
        before = counted(proxy, "answer")
        ask(client, "begin")
        ask(client, "update replayed set body = 'mine' where id = 1")
        for number, sql in enumerate(reads):
            ask(client, "select clock_timestamp()" if number == place else sql)

        end_server(postgres, "replayed")
        until(lambda: counted(proxy, "answer") == before + 1, "the divergence", PATIENCE)  # noqa: B023

        if place == 0:
            assert done(ask(client, "select 2")) == ["ErrorResponse 40001", "ReadyForQuery E"]
            assert done(ask(client, "select 2")) == ["ErrorResponse 25P02", "ReadyForQuery E"]
            assert done(ask(client, "commit"))[-2:] == ["CommandComplete ROLLBACK", "ReadyForQuery I"]
        elif place == 1:
            # COMMIT must not be taken for done.
            assert done(ask(client, "commit")) == ["ErrorResponse 40001", "ReadyForQuery I"]
        else:
            assert done(ask(client, "rollback")) == ["CommandComplete ROLLBACK", "ReadyForQuery I"]
        assert rows(ask(client, "select body from replayed where id = 1")) == [["old"]]


def test_a_lock_that_somebody_else_has_now_is_not_waited_for(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client
) -> None:
    before = counted(proxy, "lock")
    with Client(postgres.direct(), deadline=PATIENCE) as other:
        client.query("begin")
        client.query("select body from replayed where id = 2 for update")
        other.query("begin")
        other.send(query("update replayed set body = 'theirs' where id = 2"))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%theirs%'"
        until(lambda: postgres.value(waiting) == "1", "the other to wait")

        end_server(postgres, "replayed")

        assert not sqlstates(other.until_ready())
        assert done(client.query("select 1")) == ["ErrorResponse 40001", "ReadyForQuery E"]
        other.query("rollback")
    assert counted(proxy, "lock") == before + 1
    assert done(client.query("rollback")) == ["CommandComplete ROLLBACK", "ReadyForQuery I"]


@ASKS
def test_a_table_that_the_next_server_lacks_is_another_answer(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    postgres.execute("create table going (id int); grant all on going to public")
    before = counted(proxy, "answer")
    with Client(superuser_of(postgres.primary), deadline=PATIENCE) as other:
        ask(client, "begin")
        ask(client, "insert into replayed values (10, 'mine')")
        assert rows(ask(client, "insert into going values (1) returning id")) == [["1"]]
        other.send(query("drop table going"))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query = 'drop table going'"
        until(lambda: postgres.value(waiting) == "1", "the other to wait")

        end_server(postgres, "replayed")

        assert not sqlstates(other.until_ready())
    told = ask(client, "select 1")
    assert done(told) == ["ErrorResponse 40001", "ReadyForQuery E"]
    assert "run again" in told[0].text
    assert done(ask(client, "rollback")) == ["CommandComplete ROLLBACK", "ReadyForQuery I"]
    assert counted(proxy, "answer") == before + 1
    assert rows(ask(client, "select count(*) from replayed where id = 10")) == [["0"]]


@pytest.mark.parametrize(
    ("reason", "script"),
    [
        ("overflow", ["begin", *["select 1"] * 20]),
        ("overflow", ["begin", f"select length('{'x' * 100_000}')"]),
        ("statement", ["begin", "listen replayed"]),
        ("statement", ["begin", "do 'begin execute ''select 1''; end'"]),
        ("copy", ["begin", "copy (select 1) to stdout"]),
        ("pinned", ['prepare U&"kept" as select 1', "select 1", "begin", "select 1"]),
        ("temp_table", ["create temporary view kept as select 1", "select 1", "begin", "select 1"]),
    ],
)
def test_what_cannot_be_run_again_is_lost_with_its_server_and_counted(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, reason: str, script: list[str]
) -> None:
    before = counted(proxy, reason)
    other = "statement" if reason == "copy" else reason
    others = counted(proxy, other)
    for sql in [*script, "select 2"]:
        assert not sqlstates(client.query(sql)), sql
    (told,) = notices(client)
    assert told in (reason, other)

    end_server(postgres, "replayed")

    assert sqlstates(client.until_closed()) == ["40001" if reason == "temp_table" else "57P01"]
    assert counted(proxy, reason) + counted(proxy, other) > before + others


def test_a_copy_under_way_is_lost(postgres: PostgresCluster, client: Client) -> None:
    client.query("begin")
    client.send(query("copy replayed from stdin"))
    client.receive_until(lambda event: event.kind == "CopyInResponse")
    client.send(copy_data(b"200\tx\n"))

    end_server(postgres, "replayed")

    assert sqlstates(client.until_closed())[-1:] == ["57P01"]


TOKEN = 1000


def cuts() -> list[Cut]:
    """At each message of the transaction below, towards the server and back, and inside of messages."""
    found = [Cut(to_server, number) for to_server in (True, False) for number in range(16)]
    found += [Cut(False, number, size) for number in range(0, 16, 2) for size in (5, 9)]
    found += [Cut(True, number, 7) for number in (1, 4, 7)]
    return found


@pytest.fixture(scope="module")
def relay(postgres: PostgresCluster) -> Iterator[CuttingRelay]:
    with CuttingRelay(postgres.primary.port, APP) as made:
        yield made


@pytest.fixture(scope="module")
def cut_proxy(
    postgres: PostgresCluster, relay: CuttingRelay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """One before a server whose connections are cut."""
    folder = tmp_path_factory.mktemp("cut")
    postgres.execute("create table tokens (id int primary key); grant all on tokens to public")
    sections = {"transaction_replay": {"enabled": True}, "pool": {"acquire_timeout_seconds": PATIENCE, "max_size": 4}}
    with HeliosProcess(folder, base_settings(relay, folder, **sections)) as process:
        yield process
    postgres.execute("drop table tokens")


@ASKS
def test_tokens_are_there_once_wherever_the_connection_is_cut(
    postgres: PostgresCluster, cut_proxy: HeliosProcess, relay: CuttingRelay, ask: Ask
) -> None:
    done_cuts, lost = 0, []
    client = Client(cut_proxy.target(), deadline=PATIENCE)
    for number, cut in enumerate(cuts()):
        where = str(cut)
        token = TOKEN + number
        relay.arm(cut)
        script = ("begin", "select generate_series(1, 3)", f"insert into tokens values ({token})", "commit")
        states: list[str] = []
        try:
            for sql in script:
                events = ask(client, sql)
                states += sqlstates(events)
                if sql == script[1]:
                    assert rows(events) == [["1"], ["2"], ["3"]], (where, brief(events))
        except ClosedError:
            states = sqlstates(client.transcript)[-1:]
            client.close()
            client = Client(cut_proxy.target(), deadline=PATIENCE)
        done_cuts += relay.disarm()
        there = postgres.value(f"select count(*) from tokens where id = {token}")
        assert not states, (where, states)
        if there != "1":
            lost.append(where)
        client.transcript.clear()
    client.terminate()
    postgres.execute("delete from tokens")
    assert not lost
    assert done_cuts > len(cuts()) // 2


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    made = start_cluster()
    yield made
    made.stop()


def test_a_promotion_by_hand_a_cancel_and_a_client_that_leaves(cluster: PostgresCluster, tmp_path: Path) -> None:
    assert cluster.standby is not None
    pool = {"max_size": 8, "acquire_timeout_seconds": PATIENCE}
    config = base_settings(cluster, tmp_path, transaction_replay={"enabled": True}, pool=pool)
    with HeliosProcess(tmp_path, config) as proxy:
        clients = [Client(proxy.target(), deadline=PATIENCE) for _ in range(4)]
        cancelled, leaving = (Client(proxy.target(), deadline=PATIENCE) for _ in range(2))
        asks = (simple, extended, named, simple)
        for place, (client, ask) in enumerate(zip(clients, asks, strict=True)):
            ask(client, "begin")
            events = ask(client, f"insert into notes values ({900 + place}, 'kept') returning body")
            assert rows(events) == [["kept"]]
        for place, client in enumerate((cancelled, leaving)):
            client.query("begin")
            client.query(f"insert into notes values ({950 + place}, 'not kept')")
        cluster.primary.stop("immediate")
        until(lambda: counts(proxy)["active"] == 6, "all to wait", PATIENCE)
        leaving.close()
        until(lambda: counts(proxy)["active"] == 5, "one to be gone", PATIENCE)
        cancelled.send(query("select 1"))
        send_cancel(proxy, cancelled)
        assert done(cancelled.until_ready()) == ["ErrorResponse 57014", "ReadyForQuery E"]
        cluster.standby.promote()

        for place, (client, ask) in enumerate(zip(clients, asks, strict=True)):
            where = "select current_setting('cluster_name') || body from notes where id = "
            assert rows(ask(client, f"{where}{900 + place}")) == [["standby-1kept"]]
            assert not sqlstates(ask(client, "commit"))
        assert done(cancelled.query("rollback")) == ["CommandComplete ROLLBACK", "ReadyForQuery I"]
        assert cancelled.value("select string_agg(body, ',') from notes where id >= 900") == ",".join(["kept"] * 4)
        told = counts(proxy)
        assert (told["completed"], told["active"], told["diverged"]["cancelled"]) == (4, 0, 1)


def send_cancel(proxy: HeliosProcess, client: Client) -> None:
    connection = Connection("127.0.0.1", proxy.port)
    connection.send(cancel_request(client.pid, client.key))
    connection.until_closed()
