"""How an operator copes with many HeliosProxies: first pass, pass without changes, memory, and the floor.

Run with the environment of this clone; it opens a cluster of level apiserver of its own (etcd, API server, controller
manager) and prints one JSON object. The operator is a process with a token of its ServiceAccount, as in the tests.
`bare` is the floor: the same objects, written to the same daemons by a plain loop that decides nothing. Needs an
otherwise idle machine: compare `…_cpu_machine` with the sum of the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "e2e"), str(ROOT / ".make")]

from cluster import Cluster, open_cluster  # noqa: E402 - the folder is put on the path above
from cluster.local import LocalCluster  # noqa: E402
from harness.operator import OperatorProcess, install, kubeconfig_of_operator  # noqa: E402
from harness.wait import until  # noqa: E402
from helios.kube import Client  # noqa: E402
from helios.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE  # noqa: E402
from helios.kube.kubeconfig import find_access  # noqa: E402
from helios.play.process import children_of  # noqa: E402
from helios_operator.names import PROXY  # noqa: E402
from helios_operator.settings import OperatorSettings  # noqa: E402
from proc import busy_of_machine, cpu_of  # noqa: E402

NAMESPACE, BARE = "many", "bare"
KINDS = (SECRET, SERVICE, CONFIG_MAP, DEPLOYMENT)
BATCH = 100
DEADLINE = 300.0
DAEMONS = ("kube-apiserver", "etcd", "kube-controller-manager")
NODES = [{"host": "db-0", "role": "primary"}, {"host": "db-1"}]


ADDRESSES = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": NAMESPACE},
    "spec": {"cidrs": ["198.18.128.0/17"]},
}
"""Two Services with an address for each proxy: the test cluster's own 254 addresses are not enough."""


def proxy(number: int, namespace: str) -> dict[str, Any]:
    """One HeliosProxy that wants no pods, so that only the operator is measured."""
    return {
        "apiVersion": "helios.heliosproxy.dev/v1alpha1",
        "kind": "HeliosProxy",
        "metadata": {"name": f"web-{number:04d}", "namespace": namespace},
        "spec": {"replicas": 0, "nodes": NODES, "auth": {"method": "trust"}, "poolProfileRef": {"name": "shared"}},
    }


def fill(cluster: Cluster, count: int, namespace: str = NAMESPACE) -> None:
    """Apply a PoolProfile and `count` HeliosProxies that refer to it."""
    for value in ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, ADDRESSES):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(value))
    profile(cluster, 20)
    batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]

    def create(numbers: range) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": [proxy(number, namespace) for number in numbers]}
        cluster.kubectl("create", "-f", "-", input=json.dumps(items))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(create, batches))


def profile(cluster: Cluster, size: int) -> None:
    """The PoolProfile that all share."""
    value = {
        "apiVersion": "helios.heliosproxy.dev/v1alpha1",
        "kind": "PoolProfile",
        "metadata": {"name": "shared", "namespace": NAMESPACE},
        "spec": {"maxPoolSize": size},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(value))


