"""What is no death of a primary, and what is a slow one: a full disk, a backend that the kernel kills, a network that
parts one proxy from it, and a server that stands still. And a death by itself: no room for its log."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from harness.client import Client, ClosedError, LoginRefusedError, Target, sqlstates
from harness.failover import (
    PATIENCE,
    await_nodes,
    empty_ledger,
    mend,
    primaries,
    primary_of,
    settings,
    status,
    successor_of,
    synchronous_of,
)
from harness.ledger import SCHEMA, Ledger, lost
from harness.namespace import NETWORK, Namespace
from harness.postgres import superuser_of
from harness.proxy import HeliosProcess
from harness.replicas import ReplicatedCluster
from harness.wait import until
from helios.play.postgres import PostgresServer

FILL = "insert into filler select n, repeat('x', 1000) from generate_series(1, 200000) n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers that can be reached from other hosts."""
    made = ReplicatedCluster({"listen_addresses": "*"}, hba=(f"host all all {NETWORK}.0/24 scram-sha-256",))
    with Client(made.app("db-1")) as client:
        client.query(SCHEMA)
        client.query("create table filler (id int, body text)")
    yield made
    made.stop()


@pytest.fixture
def proxy(cluster: ReplicatedCluster, tmp_path: Path) -> Iterator[HeliosProcess]:
    """With default limits of silence."""
    with HeliosProcess(tmp_path / "proxy", settings(cluster, tmp_path / "proxy", tmp_path / "lease")) as process:
        until(lambda: status(process)["holds_lease"], "the lease", PATIENCE)
        await_nodes(process)
        yield process


@contextmanager
def small_disk(server: PostgresServer, folder: str = "base", room: str = "64m") -> Iterator[None]:
    """A folder of its data, by default its tables, is on a file system of its own meanwhile."""
    place = server.data / folder
    kept = server.data.parent / f"{server.name}-{folder}"
    server.stop("fast")
    place.rename(kept)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room},mode=700", "tmpfs", str(place)], check=True)
    try:
        copy(kept, place, server.data)
        server.start()
        yield
    finally:
        server.stop("immediate")
        shutil.rmtree(kept)
        kept.mkdir()
        copy(place, kept, server.data)
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()
        kept.rename(place)
        server.start()


