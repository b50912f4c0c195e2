"""A primary that dies is replaced, once, by a standby that has every acknowledged commit; or nobody is promoted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.asks import extended, simple
from harness.client import Client, ClosedError, LoginRefusedError, sqlstates
from harness.failover import await_refusal, primary_of
from harness.ledger import SCHEMA, Ledger, lost
from harness.postgres import MONITOR
from harness.proxy import HeliosProcess, Settings, base_settings
from harness.relay import ChunkRelay
from harness.replicas import ReplicatedCluster
from harness.wait import until

WHERE = "select current_setting('cluster_name') || case when pg_is_in_recovery() then ' standby' else '' end"
NAME = "select current_setting('cluster_name')"
PATIENCE = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers; each test leaves one primary with two standbys, whichever they are."""
    made = ReplicatedCluster(synchronous='FIRST 2 ("db-2", "db-3")')
    yield made
    made.stop()


def settings(cluster: ReplicatedCluster, folder: Path, lease: Path, **failover: Any) -> Settings:
    """A proxy that may promote."""
    return base_settings(
        cluster,
        folder,
        failover={"enabled": True, "lease_file": str(lease), **failover},
        pool={"acquire_timeout_seconds": PATIENCE, "max_size": 8},
    )


@pytest.fixture
def proxy(cluster: ReplicatedCluster, tmp_path: Path) -> Iterator[HeliosProcess]:
    """The only one before these servers."""
    with HeliosProcess(tmp_path / "proxy", settings(cluster, tmp_path / "proxy", tmp_path / "lease")) as process:
        ready(process)
        yield process


def status(proxy: HeliosProcess) -> dict[str, Any]:
    """The only cluster in /api/failover."""
    found: dict[str, Any] = proxy.json("/api/failover")["clusters"][0]
    return found


def where(proxy: HeliosProcess) -> str | None:
    """The server that a new client reaches; None while there is none."""
    try:
        with Client(proxy.target(), deadline=PATIENCE) as client:
            return client.value(WHERE)
    except (AssertionError, LoginRefusedError, ClosedError, OSError):
        return None


def test_a_killed_primary_is_replaced_and_the_other_standby_follows(
    cluster: ReplicatedCluster, proxy: HeliosProcess
) -> None:
    assert where(proxy) == "db-1"
    with Client(proxy.target(), deadline=PATIENCE) as idle:
        idle.query("insert into notes values (800, 'acknowledged')")

        cluster["db-1"].kill()

        assert idle.value(WHERE) == "db-2"
        assert idle.value("select body from notes where id = 800") == "acknowledged"
        idle.query("insert into notes values (801, 'after')")
    cluster.await_streaming("db-2", 1)
    # It is told where its primary is, and nothing of earlier ones: a receiver takes 1 023 bytes of that.
    said = "regexp_matches(current_setting('primary_conninfo'), '(?:host|port)=\\S+', 'g')"
    place = f"{{{{host=127.0.0.1}},{{port={cluster['db-2'].port}}}}}"
    assert cluster.ask("db-3", f"select array_agg(part) from {said} part") == place
    names = "show synchronous_standby_names"
    assert cluster.ask("db-2", names) == 'FIRST 1 ("db-3")'
    told = status(proxy)
    assert (told["promotions"], told["fenced"], told["refused"]) == (1, ["db-1"], None)
    assert told["xid_bound"] > 0

    # It comes back as it was, and is not believed.
    cluster["db-1"].start()
    read_only = "show default_transaction_read_only"
    until(lambda: cluster.ask("db-1", read_only) == "on", "the former primary to be told to take no writes", PATIENCE)
    assert where(proxy) == "db-2"

    rejoin_by_command(cluster, "db-1", "db-2")
    cluster.await_streaming("db-2", 2)
    until(lambda: proxy.json("/nodes/db-1")["role"] == "standby", "its return", PATIENCE)
    assert cluster.ask("db-1", "select count(*) from notes where id in (800, 801)") == "2"
    widened = 'FIRST 2 ("db-3", "db-1")'
    until(lambda: cluster.ask("db-2", names) == widened, "commits to wait for it as well", PATIENCE)
    cluster.set_synchronous("db-2", 'FIRST 1 ("db-3")')


