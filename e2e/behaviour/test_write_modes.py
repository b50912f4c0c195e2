"""How far writes must have come when they are acknowledged (`helios.write_mode`), on a real synchronous standby."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.client import Client, LoginRefusedError, brief, rows, sqlstates
from harness.postgres import DATABASE, PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.replay import paused_replay
from harness.wait import until

PATIENCE = 30.0
WRITE = "with w as (delete from notes where id = 0) select current_setting('synchronous_commit')"
"""A write that tells what is waited for when it is committed."""
SETTINGS = {"sync": "remote_apply", "semisync": "on", "async": "local"}

NUMBERS = count()


ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])


def connect(proxy: HeliosProcess, **options: str) -> Client:
    return Client(proxy.target().with_options(**options), deadline=PATIENCE)


@contextmanager
def synchronous(postgres: PostgresCluster, proxy: HeliosProcess) -> Iterator[None]:
    """Have the primary wait for its standby meanwhile, and the proxy know."""
    set_names(postgres, "*")
    try:
        with connect(proxy) as client:
            set_sync = "set helios.write_mode = sync"
            until(lambda: not sqlstates(client.query(set_sync)), "the proxy to see it", PATIENCE)
        yield
    finally:
        set_names(postgres, "")


def set_names(postgres: PostgresCluster, names: str) -> None:
    with Client(superuser_of(postgres.primary)) as admin:
        admin.query(f"alter system set synchronous_standby_names = '{names}'")
        admin.query("select pg_reload_conf()")


@pytest.fixture(scope="module")
def kept(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy whose primary keeps every mode. It has one connection, so that what a client leaves there others get."""
    folder = tmp_path_factory.mktemp("modes")
    routing = {"read_write_split": True, "max_lag_ms": 0}
    settings = base_settings(postgres, folder, routing=routing, pool={"max_size": 1})
    with HeliosProcess(folder, settings) as process, synchronous(postgres, process):
        yield process


def value(client: Client, ask: Ask, sql: str) -> str | None:
    events = ask(client, sql)
    assert not sqlstates(events), brief(events)
    return rows(events)[0][0]


@ASKS
def test_a_mode_is_of_all_transactions_of_its_session(kept: HeliosProcess, ask: Ask) -> None:
    with connect(kept) as client, connect(kept) as other:
        assert value(client, ask, "show helios.write_mode") == "default"
        for mode, setting in SETTINGS.items():
            assert not sqlstates(ask(client, f"set helios.write_mode = '{mode}'"))
            assert value(client, ask, "show helios.write_mode") == mode
            assert value(client, ask, WRITE) == setting
            client.query("begin")
            assert value(client, ask, WRITE) == setting
            assert sqlstates(client.query("set helios.write_mode = async")) == ["25001"]
            client.query("rollback")
            assert value(other, ask, WRITE) == "on"
        for forgets in ("reset helios.write_mode", "set helios.write_mode to default", "reset all", "discard all"):
            ask(client, "set helios.write_mode to async")
            assert not sqlstates(client.query(forgets)), forgets
            assert value(client, ask, "show helios.write_mode") == "default", forgets
            assert value(client, ask, WRITE) == "on", forgets
        assert sqlstates(client.query("set helios.write_mode = async; select 1")) == ["0A000"]
        assert sqlstates(ask(client, "set helios.write_mode = 'some'"))[:1] == ["22023"]


@ASKS
def test_a_connection_may_begin_with_a_mode(kept: HeliosProcess, ask: Ask) -> None:
    for options in ({"options": "-c helios.write_mode=async"}, {"helios.write_mode": "async"}):
        with connect(kept, **options) as client:
            for sql in ("select 1", "reset all", "discard all", "reset helios.write_mode"):
                client.query(sql)
                assert value(client, ask, WRITE) == "local", sql
    # As asyncpg writes it, which only the server's report of it tells to be UTF8.
    with connect(kept, **{"client_encoding": "'utf-8'", "helios.write_mode": "async"}) as client:
        for mode, setting in SETTINGS.items():
            assert not sqlstates(ask(client, f"set helios.write_mode = {mode}"))
            assert value(client, ask, WRITE) == setting
    with pytest.raises(LoginRefusedError, match="22023"):
        connect(kept, **{"helios.write_mode": "some"})


