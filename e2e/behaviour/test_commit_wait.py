"""A COMMIT that waits for a synchronous standby: a client's cancel does not reach it, and whoever else ends the wait
has the client told that nobody knows whether what it committed will stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from harness.client import Client, Connection, Target, sqlstates
from harness.frontend import bind, cancel_request, execute, extended, parse, query, sync
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import paused_replay
from harness.wait import until

PATIENCE = 60
NUMBERS = count(70_000)
WAITING = "select pid from pg_stat_activity where wait_event = 'SyncRep'"

Send = Callable[[Client, str], None]


def simple(client: Client, sql: str) -> None:
    client.send(query(sql))


def unnamed(client: Client, sql: str) -> None:
    client.send(extended(sql))


def named(client: Client, sql: str) -> None:
    name = f"s{next(NUMBERS)}"
    client.batch(parse(sql, name), sync())
    client.send(bind(name=name), execute(), sync())


SENDS = pytest.mark.parametrize("send", [simple, unnamed, named])


@pytest.fixture(scope="module", params=["ends", "replayed"])
def proxy(
    request: pytest.FixtureRequest, postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """Before a primary whose standby is synchronous. `replayed`: transactions outlive their servers."""
    folder = tmp_path_factory.mktemp("proxy")
    replay = {"transaction_replay": {"enabled": request.param == "replayed"}}
    postgres.execute("alter system set synchronous_standby_names = '*'", "postgres")
    postgres.execute("select pg_reload_conf()", "postgres")
    is_synchronous = "select count(*) from pg_stat_replication where sync_state = 'sync'"
    until(lambda: postgres.value(is_synchronous) == "1", "a synchronous standby", PATIENCE)
    with HeliosProcess(folder, base_settings(postgres, folder, **replay)) as process:
        yield process
    postgres.execute("alter system reset synchronous_standby_names", "postgres")
    postgres.execute("select pg_reload_conf()", "postgres")


@pytest.fixture
def target(proxy: HeliosProcess) -> Target:
    """Commits wait until the standby shows them."""
    return proxy.target().with_options(synchronous_commit="remote_apply")


def waiting(postgres: PostgresCluster) -> str:
    """The server that waits in a COMMIT."""
    return str(until(lambda: postgres.value(WAITING), "a commit to wait for the standby", PATIENCE))


def cancel(client: Client) -> None:
    """Ask for it as the client may; returns once that can do nothing any more."""
    connection = Connection(client.target.host, client.target.port, PATIENCE)
    connection.send(cancel_request(client.pid, client.key))
    connection.until_closed()


def inserted(client: Client) -> int:
    """The number of a row that is yet to be committed."""
    number = next(NUMBERS)
    client.query("begin")
    client.query(f"insert into notes values ({number}, 'waits')")
    return number


def is_there(postgres: PostgresCluster, number: int) -> bool:
    """Whether a row is there, which is taken away."""
    return postgres.value(f"delete from notes where id = {number} returning id") == str(number)


@SENDS
def test_a_cancel_does_not_end_the_wait_of_a_commit(postgres: PostgresCluster, target: Target, send: Send) -> None:
    with Client(target, deadline=PATIENCE) as client:
        number = inserted(client)
        with paused_replay(postgres):
            send(client, "commit")
            pid = waiting(postgres)
            cancel(client)
            assert postgres.value(WAITING) == pid
        events = client.until_ready()
        assert sqlstates(events) == []
        assert [event.kind for event in events if event.kind == "NoticeResponse"] == []
        # What comes after it can be cancelled again.
        send(client, "select pg_sleep(600)")
        sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        until(lambda: postgres.value(sleeping) == "1", "the statement to run", PATIENCE)
        cancel(client)
        assert sqlstates(client.until_ready()) == ["57014"]
    assert is_there(postgres, number)


@SENDS
@pytest.mark.parametrize("is_block", [True, False])
def test_a_wait_that_somebody_ends_is_no_success(
    postgres: PostgresCluster, target: Target, send: Send, is_block: bool
) -> None:
    with Client(target, deadline=PATIENCE) as client:
        number = inserted(client) if is_block else next(NUMBERS)
        with paused_replay(postgres):
            send(client, "commit" if is_block else f"insert into notes values ({number}, 'waits')")
            postgres.value(f"select pg_cancel_backend({waiting(postgres)})")
            events = client.until_ready()
        told = [(event.kind, event.sqlstate) for event in events if event.kind in ("NoticeResponse", "ErrorResponse")]
        assert told == [("NoticeResponse", "01000"), ("ErrorResponse", "08007")]
        if is_block or send is simple:
            assert "CommandComplete" not in [event.kind for event in events]
        assert client.value("select 1") == "1"
    assert is_there(postgres, number)


@SENDS
def test_a_server_that_is_ended_in_its_wait_leaves_the_outcome_unknown(
    postgres: PostgresCluster, target: Target, send: Send
) -> None:
    with Client(target, deadline=PATIENCE) as client:
        number = inserted(client)
        with paused_replay(postgres):
            send(client, "commit")
            postgres.value(f"select pg_terminate_backend({waiting(postgres)})")
            events = client.until_closed()
        told = [(event.kind, event.sqlstate) for event in events if event.kind in ("NoticeResponse", "ErrorResponse")]
        assert told == [("NoticeResponse", "57P01"), ("ErrorResponse", "08007")]
    assert is_there(postgres, number)
