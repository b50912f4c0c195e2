"""LISTEN below session mode: one connection of the proxy listens for all clients of a pool, and none notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, rows, sqlstates
from harness.frontend import bind, copy_data, copy_done, execute, flush, parse, query, sync
from harness.postgres import APP, APP_PLAIN, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.routes import Parity, Route, Script
from harness.wait import until

LONG = "n" * 70
LINK = "application_name = 'helios listen'"
MAX_NOTIFICATION_BYTES = 16_384
MAX_CHANNELS = 30


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """Two workers that share one server connection."""
    folder = tmp_path_factory.mktemp("listen-proxy")
    pool = {"mode": "transaction", "max_size": 1}
    limits = {"max_notification_bytes": MAX_NOTIFICATION_BYTES, "max_channels": MAX_CHANNELS}
    settings = base_settings(postgres, folder, pool=pool, limits=limits, workers=2, console={"admin_users": [APP]})
    with HeliosProcess(folder, settings) as process:
        yield process


def heard(client: Client) -> list[str]:
    """Channel and payload of each notification so far, which are forgotten."""
    events = [event for event in client.transcript if event.kind == "NotificationResponse"]
    client.transcript.clear()
    return [event.brief.removeprefix("NotificationResponse ") for event in events]


def listening(proxy: HeliosProcess) -> int:
    """GET /sessions."""
    number: int = proxy.json("/sessions")["listening_sessions"]
    return number


def links(postgres: PostgresCluster) -> int:
    """Shared links that the server knows of."""
    return int(postgres.value(f"select count(*) from pg_stat_activity where {LINK}") or 0)


def all_channels(c: Client) -> None:
    for way in (c.query, c.extended):
        for channel in ("a", "b", '"A"', '"a ""b"""', LONG):
            way(f"notify {channel}, 'payload'")


def names(c: Client) -> None:
    for listen, unlisten in (
        ("LISTEN a", "UNLISTEN A"),
        ('listen "A"', 'unlisten /* c */ "A" ;'),
        ('listen "a ""b"""', 'unlisten "a ""b"""'),
        (f"listen {LONG}", f"unlisten {LONG}"),
        (f'listen "{LONG}"', f"unlisten {LONG.upper()}"),
        ("listen a; listen b", "unlisten b; unlisten a"),
        ("listen a; listen a; listen B", "unlisten *"),
    ):
        for way in (c.query, c.extended) if ";" not in listen + unlisten else (c.query,):
            way(listen)
            all_channels(c)
            way(unlisten)
            all_channels(c)


def transactions(c: Client) -> None:
    for run in (c.query, c.extended):
        run("begin")
        run("listen a")
        run("notify a, 'within'")
        run("commit")
        all_channels(c)
        run("begin")
        run("unlisten a")
        run("listen b")
        run("rollback")
        all_channels(c)
        run("begin")
        run("savepoint s")
        run("unlisten *")
        run("listen b")
        run("rollback to s")
        run('listen "A"')
        run("commit")
        all_channels(c)
        run("begin")
        run("unlisten a")
        run("listen a")
        run("commit")
        all_channels(c)
        run("begin")
        run("unlisten a")
        run("select 1/0")
        run("commit")
        all_channels(c)
        run("begin")
        run("unlisten a")
        run('unlisten "A"')
        run("listen b")
        run("commit")
        all_channels(c)
        run("unlisten *")
        all_channels(c)
    c.query("listen a; select 1/0")
    c.query("begin; listen a; rollback; listen b")
    all_channels(c)
    c.query("unlisten *; select 1/0")
    all_channels(c)
    c.query("discard all")
    all_channels(c)


def code(c: Client) -> None:
    c.query("do $$ begin execute 'listen a'; end $$")
    all_channels(c)
    c.query("do $$ begin begin execute 'listen b'; raise 'x'; exception when others then null; end; end $$")
    all_channels(c)
    c.query("select pg_advisory_unlock_all(); close all; unlisten *; reset all;")
    all_channels(c)