@ASKS
@pytest.mark.parametrize("key", ["route", "twr"])
def test_a_hint_is_for_one_transaction(kept: HeliosProcess, ask: Ask, key: str) -> None:
    with connect(kept) as client:
        for mode, setting in SETTINGS.items():
            hint = f"/*helios:{key}={mode}*/"
            assert value(client, ask, f"{hint} {WRITE}") == setting
            assert value(client, ask, WRITE) == "on"
            ask(client, "begin")
            assert value(client, ask, f"{hint} {WRITE}") == setting
            assert value(client, ask, "/*helios:twr=async*/ " + WRITE) == setting, "the block has begun"
            ask(client, "commit")
            assert value(client, ask, WRITE) == "on"
        # What the transaction sets stays; what the hint asked for does not.
        client.query("/*helios:twr=async*/ set timezone = 'Asia/Tokyo'; set work_mem = '7MB'")
        assert value(client, ask, WRITE) == "on"
        assert value(client, ask, "show timezone") == "Asia/Tokyo"
        assert value(client, ask, "show work_mem") == "7MB"
        client.query("set synchronous_commit = off")
        assert value(client, ask, f"/*helios:twr=sync*/ {WRITE}") == "remote_apply"
        assert value(client, ask, WRITE) == "off"


@ASKS
def test_sync_is_acknowledged_when_the_standby_shows_it(
    kept: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    assert postgres.standby is not None
    first, second = 75000 + next(NUMBERS), 76000 + next(NUMBERS)
    with connect(kept) as client, Client(superuser_of(postgres.standby), deadline=PATIENCE) as standby:
        with paused_replay(postgres):
            for mode in ("async", "semisync"):
                ask(client, f"set helios.write_mode = {mode}")
                assert not sqlstates(
                    ask(client, f"insert into notes values ({first}, '{mode}') on conflict do nothing")
                )
            assert standby.value(f"select count(*) from notes where id = {first}") == "0"
            ask(client, "set helios.write_mode = sync")
            seen: list[str | None] = []

            def write() -> None:
                assert not sqlstates(ask(client, f"insert into notes values ({second}, 'sync')"))
                seen.append(standby.value(f"select count(*) from notes where id = {second}"))

            writer = threading.Thread(target=write)
            writer.start()
            waiting = f"select count(*) from pg_stat_activity where wait_event = 'SyncRep' and query like '%{second}%'"
            until(lambda: postgres.value(waiting) == "1", "the write to wait", PATIENCE)
            assert not seen
        writer.join()
        assert seen == ["1"]
        client.query(f"delete from notes where id in ({first}, {second})")


@ASKS
def test_what_the_primary_does_not_keep_is_refused(
    postgres: PostgresCluster, start_proxy: StartProxy, ask: Ask
) -> None:
    set_names(postgres, "")
    proxy = start_proxy(routing={"read_write_split": True, "max_lag_ms": 0})
    insert = "insert into notes values (7502, 'x')"
    with connect(proxy) as client:

        def is_refused() -> bool:
            return sqlstates(ask(client, "/*helios:twr=sync*/ delete from notes where id = 0"))[:1] == ["55000"]

        until(is_refused, "the proxy to see that nobody keeps it", PATIENCE)
        for mode in ("sync", "semisync"):
            assert sqlstates(ask(client, f"set helios.write_mode = {mode}"))[:1] == ["55000"]
            assert sqlstates(ask(client, f"/*helios:twr={mode}*/ {insert}"))[:1] == ["55000"]
            with pytest.raises(LoginRefusedError, match="55000"):
                connect(proxy, **{"helios.write_mode": mode})
        assert value(client, ask, "select count(*) from notes where id = 7502") == "0"
        assert not sqlstates(ask(client, f"/*helios:twr=async*/ {insert}"))
        with synchronous(postgres, proxy):
            assert not sqlstates(ask(client, "set helios.write_mode = sync"))
            assert not sqlstates(ask(client, "update notes set body = 'y' where id = 7502"))
        until(is_refused, "the proxy to see that nobody keeps it", PATIENCE)
        assert sqlstates(ask(client, "delete from notes where id = 7502"))[:1] == ["55000"]
        assert value(client, ask, "select body from notes where id = 7502") == "y", "reads go on"
        ask(client, "reset helios.write_mode")
        assert not sqlstates(ask(client, "delete from notes where id = 7502"))


@pytest.fixture(scope="module")
def configured(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy whose configuration says modes: one for all, another for a database, and rules."""
    folder = tmp_path_factory.mktemp("configured")
    rules = [
        {"name": "payments", "application_name": ["payments"], "route": "sync"},
        {"name": "names", "query_pattern": "notes using items", "route": "semisync"},
    ]
    databases = [
        {"name": "*"},
        {"name": "safe", "database": DATABASE, "routing": {"write_mode": "semisync"}},
        {"name": "session", "database": DATABASE, "pool": {"mode": "session"}},
    ]
    routing = {"write_mode": "async", "rules": rules, "read_write_split": True, "max_lag_ms": 0}
    settings = base_settings(postgres, folder, routing=routing, databases=databases, pool={"max_size": 1})
    with HeliosProcess(folder, settings) as process:
        yield process


@ASKS
def test_the_configuration_says_what_nobody_else_does(
    configured: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    with synchronous(postgres, configured):
        with connect(configured) as client:
            assert value(client, ask, "show helios.write_mode") == "async"
            assert value(client, ask, WRITE) == "local"
            ask(client, "set helios.write_mode = sync")
            assert value(client, ask, WRITE) == "remote_apply"
            for forgets in ("reset helios.write_mode", "set helios.write_mode = default", "reset all", "discard all"):
                ask(client, "set helios.write_mode = sync")
                assert not sqlstates(client.query(forgets)), forgets
                assert value(client, ask, "show helios.write_mode") == "async", forgets
                assert value(client, ask, WRITE) == "local", forgets
            client.query("set synchronous_commit = off")
            assert value(client, ask, "show helios.write_mode") == "default"
            assert value(client, ask, WRITE) == "off"
        with Client(configured.target("safe"), deadline=PATIENCE) as client:
            assert value(client, ask, "show helios.write_mode") == "semisync"
            assert value(client, ask, WRITE) == "on"
        with connect(configured, **{"helios.write_mode": "sync"}) as client:
            assert value(client, ask, WRITE) == "remote_apply"
        with connect(configured, options="-c synchronous_commit=off") as client:
            assert value(client, ask, WRITE) == "off"
            assert value(client, ask, "show helios.write_mode") == "default"
        with Client(configured.target("session"), deadline=PATIENCE) as client:
            assert value(client, ask, WRITE) == "on", "in session mode the server is the client's own"


@ASKS
def test_a_rule_says_it_for_whom_it_is_about(configured: HeliosProcess, postgres: PostgresCluster, ask: Ask) -> None:
    joined = WRITE.replace("notes where id = 0", "notes using items where notes.id = items.id and notes.id = 0")
    with synchronous(postgres, configured):
        with connect(configured, application_name="payments") as client:
            assert value(client, ask, WRITE) == "remote_apply"
            ask(client, "begin")
            assert value(client, ask, WRITE) == "remote_apply"
            ask(client, "commit")
            assert value(client, ask, f"/*helios:twr=semisync*/ {WRITE}") == "on", "a hint goes before a rule"
        with connect(configured) as client:
            assert value(client, ask, joined) == "on"
            assert value(client, ask, WRITE) == "local"
    with connect(configured, application_name="payments") as client:
        refused = lambda: sqlstates(ask(client, WRITE))[:1] == ["55000"]  # noqa: E731 - one word for it
        until(refused, "the proxy to see that nobody keeps it", PATIENCE)
        reads = lambda: not sqlstates(ask(client, "select count(*) from notes where id = 0"))  # noqa: E731
        until(reads, "reads to go on", PATIENCE)


@ASKS
def test_what_the_configuration_says_is_refused_to_statements_and_not_to_logins(
    start_proxy: StartProxy, postgres: PostgresCluster, ask: Ask
) -> None:
    set_names(postgres, "")
    proxy = start_proxy(routing={"write_mode": "sync"})
    with connect(proxy) as client:
        refused = lambda: sqlstates(ask(client, "delete from notes where id = 0"))[:1] == ["55000"]  # noqa: E731
        until(refused, "the proxy to see that nobody keeps it", PATIENCE)
        assert sqlstates(ask(client, "select 1"))[:1] == ["55000"], "reads are not told from writes there"
        assert not sqlstates(ask(client, "set helios.write_mode = async"))
        assert value(client, ask, WRITE) == "local"
        with synchronous(postgres, proxy):
            ask(client, "reset helios.write_mode")
            assert value(client, ask, WRITE) == "remote_apply"
