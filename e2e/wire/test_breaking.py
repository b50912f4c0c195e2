"""Either side goes away in each state of the protocol: the right error, the next client undisturbed, nothing left.

The pools have one server each, so the next client gets whatever the break has left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import frontend
from harness.client import Client, ClosedError, Connection, brief, rows, sqlstates
from harness.frontend import bind, copy_data, describe_statement, execute, extended, flush, parse, query, sync
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.scram import MECHANISM, ScramClient
from harness.wait import until

DATABASE = "breaking"
MODES = ("session", "transaction")
LOST = ("57P01", "08006")
"""What a client may be told when its server is lost."""

NEVER = "insert into notes values (1, 'never committed')"
ROWS = "select n from generate_series(1, 9) n"
LARGE = "copy (select repeat('x', 100000) from generate_series(1, 1000)) to stdout"
COPY_IN = "copy notes from stdin"

State = Callable[[Client], None]


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with a pool of one server for each mode, before a database of their own."""
    folder: Path = tmp_path_factory.mktemp("breaking")
    postgres.execute(f"create database {DATABASE} owner {APP}", "postgres")
    postgres.execute("create table notes (id int, body text); grant all on notes to public", DATABASE)
    pools = [{"name": mode, "database": DATABASE, "pool": {"mode": mode, "max_size": 1}} for mode in MODES]
    with HeliosProcess(folder, base_settings(postgres, folder, databases=pools)) as process:
        yield process
    postgres.execute(f"drop database {DATABASE} with (force)", "postgres")


def run_until(c: Client, kind: str, *messages: bytes) -> None:
    """Send messages and read up to the first reply of a kind."""
    c.send(*messages)
    c.receive_until(lambda event: event.kind == kind)


def idle(c: Client) -> None:
    c.query("select 1")


def in_a_transaction(c: Client) -> None:
    c.query("begin")
    c.query(NEVER)


def in_a_transaction_extended(c: Client) -> None:
    c.extended("begin")
    c.extended(NEVER)


def in_a_failed_transaction(c: Client) -> None:
    c.query("begin; " + NEVER)
    c.query("select 1/0")


def in_a_query(c: Client) -> None:
    c.send(query(f"{NEVER}; select pg_sleep(60)"))


def in_an_execute(c: Client) -> None:
    c.send(parse(NEVER), bind(), execute(), parse("select pg_sleep(60)"), bind(), execute(), sync())


def between_flush_and_sync(c: Client) -> None:
    run_until(c, "NoData", parse(NEVER), describe_statement(), flush())


def after_an_execute_without_sync(c: Client) -> None:
    run_until(c, "CommandComplete", parse(NEVER), bind(), execute(), flush())


def with_a_portal_suspended(c: Client) -> None:
    run_until(c, "PortalSuspended", parse(ROWS), bind(portal="p"), execute("p", limit=2), flush())


def skipping_to_the_sync(c: Client) -> None:
    run_until(c, "ErrorResponse", parse(NEVER), bind(), execute(), parse("select 1/0"), bind(), execute(), flush())


def in_copy_in(c: Client) -> None:
    run_until(c, "CopyInResponse", query(COPY_IN))
    c.send(copy_data(b"1\tnever\n"))


def in_copy_in_extended(c: Client) -> None:
    run_until(c, "CopyInResponse", parse(COPY_IN), bind(), execute(), flush())
    c.send(copy_data(b"1\tnev"))


def in_copy_out(c: Client) -> None:
    run_until(c, "CopyData", query(LARGE))


def in_copy_out_extended(c: Client) -> None:
    run_until(c, "CopyData", parse(LARGE), bind(), execute(), sync())


def in_a_pipeline(c: Client) -> None:
    c.send(query("begin; " + NEVER), query("select pg_sleep(60)"), query("commit"), extended("select 2"))


def in_a_pipeline_extended(c: Client) -> None:
    c.send(extended("begin"), extended(NEVER), extended("select pg_sleep(60)"), extended("commit"), query("select 2"))


def in_half_a_message(c: Client) -> None:
    c.query("begin; " + NEVER)
    c.send(parse("select length($1)"), bind(["x" * 300_000])[:-1000])


STATES: list[State] = [
    idle,
    in_a_transaction,
    in_a_transaction_extended,
    in_a_failed_transaction,
    in_a_query,
    in_an_execute,
    between_flush_and_sync,
    after_an_execute_without_sync,
    with_a_portal_suspended,
    skipping_to_the_sync,
    in_copy_in,
    in_copy_in_extended,
    in_copy_out,
    in_copy_out_extended,
    in_a_pipeline,
    in_a_pipeline_extended,
    in_half_a_message,
]

BUSY = (in_a_query, in_an_execute, in_a_pipeline, in_a_pipeline_extended)
"""The server works: it goes on for a client that said Terminate, as PostgreSQL does, and stops for one that left."""

TORN = (in_copy_out, in_copy_out_extended)
"""The client has half a row: an error would be read as part of it, so that the end of the stream has to do."""


def enter(proxy: HeliosProcess, postgres: PostgresCluster, mode: str, state: State) -> tuple[Client, str]:
    """A client in a state, and the server process it is on, once that is at work for it or waits for it."""
    client = Client(proxy.target(mode))
    server = client.value("select pg_backend_pid()") or ""
    state(client)
    # What was sent has arrived: the last statement is no longer the question above.
    arrived = f"select query <> 'select pg_backend_pid()' from pg_stat_activity where pid = {server}"
    with Client(postgres.superuser()) as admin:
        until(lambda: admin.value(arrived) == "t", "the state to be reached")
    client.transcript.clear()
    return client, server


