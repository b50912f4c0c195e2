"""Clusters begin and end: what they leave behind (nothing), two beside each other, one whose owner was killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import (
    BUSYBOX_IMAGE,
    CannotRun,
    Cluster,
    ClusterError,
    Level,
    busybox_archive,
    look,
    obstacle,
    open_cluster,
)
from cluster.local import LocalCluster
from cluster.node_level import NodeCluster
from cluster.state import clusters_folder, exclusive, sweep
from harness.leftovers import interfaces, leftovers, machine_state, processes_of
from harness.wait import until

WARM_READY_SECONDS = 15.0
pytestmark = pytest.mark.skipif(
    os.environ.get("HELIOS_LEVEL") in ("kind", "kubeconfig"),
    reason="our own clusters only: levels apiserver and node",
)
BOTH = [
    pytest.param(Level.APISERVER, marks=[pytest.mark.level("apiserver"), pytest.mark.smoke]),
    pytest.param(Level.NODE, marks=[pytest.mark.level("node"), pytest.mark.smoke]),
]

HOLD = """\
import sys, time
from cluster import open_cluster
cluster = open_cluster(sys.argv[1], sys.argv[2])
print("up", flush=True)
time.sleep(600)
"""


def opened(level: Level, name: str | None = None) -> LocalCluster:
    """A cluster of the test's own; skips with the reason where it cannot be."""
    try:
        cluster = open_cluster(level, name)
    except CannotRun as error:
        pytest.skip(str(error))
    assert isinstance(cluster, LocalCluster)
    return cluster


def run_a_pod(cluster: Cluster, folder: Path) -> None:
    """Have a pod with a network, a volume and a Service: what leaves most behind."""
    cluster.load_image(busybox_archive(folder))
    volume = {"name": "v", "emptyDir": {"medium": "Memory"}}
    container = {
        "name": "main",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sleep", "600"],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    metadata = {"name": "stays", "labels": {"app": "stays"}}
    pod = {"kind": "Pod", "metadata": metadata, "spec": {"containers": [container], "volumes": [volume]}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", **pod}))
    cluster.kubectl("expose", "pod", "stays", "--port=80")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/stays", "--timeout=60s")


@pytest.mark.parametrize("level", BOTH)
def test_closed_cluster_leaves_nothing(level: Level, tmp_path: Path) -> None:
    before = machine_state()
    cluster = opened(level)
    try:
        if level is Level.NODE:
            run_a_pod(cluster, tmp_path)
        processes = processes_of(cluster.folder)
        cables = {interfaces()[cluster.addresses.interface]} if isinstance(cluster, NodeCluster) else set()
    finally:
        cluster.close()

    # Its daemons, and on a node the three processes of a pod.
    assert len(processes) >= (13 if level is Level.NODE else 4)
    assert leftovers(cluster.name, cluster.folder, processes) == []
    assert not cables & set(interfaces().values())
    assert machine_state() == before
    cluster.close()


@pytest.mark.level("node")
@pytest.mark.smoke
def test_node_is_ready_in_time() -> None:
    # Another one first, so that programs and Python's modules are in memory: that is what warm means.
    opened(Level.NODE).close()
    started = time.monotonic()

    cluster = opened(Level.NODE)

    seconds = time.monotonic() - started
    cluster.close()
    print(f"node Ready after {seconds:.1f} s")
    assert seconds <= WARM_READY_SECONDS


@pytest.mark.parametrize("level", BOTH)
def test_second_cluster_runs_beside_the_first(level: Level, cluster: Cluster) -> None:
    second = opened(level)
    try:
        second.kubectl("create", "configmap", "only-here", "--from-literal=a=b")

        assert second.server != cluster.server
        assert "only-here" not in cluster.kubectl("get", "configmaps", "-o", "name")
    finally:
        second.close()

    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that opened a cluster and holds it: the cluster's name and the process."""
    level: Level = request.getfixturevalue("level")
    if why := obstacle(level, look()):
        pytest.skip(why)
    name = f"held-{os.getpid()}"
    command = [sys.executable, "-c", HOLD, str(level), name]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield name, process
        process.kill()


@pytest.mark.parametrize("level", BOTH)
def test_cluster_ends_with_its_owner_and_is_swept(level: Level, held: tuple[str, subprocess.Popen[str]]) -> None:
    name, owner = held
    folder = clusters_folder() / name
    processes = processes_of(folder) - {owner.pid}

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    until(lambda: not (processes & processes_of(folder)), "the cluster's processes end", deadline=20)
    with exclusive():
        assert name in sweep()
    assert leftovers(name, folder, processes) == []


@pytest.mark.level("apiserver")
def test_daemon_that_ends_is_named_with_the_end_of_its_log() -> None:
    cluster = opened(Level.APISERVER)
    try:
        etcd = next(pid for pid in processes_of(cluster.folder) if "etcd" in Path(f"/proc/{pid}/comm").read_text())
        os.kill(etcd, signal.SIGKILL)

        with pytest.raises(ClusterError, match=r"etcd ended with status -9"):
            cluster.control.wait(lambda: False, "nothing", 10)
    finally:
        cluster.close()


def test_what_does_not_come_in_time_is_named_with_the_ends_of_all_logs(cluster: Cluster) -> None:
    assert isinstance(cluster, LocalCluster)

    with pytest.raises(ClusterError, match=r"not within 0 s: the moon rises") as failure:
        cluster.control.wait(lambda: False, "the moon rises", 0)

    assert re.search(r"^  kube-apiserver:\n    \S", str(failure.value), re.M)