def test_a_switchover_is_a_pause_without_errors_and_waits_for_open_transactions(
    cluster: ReplicatedCluster, proxy: HeliosProcess
) -> None:
    former = str(where(proxy))
    create_ledger(cluster, former)
    with Client(proxy.target(), deadline=PATIENCE) as open_one, Ledger(proxy.target(), clients=3) as ledger:
        ledger.await_more(10, PATIENCE)
        open_one.query("begin")
        open_one.query("insert into notes values (810, 'open')")
        with ThreadPoolExecutor(max_workers=1) as pool:
            asked = pool.submit(proxy.post_json, "/api/switchover", {}, PATIENCE)
            until(lambda: "switchover" in str(proxy.json("/topology")["reason"]), "the pause", PATIENCE)
            # What is open goes on on the old primary until its end.
            assert open_one.value("select count(*) from notes where id = 810") == "1"
            open_one.query("commit")
            code, told = asked.result(PATIENCE)
        assert code == 200, told
        ledger.await_more(10, PATIENCE)
        assert open_one.value("select count(*) from notes where id = 810") == "1"
    assert not ledger.errors
    successor = str(where(proxy))
    assert successor == told["primary"] != former
    assert lost(ledger, cluster.app(successor)) == []
    assert "read-only by SQL" in str(status(proxy)["fence"])
    assert status(proxy)["losses"] == []

    cluster.rejoin(former, successor)
    cluster.await_streaming(successor, 2)


def test_a_ledger_does_not_notice_that_its_primary_is_killed(cluster: ReplicatedCluster, tmp_path: Path) -> None:
    former = next(name for name in cluster.servers if cluster.ask(name, "select pg_is_in_recovery()") == "f")
    first, second = others(cluster, former)
    # A synchronous standby is what makes an acknowledged commit outlive its primary.
    cluster.set_synchronous(former, f'FIRST 1 ("{first}", "{second}")')
    with Client(cluster.app(former), deadline=PATIENCE) as client:
        client.query("drop table if exists accounts, transfers")
    create_ledger(cluster, former)
    config = settings(cluster, tmp_path / "proxy", tmp_path / "lease")
    config["transaction_replay"] = {"enabled": True}
    with HeliosProcess(tmp_path / "proxy", config) as proxy:
        ready(proxy)
        with Ledger(proxy.target(), clients=4, extended=None) as ledger:
            ledger.await_more(20, PATIENCE)

            # All at once, as a machine dies: a backend whose postmaster is dead waits for standbys no more, and others
            # see what no standby has.
            cluster.signal(former, signal.SIGSTOP)
            cluster[former].kill()

            successor = str(until(lambda: idle_elsewhere(proxy, former), "another primary", PATIENCE))
            ledger.await_more(20, PATIENCE)
        assert not ledger.errors
        assert lost(ledger, cluster.app(successor)) == []
        told = proxy.json("/api/tr")
        assert told["completed"] + told["acknowledged"] > 0
        assert set(told["diverged"].values()) == {0}
    cluster.rejoin(former, successor)
    cluster.await_streaming(successor, 2)