def pipelines(c: Client) -> None:
    c.batch(query("listen a"), query("notify a, '1'"), query("unlisten a"), query("notify a, '2'"), ready=4)
    c.batch(query("select 1"), query("listen a"), query("select 2"), query("notify a, '3'"), ready=4)
    c.batch(
        *(parse("begin"), bind(), execute(), parse("unlisten a"), bind(), execute()),
        *(parse("commit"), bind(), execute(), sync(), query("notify a, '4'")),
        ready=2,
    )
    c.batch(parse("listen a", name="l"), sync(), bind(name="l"), execute(), sync(), query("notify a, '5'"), ready=3)
    c.batch(parse("unlisten *", name="u"), bind(name="u"), sync(), query("notify a, '6'"), ready=2)
    c.batch(bind(name="u"), execute(), flush(), sync(), query("notify a, '7'"), ready=2)


def beside_other_state(c: Client) -> None:
    """Statements that are prepared, settings and COPY, each in transactions that listen, notify or give up channels."""
    c.query("listen a; prepare p as select 1")
    c.query("execute p; notify a, '1'")
    c.query("execute p; unlisten a; notify a, '2'")
    c.batch(
        *(parse("listen b", name="l"), bind(name="l"), execute()),
        *(parse("execute p", name="e"), bind(name="e"), execute(), sync()),
    )
    c.query("begin; set statement_timeout = 60000; notify b, '3'; commit")
    c.query("begin")
    c.query("reset statement_timeout")
    c.query("notify b, '4'")
    c.query("commit")
    c.query("begin")
    c.query("create temp table copied (a int) on commit drop")
    c.batch(query("copy copied from stdin"), copy_data(b"1\n"), copy_done())
    c.query("notify b, '5'")
    c.query("commit")
    c.batch(query("copy missing from stdin"), query("notify b, '6'"), ready=2)
    c.query("execute p; unlisten *; deallocate p")
    all_channels(c)


SCRIPTS = (names, transactions, code, pipelines, beside_other_state)


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_one_client_hears_what_it_would_hear_on_its_own_connection(parity: Parity, script: Script) -> None:
    """The client notifies itself, so that what comes and when is the same each time."""
    parity(script)


@pytest.mark.routes("statement", chunks=("none",))
def test_statement_mode_listens_too(parity: Parity) -> None:
    parity(names)


