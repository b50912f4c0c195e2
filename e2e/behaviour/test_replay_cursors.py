"""Cursors and portals of a transaction whose server is lost go on at the row where they were."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.asks import Ask, extended, simple
from harness.backend import Event
from harness.client import Client, Connection, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.frontend import bind, cancel_request, close_portal, execute, parse, query, sync
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

PATIENCE = 30
MANY = 20_000
ENDLESS = 1_000_000


ASKS = pytest.mark.parametrize("ask", [simple, extended])


@pytest.fixture(scope="module")
def relay(postgres: PostgresCluster) -> Iterator[CuttingRelay]:
    """Before the primary."""
    with CuttingRelay(postgres.primary.port, APP) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(
    postgres: PostgresCluster, relay: CuttingRelay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """It runs transactions again, on the same server over another connection."""
    folder: Path = tmp_path_factory.mktemp("cursors")
    sections = {"transaction_replay": {"enabled": True}, "pool": {"acquire_timeout_seconds": PATIENCE, "max_size": 4}}
    with HeliosProcess(folder, base_settings(relay, folder, **sections)) as process:
        yield process


@pytest.fixture
def client(proxy: HeliosProcess) -> Iterator[Client]:
    with Client(proxy.target().with_options(application_name="cursors"), deadline=PATIENCE) as made:
        yield made


def kill(postgres: PostgresCluster) -> None:
    """End the client's server process, and wait until it is gone."""
    of = "from pg_stat_activity where application_name = 'cursors' and backend_type = 'client backend'"
    pid = postgres.value(f"select pid {of}")
    postgres.value(f"select pg_terminate_backend({pid})")
    until(lambda: postgres.value(f"select count(*) from pg_stat_activity where pid = {pid}") == "0", "its end")


def numbers(events: list[Event]) -> list[int]:
    """Of the one column, text or binary."""
    assert not sqlstates(events)
    values = [event.values[0] or b"" for event in events if event.kind == "DataRow"]
    return [struct.unpack("!i", value)[0] if value[:1] == b"\0" else int(value) for value in values]


KINDS: dict[str, tuple[list[str], list[tuple[str, list[int]]]]] = {
    "cursor": (
        ["fetch 100 from c", "move 50 in c", "fetch next from c"],
        [("fetch 2 from c", [152, 153]), ("fetch all from c", list(range(154, 501))), ("fetch 1 from c", [])],
    ),
    "scroll cursor": (
        ["fetch 10 from c", "fetch backward 3 from c", "fetch absolute 50 from c", "fetch relative -2 from c"],
        [("fetch prior from c", [47]), ("fetch last from c", [500]), ("fetch absolute 2 from c", [2])],
    ),
    "binary cursor": (["fetch 7 from c"], [("fetch 2 from c", [8, 9])]),
    "insensitive cursor": (["fetch 7 from c", "close c"], [("fetch 1 from d", [3])]),
}
"""What is asked before the loss, and what after it, with the rows."""


@ASKS
@pytest.mark.parametrize("kind", KINDS)
def test_cursors_go_on_where_they_were(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask, kind: str
) -> None:
    before, after = KINDS[kind]
    setup = [
        "begin",
        f"declare c {kind} for select n::int from generate_series(1, 500) n",
        "declare d cursor for select n::int from generate_series(1, 5) n",
        "fetch 2 from d",
    ]
    for sql in [*setup, *before]:
        assert not sqlstates(ask(client, sql)), sql

    kill(postgres)

    for sql, expected in after:
        assert numbers(ask(client, sql)) == expected, sql
    assert not sqlstates(ask(client, "commit"))


