"""Level node: pods are deleted, killed by the kernel and evicted under 50 clients in transactions."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from cluster import KubectlError
from harness.installed import Installed
from harness.resources import Json
from harness.under_load import COUNT, assert_undisturbed, begin, names, settle, under_load, written
from harness.wait import until

pytestmark = pytest.mark.level("node")

OURS = "app.kubernetes.io/instance=minimal"
GONE_SECONDS = 120.0
EAT = """
import os, time
for _ in range(64):
    if os.fork() == 0:
        eaten = os.urandom(20_000_000)
        time.sleep(3600)
time.sleep(60)
"""
"""Run in a container, by many that have less each than the proxy: the kernel, out of memory, ends the largest."""


@pytest.fixture
def busy(in_cluster: Installed) -> Installed:
    """The example with two pods, and the tables of the clients."""
    return begin(in_cluster)


def test_deleted_pods_disturb_nobody(busy: Installed) -> None:
    old = names(busy)

    def delete() -> None:
        for name in sorted(old):
            busy.kubectl("delete", "pod", name, "--wait=false")
            settle(busy, 2, gone={name})

    assert_undisturbed(busy, under_load(busy, delete))
    assert not names(busy) & old


def test_pod_out_of_memory_costs_its_own_clients_their_connection_and_nothing_else(busy: Installed) -> None:
    """What a kernel kills says no goodbye; those of the other pod see nothing, and what was committed is there."""
    victim, other = sorted(names(busy))

    def kill() -> None:
        try:
            busy.kubectl("exec", victim, "--", "python", "-c", EAT)
        except KubectlError as error:
            print(error)  # it ends with its container
        until(lambda: ended_by(busy, victim) == "OOMKilled", "the kernel has ended the proxy", GONE_SECONDS)
        until(lambda: container(busy, victim)["ready"], "another one is ready in its place", GONE_SECONDS)
        settle(busy, 2, gone=set())

    counts = under_load(busy, kill)

    assert names(busy) == {victim, other}, "the container was started again, in the same pod"
    assert (restarts(busy, victim), restarts(busy, other)) == (1, 0)
    lost = sum(number for what, number in counts.items() if what in ("begin", "statement in a transaction"))
    # Who lost a transaction finds its connection closed by the next ping.
    assert lost <= counts.get("closed while idle", 0) <= COUNT, "each client lost one connection at most"
    assert counts.get("closed while idle", 0) > 0
    assert counts["transactions"] <= written(busy) <= counts["transactions"] + lost


def container(busy: Installed, pod: str) -> Json:
    """What the kubelet says of the proxy in it."""
    (status,) = busy.get("pod", pod)["status"]["containerStatuses"]
    return dict(status)


def ended_by(busy: Installed, pod: str) -> str:
    """Why it ended the last time."""
    return str(container(busy, pod).get("lastState", {}).get("terminated", {}).get("reason", ""))


def restarts(busy: Installed, pod: str) -> int:
    return int(container(busy, pod)["restartCount"])


@pytest.fixture
def node(busy: Installed) -> Iterator[str]:
    """The only node, on which pods may be placed afterwards."""
    name = busy.cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
    yield name
    busy.cluster.kubectl("uncordon", name)


def test_drain_of_a_node_waits_for_the_budget_and_disturbs_nobody(busy: Installed, node: str) -> None:
    """A node that takes the new pod, which a second one would be, is the same one opened again meanwhile."""
    old = names(busy)

    def drain() -> None:
        options = ("--pod-selector", f"{OURS},app.kubernetes.io/managed-by=helios-operator", "--delete-emptydir-data")
        command = [str(busy.cluster.kubectl_program), "drain", node, *options, "--timeout=300s"]
        environment = {**busy.cluster.kubectl_environment, "KUBECONFIG": str(busy.cluster.kubeconfig)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as draining:
            try:
                until(lambda: pending(busy), "one pod was evicted, and its successor has no node", GONE_SECONDS)
                (left,) = until(lambda: old & ready(busy), "the other one serves", GONE_SECONDS)
                assert draining.poll() is None, "the budget keeps it"
                busy.cluster.kubectl("uncordon", node)
                until(lambda: left not in names(busy), "the other one is let go, too", GONE_SECONDS)
                told, _ = draining.communicate(timeout=GONE_SECONDS)
            finally:
                draining.kill()
        print(told)
        assert draining.returncode == 0
        assert "Cannot evict pod as it would violate the pod's disruption budget" in told
        settle(busy, 2, gone=old)

    assert_undisturbed(busy, under_load(busy, drain))


def pending(busy: Installed) -> set[str]:
    """Pods that no node takes."""
    return {pod["metadata"]["name"] for pod in busy.pods() if pod["status"]["phase"] == "Pending"}


def ready(busy: Installed) -> set[str]:
    """Pods that clients are sent to."""
    return {
        pod["metadata"]["name"]
        for pod in busy.pods()
        if {"type": "Ready", "status": "True"}.items() <= condition(pod, "Ready").items()
        and "deletionTimestamp" not in pod["metadata"]
    }


def condition(pod: Json, type: str) -> Json:
    """One condition of a pod; empty where it has none."""
    found: Json = next((each for each in pod["status"].get("conditions", ()) if each["type"] == type), {})
    return found
