"""What servers do on their own: notices at login, time-outs, refusals, limits. A client is told once, or never."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, ClosedError, LoginRefusedError, Target, brief, rows, sqlstates
from harness.frontend import query
from harness.postgres import APP, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until

NOISY = """
create function greet() returns event_trigger language plpgsql as $$ begin raise notice 'welcome'; end $$;
create event trigger greet on login execute function greet();
alter event trigger greet enable always;
"""


@pytest.fixture(scope="module")
def odd_databases(postgres: PostgresCluster) -> Iterator[None]:
    """Databases with a notice at login, with an idle time-out, and with an idle-in-transaction time-out."""
    for name in ("noisy", "sleepy", "strict"):
        postgres.execute(f"create database {name} owner {APP}", "postgres")
    postgres.execute(NOISY, "noisy")
    postgres.execute("alter database sleepy set idle_session_timeout = '300ms'", "postgres")
    postgres.execute("alter database strict set idle_in_transaction_session_timeout = '300ms'", "postgres")
    postgres.execute("create role limited login password 'limited' connection limit 1", "postgres")
    yield
    postgres.execute("drop event trigger greet", "noisy")
    for name in ("noisy", "sleepy", "strict"):
        postgres.execute(f"drop database {name} with (force)", "postgres")
    postgres.execute("drop role limited", "postgres")


@pytest.fixture(scope="module")
def proxy(
    odd_databases: None, postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """A proxy before these databases."""
    folder: Path = tmp_path_factory.mktemp("odd-servers")
    limited = {"name": "limited", "database": "app", "user": "limited", "password": "limited", "pool": {"max_size": 3}}
    wrong = {"name": "wrong", "database": "app", "user": APP, "password": "wrong"}
    session = {"name": "strict-session", "database": "strict", "pool": {"mode": "session"}}
    databases = [limited, wrong, session, {"name": "*"}]
    pool = {"acquire_timeout_seconds": 3}
    with HeliosProcess(folder, base_settings(postgres, folder, pool=pool, databases=databases)) as process:
        yield process


def refusal_of(target: Target) -> str:
    """SQLSTATE with which the login or the first query fails."""
    try:
        with Client(target, deadline=10) as client:
            client.send(query("select 1"))
            return client.receive_until(lambda event: event.kind == "ErrorResponse")[-1].sqlstate
    except LoginRefusedError as refused:
        return refused.sqlstate


@pytest.mark.checklist(14)
def test_notice_during_the_server_login_is_no_protocol_error(proxy: HeliosProcess) -> None:
    with Client(proxy.target("noisy")) as client:
        assert client.value("select 'served'") == "served"
        assert rows(client.extended("select 'served'")) == [["served"]]


def wait_until_gone(postgres: PostgresCluster, pid: str) -> None:
    """Wait until a server process has ended."""
    count = f"select count(*) from pg_stat_activity where pid = {pid}"
    until(lambda: postgres.value(count) == "0", "the server process to end")


@pytest.mark.checklist(44)
def test_idle_server_that_timed_out_is_not_shown_to_anybody(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    with Client(proxy.target("sleepy")) as client:
        for _ in range(3):
            client.transcript.clear()
            pid = client.value("select pg_backend_pid()")
            wait_until_gone(postgres, pid or "")
            assert [event.kind for event in client.transcript].count("ErrorResponse") == 0
        assert client.value("select 'served'") == "served"


@pytest.mark.checklist(45, 59)
@pytest.mark.parametrize("database", ["strict", "strict-session"])
def test_idle_transaction_that_timed_out_gives_one_error(proxy: HeliosProcess, database: str) -> None:
    with Client(proxy.target(database)) as client:
        client.query("begin")
        events = client.until_closed()

    assert len(sqlstates(events)) == 1, brief(events)
    assert sqlstates(events)[0] in ("25P03", "57P01", "08006")


def test_server_that_refuses_more_connections(proxy: HeliosProcess) -> None:
    """The role may connect once: who cannot get a second connection waits or is told; the first goes on."""
    target = proxy.target("limited")
    with Client(target) as first:
        first.query("begin")
        try:
            with Client(target) as second:
                outcome = sqlstates(second.query("select 1"))
        except LoginRefusedError as refused:
            outcome = [refused.sqlstate]
        except ClosedError:
            outcome = ["closed"]
        assert outcome in (["53300"], ["57P03"])
        assert first.value("select 'undisturbed'") == "undisturbed"
        first.query("commit")
    with Client(target) as third:
        assert third.value("select 'served'") == "served"


def test_refused_server_login_is_not_tried_in_a_loop(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    def refusals() -> int:
        return postgres.primary.log.read_text().count('password authentication failed for user "app"')

    before = refusals()

    assert refusal_of(proxy.target("wrong")) in ("28P01", "28000", "08006", "08001", "53300")

    assert 1 <= refusals() - before <= 20
    assert PASSWORDS[APP] not in proxy.log()


@pytest.mark.checklist(64)
def test_client_of_a_database_that_a_reload_removed_is_told(start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        pool={"max_size": 1}, databases=[{"name": "gone", "database": "app"}, {"name": "kept", "database": "app"}]
    )
    holder, waiter = Client(proxy.target("gone")), Client(proxy.target("gone"))
    holder.query("begin")
    waiter.send(query("select 'waited'"))
    waiter.expect_silence(0.1)

    proxy.write({**proxy.settings, "databases": [{"name": "kept", "database": "app"}]})
    assert proxy.post("/config/reload")[0] == 200

    assert holder.value("select 'its transaction goes on'") == "its transaction goes on"
    holder.query("commit")
    answered = waiter.receive_until(lambda event: event.kind in ("ReadyForQuery", "ErrorResponse"))
    assert sqlstates(answered) in ([], ["3D000"], ["57P01"])
    with Client(proxy.target("kept")) as client:
        assert client.value("select 'served'") == "served"
