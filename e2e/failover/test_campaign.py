"""The campaign: the primary is killed again and again under pgbench and a bank ledger, and switched over; a standby is
promoted by somebody else; and a proxy that is promoting one is stopped.

`make failover KILLS=30` runs it and writes `e2e/behaviour/FAILOVER.md`; every figure there is of that run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.client import Client, Target
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
    timeline_of,
)
from harness.ledger import SCHEMA, Ledger, lost
from harness.postgres import APP, DATABASE, PASSWORDS, superuser_of
from harness.proxy import HeliosProcess
from harness.replicas import ReplicatedCluster
from harness.wait import until

KILLS = int(os.environ.get("FAILOVER_KILLS", "2"))
SWITCHOVERS = int(os.environ.get("FAILOVER_SWITCHOVERS", str(max(1, KILLS // 3))))
ASYNC_KILLS = int(os.environ.get("FAILOVER_ASYNC_KILLS", str(KILLS // 6)))
FOREIGN = int(os.environ.get("FAILOVER_FOREIGN", str(max(1, KILLS // 10))))
DOUBLES = int(os.environ.get("FAILOVER_DOUBLES", str(max(1, KILLS // 10))))
STOPS = int(os.environ.get("FAILOVER_STOPS", str(max(1, KILLS // 3))))
DELAYED_EVERY = 3
"""Each such kill finds the standbys one second behind in replay."""


@dataclass(frozen=True)
class Kill:
    """What one kill took, in seconds since it."""

    how: str
    first_commit: float
    streams: float
    lost: int


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads."""
    with ReplicatedCluster(schema=SCHEMA) as made:
        pgbench(made.app("db-1"), "-i", "-q", "-s", "1")
        yield made


