"""How many server connections there may be, of all pools, of a database, of a user: never one more, and nobody starves
for what others hold. A server that has no place itself makes clients wait, not fail."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.client import Client, Target, rows, sqlstates
from harness.frontend import query
from harness.postgres import APP, APP_MD5, APP_PLAIN, DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.sockets import ports_of
from harness.wait import until
from harness.workload import Background, in_parallel

TOTAL = 3
OTHER = "other"
LIMITS = {"max_server_connections": TOTAL, "max_parallel_logins": 2}
USERS = [{"name": APP_MD5, "max_server_connections": 1}, {"name": "app_trust", "max_pool_size": 1}]
DATABASES = [
    {"name": "left", "database": DATABASE},
    {"name": "right", "database": OTHER},
    {"name": "narrow", "database": OTHER, "max_server_connections": 1},
    {
        "name": "reserved",
        "database": DATABASE,
        "pool": {"max_size": 1, "reserve_size": 1, "reserve_timeout_seconds": 1},
    },
]


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy of two workers whose pools may have more servers each than all together."""
    folder = tmp_path_factory.mktemp("server-ceilings")
    sections = {"limits": LIMITS, "users": USERS, "databases": DATABASES, "pool": {"max_size": 6}}
    with HeliosProcess(folder, base_settings(postgres, folder, auth={"method": "md5"}, **sections)) as process:
        yield process


def servers(proxy: HeliosProcess, **of: str) -> int:
    pools = [pool for pool in proxy.json("/pools") if all(pool[name] == value for name, value in of.items())]
    return int(sum(pool["active_connections"] + pool["idle_connections"] for pool in pools))


def answers(targets: list[Target], sql: str) -> list[str | None]:
    """What clients get that ask at the same time."""
    clients = [Client(target, deadline=15) for target in targets]
    for client in clients:
        client.send(query(sql))
    got = [rows(client.until_ready())[0][0] for client in clients]
    for client in clients:
        client.terminate()
    return got


