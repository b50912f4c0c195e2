"""What clients see while nobody is primary, and when another node is while the old one lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import frontend
from harness.client import Client, full, rows, sqlstates
from harness.postgres import APP_PLAIN, PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until

WHERE = "select pg_is_in_recovery() || ' ' || current_setting('cluster_name')"
MAX_BYTES = 16_384
PATIENCE = 60
"""Seconds; a limit that no test is meant to reach."""

MESSAGES: dict[str, Callable[[str], bytes]] = {"simple": frontend.query, "extended": frontend.extended}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """A primary and a standby that the tests break, each a little more."""
    made = start_cluster()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def proxy(cluster: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy before them that keeps two clients waiting for a primary, with at most 16 KiB."""
    folder: Path = tmp_path_factory.mktemp("proxy")
    limits = {"max_buffered_clients": 2, "max_buffered_bytes": MAX_BYTES}
    settings = base_settings(cluster, folder, limits=limits, pool={"acquire_timeout_seconds": PATIENCE})
    with HeliosProcess(folder, settings) as process:
        yield process


def gauge(proxy: HeliosProcess, name: str) -> float:
    """One metric without labels."""
    _, text = proxy.get("/metrics", accept="text/plain")
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"heliosproxy_{name} "))


def node(proxy: HeliosProcess, name: str) -> dict[str, Any]:
    """One entry of /nodes."""
    found: dict[str, Any] = proxy.json(f"/nodes/{name}")
    return found


def current_primary(proxy: HeliosProcess) -> str | None:
    """Its address, None while there is none."""
    found: str | None = proxy.json("/topology")["currentPrimary"]
    return found


@pytest.mark.parametrize("protocol", MESSAGES)
def test_what_waits_for_a_primary_is_bounded(cluster: PostgresCluster, proxy: HeliosProcess, protocol: str) -> None:
    ask = MESSAGES[protocol]
    clients = [Client(proxy.target(), deadline=PATIENCE) for _ in range(3)]
    assert [client.value(WHERE) for client in clients] == ["false primary"] * 3
    cluster.primary.stop("immediate")
    until(lambda: current_primary(proxy) is None, "the loss to be noticed", PATIENCE)

    # More than all may have sent: refused at once, and the session goes on.
    events = clients[0].batch(ask(f"select length('{'x' * 2 * MAX_BYTES}')"))
    assert sqlstates(events) == ["57P03"]
    assert f"have sent {MAX_BYTES} bytes already" in str(full(events))
    for client in clients[:2]:
        client.send(ask(WHERE))
    until(lambda: gauge(proxy, "buffer_clients") == 2, "both to wait", PATIENCE)
    events = clients[2].batch(ask(WHERE))
    assert sqlstates(events) == ["57P03"]
    assert "2 clients wait for a primary already" in str(full(events))
    assert gauge(proxy, "buffer_refused_total") >= 2

    cluster.primary.start()
    for client in clients[:2]:
        assert rows(client.until_ready()) == [["false primary"]]
        client.terminate()
    assert clients[2].value(WHERE) == "false primary"
    clients[2].terminate()
    assert gauge(proxy, "buffer_clients") == 0


def test_a_login_waits_for_a_primary_too(cluster: PostgresCluster, proxy: HeliosProcess) -> None:
    cluster.primary.stop("immediate")
    until(lambda: current_primary(proxy) is None, "the loss to be noticed", PATIENCE)

    # A role that has not been here yet: what it is greeted with is not known.
    with ThreadPoolExecutor(max_workers=1) as pool:
        login = pool.submit(lambda: Client(proxy.target(user=APP_PLAIN), deadline=PATIENCE))
        until(lambda: gauge(proxy, "buffer_clients") == 1, "the login to wait", PATIENCE)
        cluster.primary.start()
        with login.result(PATIENCE) as client:
            assert client.value(WHERE) == "false primary"


@pytest.mark.checklist(65)
def test_a_promotion_beside_a_living_primary_ends_what_runs_there(
    cluster: PostgresCluster, proxy: HeliosProcess
) -> None:
    assert cluster.standby
    until(lambda: current_primary(proxy), "the primary to be known", PATIENCE)
    in_transaction, running, idle = (Client(proxy.target(), deadline=PATIENCE) for _ in range(3))
    in_transaction.query("begin")
    in_transaction.query("insert into notes values (700, 'old')")
    running.send(frontend.query("select pg_sleep(3600)"))
    sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(3600)' and state = 'active'"
    until(lambda: cluster.value(sleeping) == "1", "the statement to run", PATIENCE)

    # By another tool than Helios, which has no reason to stop the old primary.
    cluster.standby.promote()
    for client in (in_transaction, running):
        assert sqlstates(client.until_closed()) == ["08006"]
    assert "all accept writes" in proxy.json("/topology")["reason"]
    idle.send(frontend.query(WHERE))
    idle.expect_silence(0.5)

    cluster.primary.stop("immediate")
    assert rows(idle.until_ready()) == [["false standby-1"]]
    idle.query("insert into notes values (701, 'new')")

    # It comes back as it was: writable, on the timeline that was left.
    cluster.primary.start()
    until(lambda: "fenced" in str(node(proxy, "primary")["last_error"]), "its claim to be seen", PATIENCE)
    assert node(proxy, "primary")["healthy"] is False
    assert current_primary(proxy) == f"127.0.0.1:{cluster.standby.port}"
    assert idle.value(WHERE) == "false standby-1"
    assert idle.value("select count(*) from notes where id in (700, 701)") == "1"
    idle.terminate()


@pytest.mark.checklist(65)
@pytest.mark.parametrize("protocol", MESSAGES)
def test_a_primary_that_takes_no_writes_is_polled_at_once(start_proxy: StartProxy, protocol: str) -> None:
    proxy = start_proxy(monitor={"interval_ms": 60_000})
    with Client(proxy.target(), deadline=PATIENCE) as client:
        until(lambda: node(proxy, "standby-1")["healthy"], "every node to be polled", PATIENCE)
        polled = {name: node(proxy, name)["last_check"] for name in ("primary", "standby-1")}
        client.query("begin read only")

        events = client.batch(MESSAGES[protocol]("insert into notes values (702, 'never')"))

        assert sqlstates(events) == ["25006"]
        until(
            lambda: all(node(proxy, name)["last_check"] != before for name, before in polled.items()),
            "a poll of every node",
            PATIENCE / 2,
        )
        client.query("rollback")