@pytest.fixture(scope="module")
def proxy(cluster: ReplicatedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """The proxy before them."""
    folder: Path = tmp_path_factory.mktemp("campaign")
    with HeliosProcess(folder, settings(cluster, folder, folder / "lease")) as process:
        until(lambda: status(process)["holds_lease"], "the lease", PATIENCE)
        yield process


def pgbench(target: Target, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(pgbench_command(target, *arguments), env=environment(), capture_output=True, check=True)


def pgbench_command(target: Target, *arguments: str) -> list[str]:
    """As the application's role."""
    where = ["-h", target.host, "-p", str(target.port), "-U", target.user]
    return [shutil.which("pgbench") or "pgbench", *where, *arguments, target.database]


def environment() -> dict[str, str]:
    """With the role's password."""
    return {**os.environ, "PGPASSWORD": PASSWORDS[APP]}


class Bench:
    """pgbench's TPC-B beside everything else; it ends with its connections and is started again."""

    def __init__(self, proxy: HeliosProcess) -> None:
        command = pgbench_command(proxy.target(database=DATABASE), "-n", "-c", "4", "-T", "3600", "-M", "prepared")
        self._process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(PATIENCE)


def delay_replay(cluster: ReplicatedCluster, name: str, delay: str) -> None:
    """Have a standby replay commits so much later."""
    with Client(superuser_of(cluster[name])) as client:
        client.query(f"alter system set recovery_min_apply_delay = '{delay}'")
        client.query("select pg_reload_conf()")


def balances(cluster: ReplicatedCluster, primary: str) -> set[str | None]:
    """pgbench's own invariant: all of these are the same."""
    sums = (
        "sum(abalance) from pgbench_accounts",
        "sum(tbalance) from pgbench_tellers",
        "sum(bbalance) from pgbench_branches",
        "coalesce(sum(delta), 0) from pgbench_history",
    )
    return {cluster.ask(primary, f"select {each}") for each in sums}


def kill(cluster: ReplicatedCluster, name: str, only_postmaster: bool) -> float:
    """SIGKILL; the moment it was done."""
    if only_postmaster:
        pid = cluster[name].pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()
    cluster[name].kill()
    return time.monotonic()


def kill_once(cluster: ReplicatedCluster, proxy: HeliosProcess, number: int, synchronous: bool = True) -> Kill:
    """Kill the primary at a random moment, wait for everything to be well again, and look what became of it."""
    primary = primary_of(proxy)
    is_delayed = synchronous and number % DELAYED_EVERY == 0
    standbys = [name for name in cluster.servers if name != primary]
    synchronous_of(cluster, primary)
    for name in standbys:
        delay_replay(cluster, name, "1s" if is_delayed else "0")
    target = proxy.target(database=DATABASE)
    if not synchronous:
        target = target.with_options(synchronous_commit="off")
    bench = Bench(proxy)
    empty_ledger(cluster, primary)
    ledger = Ledger(target, extended=number % 2 == 1)
    with ledger:
        ledger.await_more(50, PATIENCE)
        time.sleep(random.uniform(0.2, 1.5))  # the moment of the kill is meant to be any
        only_postmaster = number % 2 == 0
        at = kill(cluster, primary, only_postmaster)
        # Processes of a killed postmaster may go on for a moment and acknowledge more: what counts is the pause.
        heir = str(until(lambda: successor_of(proxy, primary), "another primary", PATIENCE))
        cluster.await_streaming(heir, 1, PATIENCE)
        streams = time.monotonic() - at
        ledger.await_more(20, PATIENCE)
        pause = ledger.longest_pause(at, time.monotonic())
    bench.stop()
    assert heir in standbys
    missing = lost(ledger, cluster.app(heir))
    assert len(balances(cluster, heir)) == 1
    assert set(ledger.errors) <= {"connection lost", "08006", "08007", "57P01"}, ledger.errors
    cluster[primary].kill()
    mend(cluster, proxy, primary, heir)
    how = ("postmaster" if only_postmaster else "all processes") + (", standbys 1 s behind" if is_delayed else "")
    return Kill(how, pause, streams, len(missing))


def test_kills_lose_nothing_that_was_acknowledged(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    kills = [kill_once(cluster, proxy, number) for number in range(KILLS)]

    firsts = sorted(each.first_commit for each in kills)
    report += [
        "# Failover: what a run of `make failover` saw",
        "",
        f"{KILLS} kills of the primary (SIGKILL, of the postmaster alone or of all processes) under pgbench TPC-B",
        "(4 clients) and a bank ledger (4 clients, simple and extended protocol in turn); one of two standbys is",
        "synchronous.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| lost acknowledged commits | {sum(each.lost for each in kills)} |",
        f"| longest pause of commits: p50, worst | {statistics.median(firsts):.2f} s, {firsts[-1]:.2f} s |",
        f"| other standby streams from the new primary: worst | {max(each.streams for each in kills):.2f} s |",
        f"| kills with both standbys 1 s behind in replay | {sum('behind' in each.how for each in kills)} |",
        "",
        "| kill | without a commit, s | other standby streams, s | lost |",
        "|---|---|---|---|",
        *(f"| {each.how} | {each.first_commit:.2f} | {each.streams:.2f} | {each.lost} |" for each in kills),
        "",
    ]
    assert sum(each.lost for each in kills) == 0
    assert status(proxy)["promotions"] == KILLS


def test_a_second_failover_comes_right_after_the_first(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    pauses = []
    for number in range(DOUBLES):
        first = primary_of(proxy)
        synchronous_of(cluster, first)
        for name in cluster.servers:
            delay_replay(cluster, name, "0")
        empty_ledger(cluster, first)
        ledger = Ledger(proxy.target(database=DATABASE), extended=number % 2 == 1)
        with ledger:
            ledger.await_more(20, PATIENCE)
            cluster[first].kill()
            second = str(until(lambda: successor_of(proxy, first), "another primary", PATIENCE))  # noqa: B023
            # With its first commit it has a standby, which has it.
            ledger.await_more(1, PATIENCE)
            cluster[second].kill()
            at = time.monotonic()
            last = str(until(lambda: successor_of(proxy, second), "a third primary", PATIENCE))  # noqa: B023
            ledger.await_more(20, PATIENCE)
            pauses.append(ledger.longest_pause(at, time.monotonic()))
        assert last not in (first, second)
        assert lost(ledger, cluster.app(last)) == []
        for name in (first, second):
            cluster.rejoin(name, last)
        cluster.await_streaming(last, 2, PATIENCE)
        for name in (first, second):
            until(lambda: proxy.json(f"/nodes/{name}")["role"] == "standby", "its return", PATIENCE)  # noqa: B023
        cluster.set_synchronous(last, f'FIRST 1 ("{first}")')
    report += [
        f"{DOUBLES} times the new primary was killed with its first commit: 0 lost; longest time without a commit",
        f"{max(pauses):.2f} s.",
        "",
    ]


def test_switchovers_are_a_pause(cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]) -> None:
    pauses = []
    for number in range(SWITCHOVERS):
        primary = primary_of(proxy)
        for name in cluster.servers:
            delay_replay(cluster, name, "0")
        ledger = Ledger(proxy.target(database=DATABASE), extended=number % 2 == 1)
        empty_ledger(cluster, primary)
        with ledger:
            ledger.await_more(50, PATIENCE)
            began = time.monotonic()
            code, said = proxy.post_json("/api/switchover", {}, PATIENCE)
            assert code == 200, said
            ledger.await_more(50, PATIENCE)
            ended = time.monotonic()
        assert not ledger.errors, ledger.errors
        successor = primary_of(proxy)
        assert successor != primary
        assert lost(ledger, cluster.app(successor)) == []
        pauses.append(ledger.longest_pause(began, ended))
        mend(cluster, proxy, primary, successor)
    report += [
        f"{SWITCHOVERS} switchovers under the ledger (4 clients): 0 errors, 0 lost. Longest time without a commit: p50",
        f"{statistics.median(pauses) * 1000:.0f} ms, worst {max(pauses) * 1000:.0f} ms.",
        "",
    ]


@pytest.mark.skipif(ASYNC_KILLS == 0, reason="FAILOVER_ASYNC_KILLS says so")
def test_losses_without_synchronous_commit_are_listed(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    kills = []
    for number in range(ASYNC_KILLS):
        before = len(status(proxy)["losses"])
        made = kill_once(cluster, proxy, number, synchronous=False)
        kills.append((made, len(status(proxy)["losses"]) - before))
    report += [
        f"{ASYNC_KILLS} kills with `synchronous_commit = off`: acknowledged commits lost, and entries under `losses`:",
        ", ".join(f"{made.lost} ({listed})" for made, listed in kills) + ".",
        "",
    ]
    assert all(listed for made, listed in kills if made.lost)


def test_a_promotion_by_another_tool_stops_writes_to_the_old_primary(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    noticed = []
    for number in range(FOREIGN):
        primary = primary_of(proxy)
        heir = synchronous_of(cluster, primary)
        other = next(name for name in cluster.servers if name not in (primary, heir))
        empty_ledger(cluster, primary)
        ledger = Ledger(proxy.target(database=DATABASE), extended=number % 2 == 1)
        with ledger:
            ledger.await_more(50, PATIENCE)
            # Its commits would else wait for itself, as its predecessor's did.
            with Client(superuser_of(cluster[heir])) as client:
                client.query("alter system set synchronous_standby_names = ''")
                client.query("select pg_reload_conf()")
                client.query("select pg_promote()")
            at = time.monotonic()
            until(lambda: primary not in believed(proxy), "writes to stop", PATIENCE)  # noqa: B023
            noticed.append(time.monotonic() - at)
            cluster[primary].kill()
            until(lambda: successor_of(proxy, primary) == heir, "the new primary", PATIENCE)  # noqa: B023
            ledger.await_more(20, PATIENCE)
        assert lost(ledger, cluster.app(heir)) == []
        cluster[other].stop("fast")
        cluster.rejoin(other, heir)
        mend(cluster, proxy, primary, heir)
        cluster.set_synchronous(heir, f'FIRST 1 ("{other}")')
    report += [
        f"{FOREIGN} promotions of the only synchronous standby by `pg_promote()`, the old primary alive: writes stop",
        f"at most {max(noticed) * 1000:.0f} ms after that returned; no write is missing that the old one acknowledged.",
        "",
    ]


def believed(proxy: HeliosProcess) -> list[str]:
    """Nodes that get writes."""
    return [node["name"] for node in proxy.json("/nodes") if node["role"] == "primary"]


def test_a_holder_of_the_lease_that_is_stopped_anywhere_makes_no_second_primary(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("holders")
    proxy.stop()
    outcomes = []
    pair = [started(cluster, folder, 0), started(cluster, folder, 1)]
    try:
        for number in range(STOPS):
            holder, other = sorted(pair, key=lambda each: not status(each)["holds_lease"])
            primary = primary_of(other)
            synchronous_of(cluster, primary)
            timeline = timeline_of(cluster, primary)
            cluster[primary].kill()
            time.sleep(random.uniform(0.0, 0.8))  # the step in which it is stopped is meant to be any
            holder.signal(signal.SIGSTOP)
            was_promoted = len(primaries(cluster, primary)) == 1
            if number % 2:
                holder.kill()
            else:
                holder.signal(signal.SIGCONT)
            heir = str(until(lambda: successor_of(other, primary), "another primary", PATIENCE))  # noqa: B023
            cluster.await_streaming(heir, 1, PATIENCE)
            assert primaries(cluster, primary) == [heir]
            assert timeline_of(cluster, heir) == timeline + 1, "promoted once"
            end = "killed" if number % 2 else "went on"
            outcomes.append(f"{'after' if was_promoted else 'before'} the promotion, {end}")
            mend(cluster, other, primary, heir)
            pair = [other, started(cluster, folder, number + 2) if number % 2 else holder]
            for each in pair:
                until(lambda: successor_of(each, primary) == heir, "the same primary", PATIENCE)  # noqa: B023
                until(lambda: each.json(f"/nodes/{primary}")["role"] == "standby", "it to be seen", PATIENCE)  # noqa: B023
    finally:
        for each in pair:
            each.kill()
    report += [
        f"{STOPS} times the holder of the lease was stopped (SIGSTOP) up to 0.8 s after the primary died:",
        "; ".join(f"{outcomes.count(each)} × {each}" for each in sorted(set(outcomes))) + ". Promoted once each time.",
        "",
    ]


def started(cluster: ReplicatedCluster, folder: Path, number: int) -> HeliosProcess:
    """One of two proxies with one lease, once it knows all servers."""
    own = folder / str(number)
    process = HeliosProcess(own, settings(cluster, own, folder / "lease"))
    await_nodes(process)
    return process
