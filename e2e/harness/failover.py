"""What the failover tests ask of a proxy and its three servers. Called by the campaigns of `make failover`."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.client import Client
from harness.gate import Gate
from harness.proxy import HeliosProcess, Settings, base_settings
from harness.replicas import ReplicatedCluster
from harness.wait import until

PATIENCE = 90
Gates = dict[str, Gate]
"""By the name of the server behind it."""
TIMELINE = "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"


def settings(cluster: ReplicatedCluster, folder: Path, lease: Path, **failover: Any) -> Settings:
    """A proxy that may promote."""
    sections = {
        "failover": {"enabled": True, "lease_file": str(lease), "drain_after_seconds": 30, **failover},
        "pool": {"acquire_timeout_seconds": PATIENCE, "max_size": 16},
    }
    return base_settings(cluster, folder, **sections)


@contextmanager
def behind_gates(
    cluster: ReplicatedCluster, folder: Path, names: Collection[str] | None = None
) -> Iterator[tuple[Gates, HeliosProcess]]:
    """A proxy that may promote and runs transactions again, and the gates between it and each server, or those of these
    names."""
    config = settings(cluster, folder, folder / "lease") | {"transaction_replay": {"enabled": True}}
    names = cluster.servers if names is None else names
    gates = {name: Gate(cluster[name].port) for name in names}
    for node in config["clusters"][0]["nodes"]:
        if node["name"] in gates:
            node["port"] = gates[node["name"]].port
    try:
        with HeliosProcess(folder, config) as process:
            until(lambda: status(process)["holds_lease"], "the lease", PATIENCE)
            await_nodes(process)
            yield gates, process
    finally:
        for gate in gates.values():
            gate.stop()


def stop_senders(cluster: ReplicatedCluster, primary: str) -> None:
    """Nothing of a primary comes to its standbys any more."""
    pids = cluster.ask(primary, "select string_agg(pid::text, ',') from pg_stat_replication") or ""
    for pid in pids.split(","):
        os.kill(int(pid), signal.SIGSTOP)


def status(proxy: HeliosProcess) -> dict[str, Any]:
    """The only cluster in /api/failover."""
    found: dict[str, Any] = proxy.json("/api/failover")["clusters"][0]
    return found


def await_refusal(proxy: HeliosProcess, words: str, obstacle: str) -> None:
    """Return once status, log and metric say that nobody is promoted, and why."""
    until(lambda: words in str(status(proxy)["refused"]), f"{words}: {status(proxy)}", PATIENCE)
    sample = f'heliosproxy_promotion_refused{{cluster="main",reason="{obstacle}"}} 1.0'
    until(lambda: sample in proxy.get("/metrics", "text/plain")[1], f"the metric {sample}", PATIENCE)
    told = [
        line for line in proxy.log().splitlines() if "nobody is promoted" in line and f"obstacle={obstacle}" in line
    ]
    assert any(words in line for line in told), told


def await_nodes(proxy: HeliosProcess) -> None:
    """It knows all servers."""
    until(lambda: all(node["healthy"] for node in proxy.json("/nodes")), "all nodes", PATIENCE)


def primary_of(proxy: HeliosProcess) -> str:
    """The name of the current primary; waits for one."""

    def found() -> str | None:
        names = [node["name"] for node in proxy.json("/nodes") if node["role"] == "primary"]
        return names[0] if names else None

    return str(until(found, "a primary", PATIENCE))


def successor_of(proxy: HeliosProcess, former: str) -> str | None:
    """The primary, if it is another one."""
    names = [node["name"] for node in proxy.json("/nodes") if node["role"] == "primary" and node["name"] != former]
    return names[0] if names else None


def synchronous_of(cluster: ReplicatedCluster, primary: str) -> str:
    """The standby that commits wait for."""
    sql = "select min(application_name) from pg_stat_replication where sync_state = 'sync'"
    return str(until(lambda: cluster.ask(primary, sql), "a synchronous standby", PATIENCE))


def primaries(cluster: ReplicatedCluster, dead: str) -> list[str]:
    """Servers that live and take writes."""
    live = [name for name in cluster.servers if name != dead]
    return [name for name in live if cluster.ask(name, "select pg_is_in_recovery()") == "f"]


def timeline_of(cluster: ReplicatedCluster, primary: str) -> int:
    """How often somebody was promoted, and one."""
    return int(cluster.ask(primary, TIMELINE) or 0)


def empty_ledger(cluster: ReplicatedCluster, primary: str) -> None:
    """Forget the transfers of another ledger."""
    with Client(cluster.app(primary)) as client:
        client.query("truncate transfers")


def mend(cluster: ReplicatedCluster, proxy: HeliosProcess, former: str, primary: str) -> None:
    """Two standbys again."""
    cluster.rejoin(former, primary)
    cluster.await_streaming(primary, 2, PATIENCE)
    until(lambda: proxy.json(f"/nodes/{former}")["role"] == "standby", "the former primary as standby", PATIENCE)
