"""How many clients there may be, in total, by user, database and address, and before they are logged in: who is one too
many is told so in PostgreSQL's words, and nothing stays counted of who has left, however it left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness import frontend
from harness.certificates import Authority
from harness.client import Client, ClosedError, Connection, LoginRefusedError, Target, brief, log_in
from harness.postgres import APP_MD5, APP_PLAIN, DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

STORM = 500
ELSEWHERE = "127.0.0.2"
LIMITS = {
    "max_client_connections": 8,
    "max_user_client_connections": 4,
    "max_address_client_connections": 6,
    "max_unauthenticated_connections": 5,
    "max_address_unauthenticated_connections": 3,
}
USERS = [{"name": APP_PLAIN, "max_client_connections": 2}, {"name": APP_MD5, "max_client_connections": 0}]
DATABASES = [{"name": "narrow", "database": DATABASE, "max_client_connections": 3}, {"name": "*"}]


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with every ceiling, that clients may talk to with and without TLS."""
    folder = tmp_path_factory.mktemp("ceilings")
    shown = Authority(folder).sign("proxy")
    tls = {"mode": "allow", "cert_file": str(shown.cert), "key_file": str(shown.key)}
    sections = {"limits": LIMITS, "users": USERS, "databases": DATABASES, "tls": tls}
    with HeliosProcess(folder, base_settings(postgres, folder, auth={"method": "md5"}, **sections)) as process:
        yield process


@pytest.fixture(autouse=True)
def nobody_is_left(proxy: HeliosProcess) -> None:
    """Every test finds the proxy without a client; a count that leaks fails the next one."""
    until(lambda: strangers(proxy) == clients(proxy) == 0, "the last test's clients to be gone")


def clients(proxy: HeliosProcess) -> int:
    return int(proxy.json("/sessions")["active_sessions"])


def metric(proxy: HeliosProcess, name: str) -> float:
    lines = proxy.get("/metrics", accept="text/plain")[1].splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def strangers(proxy: HeliosProcess) -> int:
    return int(metric(proxy, "heliosproxy_clients_unauthenticated"))


def refused(proxy: HeliosProcess, reason: str) -> int:
    return int(metric(proxy, f'heliosproxy_clients_refused_total{{reason="{reason}"}}'))


def refusal(target: Target) -> str:
    """What a client that is refused is told."""
    with pytest.raises(LoginRefusedError) as caught:
        Client(target)
    error = caught.value.event
    assert (error.fields["V"], error.sqlstate) == ("FATAL", "53300"), error.text
    return error.fields["M"]


def test_one_too_many_of_a_user_a_database_an_address_and_altogether(proxy: HeliosProcess) -> None:
    plain, narrow = proxy.target(user=APP_PLAIN), proxy.target("narrow")
    held = [Client(plain), Client(plain)]
    before = {reason: refused(proxy, reason) for reason in ("user", "database", "address", "total")}

    assert refusal(plain) == 'too many connections for role "app_plain"'
    held += [Client(narrow) for _ in range(3)]
    assert refusal(narrow) == 'too many connections for database "narrow"'
    held.append(Client(proxy.target()))  # the fourth of app, as many as a user without settings may have
    assert refusal(proxy.target()) == 'too many connections for role "app"'
    free = proxy.target(user=APP_MD5)
    assert refusal(free) == 'too many connections from address "127.0.0.1"'
    held += [Client(replace(free, source=ELSEWHERE)) for _ in range(2)]
    assert refusal(replace(free, source=ELSEWHERE)) == "sorry, too many clients already"

    assert {reason: refused(proxy, reason) - count for reason, count in before.items()} == {
        "user": 2,
        "database": 1,
        "address": 1,
        "total": 1,
    }
    assert [client.value("select 'served'") for client in held] == ["served"] * 8


def test_a_place_is_free_again_however_its_client_left(proxy: HeliosProcess) -> None:
    target = proxy.target(user=APP_PLAIN)
    for leave in (Client.terminate, Client.close, Client.abort):
        kept, gone = Client(target), Client(target)
        gone.send(frontend.query("select pg_sleep(0.02)"))
        leave(gone)
        until(lambda: clients(proxy) == 1, "the place to be free")
        Client(target).terminate()
        kept.terminate()
        until(lambda: clients(proxy) == 0, "both to be gone")


def test_who_does_not_know_the_password_learns_nothing_of_the_users_places(proxy: HeliosProcess) -> None:
    target = proxy.target(user=APP_PLAIN)
    held = [Client(target), Client(target)]

    with pytest.raises(LoginRefusedError) as caught:
        Client(replace(target, password="wrong"))

    assert caught.value.sqlstate == "28P01"
    assert [client.value("select 1") for client in held] == ["1", "1"]


