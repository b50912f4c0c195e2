"""Transaction blocks where reads are split: the proxy answers BEGIN, and sends it with the first other statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.asks import Ask, extended, simple
from harness.backend import Event
from harness.client import Client, LoginRefusedError, brief, full, rows, sqlstates
from harness.frontend import bind, describe_portal, execute, parse, query, sync
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.replay import paused_replay
from harness.wait import until

WHO = "select current_setting('cluster_name')"


def described(client: Client, sql: str) -> list[Event]:
    """As a driver that prepares what it runs in the same batch as it asks for the columns."""
    return client.batch(parse(sql), bind(), describe_portal(), execute(), sync())


ASKS = pytest.mark.parametrize("ask", [simple, extended, described])


def split(start_proxy: StartProxy, **pool: object) -> HeliosProcess:
    """A proxy that sends reads to the standby, however slow the machine is, once it does."""
    proxy = start_proxy(routing={"read_write_split": True, "max_lag_ms": 0}, pool=pool)

    def is_used() -> bool:
        try:
            with Client(proxy.target()) as client:
                return client.value(WHO) == "standby-1"
        except LoginRefusedError:  # the first connection to a server took longer than a client waits
            return False

    until(is_used, "reads to go to the standby", 30)
    return proxy


def node(client: Client, ask: Ask) -> str | None:
    events = ask(client, WHO)
    assert not sqlstates(events), brief(events)
    return rows(events)[0][0]


def ends(events: list[Event]) -> list[str]:
    """What was done, and what the client's transaction is then."""
    return [event.text for event in events if event.kind in ("CommandComplete", "ErrorResponse", "ReadyForQuery")]


@contextmanager
def all_servers_taken(proxy: HeliosProcess) -> Iterator[None]:
    """Of the primary's pool, which has one."""
    with Client(proxy.target()) as holder:
        holder.query("begin; select 1")
        yield
        holder.query("rollback")


@ASKS
def test_a_block_without_a_statement_reaches_no_server(start_proxy: StartProxy, ask: Ask) -> None:
    proxy = split(start_proxy, max_size=1)
    with all_servers_taken(proxy), Client(proxy.target(), deadline=5) as client:
        for script in (
            ("begin", "commit"),
            ("start transaction isolation level repeatable read", "set transaction read only", "end"),
            ("begin work -- a comment", "set transaction read write", "abort"),
        ):
            for sql in script:
                assert not sqlstates(ask(client, sql))


SCRIPTS = [
    ("begin", "select 1", "commit"),
    ("begin", "rollback", "commit"),
    ("begin", "begin", "commit"),
    ("begin", "select 1/0", "select 1", "commit"),
    ("begin; select 1", "commit"),
    ("begin", "commit and chain", "select 1", "rollback"),
    ("set transaction read only", "show transaction_read_only"),
    ("begin", "set transaction read only", "show transaction_read_only", "commit"),
    ("begin -- one", "set transaction isolation level serializable -- two", "show transaction_isolation", "end"),
    ("begin read only", "set transaction read write", "show transaction_read_only", "end"),
    ("begin isolation level nonsense", "select 1"),
    ("begin", "set transaction isolation level nonsense", "select 1", "rollback"),
    ("begin", "set transaction snapshot '00000003-0000001B-1'", "rollback"),
    ("begin", "savepoint a", "rollback to a", "commit"),
    ("begin", "set local work_mem = '7MB'", "show work_mem", "commit", "show work_mem"),
    ("begin", "", "commit"),
    ("/* why */ begin", "/* not */ rollback"),
]


@ASKS
@pytest.mark.parametrize("script", SCRIPTS, ids="|".join)
def test_what_a_client_sees_is_what_postgresql_says(
    blocks: HeliosProcess, postgres: PostgresCluster, ask: Ask, script: tuple[str, ...]
) -> None:
    with Client(superuser_of(postgres.primary)) as direct, Client(blocks.target()) as client:
        for _ in range(2):
            for sql in script:
                assert full(ask(client, sql)) == full(ask(direct, sql)), sql