def assert_nothing_is_left(proxy: HeliosProcess, postgres: PostgresCluster, mode: str) -> None:
    """The next client is served by both protocols, sees nothing, and then everything is at rest again."""
    with Client(proxy.target(mode)) as next_client:
        assert next_client.value("select count(*) from notes") == "0"
        assert rows(next_client.extended("select $1::int", "7")) == [["7"]]

    def at_rest() -> bool:
        pools = [pool for pool in proxy.json("/pools") if pool["node_name"] == "primary"]
        busy = sum(pool["active_connections"] + pool["pending_requests"] for pool in pools)
        return bool(busy == 0 and proxy.json("/sessions")["active_sessions"] == 0)

    until(at_rest, "clients and servers to be given back")
    servers = f"select count(*) from pg_stat_activity where datname = '{DATABASE}' and backend_type = 'client backend'"
    with Client(postgres.superuser()) as admin:
        until(lambda: int(admin.value(servers) or 0) <= len(MODES), "no server process beside those of the pools")


@pytest.mark.checklist(45, 46)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_server_is_killed(proxy: HeliosProcess, postgres: PostgresCluster, state: State, mode: str) -> None:
    client, server = enter(proxy, postgres, mode, state)

    assert postgres.value(f"select pg_terminate_backend({server}, 5000)") == "t"

    if (state, mode) == (idle, "transaction"):
        assert client.value("select 'not told, since it had no server'")
        client.terminate()
    else:
        told = sqlstates(client.until_closed())
        assert len(told) == 1 or (state in TORN and told == []), told
        assert set(told) <= set(LOST)
    assert_nothing_is_left(proxy, postgres, mode)


def terminating(c: Client) -> None:
    c.terminate()


def closing(c: Client) -> None:
    c.close()


def resetting(c: Client) -> None:
    c.abort()


@pytest.mark.checklist(53, 54, 55)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("state", "leave"),
    [
        pytest.param(state, leave, id=f"{state.__name__}-{leave.__name__}")
        for state in STATES
        for leave in (terminating, closing, resetting)
        if leave is not terminating or state not in BUSY
    ],
)
def test_client_leaves(proxy: HeliosProcess, postgres: PostgresCluster, state: State, leave: State, mode: str) -> None:
    client, _ = enter(proxy, postgres, mode, state)

    leave(client)

    assert_nothing_is_left(proxy, postgres, mode)


FIRST = frontend.startup({"user": APP, "database": "transaction"})
LOGINS = {
    "half a startup packet": [FIRST[:20]],
    "startup packet": [FIRST],
    "request for encryption": [frontend.ssl_request()],
    "first SASL message": [FIRST, frontend.sasl_initial(MECHANISM, ScramClient("x").first())],
    "half a SASL message": [FIRST, frontend.sasl_initial(MECHANISM, ScramClient("x").first())[:-9]],
}


@pytest.mark.parametrize("said", list(LOGINS))
def test_client_leaves_during_its_login(proxy: HeliosProcess, postgres: PostgresCluster, said: str) -> None:
    connection = Connection("127.0.0.1", proxy.port)
    for message in LOGINS[said]:
        connection.send(message)
        if message == FIRST:
            assert brief([connection.receive()]) == ["Authentication SASL"]

    connection.abort()

    assert_nothing_is_left(proxy, postgres, "transaction")


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_client_leaves_while_it_waits_for_a_server(
    proxy: HeliosProcess, postgres: PostgresCluster, protocol: str
) -> None:
    holder, waiter = Client(proxy.target("transaction")), Client(proxy.target("transaction"))
    holder.query("begin")
    waiter.send(query(NEVER) if protocol == "simple" else extended(NEVER))
    pending = "pending_requests"
    until(lambda: sum(pool[pending] for pool in proxy.json("/pools")) == 1, "the client to wait")

    waiter.close()

    until(lambda: sum(pool[pending] for pool in proxy.json("/pools")) == 0, "nobody to wait")
    assert holder.value("select 'undisturbed'") == "undisturbed"
    holder.query("commit")
    holder.terminate()
    assert_nothing_is_left(proxy, postgres, "transaction")


@pytest.mark.checklist(46)
@pytest.mark.parametrize("mode", MODES)
def test_a_commit_sent_into_the_loss_is_not_taken_for_done(
    proxy: HeliosProcess, postgres: PostgresCluster, mode: str
) -> None:
    """What the client sends meanwhile must not run on another server, outside of its transaction."""
    client, server = enter(proxy, postgres, mode, in_a_transaction_extended)
    assert postgres.value(f"select pg_terminate_backend({server}, 5000)") == "t"

    try:
        client.send(query(NEVER), extended("commit"))
        events = client.until_closed()
    except (OSError, ClosedError):
        events = list(client.transcript)  # the close has arrived before

    assert [event.brief for event in events if event.kind != "ErrorResponse"] == []
    assert_nothing_is_left(proxy, postgres, mode)


@pytest.mark.checklist(40)
def test_a_slow_writer_holds_no_server(proxy: HeliosProcess) -> None:
    """Who has sent half a statement has asked for nothing yet."""
    slow, other = Client(proxy.target("transaction")), Client(proxy.target("transaction"))
    for whole in (query("select 'slow'"), extended("select 'slow'")):
        for byte in range(len(whole) - 1):
            slow.send(whole[byte : byte + 1])
            if whole[:1] == b"Q":
                assert other.value("select 'not held up'") == "not held up"
        slow.send(whole[-1:])

        assert rows(slow.until_ready()) == [["slow"]]
    for client in (slow, other):
        client.terminate()