def test_portals_with_limits_go_on_where_they_were(postgres: PostgresCluster, client: Client) -> None:
    client.query("begin")
    sql = "select n::int from generate_series(1, 9) n"
    assert numbers(client.batch(parse(sql, "s"), bind((), "s", "p"), execute("p", 3), sync())) == [1, 2, 3]
    assert numbers(client.batch(parse(sql), bind(result_formats=[1]), execute("", 2), sync())) == [1, 2]
    assert numbers(client.batch(execute("p", 2), sync())) == [4, 5]
    assert numbers(client.batch(bind((), "s", "gone"), execute("gone", 1), close_portal("gone"), sync())) == [1]

    kill(postgres)

    assert numbers(client.batch(execute("p", 3), sync())) == [6, 7, 8]
    kill(postgres)
    assert numbers(client.batch(execute("p"), sync())) == [9]
    assert sqlstates(client.batch(execute("gone"), sync())) == ["34000"]
    assert client.query("commit")[-1].brief == "ReadyForQuery I"


def test_a_long_cursor_gives_each_row_once(postgres: PostgresCluster, client: Client) -> None:
    client.query("begin")
    client.query(f"declare c no scroll cursor for select n from generate_series(1, {MANY}) n")
    got: list[int] = []
    while len(got) < MANY:
        if len(got) in (MANY // 4, MANY // 2):
            kill(postgres)
        got += numbers(client.query("fetch 1000 from c"))
    assert got == list(range(1, MANY + 1))
    client.query("commit")


def test_a_second_loss_in_the_middle_of_a_replay(
    proxy: HeliosProcess, postgres: PostgresCluster, relay: CuttingRelay, client: Client
) -> None:
    """The replay itself is cut at its messages, one after the other."""
    before = proxy.json("/api/tr")["diverged"]

    def outlive(cut: Cut) -> bool:
        client.query("begin")
        assert numbers(client.query("select generate_series(1, 3)")) == [1, 2, 3]
        client.query("declare c cursor for select n::int from generate_series(1, 9) n")
        assert numbers(client.query("fetch 4 from c")) == [1, 2, 3, 4]
        relay.arm(cut)
        kill(postgres)
        assert numbers(client.query("fetch 2 from c")) == [5, 6]
        is_cut = relay.disarm()
        assert client.query("commit")[-1].brief == "ReadyForQuery I"
        return is_cut

    counter = Cut(False, ENDLESS)
    assert not outlive(counter)
    # What is said of the transaction's number, in six messages, comes behind an answer: that of the last one before the
    # cut may count as well, and that of the last one of all may come too late.
    total = ENDLESS - counter.messages - 12
    reached = [outlive(Cut(False, number)) for number in range(total - 24, total, 2)]

    assert all(reached)
    assert proxy.json("/api/tr")["diverged"] == before


@pytest.mark.parametrize("end", ["leaves", "cancels"])
def test_a_client_that_leaves_or_cancels_during_a_replay(
    proxy: HeliosProcess, postgres: PostgresCluster, end: str
) -> None:
    """What it has asked takes long when it is asked again."""
    postgres.execute("create table slow (n int); grant all on slow to public")
    before = proxy.json("/api/tr")["diverged"]["cancelled"]
    running = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    try:
        with Client(proxy.target().with_options(application_name="cursors"), deadline=PATIENCE) as client:
            client.query("begin")
            assert not sqlstates(client.query("select pg_sleep(60 * (select count(*) from slow))"))
            postgres.execute("insert into slow values (1)")
            kill(postgres)
            until(lambda: postgres.value(running) == "1", "its replay", PATIENCE)
            assert proxy.json("/api/tr")["active"] == 1
            if end == "leaves":
                client.abort()
            else:
                client.send(query("select 1"))
                asking = Connection("127.0.0.1", proxy.port)
                asking.send(cancel_request(client.pid, client.key))
                asking.until_closed()
                events = client.until_ready()
                assert sqlstates(events) == ["57014"]
                assert events[-1].brief == "ReadyForQuery E"
                assert client.query("rollback")[-1].brief == "ReadyForQuery I"
            until(lambda: proxy.json("/api/tr")["active"] == 0, "its end", PATIENCE)
            until(lambda: postgres.value(running) == "0", "nothing to run", PATIENCE)
    finally:
        postgres.execute("drop table slow")
    assert proxy.json("/api/tr")["diverged"]["cancelled"] == before + (end == "cancels")
