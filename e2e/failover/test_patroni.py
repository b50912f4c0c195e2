"""Real Patroni beside Helios: it looks after the servers and promotes, Helios follows and never promotes anybody.

Three Patroni with PostgreSQL of the machine and an etcd; clients of the ledger go through Helios, by both protocols.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.client import Client
from harness.failover import primary_of, successor_of
from harness.ledger import SCHEMA, Ledger, lost
from harness.patroni import NAMES, PatroniCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until
from helios_make.kubernetes import find_program
from helios_make.places import find_places

PATIENCE = 120
TIMELINE = "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
AHEAD = timedelta(seconds=6)
"""Patroni takes no switchover that is scheduled for less than some seconds ahead."""


@pytest.fixture(scope="module")
def patroni() -> Iterator[PatroniCluster]:
    etcd = find_program(find_places(), "failover", "etcd")
    if etcd is None:
        pytest.skip("there is no etcd; `make failover` builds it")
    made = PatroniCluster(etcd)
    with Client(made.app(made.leader() or "")) as client:
        client.query(SCHEMA)
    yield made
    made.stop()


@pytest.fixture
def proxy(patroni: PatroniCluster, tmp_path: Path) -> Iterator[HeliosProcess]:
    """It is told of one server, and asks Patroni for the others."""
    settings = base_settings(
        patroni,
        tmp_path,
        pool={"mode": "transaction", "max_size": 16, "acquire_timeout_seconds": PATIENCE},
        transaction_replay={"enabled": True},
    )
    settings["clusters"][0] |= {"provider": "patroni", "patroni_urls": patroni.urls}
    with HeliosProcess(tmp_path / "proxy", settings) as process:
        until(lambda: healthy(process) == set(NAMES), "all members", PATIENCE)
        yield process


def healthy(proxy: HeliosProcess) -> set[str]:
    return {node["name"] for node in proxy.json("/nodes") if node["healthy"]}


def timeline(patroni: PatroniCluster, name: str) -> int:
    return int(patroni.ask(name, TIMELINE) or 0)


def settled(patroni: PatroniCluster, proxy: HeliosProcess) -> str:
    """Everybody streams, and Helios agrees on who leads."""
    leader = patroni.await_streaming(2)
    until(lambda: primary_of(proxy) == leader and healthy(proxy) == set(NAMES), f"{leader} to lead", PATIENCE)
    with Client(patroni.app(leader)) as client:
        client.query("truncate transfers")
    return leader


def synchronous(patroni: PatroniCluster) -> str:
    members = patroni.cluster()["members"]
    return next(str(member["name"]) for member in members if member["role"] == "sync_standby")


def never_promotes(proxy: HeliosProcess) -> None:
    found: dict[str, Any] = proxy.json("/api/failover")["clusters"][0]
    assert (found["enabled"], found["promotions"], found["holds_lease"]) == (False, 0, False)


def test_a_scheduled_switchover_is_a_pause_without_errors(
    patroni: PatroniCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    leader = settled(patroni, proxy)
    heir, before = synchronous(patroni), timeline(patroni, leader)
    with Ledger(proxy.target(), extended=None) as ledger:
        ledger.await_more(50, PATIENCE)
        began = time.monotonic()
        patroni.switch_over(leader, heir, datetime.now(UTC) + AHEAD)
        until(lambda: "about to be switched over" in str(proxy.json("/topology")["reason"]), "the pause", PATIENCE)
        until(lambda: successor_of(proxy, leader) == heir, "the other one to lead", PATIENCE)
        ledger.await_more(50, PATIENCE)
        pause = ledger.longest_pause(began, time.monotonic())
    assert not ledger.errors
    assert lost(ledger, patroni.app(heir)) == []
    assert timeline(patroni, heir) == before + 1, "promoted once"
    never_promotes(proxy)
    report += [
        f"Patroni, `patronictl switchover --scheduled`: held, 0 errors, {pause:.1f} s without a commit, 0 lost.",
        "",
    ]


def test_a_switchover_at_once_loses_nothing(patroni: PatroniCluster, proxy: HeliosProcess, report: list[str]) -> None:
    leader = settled(patroni, proxy)
    heir, before = synchronous(patroni), timeline(patroni, leader)
    with Ledger(proxy.target(), extended=None) as ledger:
        ledger.await_more(50, PATIENCE)
        began = time.monotonic()
        patroni.switch_over(leader, heir)
        until(lambda: successor_of(proxy, leader) == heir, "the other one to lead", PATIENCE)
        ledger.await_more(50, PATIENCE)
        pause = ledger.longest_pause(began, time.monotonic())
    unknown = only_unknown_outcomes(proxy, ledger)
    assert lost(ledger, patroni.app(heir)) == []
    assert timeline(patroni, heir) == before + 1, "promoted once"
    never_promotes(proxy)
    told = f"{unknown} commits of unknown outcome (08007) and no other error"
    report += [f"Patroni, `patronictl switchover` at once: {told}, {pause:.1f} s without a commit, 0 lost.", ""]


def test_helios_follows_whom_patroni_promotes(patroni: PatroniCluster, proxy: HeliosProcess, report: list[str]) -> None:
    leader = settled(patroni, proxy)
    heir, before = synchronous(patroni), timeline(patroni, leader)
    with Ledger(proxy.target(), extended=None) as ledger:
        ledger.await_more(50, PATIENCE)
        began = time.monotonic()
        patroni.kill_server(leader)
        until(lambda: takes_writes(patroni, heir), "Patroni to promote", PATIENCE)
        promoted = time.monotonic()
        until(lambda: successor_of(proxy, leader) == heir, "Helios to follow", PATIENCE)
        noticed = time.monotonic() - promoted
        ledger.await_more(50, PATIENCE)
        pause = ledger.longest_pause(began, time.monotonic())
    unknown = only_unknown_outcomes(proxy, ledger)
    assert lost(ledger, patroni.app(heir)) == []
    assert timeline(patroni, heir) == before + 1, "promoted once, by Patroni"
    never_promotes(proxy)
    patroni.await_streaming(2)
    told = f"followed {noticed:.2f} s after the promotion was seen, {unknown} commits of unknown outcome (08007)"
    report += [f"Patroni, its primary killed: {told}, {pause:.1f} s without a commit, 0 lost.", ""]


def only_unknown_outcomes(proxy: HeliosProcess, ledger: Ledger) -> int:
    """How many clients were told that nobody knows what became of their commit; nobody was told of anything else, since
    transactions are run again. Nobody announces what happens at once, so that a commit may be under way."""
    diverged = {reason: count for reason, count in proxy.json("/api/tr")["diverged"].items() if count}
    unknown = int(diverged.pop("outcome", 0))
    assert not diverged, diverged
    assert sum(ledger.errors.values()) == unknown, (ledger.errors, unknown)
    return unknown


def takes_writes(patroni: PatroniCluster, name: str) -> bool:
    try:
        return patroni.ask(name, "select pg_is_in_recovery()") == "f"
    except (OSError, AssertionError):
        return False