class Meter:
    """Wall and processor time since it was made: of the operator, of the cluster's daemons, of the whole machine."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._daemons = daemon_seconds(cluster)
        self._machine = busy_of_machine()
        self._started = time.monotonic()

    def read(self, name: str, writer: float) -> dict[str, float]:
        """Figures in seconds whose names begin with `name`; `writer` is the processor time of who wrote."""
        wall = time.monotonic() - self._started
        used = {"writer": writer}
        used |= {daemon: now - self._daemons[daemon] for daemon, now in daemon_seconds(self._cluster).items()}
        used["machine"] = (busy_of_machine() - self._machine) / 1e6
        figures = {f"{name}_seconds": wall, **{f"{name}_cpu_{who}": seconds for who, seconds in used.items()}}
        return {key: round(value, 2) for key, value in figures.items()}


def daemon_seconds(cluster: LocalCluster) -> dict[str, float]:
    """Daemon → its processor time so far."""
    assert cluster.supervisor is not None, "started by this process"
    found = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in children_of(cluster.supervisor.pid)}
    # The kernel keeps 15 characters of a name.
    return {name: cpu_of(found[name[:15]]).total / 1e6 for name in DAEMONS}


def passed(operator: OperatorProcess, looks: float, count: int) -> bool:
    """Whether the operator has looked at everything since `looks` and has nothing left to do."""
    time.sleep(0.2)  # asking costs the operator something, too
    try:
        return operator.metric("looks_total") >= looks + count and operator.metric("queue_length") == 0
    except TimeoutError:
        return False  # it has more urgent things to do than to answer


def measure(cluster: LocalCluster, count: int, folder: Path) -> dict[str, Any]:
    """All figures, in seconds and KiB. A pass is timed from the start of the process; `…_start_seconds` of that are
    over when it leads and has not read anything yet.
    """
    install(cluster)
    kubeconfig = kubeconfig_of_operator(cluster, folder)
    compiled = {"PYTHONPYCACHEPREFIX": str(folder / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    """As in the image, where everything is compiled; the first process does that here."""
    with OperatorProcess(kubeconfig, folder, name="empty", environment=compiled).wait_leading() as operator:
        time.sleep(2)  # what an idle operator settles at
        empty = operator.memory_bytes()
    fill(cluster, count)
    figures: dict[str, Any] = {"proxies": count, "empty_kib": empty // 1024}

    def start_and_pass(name: str) -> OperatorProcess:
        meter = Meter(cluster)
        operator = OperatorProcess(kubeconfig, folder, name=name, environment=compiled).wait_leading()
        figures[f"{name}_start_seconds"] = round(meter.read(name, 0.0)[f"{name}_seconds"], 2)
        until(lambda: passed(operator, 0, count), f"pass {name}", DEADLINE)
        figures.update(meter.read(name, operator.cpu_seconds()))
        figures[f"{name}_looks"] = operator.metric("looks_total")
        figures[f"{name}_writes"] = operator.metric("writes_total")
        figures[f"{name}_kib"] = operator.memory_bytes() // 1024
        return operator

    start_and_pass("first").stop()
    with start_and_pass("noop") as operator:
        figures["kib_per_proxy"] = round((operator.memory_bytes() - empty) / 1024 / count, 1)

        looks, used, meter = operator.metric("looks_total"), operator.cpu_seconds(), Meter(cluster)
        profile(cluster, 30)
        until(lambda: passed(operator, looks, count), "one edit reaches all", DEADLINE)
        figures |= meter.read("fan_out", operator.cpu_seconds() - used)
        figures["fan_out_kib"] = operator.memory_bytes() // 1024
    return figures | floor(cluster, count)


async def write_bare(cluster: LocalCluster, items: list[dict[str, Any]], statuses: list[dict[str, Any]]) -> None:
    """Create `items` and apply `statuses`, as many at a time as the operator."""
    work = iter([("create", item) for item in items] + [("status", item) for item in statuses])

    async def worker(client: Client) -> None:
        for what, item in work:
            if what == "create":
                kind = next(kind for kind in KINDS if kind.name == item["kind"])
                await client.create(kind, item, "bare")
            else:
                await client.apply(PROXY, item, "bare", subresource="status")

    async with Client(find_access(cluster.kubeconfig)) as client, asyncio.TaskGroup() as group:
        for _ in range(OperatorSettings.model_fields["workers"].default):
            group.create_task(worker(client))


def bare_copies(cluster: LocalCluster) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(objects, statuses) that the operator made, as a client would write them, in a namespace without proxies."""

    def copy(item: dict[str, Any]) -> dict[str, Any]:
        metadata = {key: item["metadata"].get(key, {}) for key in ("name", "labels", "annotations")}
        metadata["namespace"] = BARE
        found = {**{key: item[key] for key in item if key != "status"}, "metadata": metadata}
        if item["kind"] == SERVICE.name and item["spec"]["clusterIP"] != "None":
            found["spec"] = {key: value for key, value in item["spec"].items() if not key.startswith("clusterIP")}
        return found

    def read(plural: str) -> list[dict[str, Any]]:
        listed = cluster.kubectl("-n", NAMESPACE, "get", plural, "-o", "json")
        return [item for item in json.loads(listed)["items"] if item["metadata"]["name"].startswith("web-")]

    def status(item: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": item["metadata"]["name"], "namespace": BARE}
        return {"apiVersion": PROXY.api_version, "kind": PROXY.name, "metadata": metadata, "status": item["status"]}

    items = [copy(item) for kind in KINDS for item in read(kind.plural)]
    return items, [status(item) for item in read(PROXY.plural)]


def floor(cluster: LocalCluster, count: int) -> dict[str, float]:
    """Figures of the plain loop, after the operator has ended."""
    fill(cluster, count, BARE)
    items, statuses = bare_copies(cluster)
    meter, used = Meter(cluster), time.process_time()
    asyncio.run(write_bare(cluster, items, statuses))
    return {**meter.read("bare", time.process_time() - used), "bare_writes": len(items) + len(statuses)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="how many HeliosProxies")
    options = parser.parse_args()
    with open_cluster("apiserver") as cluster, tempfile.TemporaryDirectory() as folder:
        assert isinstance(cluster, LocalCluster), "of level apiserver"
        print(json.dumps(measure(cluster, options.count, Path(folder)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
