"""Primaries that are killed again and again under an application on SQLAlchemy, with transactions run again.

Its sessions see a pause, and every key that they were told is the one in the database.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.failover import PATIENCE, mend, primary_of, settings, status, successor_of
from harness.orders import Shop, furnish, wrong
from harness.proxy import HeliosProcess
from harness.replicas import ReplicatedCluster
from harness.wait import until

KILLS = max(2, int(os.environ.get("REPLAY_KILLS", "2")) // 3)
CLIENTS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads, with the shop's tables."""
    with ReplicatedCluster() as made:
        furnish(made.app("db-1"))
        yield made


@pytest.fixture(scope="module")
def proxy(cluster: ReplicatedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One that may promote, and runs transactions again."""
    folder: Path = tmp_path_factory.mktemp("orm")
    config = settings(cluster, folder, folder / "lease") | {"transaction_replay": {"enabled": True}}
    with HeliosProcess(folder, config) as process:
        until(lambda: status(process)["holds_lease"], "the lease", PATIENCE)
        yield process


def kill_once(cluster: ReplicatedCluster, proxy: HeliosProcess, shop: Shop) -> tuple[str, str, float]:
    """Kill the primary at any moment: its name, the next one's, and the longest pause."""
    former = primary_of(proxy)
    standbys = ", ".join(f'"{name}"' for name in cluster.servers if name != former)
    cluster.set_synchronous(former, f"FIRST 1 ({standbys})")
    shop.await_more(50, PATIENCE)
    time.sleep(random.uniform(0.2, 1.0))  # the moment of the kill is meant to be any
    at = time.monotonic()
    cluster[former].kill()
    heir = str(until(lambda: successor_of(proxy, former), "another primary", PATIENCE))
    shop.await_more(50, PATIENCE)
    return former, heir, shop.longest_pause(at, time.monotonic())


def test_sessions_of_an_orm_do_not_notice_that_primaries_are_killed(
    cluster: ReplicatedCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    pauses = []
    with Shop(proxy.target(), CLIENTS) as shop:
        for _ in range(KILLS):
            former, heir, pause = kill_once(cluster, proxy, shop)
            pauses.append(pause)
            mend(cluster, proxy, former, heir)
        heir = primary_of(proxy)
    told = proxy.json("/api/tr")
    errors, orders, given_up = shop.errors, len(shop.placed), Counter(told["diverged"])
    found = wrong(shop, cluster.app(heir))
    report += [
        "",
        f"{KILLS} kills of the primary under an application on SQLAlchemy: {CLIENTS} sessions, orders and lines with",
        "identity and serial keys in three flushes, several rows in one INSERT … RETURNING, SELECT … FOR UPDATE. One",
        f"of two standbys was synchronous, the failover Helios' own. {errors.total()} client errors in {orders:,}",
        "orders; every key, relation and sum as the clients know it. Longest time without a commit:",
        f"p50 {statistics.median(pauses):.2f} s, worst {max(pauses):.2f} s. {told['completed']} transactions were run",
        f"again, {told['acknowledged']} commits found.",
        "",
    ]
    assert not found
    assert not errors, (errors, +given_up)
    assert told["completed"] >= KILLS