@pytest.fixture(scope="module")
def blocks(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    folder = tmp_path_factory.mktemp("blocks")
    routing = {"read_write_split": True, "max_lag_ms": 0}
    with HeliosProcess(folder, base_settings(postgres, folder, routing=routing)) as proxy:
        yield proxy


@ASKS
def test_a_block_is_one_transaction(blocks: HeliosProcess, ask: Ask) -> None:
    xid = "select pg_current_xact_id()"
    with Client(blocks.target()) as client:
        ask(client, "begin")
        first, second = (rows(ask(client, xid)) for _ in range(2))
        assert first == second
        ask(client, "insert into notes values (7300, 'x')")
        ask(client, "rollback")
        assert rows(ask(client, xid)) != first
        assert rows(ask(client, "select count(*) from notes where id = 7300")) == [["0"]]


@ASKS
def test_set_transaction_behind_begin_chooses_the_node(start_proxy: StartProxy, ask: Ask) -> None:
    proxy = split(start_proxy)
    with Client(proxy.target()) as client:
        until(lambda: node(client, ask) == "standby-1", "a read on the standby")
        for begin, setting, wanted in (
            ("begin", "read only", "standby-1"),
            ("start transaction", "isolation level repeatable read, read only", "standby-1"),
            ("begin read only", "read write", "primary"),
            ("begin isolation level serializable", "read only", "primary"),
            ("begin", "isolation level repeatable read", "primary"),
        ):
            for sql in (begin, f"set transaction {setting}"):
                assert not sqlstates(ask(client, sql))
            assert node(client, ask) == wanted, (begin, setting)
            ask(client, "commit")
        ask(client, "begin")
        assert node(client, ask) == "primary"
        ask(client, "set transaction read only")
        assert node(client, ask) == "primary"
        ask(client, "commit")


@ASKS
def test_a_block_that_only_reads_sees_what_its_session_wrote(
    start_proxy: StartProxy, postgres: PostgresCluster, ask: Ask
) -> None:
    proxy = split(start_proxy)
    with Client(proxy.target()) as client:
        with paused_replay(postgres):
            for turn in map(str, range(10)):
                client.query(
                    f"insert into notes values (7301, '{turn}') on conflict (id) do update set body = '{turn}'"
                )
                ask(client, "begin read only")
                events = ask(client, "select body from notes where id = 7301")
                assert rows(events) == [[turn]], brief(events)
                assert node(client, ask) == "primary"
                ask(client, "commit")
        client.query("delete from notes where id = 7301")

        def is_on_standby() -> bool:
            ask(client, "begin read only")
            assert rows(ask(client, "select count(*) from notes where id = 7301")) == [["0"]]
            found = node(client, ask)
            ask(client, "commit")
            return found == "standby-1"

        until(is_on_standby, "the standby to have caught up")


@ASKS
def test_a_hint_on_the_first_statement_chooses_the_node(blocks: HeliosProcess, ask: Ask) -> None:
    with Client(blocks.target(), deadline=30) as client:
        until(lambda: node(client, ask) == "standby-1", "a read on the standby")
        for hint, wanted in (
            ("route=primary", "primary"),
            ("consistency=strong", "primary"),
            ("node=standby-1", "standby-1"),
            ("route=standby", "standby-1"),
        ):
            ask(client, "begin read only")
            assert rows(ask(client, f"/*helios:{hint}*/ {WHO}")) == [[wanted]], hint
            assert node(client, ask) == wanted, "of the whole block"
            ask(client, "commit")
            until(lambda: node(client, ask) == "standby-1", "a read on the standby")
        ask(client, "begin read only")
        assert sqlstates(ask(client, f"/*helios:node=nobody*/ {WHO}"))[:1] == ["0A000"]
        ask(client, "rollback")


def test_a_block_may_be_sent_ahead(blocks: HeliosProcess) -> None:
    with Client(blocks.target()) as client:
        client.send(query("begin"), query("select 'a'"), query("commit"), query("begin"), query("rollback"))
        events = client.until_ready(5)
        assert rows(events) == [["a"]]
        assert [event.raw for event in events if event.kind == "ReadyForQuery"] == [b"T", b"T", b"I", b"T", b"I"]
        batch = [parse("begin"), bind(), execute(), sync(), parse("select 'b'"), bind(), execute(), sync()]
        batch += [parse("commit"), bind(), execute(), sync()]
        client.send(*batch)
        events = client.until_ready(3)
        assert rows(events) == [["b"]]
        # In one batch, as JDBC's driver does.
        batch = [parse("begin read only"), bind(), execute(), parse("select 'c'"), bind(), execute(), sync()]
        client.send(*batch, query("commit"))
        events = client.until_ready(2)
        assert rows(events) == [["c"]]
        # Byte by byte.
        for byte in parse("begin") + bind() + execute() + sync():
            client.send(bytes([byte]))
        assert [event.raw for event in client.until_ready() if event.kind == "ReadyForQuery"] == [b"T"]
        # The unnamed statement is the client's own all the same.
        assert ends(client.batch(bind(), execute(), sync()))[0] == "CommandComplete BEGIN"
        assert ends(client.query("commit"))[0] == "CommandComplete COMMIT"


@ASKS
def test_a_block_for_which_there_is_no_server_is_over(start_proxy: StartProxy, ask: Ask) -> None:
    proxy = split(start_proxy, max_size=1, acquire_timeout_seconds=1)
    with Client(proxy.target(), deadline=20) as client:
        ask(client, "select pg_current_xact_id()")
        with all_servers_taken(proxy):
            ask(client, "begin")
            events = ask(client, "select pg_current_xact_id()")
            assert sqlstates(events) == ["53300"], brief(events)
            assert events[-1].raw == b"I"
        assert not sqlstates(ask(client, "select pg_current_xact_id()"))


def test_a_client_that_leaves_inside_of_one_leaves_nothing(start_proxy: StartProxy) -> None:
    proxy = split(start_proxy, max_size=1)
    for leave in (Client.terminate, Client.abort):
        client = Client(proxy.target())
        client.query("begin")
        leave(client)
    with Client(proxy.target()) as client:
        assert client.value("select pg_current_xact_id_if_assigned()") is None
        assert client.query("select 1")[-1].raw == b"I"
