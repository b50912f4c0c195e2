"""Level apiserver: etcd, the API server and the controller manager on loopback. No root. Called by `open_cluster`."""

from __future__ import annotations

import random
import socket

from cluster import state
from cluster.control import start_supervisor
from cluster.level import Level
from cluster.local import LocalCluster, write_files
from cluster.plan.addresses import ApiAddresses
from cluster.plan.credentials import credentials
from cluster.plan.daemons import AUDIT_POLICY, Seen, controller_manager, etcd, kube_apiserver
from cluster.programs import find_programs

__all__ = ["open_apiserver"]

PORTS = range(20_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections, so that none is taken between the look and the use."""


def open_apiserver(name: str, *, owned: bool) -> LocalCluster:
    """Start a cluster without nodes; returns when objects can be made and the first ServiceAccount exists.

    Raises:
        CannotRun: a program is missing.
        ClusterError: it did not come up.
    """
    programs = find_programs(Level.APISERVER)
    api = ApiAddresses.on_loopback(free_ports())
    folder = state.clusters_folder() / name
    with state.exclusive():
        state.sweep()
        (folder / "logs").mkdir(parents=True)
        cluster = LocalCluster(folder, Level.APISERVER, api.server, programs)
        try:
            cluster.supervisor = start_supervisor(cluster.control, [], owned=owned)
            process = cluster.supervisor.pid
            state.write_record(folder, state.Record(name, Level.APISERVER, api.server, process=process))
        except BaseException:
            cluster.abandon()
            raise
    try:
        bring_up(cluster, api, Seen(folder, programs))
    except BaseException:
        cluster.close()
        raise
    return cluster


def bring_up(cluster: LocalCluster, api: ApiAddresses, seen: Seen) -> None:
    """Start the daemons one after the other, each when what it needs is there."""
    write_files(cluster.folder, {**credentials(api, None), "audit-policy.yaml": AUDIT_POLICY})
    cluster.start(etcd(seen, api))
    cluster.apiserver = kube_apiserver(seen, api, has_node=False)
    cluster.start(cluster.apiserver)
    cluster.await_apiserver()
    cluster.start(controller_manager(seen, api, has_node=False))
    cluster.await_object("the controller manager works", "serviceaccount", "default")


def free_ports() -> tuple[int, int, int, int]:
    """Four ports of loopback that nobody listens on."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):  # a different order each time, for clusters that start at once
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == 4:
            break
    first, second, third, fourth = found
    return first, second, third, fourth