def test_a_switchover_that_cannot_be_changes_nothing(cluster: ReplicatedCluster, tmp_path: Path) -> None:
    config = settings(cluster, tmp_path / "proxy", tmp_path / "lease", drain_after_seconds=1)
    with HeliosProcess(tmp_path / "proxy", config) as proxy:
        ready(proxy)
        primary = str(where(proxy))
        with Client(proxy.target(), deadline=PATIENCE) as open_one, Client(proxy.target(), deadline=PATIENCE) as idle:
            open_one.query("begin")
            open_one.query("insert into notes values (820, 'open')")

            code, told = proxy.post_json("/api/switchover", {}, PATIENCE)

            assert (code, told["error"]) == (
                409,
                "1 transactions were still open after 1 s; nothing has changed",
            )
            assert idle.value(WHERE) == primary
            open_one.query("rollback")
        for body, status_code, reason in (
            ({"to": "nobody"}, 409, "there is no enabled node 'nobody'"),
            ({"to": primary}, 409, "is the primary already"),
            ({"cluster": "other"}, 409, "there is no cluster 'other'"),
            ({"node": "db-1"}, 400, "unknown field 'node'"),
        ):
            code, told = proxy.post_json("/api/switchover", body, PATIENCE)
            assert code == status_code, told
            assert reason in told["error"]
        assert where(proxy) == primary
        done = subprocess.run(
            [sys.executable, "-m", "helios", "switchover", "--admin", proxy.admin, "--to", "nobody"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "there is no enabled node 'nobody'" in done.stderr) == (1, True)


@pytest.mark.parametrize("command", [("false",), ("sleep", "60"), ("/nonexistent",)])
def test_a_fence_that_fails_or_hangs_leaves_nobody_promoted(
    cluster: ReplicatedCluster, tmp_path: Path, command: tuple[str, ...]
) -> None:
    fence = {"fence_command": list(command), "fence_timeout_seconds": 1}
    with HeliosProcess(tmp_path / "proxy", settings(cluster, tmp_path / "proxy", tmp_path / "lease", **fence)) as proxy:
        ready(proxy)
        primary = str(where(proxy))
        cluster[primary].kill()

        await_refusal(proxy, "fence_command", "fence")

        assert all(cluster.ask(name, "select pg_is_in_recovery()") == "t" for name in others(cluster, primary))
        assert status(proxy)["promotions"] == 0
        # The primary is not replaced, so it may come back.
        cluster[primary].start()
        assert until(lambda: where(proxy), "the same primary", PATIENCE) == primary
        until(lambda: status(proxy)["refused"] is None, "all to be well", PATIENCE)
        assert (
            'heliosproxy_promotion_refused{cluster="main",reason="fence"} 0.0' in proxy.get("/metrics", "text/plain")[1]
        )
    cluster.await_streaming(primary, 2)


def test_a_standby_that_may_not_be_promoted_is_refused_with_the_reason(
    cluster: ReplicatedCluster, proxy: HeliosProcess
) -> None:
    primary = str(where(proxy))
    right = f"execute on function pg_promote(boolean, integer) {{}} {MONITOR}"
    cluster.ask(primary, f"revoke {right.format('from')}; select 1", "postgres")
    cluster.await_replay(primary)
    cluster[primary].kill()

    await_refusal(proxy, "may not call pg_promote", "rights")

    assert all(cluster.ask(name, "select pg_is_in_recovery()") == "t" for name in others(cluster, primary))
    cluster[primary].start()
    assert until(lambda: where(proxy), "the same primary", PATIENCE) == primary
    cluster.ask(primary, f"grant {right.format('to')}; select 1", "postgres")
    cluster.await_streaming(primary, 2)


def test_a_killed_backend_is_no_failover(cluster: ReplicatedCluster, proxy: HeliosProcess) -> None:
    primary = str(where(proxy))
    with Client(proxy.target(), deadline=PATIENCE) as client:
        pid = int(client.value("begin; select pg_backend_pid()") or 0)

        # As the kernel does when memory is short: PostgreSQL ends all backends and recovers.
        os.kill(pid, signal.SIGKILL)

        client.until_closed()
    assert until(lambda: where(proxy), "the same primary", PATIENCE) == primary
    assert status(proxy)["promotions"] == 0
    cluster.await_streaming(primary, 2)


def test_silence_of_a_primary_is_not_its_death_while_its_standbys_hear_it(
    cluster: ReplicatedCluster, tmp_path: Path
) -> None:
    primary = next(name for name in cluster.servers if cluster.ask(name, "select pg_is_in_recovery()") == "f")
    relay = ChunkRelay(cluster[primary].port, "random")
    config = settings(cluster, tmp_path / "proxy", tmp_path / "lease", silence_after_seconds=1)
    for node in config["clusters"][0]["nodes"]:
        if node["name"] == primary:
            node["port"] = relay.port
    config["monitor"] = {**config["monitor"], "timeout_ms": 500}
    with HeliosProcess(tmp_path / "proxy", config) as proxy:
        ready(proxy)
        relay.stall()

        until(lambda: "may hear from it" in str(status(proxy)["verdict"]), "the verdict", PATIENCE)

        assert all(cluster.ask(name, "select pg_is_in_recovery()") == "t" for name in others(cluster, primary))
        relay.go_on()
        until(lambda: status(proxy)["verdict"] is None, "it to be heard again", PATIENCE)
        assert where(proxy) == primary
        assert status(proxy)["promotions"] == 0
    relay.stop()


def test_a_stopped_primary_is_replaced_once_and_gets_no_traffic_when_it_goes_on(
    cluster: ReplicatedCluster, tmp_path: Path
) -> None:
    config = settings(cluster, tmp_path / "proxy", tmp_path / "lease", silence_after_seconds=2)
    config["monitor"] = {**config["monitor"], "timeout_ms": 500}
    with HeliosProcess(tmp_path / "proxy", config) as proxy:
        ready(proxy)
        former = str(where(proxy))
        with Client(proxy.target(), deadline=PATIENCE) as idle:
            idle.query("insert into notes values (830, 'before')")
            cluster.signal(former, signal.SIGSTOP)
            try:
                successor = until(lambda: idle_elsewhere(proxy, former), "another primary", PATIENCE)
                assert idle.value(WHERE) == successor
                idle.query("insert into notes values (831, 'after')")
            finally:
                cluster.signal(former, signal.SIGCONT)
            read_only = "show default_transaction_read_only"
            until(lambda: cluster.ask(former, read_only) == "on", "it to be told to take no writes", PATIENCE)
            assert idle.value(WHERE) == successor
        assert cluster.ask(former, "select count(*) from notes where id = 831") == "0"
        assert status(proxy)["promotions"] == 1
    cluster.rejoin(former, str(successor))
    cluster.await_streaming(str(successor), 2)


def test_of_two_proxies_one_promotes_and_waits_for_the_other(cluster: ReplicatedCluster, tmp_path: Path) -> None:
    first = HeliosProcess(tmp_path / "first", settings(cluster, tmp_path / "first", tmp_path / "lease"))
    with first:
        ready(first)
        second = HeliosProcess(tmp_path / "second", settings(cluster, tmp_path / "second", tmp_path / "lease"))
        with second:
            until(lambda: all(node["healthy"] for node in second.json("/nodes")), "all nodes", PATIENCE)
            assert [status(proxy)["holds_lease"] for proxy in (first, second)] == [True, False]
            former = str(where(second))
            code, told = second.post_json("/api/switchover", {}, PATIENCE)
            assert (code, told["error"]) == (409, "another proxy holds the lease; ask that one")

            # One that hangs may still use the old primary: nobody is promoted.
            second.signal(signal.SIGSTOP)
            cluster[former].kill()
            until(lambda: "did not confirm" in str(status(first)["refused"]), "the refusal", PATIENCE)
            assert all(cluster.ask(name, "select pg_is_in_recovery()") == "t" for name in others(cluster, former))

            second.signal(signal.SIGCONT)
            successor = until(lambda: idle_elsewhere(first, former), "another primary", PATIENCE)
            assert until(lambda: idle_elsewhere(second, former), "the same at both", PATIENCE) == successor
            cluster.rejoin(former, str(successor))
            cluster.await_streaming(str(successor), 2)
            until(lambda: second.json(f"/nodes/{former}")["role"] == "standby", "its return", PATIENCE)

            # Whoever held the lease dies together with the primary.
            first.kill()
            cluster[str(successor)].kill()
            last = until(lambda: idle_elsewhere(second, str(successor)), "another primary", PATIENCE)
            assert status(second)["holds_lease"]
            assert where(second) == last
    cluster.rejoin(str(successor), str(last))
    cluster.await_streaming(str(last), 2)


def test_writes_in_the_queue_of_a_primary_that_dies_are_for_the_next_and_for_no_standby(
    cluster: ReplicatedCluster, tmp_path: Path
) -> None:
    config = settings(cluster, tmp_path / "proxy", tmp_path / "lease")
    config["routing"] = {"read_write_split": True, "max_lag_ms": 0}
    config["pool"]["max_size"] = 1
    with HeliosProcess(tmp_path / "proxy", config) as proxy, ExitStack() as stack:
        ready(proxy)
        former = primary_of(proxy)
        holder, *writers = (stack.enter_context(Client(proxy.target(), deadline=PATIENCE)) for _ in range(3))
        # What a client has asked a standby before is not what it is answered for.
        for writer in writers:
            until(lambda each=writer: each.value(NAME) != former, "a read on a standby", PATIENCE)  # type: ignore[misc]
        assert not sqlstates(holder.query("begin; lock table items in access share mode"))
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=len(writers)))
        asked = [
            pool.submit(ask, writer, f"insert into notes values ({840 + n}, 'late')")
            for n, (ask, writer) in enumerate(zip((simple, extended), writers, strict=True))
        ]
        until(lambda: proxy.json("/sessions")["waiting_sessions"] == 2, "both to wait", PATIENCE)

        cluster[former].kill()

        for events in (each.result(PATIENCE) for each in asked):
            assert [each.brief for each in events][-2:] == ["CommandComplete INSERT 0 1", "ReadyForQuery I"], events
        successor = primary_of(proxy)
        assert cluster.ask(successor, "select count(*) from notes where id in (840, 841)") == "2"
    cluster.rejoin(former, successor)
    cluster.await_streaming(successor, 2)


