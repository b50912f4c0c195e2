"""Primaries that are killed again and again under a bank ledger, with transactions run again: clients see a pause."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client
from harness.ledger import SCHEMA, Ledger, lost
from harness.proxy import HeliosProcess, base_settings
from harness.replicas import ReplicatedCluster
from harness.wait import until

KILLS = int(os.environ.get("REPLAY_KILLS", "2"))
ASYNC_KILLS = max(1, KILLS // 6)
CLIENTS = 8
PATIENCE = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads."""
    with ReplicatedCluster(schema=SCHEMA) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(cluster: ReplicatedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One that may promote, and runs transactions again."""
    folder: Path = tmp_path_factory.mktemp("ledger")
    sections = {
        "failover": {"enabled": True, "lease_file": str(folder / "lease")},
        "transaction_replay": {"enabled": True},
        "pool": {"acquire_timeout_seconds": PATIENCE, "max_size": 16},
    }
    with HeliosProcess(folder, base_settings(cluster, folder, **sections)) as process:
        until(lambda: process.json("/api/failover")["clusters"][0]["holds_lease"], "the lease", PATIENCE)
        yield process


def primary_of(proxy: HeliosProcess, other_than: str = "") -> str:
    """The name of the primary; waits for one."""

    def found() -> str | None:
        names = [node["name"] for node in proxy.json("/nodes") if node["role"] == "primary"]
        return next((name for name in names if name != other_than), None)

    return str(until(found, "a primary", PATIENCE))


def all_well(proxy: HeliosProcess) -> bool:
    """Two standbys, of which the proxy knows that they follow this primary."""
    roles = [node["role"] for node in proxy.json("/nodes") if node["healthy"]]
    return sorted(roles) == ["primary", "standby", "standby"]


def kill_once(
    cluster: ReplicatedCluster, proxy: HeliosProcess, names: str, **options: str
) -> tuple[Ledger, int, float]:
    """The clients, how many of their acknowledged transfers are lost, and the longest pause."""
    former = primary_of(proxy)
    until(lambda: all_well(proxy), "two standbys", PATIENCE)
    standbys = [f'"{name}"' for name in cluster.servers if name != former]
    cluster.set_synchronous(former, names.format(", ".join(standbys)))
    with Client(cluster.app(former)) as client:
        client.query("truncate transfers")
    with Ledger(proxy.target().with_options(**options), clients=CLIENTS, extended=None) as ledger:
        ledger.await_more(50, PATIENCE)
        time.sleep(random.uniform(0.2, 1.0))  # the moment of the kill is meant to be any
        at = time.monotonic()
        cluster[former].kill()
        heir = primary_of(proxy, former)
        ledger.await_more(50, PATIENCE)
        pause = ledger.longest_pause(at, time.monotonic())
    missing = lost(ledger, cluster.app(heir))
    cluster.rejoin(former, heir)
    cluster.await_streaming(heir, 2, PATIENCE)
    return ledger, len(missing), pause


def told(proxy: HeliosProcess) -> Counter[str]:
    """What is counted at /api/tr."""
    counts = proxy.json("/api/tr")
    return Counter({"run again": counts["completed"], "found to be committed": counts["acknowledged"]}) + Counter(
        counts["diverged"]
    )


def test_a_ledger_does_not_notice_that_primaries_are_killed(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    before, errors, missing, pauses = told(proxy), Counter[str](), 0, []
    for number in range(KILLS):
        ledger, gone, pause = kill_once(cluster, proxy, "FIRST 1 ({})")
        errors, missing = errors + ledger.errors, missing + gone
        pauses.append(pause)
        assert not ledger.errors, (number, ledger.told, told(proxy))
    report += [
        "",
        f"{KILLS} kills of the primary (SIGKILL of all its processes) under a ledger of {CLIENTS} clients (FOR UPDATE,",
        "RETURNING; simple and extended protocol in turn), one of two standbys synchronous, failover by Helios:",
        f"{errors.total()} client errors, {missing} acknowledged transfers lost, the sum exact each time. Longest time",
        f"without a commit: p50 {statistics.median(pauses):.2f} s, worst {max(pauses):.2f} s.",
        f"{_listed(told(proxy) - before)}.",
        "",
    ]
    assert (errors.total(), missing) == (0, 0)


def test_without_synchronous_standbys_errors_and_losses_are_told(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    before, errors, missing = told(proxy), Counter[str](), 0
    for _ in range(ASYNC_KILLS):
        ledger, gone, _ = kill_once(cluster, proxy, "", synchronous_commit="off")
        errors, missing = errors + ledger.errors, missing + gone
    report += [
        "",
        f"{ASYNC_KILLS} kills with asynchronous standbys: {_listed(errors) or 'no'} client errors, {missing}",
        f"acknowledged transfers lost, the sum exact each time. {_listed(told(proxy) - before)}.",
        "",
    ]
    assert set(errors) <= {"40001", "08006", "08007"}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