@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
def test_libpq_shows_the_refusal(proxy: HeliosProcess, sslmode: str) -> None:
    """Sent after the answer to the request for encryption, so that libpq neither hides it nor takes it for noise."""
    held = [Client(proxy.target("narrow")) for _ in range(3)]
    dsn = proxy.target("narrow").dsn().replace("sslmode=disable", f"sslmode={sslmode} connect_timeout=5")

    with pytest.raises(psycopg.OperationalError, match=r'FATAL: +too many connections for database "narrow"'):
        psycopg.connect(dsn)

    assert [client.value("select 1") for client in held] == ["1"] * 3


def test_silent_connections_of_one_address_do_not_keep_others_out(proxy: HeliosProcess) -> None:
    silent = [Connection("127.0.0.1", proxy.port) for _ in range(3)]
    until(lambda: strangers(proxy) == 3, "them to be counted")

    assert refusal(proxy.target()) == "sorry, too many clients already"
    with Client(replace(proxy.target(), source=ELSEWHERE)) as other:
        assert other.value("select 'served'") == "served"

    silent += [Connection("127.0.0.1", proxy.port, source=ELSEWHERE) for _ in range(2)]
    until(lambda: strangers(proxy) == 5, "them to be counted")
    assert refusal(replace(proxy.target(), source="127.0.0.3")) == "sorry, too many clients already"
    for connection in silent:
        connection.close()
    until(lambda: strangers(proxy) == 0, "them to be counted out")
    with Client(proxy.target()) as client:
        assert client.value("select 'served'") == "served"


def test_who_is_refused_is_not_waited_for(proxy: HeliosProcess) -> None:
    """One connection too many may say who it is, and is told all the same if it does not; of twice too many it ends."""
    for _ in range(3):
        Connection("127.0.0.1", proxy.port)
    until(lambda: strangers(proxy) == 3, "them to be counted")
    tolerated = [Connection("127.0.0.1", proxy.port) for _ in range(3)]
    until(lambda: strangers(proxy) == 6, "them to be counted")

    assert Connection("127.0.0.1", proxy.port).until_closed() == []
    assert [brief(connection.until_closed()) for connection in tolerated] == [["ErrorResponse 53300"]] * 3
    assert strangers(proxy) == 3
    assert refused(proxy, "unauthenticated_address") >= 4


def test_a_cancel_request_passes_where_a_client_would_not(proxy: HeliosProcess) -> None:
    with Client(proxy.target()) as client:
        client.send(frontend.query("select pg_sleep(30)"))
        for _ in range(3):
            Connection("127.0.0.1", proxy.port)
        until(lambda: strangers(proxy) == 3, "them to be counted")

        def cancelled() -> bool:
            canceller = Connection("127.0.0.1", proxy.port)
            canceller.send(frontend.cancel_request(client.pid, client.key))
            canceller.until_closed()
            client.deadline = 0.5
            try:
                return client.receive().fields.get("C") == "57014"
            except TimeoutError:
                return False

        until(cancelled, "the query to be cancelled")
        client.until_ready()


@pytest.fixture(scope="module")
def open_proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    folder: Path = tmp_path_factory.mktemp("storm")
    with HeliosProcess(folder, base_settings(postgres, folder)) as process:
        yield process


def test_storm_of_logins_refuses_nobody_and_leaves_nothing(open_proxy: HeliosProcess) -> None:
    """Five hundred connect before the first of them is logged in; thrice, with nothing more open each time."""
    target = open_proxy.target()
    files = Path(f"/proc/{open_proxy.pid}/fd")
    open_after = []
    for _ in range(3):
        crowd = [Connection(target.host, target.port, deadline=30) for _ in range(STORM)]
        for connection in crowd:
            connection.send(frontend.startup({"user": target.user, "database": target.database}))
        for connection in crowd:
            log_in(connection, target.user, target.password)
        assert clients(open_proxy) == STORM
        for number, connection in enumerate(crowd):
            connection.send(frontend.query(f"select {number}"))
        for number, connection in enumerate(crowd):
            [row] = [event for event in connection.until_ready() if event.kind == "DataRow"]
            assert row.values == [str(number).encode()]
        for connection in crowd:
            connection.close()
        until(lambda: strangers(open_proxy) == clients(open_proxy) == 0, "the storm to be over")
        open_after.append(len(list(files.iterdir())))

    assert max(open_after) - open_after[0] <= 2
    assert sum(refused(open_proxy, reason) for reason in ("total", "user", "unauthenticated")) == 0


def test_refused_and_broken_logins_leave_nothing(open_proxy: HeliosProcess) -> None:
    """Logins that end at every stage, then as before."""
    target = open_proxy.target()
    for _ in range(20):
        for stage in range(4):
            connection = Connection(target.host, target.port)
            if stage > 0:
                connection.send(frontend.startup({"user": target.user, "database": target.database}))
            if stage > 1:
                connection.receive()
            if stage > 2:
                connection.send(frontend.password("not SASL"))
            connection.abort() if stage % 2 else connection.close()
        with pytest.raises((LoginRefusedError, ClosedError)):
            Client(replace(target, password="wrong"))

    until(lambda: strangers(open_proxy) == clients(open_proxy) == 0, "all of them to be gone")