@pytest.mark.checklist(43)
def test_nobody_is_kept_from_the_only_server(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    clients = [Client(proxy.target()) for _ in range(18)]
    speaker = clients.pop()

    for number, client in enumerate(clients):
        assert sqlstates(client.query(f"listen news; listen c{number}")) == []
    assert proxy.json("/sessions")["pinned_sessions"] == {}
    assert (listening(proxy), links(postgres)) == (len(clients), 1)

    payload = "x" * 7999
    # Longer than what the server's last client has said may still be on its way.
    speaker.query(f"select pg_sleep(0.1); notify news, 'first'; notify news, '{payload}'; notify c3, 'only'")
    for number, client in enumerate(clients):
        events = [client.receive() for _ in range(2 + (number == 3))]
        assert {event.raw[:4] for event in events} == {speaker.pid.to_bytes(4, "big")}
        assert heard(client) == ["news first", f"news {payload}"] + ["c3 only"] * (number == 3)
        assert client.value("select 1") == "1"
    assert not heard(speaker)

    with Client(postgres.direct()) as stranger:
        stranger.query("notify c4, 'from elsewhere'")
        event = clients[4].receive()
        assert event.raw[:4] == stranger.pid.to_bytes(4, "big")

    left = clients[:9]
    for client in left:
        client.abort()
    until(lambda: listening(proxy) == len(clients) - len(left), "the sessions that have gone")
    speaker.query("notify news, 'second'")
    for client in clients[9:]:
        client.receive()
        assert heard(client) == ["news second"]
        client.query("unlisten *")
    until(lambda: (listening(proxy), links(postgres)) == (0, 0), "the link to be closed with the last of its listeners")


def test_nothing_is_missed_that_is_sent_after_the_answer(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    ways = (
        lambda c, name: c.query(f"listen {name}"),
        lambda c, name: c.extended(f"listen {name}"),
        lambda c, name: (c.query("begin"), c.query(f"listen {name}"), c.extended("commit")),
        lambda c, name: c.query(f"do $$ begin execute 'listen {name}'; end $$"),
        lambda c, name: c.query(f"select 1; listen {name}; select 2"),
    )
    with Client(proxy.target()) as client, Client(postgres.direct()) as speaker, Client(proxy.target()) as other:
        other.query("listen r3")
        for number in range(20):
            ways[number % len(ways)](client, f"r{number}")
            speaker.query(f"notify r{number}, 'now'")
            until(lambda: client.receive().kind == "NotificationResponse", "the notification")
            assert heard(client) == [f"r{number} now"]


def test_notifications_come_between_transactions_only(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    with Client(proxy.target()) as client, Client(postgres.direct()) as speaker:
        client.query("listen news")
        client.query("begin")
        speaker.query("notify news, 'waits'")
        for _ in range(3):
            client.query("select pg_sleep(0.02)")
        client.batch(parse("select 1"), bind(), execute(), sync())
        assert heard(client) == []

        events = client.query("commit")

        assert [event.kind for event in events] == ["CommandComplete", "NotificationResponse", "ReadyForQuery"]
        client.send(parse("select 1"), flush())
        client.receive()
        speaker.query("notify news, 'between'")
        client.expect_silence(0.2)
        client.send(bind(), execute(), sync())
        assert [event.kind for event in client.until_ready()][-2:] == ["NotificationResponse", "ReadyForQuery"]


def end_links(postgres: PostgresCluster) -> None:
    postgres.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {LINK}")


def test_listeners_are_told_when_the_link_is_lost(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    idle, busy, bystander = (Client(proxy.target()) for _ in range(3))
    for client in (idle, busy):
        client.query("listen news")
    busy.query("begin")

    end_links(postgres)

    [last] = idle.until_closed()
    assert (last.kind, sqlstates([last])) == ("ErrorResponse", ["57P01"])
    assert "notifications may have been missed: terminating connection due to administrator command" in last.text
    assert busy.value("select 1") == "1"
    assert [event.kind for event in busy.query("commit")] == ["CommandComplete", "ReadyForQuery"]
    assert sqlstates(busy.until_closed()) == ["57P01"]
    assert bystander.value("select 1") == "1"
    bystander.query("listen news; notify news, 'on a new link'")
    assert heard(bystander) == ["news on a new link"]


def test_listener_that_does_not_read_is_disconnected(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    with Client(postgres.direct()) as speaker:
        idle, busy = Client(proxy.target()), Client(proxy.target())
        idle.query("listen flood")
        busy.query("listen few")
        busy.query("begin")

        speaker.query("select pg_notify('few', repeat('x', 7000) || n) from generate_series(1, 3) n")
        speaker.query("select pg_notify('flood', repeat('x', 7900) || n) from generate_series(1, 2000) n")

        until(lambda: listening(proxy) == 1, "the one that does not read to be ended", deadline=15)
        assert busy.value("select 1") == "1"
        busy.query("commit")
        assert sqlstates(busy.until_closed()) == ["53400"]
        events = idle.until_closed()
        texts = [event for event in events if event.kind == "NotificationResponse"]
        numbers = [event.brief.rsplit("x", 1)[1] for event in texts]
        assert numbers == [str(number + 1) for number in range(len(numbers))], "no gap up to the end"


def test_listening_to_too_many_channels_ends_the_client(proxy: HeliosProcess) -> None:
    code = "do $$ begin for i in 1..1000 loop execute 'listen d' || i; end loop; end $$"
    most = "; ".join(f"listen c{number}" for number in range(MAX_CHANNELS))
    for too_many in ("listen one_more", code):
        client = Client(proxy.target())
        assert sqlstates(client.query(f"{most}; listen c0")) == []
        client.send(query(too_many))
        last = client.until_closed()[-1]
        assert (last.kind, sqlstates([last])) == ("ErrorResponse", ["53400"])
        assert f"more than {MAX_CHANNELS} channels" in last.text
    until(lambda: listening(proxy) == 0, "both to be gone")


def test_console_shows_the_link_and_reconnect_replaces_it(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    client = Client(proxy.target())
    client.query("listen news")
    with Client(proxy.target("pgbouncer")) as console:
        [link] = [row for row in rows(console.query("show servers")) if row[4] == "listening"]
        assert postgres.value(f"select pid from pg_stat_activity where {LINK}") == link[16]

        assert sqlstates(console.query("reconnect")) == []

    assert sqlstates(client.until_closed()) == ["57P01"]
    until(lambda: links(postgres) == 0, "the link to be closed")


def test_changed_mode_ends_listeners(start_proxy: StartProxy, postgres: PostgresCluster, tmp_path: Path) -> None:
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 2})
    client = Client(proxy.target())
    client.query("listen news")

    proxy.write(base_settings(postgres, tmp_path / "proxy-0", pool={"mode": "session", "max_size": 2}, generation=2))
    assert proxy.post("/config/reload")[0] == 200

    assert sqlstates(client.until_closed()) == ["57P01"]
    until(lambda: links(postgres) == 0, "the link to be closed")


def test_listen_without_a_connection_to_spare_is_not_answered(
    start_proxy: StartProxy, postgres: PostgresCluster
) -> None:
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 1, "acquire_timeout_seconds": 3})
    client, other = (Client(proxy.target(user=APP_PLAIN)) for _ in range(2))
    assert client.value("select 1") == "1"
    postgres.execute(f"alter role {APP_PLAIN} connection limit 1")
    try:
        client.query("begin")
        client.send(query("listen news; commit"))
        events = client.until_closed()
        assert sqlstates(events) == ["57P01"]
        assert [event.brief for event in events if event.kind == "CommandComplete"][-1] == "CommandComplete COMMIT"
        assert "too many connections for role" in events[-1].text
        assert other.value("select 1") == "1"
    finally:
        postgres.execute(f"alter role {APP_PLAIN} connection limit -1")


def test_payload_comes_in_the_encoding_of_each_client(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    latin = Client(proxy.target().with_options(client_encoding="LATIN1"))
    utf8 = Client(proxy.target())
    name = "grüße"
    latin.query(f"listen {name}".encode("latin-1"))
    utf8.query(f"listen {name}")
    with Client(postgres.direct()) as speaker:
        speaker.query(f"notify {name}, 'ä'")
    assert latin.receive().raw[4:] == f"{name}\0ä\0".encode("latin-1")
    assert utf8.receive().raw[4:] == f"{name}\0ä\0".encode()

    latin.send(query("set client_encoding = utf8; listen other"))

    assert sqlstates(latin.until_closed()) == ["57P01"]


@pytest.mark.routes("session", "transaction", "statement", chunks=("none",))
def test_client_knows_its_own_notifications(route: Route) -> None:
    with Client(route.target()) as client, Client(route.target()) as other:
        client.query("listen own")
        for _ in range(5):
            other.value("select 1")
            client.query("notify own")
        own = [event for event in client.transcript if event.kind == "NotificationResponse"]
        assert [event.raw[:4] for event in own] == [client.pid.to_bytes(4, "big")] * 5
        assert rows(client.query("select 1")) == [["1"]]