def rejoin_by_command(cluster: ReplicatedCluster, former: str, primary: str) -> None:
    """`helios rejoin`, which refuses while the server runs, and to follow a standby."""
    server, heir = cluster[former], cluster[primary]

    def rejoin(port: int) -> subprocess.CompletedProcess[str]:
        where = ["--data", str(server.data), "--primary", f"{heir.host}:{port}", "--user", heir.superuser]
        command = [sys.executable, "-m", "helios", "rejoin", *where, "--name", former, "--slot", "db_back"]
        environment = {**os.environ, "PGPASSWORD": heir.password}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert "runs with pid" in rejoin(heir.port).stderr
    server.stop("immediate")
    other = next(name for name in cluster.servers if name not in (former, primary))
    assert "is a standby itself" in rejoin(cluster[other].port).stderr
    done = rejoin(heir.port)
    assert done.returncode == 0, done.stderr
    server.start()
    assert cluster.ask(former, "show primary_slot_name") == "db_back"


def ready(proxy: HeliosProcess) -> None:
    """It may promote, and knows all nodes."""
    until(lambda: status(proxy)["holds_lease"], "the lease", PATIENCE)
    until(lambda: all(node["healthy"] for node in proxy.json("/nodes")), "all nodes", PATIENCE)


def others(cluster: ReplicatedCluster, primary: str) -> list[str]:
    """The standbys."""
    return [name for name in cluster.servers if name != primary]


def idle_elsewhere(proxy: HeliosProcess, former: str) -> str | None:
    """The name of the primary if it is another one."""
    names = [node["name"] for node in proxy.json("/nodes") if node["role"] == "primary" and node["name"] != former]
    return names[0] if names else None


def create_ledger(cluster: ReplicatedCluster, primary: str) -> None:
    """Its tables, through no proxy."""
    with Client(cluster.app(primary), deadline=PATIENCE) as client:
        client.query(SCHEMA)
