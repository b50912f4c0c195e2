"""What connections are on: a worker on io_uring does all that one on epoll does; where it is forbidden epoll serves.

`HELIOS_IO=io_uring make test SELECT=wire` runs every other test on it too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.client import Client, rows, sqlstates
from harness.frontend import query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until
from harness.workload import in_parallel

FILTER = Path(__file__).parents[1] / "harness" / "without_io_uring.py"
WITHOUT = (sys.executable, str(FILTER), sys.executable, "-m", "helios")
LARGE = 3_000_000
"""Bytes of a value that no socket buffer takes at once."""


@pytest.fixture
def on_ring(start_proxy: StartProxy) -> HeliosProcess:
    """Two workers on io_uring, two servers."""
    proxy = start_proxy(io="io_uring")
    until(lambda: "workers start io=io_uring" in proxy.log(), "the log to say so")
    return proxy


def test_many_clients_share_few_servers_of_both_workers(on_ring: HeliosProcess) -> None:
    def work(number: int) -> None:
        with Client(on_ring.target()) as client:
            for turn in range(30):
                own = str(number * 100 + turn)
                assert client.value(f"select {own}") == own
                assert rows(client.extended("select $1", own)) == [[own]]

    in_parallel(24, work)


def test_large_values_in_both_directions_to_clients_that_read_late(on_ring: HeliosProcess) -> None:
    def work(number: int) -> None:
        with Client(on_ring.target()) as client:
            letter = chr(ord("a") + number)
            client.send(*[query(f"select repeat('{letter}', {LARGE})") for _ in range(4)])
            # What comes meanwhile stays with the proxy, which goes on to serve.
            until(lambda: on_ring.json("/sessions")["active_sessions"] >= 1, "the client to be counted")
            assert rows(client.until_ready(4)) == [[letter * LARGE]] * 4
            assert client.value(f"select length('{letter * LARGE}')") == str(LARGE)

    in_parallel(4, work)


def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(on_ring: HeliosProcess) -> None:
    for _ in range(10):
        gone = Client(on_ring.target())
        gone.send(query(f"select repeat('x', {LARGE}) from generate_series(1, 10)"))
        gone.receive()
        gone.abort()
    with Client(on_ring.target()) as client:
        assert client.value("select 7") == "7"
    until(lambda: on_ring.json("/sessions")["active_sessions"] == 0, "all clients to be gone")


def test_a_server_that_ends_is_noticed_idle_and_in_use(on_ring: HeliosProcess, postgres: PostgresCluster) -> None:
    with Client(on_ring.target()) as client:
        pid = client.value("select pg_backend_pid()")
        postgres.value(f"select pg_terminate_backend({pid})")
        until(lambda: postgres.value(f"select count(*) from pg_stat_activity where pid = {pid}") == "0", "its end")
        assert client.value("select 1") == "1"

        client.send(query("begin"))
        client.until_ready()
        pid = client.value("select pg_backend_pid()")
        postgres.value(f"select pg_terminate_backend({pid})")
        assert sqlstates(client.until_closed()) == ["57P01"]


def test_where_io_uring_is_forbidden_epoll_serves_and_the_log_says_why(
    postgres: PostgresCluster, tmp_path: Path
) -> None:
    with HeliosProcess(tmp_path, base_settings(postgres, tmp_path, io="io_uring"), program=WITHOUT) as proxy:
        with Client(proxy.target()) as client:
            assert client.value("select 1") == "1"
        told = "epoll, because io_uring is not to be had here: Operation not permitted"
        until(lambda: told in proxy.log(), "the log to say why")