def test_pools_never_have_more_together_than_they_may(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    targets = [proxy.target(name, user) for name in ("left", "right") for user in (APP, APP_PLAIN)] * 3
    backends = "select client_port from pg_stat_activity where usename in ('app', 'app_plain')"
    seen = []

    def watch(number: int) -> None:
        if number:
            assert answers(targets[number - 1 :: 4], "select count(*) from pg_sleep(0.2)") == ["1"] * 3
            return
        with Client(postgres.superuser()) as observer:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                known = {int(port) for (port,) in rows(observer.query(backends)) if port}
                # A backend outlives its connection, and other proxies have some as well.
                seen.append(len(known & ports_of(proxy.pid)))

    in_parallel(5, watch)

    assert max(seen) == TOTAL
    assert servers(proxy) <= TOTAL


def test_an_idle_server_makes_room_for_a_client_of_another_pool(proxy: HeliosProcess) -> None:
    assert answers([proxy.target("left")] * TOTAL, "select count(*) from pg_sleep(0.2)") == ["1"] * TOTAL
    until(lambda: servers(proxy, database=DATABASE, user=APP) == TOTAL, "one pool to have all of them")

    start = time.monotonic()
    with Client(proxy.target("right")) as client:
        assert client.value("select current_database()") == OTHER
    assert time.monotonic() - start < 2
    assert servers(proxy) <= TOTAL


def test_a_pool_that_never_rests_does_not_starve_another(proxy: HeliosProcess) -> None:
    with Background(proxy.target("left"), clients=8, sql="select pg_sleep(0.01)", pause_seconds=0) as load:
        load.wait_for_queries(50)
        waits = []
        for _ in range(5):
            start = time.monotonic()
            with Client(proxy.target("right", APP_PLAIN), deadline=8) as client:
                assert client.value("select 'served'") == "served"
            waits.append(time.monotonic() - start)
        load.wait_for_queries(50)

    assert max(waits) < 4, waits
    assert load.errors == []


def test_servers_that_end_give_their_places_back(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    for _ in range(3):
        assert answers([proxy.target("left")] * TOTAL, "select count(*) from pg_sleep(0.1)") == ["1"] * TOTAL
        postgres.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename like 'app%'")
        until(lambda: servers(proxy) == 0, "them to be gone")


def test_a_database_has_no_more_than_it_may_over_all_users(proxy: HeliosProcess) -> None:
    targets = [proxy.target("narrow", user) for user in (APP, APP_PLAIN)] * 3

    pids = answers(targets, "select pg_backend_pid() from pg_sleep(0.05)")

    assert len(pids) == 6
    assert len([pool for pool in proxy.json("/pools") if pool["database"] == OTHER]) >= 2
    assert len(set(pids)) >= 2  # one for each user, one after the other


def test_a_user_has_no_more_than_it_may_over_all_databases(proxy: HeliosProcess) -> None:
    waiting, holder = (Client(proxy.target(name, APP_MD5)) for name in ("right", "left"))
    holder.query("begin")
    waiting.send(query("select current_database()"))
    until(lambda: sum(pool["pending_requests"] for pool in proxy.json("/pools")) == 1, "it to wait")
    assert servers(proxy, user=APP_MD5) == 1
    holder.query("commit")
    assert rows(waiting.until_ready()) == [[OTHER]]
    assert servers(proxy, user=APP_MD5) == 1
    for client in (holder, waiting):
        client.terminate()


def test_a_user_may_have_pools_of_another_size(proxy: HeliosProcess) -> None:
    pids = answers([proxy.target("left", "app_trust")] * 4, "select pg_backend_pid() from pg_sleep(0.05)")

    assert len(set(pids)) == 1


def test_the_reserve_is_for_who_has_waited_and_closed_after(proxy: HeliosProcess) -> None:
    target = proxy.target("reserved", APP_PLAIN)
    with Client(target) as holder, Client(target) as waiting:
        holder.query("begin")
        start = time.monotonic()
        assert waiting.value("select 'from the reserve'") == "from the reserve"
        assert 1 <= time.monotonic() - start < 3
        holder.query("commit")
        until(lambda: servers(proxy, database=DATABASE, user=APP_PLAIN) <= 1, "the reserve to be closed")


def test_a_server_without_a_place_makes_clients_wait(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    """53300 of the server itself: one connection is all that it lets the role have."""
    postgres.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app_plain'")
    postgres.execute("alter role app_plain connection limit 1")
    direct = Client(postgres.direct(APP_PLAIN))
    try:
        waiting = Client(proxy.target("right", APP), deadline=15)
        waiting.terminate()
        clients = [Client(proxy.target("right"), deadline=15) for _ in range(2)]
        late = []

        def ask(number: int) -> None:
            if number == 0:
                until(lambda: "too many connections for role" in proxy.log(), "the server to refuse")
                time.sleep(0.3)  # more attempts fail meanwhile
                direct.terminate()
                return
            with Client(proxy.target("left", APP_PLAIN), deadline=15) as client:
                late.append(sqlstates(client.query("select pg_sleep(0.02)")))

        in_parallel(5, ask)

        assert late == [[]] * 4
        assert [client.value("select 'not disturbed'") for client in clients] == ["not disturbed"] * 2
    finally:
        postgres.execute("alter role app_plain connection limit -1")


def test_a_lower_limit_holds_at_once(proxy: HeliosProcess) -> None:
    assert answers([proxy.target("left")] * TOTAL, "select count(*) from pg_sleep(0.2)") == ["1"] * TOTAL
    settings = proxy.settings
    try:
        proxy.write({**settings, "limits": {**LIMITS, "max_server_connections": 1}})
        assert proxy.post("/config/reload")[0] == 200
        until(lambda: servers(proxy) == 1, "all but one to be closed")
        assert answers([proxy.target("left"), proxy.target("right")] * 2, "select 'one by one'") == ["one by one"] * 4
        assert servers(proxy) == 1
    finally:
        proxy.write(settings)
        assert proxy.post("/config/reload")[0] == 200
    assert answers([proxy.target("left")] * TOTAL, "select count(*) from pg_sleep(0.2)") == ["1"] * TOTAL