def copy(source: Path, target: Path, like: Path) -> None:
    """The content of a folder, for whom another one belongs to."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    owner = like.stat()
    os.chown(target, owner.st_uid, owner.st_gid)
    target.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system is mounted")
def test_a_full_disk_is_an_error_and_no_failover(cluster: ReplicatedCluster, tmp_path: Path, report: list[str]) -> None:
    primary = next(name for name in cluster.servers if cluster.ask(name, "select pg_is_in_recovery()") == "f")
    with small_disk(cluster[primary]):
        cluster.await_streaming(primary, 2, PATIENCE)
        with HeliosProcess(tmp_path / "proxy", settings(cluster, tmp_path / "proxy", tmp_path / "lease")) as proxy:
            await_nodes(proxy)
            for extended in (False, True):
                with Client(proxy.target(), deadline=PATIENCE) as client:
                    send = client.extended if extended else client.query
                    assert sqlstates(send(FILL)) == ["53100"]
                    assert client.value("select 1") == "1"
                    assert sqlstates(client.query("truncate filler")) == []
                    assert sqlstates(send("insert into filler values (1, 'there is room again')")) == []
            assert status(proxy)["promotions"] == 0
            assert (status(proxy)["verdict"], primary_of(proxy)) == (None, primary)
        with Client(cluster.app(primary)) as client:
            client.query("truncate filler")
    cluster.await_streaming(primary, 2, PATIENCE)
    report += ["A full disk: 53100 by both protocols, no failover, and writes again once there is room.", ""]


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system is mounted")
def test_a_primary_without_room_for_its_log_dies_and_is_replaced(
    cluster: ReplicatedCluster, tmp_path: Path, report: list[str]
) -> None:
    primary = next(name for name in cluster.servers if cluster.ask(name, "select pg_is_in_recovery()") == "f")
    server = cluster[primary]
    checkpoint(cluster, primary)
    used = sum(file.stat().st_size for file in (server.data / "pg_wal").glob("*") if file.is_file()) >> 20
    with shown(cluster), small_disk(server, "pg_wal", f"{used + 40}m"):
        cluster.await_streaming(primary, 2, PATIENCE)
        synchronous_of(cluster, primary)
        empty_ledger(cluster, primary)
        with HeliosProcess(tmp_path / "proxy", settings(cluster, tmp_path / "proxy", tmp_path / "lease")) as proxy:
            until(lambda: status(proxy)["holds_lease"], "the lease", PATIENCE)
            await_nodes(proxy)
            begins = server.log.stat().st_size
            with Ledger(proxy.target(), extended=None) as ledger:
                ledger.await_more(20, PATIENCE)
                at = time.monotonic()
                fill(cluster.app(primary))
                heir = str(until(lambda: successor_of(proxy, primary), "another primary", PATIENCE))
                revived = await_more(cluster, primary, ledger, 20)
                pause = ledger.longest_pause(at, time.monotonic())
            said = server.log.read_text(errors="replace")[begins:]
            assert "PANIC" in said and "No space left on device" in said
            assert (status(proxy)["promotions"], primary_of(proxy)) == (1, heir)
            assert primaries(cluster, primary) == [heir]
            assert lost(ledger, cluster.app(heir)) == []
    with HeliosProcess(tmp_path / "after", settings(cluster, tmp_path / "after", tmp_path / "lease")) as proxy:
        mend(cluster, proxy, primary, heir)
        with Client(cluster.app(heir)) as client:
            client.query("truncate filler")
    report += [
        f"No room for the log of the primary: it dies (PANIC), one failover, {pause:.1f} s without a commit, 0 lost;",
        f"standbys that ended with it and were started again: {', '.join(revived) or 'none'}.",
        "",
    ]


def await_more(cluster: ReplicatedCluster, dead: str, ledger: Ledger, count: int) -> list[str]:
    """Wait for more transfers. A standby that has ended is started again, as whoever runs it does; names of those."""
    goal = len(ledger.acknowledged()) + count
    revived: list[str] = []

    def goes_on() -> bool:
        for name, server in cluster.servers.items():
            if name != dead and server.pid is None:
                print(f"{name}:", *server.log.read_text(errors="replace").splitlines()[-40:], sep="\n")
                server.start()
                revived.append(name)
        return len(ledger.acknowledged()) >= goal

    until(goes_on, f"{count} more transfers (errors: {ledger.errors})", PATIENCE)
    return revived


@contextmanager
def shown(cluster: ReplicatedCluster) -> Iterator[None]:
    """What the servers said last is printed if this fails: they are gone when somebody looks."""
    try:
        yield
    except BaseException:
        for name, server in cluster.servers.items():
            print(f"{name}:", *server.log.read_text(errors="replace").splitlines()[-40:], sep="\n")
        raise


def checkpoint(cluster: ReplicatedCluster, name: str) -> None:
    with Client(superuser_of(cluster[name])) as client:
        client.query("checkpoint")


def fill(target: Target) -> None:
    """Write until the server has no room for it."""
    with suppress(ClosedError, OSError), Client(target, deadline=PATIENCE) as client:
        while not sqlstates(client.query(FILL)):
            client.query("truncate filler")


def test_a_backend_that_the_kernel_kills_is_no_failover(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    primary = primary_of(proxy)
    synchronous_of(cluster, primary)
    empty_ledger(cluster, primary)
    with Client(proxy.target(), deadline=PATIENCE) as victim, Ledger(proxy.target()) as ledger:
        ledger.await_more(20, PATIENCE)
        pid = int(victim.value("begin; select pg_backend_pid()") or 0)
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        ledger.await_more(20, PATIENCE)
        pause = ledger.longest_pause(at, time.monotonic())
    assert (status(proxy)["promotions"], primary_of(proxy)) == (0, primary)
    assert lost(ledger, cluster.app(primary)) == []
    cluster.await_streaming(primary, 2, PATIENCE)
    report += [f"A backend killed as the kernel does: no failover, 0 lost, {pause:.2f} s without a commit.", ""]


@pytest.mark.skipif(not Namespace.can_be(), reason="a network namespace is made")
def test_a_proxy_that_is_parted_from_the_primary_promotes_nobody(
    cluster: ReplicatedCluster, tmp_path: Path, report: list[str]
) -> None:
    primary = next(name for name in cluster.servers if cluster.ask(name, "select pg_is_in_recovery()") == "f")
    with Namespace([*cluster.servers, "clients"]) as namespace:
        config = settings(cluster, tmp_path / "proxy", tmp_path / "lease", silence_after_seconds=2)
        for node in config["clusters"][0]["nodes"]:
            node["host"] = namespace.outside[node["name"]]
        own = namespace.inside["clients"]
        config["listen_address"] = config["admin"]["address"] = f"{own}:0"
        config["admin"]["token"] = "let me in"
        config["monitor"]["timeout_ms"] = 500
        config["pool"]["acquire_timeout_seconds"] = 5
        program = namespace.command(sys.executable, "-m", "helios")
        with HeliosProcess(tmp_path / "proxy", config, program=program) as proxy:
            proxy.token = "let me in"
            await_nodes(proxy)
            target = replace(proxy.target(), host=own)
            with Client(target, deadline=PATIENCE) as client:
                client.query("insert into notes values (900, 'before')")

                namespace.cut(primary)

                until(lambda: "may hear from it" in str(status(proxy)["verdict"]), "the verdict", PATIENCE)
                assert refused(target) == "57P03"
                assert primaries(cluster, primary) == []
                namespace.join(primary)
                until(lambda: status(proxy)["verdict"] is None, "it to be heard again", PATIENCE)
            with Client(target, deadline=PATIENCE) as client:
                assert client.value("select count(*) from notes where id = 900") == "1"
                client.query("delete from notes where id = 900")
            assert (status(proxy)["promotions"], primary_of(proxy)) == (0, primary)
    report += ["The network between proxy and primary cut, in a namespace: held (57P03), nobody promoted, went on.", ""]


def refused(target: Target) -> str:
    """What a client is told that comes now."""
    try:
        with Client(target, deadline=PATIENCE) as client:
            return sqlstates(client.query("select 1"))[0]
    except LoginRefusedError as refusal:
        return refusal.sqlstate


def test_a_primary_that_stands_still_for_15_seconds_is_replaced_once(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    former = primary_of(proxy)
    synchronous_of(cluster, former)
    empty_ledger(cluster, former)
    with Ledger(proxy.target()) as ledger:
        ledger.await_more(20, PATIENCE)
        at = time.monotonic()
        cluster.signal(former, signal.SIGSTOP)
        try:
            heir = str(until(lambda: successor_of(proxy, former), "another primary", PATIENCE))
            time.sleep(max(0.0, at + 15 - time.monotonic()))  # so long it stands still
        finally:
            cluster.signal(former, signal.SIGCONT)
        read_only = "show default_transaction_read_only"
        until(lambda: cluster.ask(former, read_only) == "on", "it to be told to take no writes", PATIENCE)
        ledger.await_more(20, PATIENCE)
        pause = ledger.longest_pause(at, time.monotonic())
    assert (status(proxy)["promotions"], primary_of(proxy)) == (1, heir)
    assert lost(ledger, cluster.app(heir)) == []
    ours = "select count(*) from transfers"
    # What was sent to it and not acknowledged may be there; nothing that came later.
    acknowledged_there = {each.id for each in ledger.acknowledged() if each.began > at + 15}
    with Client(cluster.app(former), deadline=PATIENCE) as client:
        assert int(client.value(ours) or 0) <= len(ledger.transfers) - len(acknowledged_there)
    mend(cluster, proxy, former, heir)
    report += [
        f"The primary stopped (SIGSTOP) for 15 s: one failover, {pause:.1f} s without a commit, 0 lost, no traffic",
        "to the old one when it went on.",
        "",
    ]
