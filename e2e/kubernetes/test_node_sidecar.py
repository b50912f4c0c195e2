"""Level node: applications with the proxy in their pods, run by a real kubelet, before a real PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster import KubectlError
from harness.installed import Installed
from harness.operator import NAMESPACE
from harness.wait import until
from helios_operator.names import SIDECAR, SIDECAR_CONTAINER, WEBHOOKS

pytestmark = pytest.mark.level("node")

IMAGE = "localhost/helios-proxy:dev"
TOTAL = 12
APPLICATION = """
import asyncio, asyncpg, json, os, signal, sys

async def connect():
    password = os.environ["PGPASSWORD"]
    return await asyncpg.connect(host="127.0.0.1", port=6432, user="app", password=password, database="app")

async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    connection = await connect()
    print("first answer", await connection.fetchval("select 6 * $1::int", 7), flush=True)
    if sys.argv[1] == "job":
        return
    await ended.wait()
    # As an application drains: what it still has to write, after it was told to end, over an old and a new connection.
    for number in range(3):
        await asyncio.sleep(1)
        await connection.execute("insert into farewell values ($1)", number)
    await connection.close()
    connection = await connect()
    await connection.execute("insert into farewell values (3)")
    await connection.close()

asyncio.run(main())
"""


@pytest.fixture
def shop(in_cluster: Installed) -> Installed:
    """The example, answering, in a namespace in which pods may have it in them."""
    in_cluster.apply_example()
    until(lambda: in_cluster.psql("select 1"), "the Service answers psql", deadline=60)
    until(lambda: bundle(in_cluster), "the API server knows the webhooks' certificate", deadline=60)
    return in_cluster


def bundle(shop: Installed) -> str:
    path = "jsonpath={.webhooks[0].clientConfig.caBundle}"
    return shop.cluster.kubectl("get", "mutatingwebhookconfiguration", WEBHOOKS, "-o", path)


def pod(what: str) -> dict[str, Any]:
    """An application's pod that asks for the proxy."""
    container = {
        "name": "app",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", APPLICATION, what],
        "env": [{"name": "PGPASSWORD", "value": "app-secret"}],
    }
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 60}
    return {"metadata": {"labels": {SIDECAR: "minimal", "app": what}}, "spec": spec}


def create(shop: Installed, value: dict[str, Any]) -> None:
    """Make it; the webhook's Service may have its rules a moment after the operator is ready."""

    def made() -> bool:
        try:
            shop.kubectl("create", "-f", "-", input=json.dumps(value))
        except KubectlError as error:
            assert "failed calling webhook" in str(error), error
            return False
        return True

    until(made, "the API server asks the operator", 60)


def run(shop: Installed, what: str) -> None:
    value = pod(what)
    create(shop, {"apiVersion": "v1", "kind": "Pod", **value, "metadata": {**value["metadata"], "name": what}})


def log(shop: Installed, name: str, container: str = "app") -> str:
    try:
        return shop.kubectl("logs", name, "-c", container)
    except KubectlError:
        return ""  # not started yet


def test_application_queries_by_localhost_drains_first_and_a_reload_reaches_it(shop: Installed) -> None:
    shop.psql("create table farewell (number int)")
    run(shop, "server")
    until(lambda: "first answer 42" in log(shop, "server"), "the application has its answer", 120)
    address = shop.get("pod", "server")["status"]["podIP"]
    seen = shop.psql(f"select count(*) from pg_stat_activity where client_addr = '{address}'")
    assert int(seen) > 0, "its connections come from its own pod"

    # A change reaches it as it reaches the proxy's own pods.
    patch = {"spec": {"pool": {"maxConnections": 7}}}
    shop.kubectl("patch", "heliosproxy", "minimal", "--type=merge", "--patch", json.dumps(patch))
    until(lambda: "max_size = 7" in shop.document("minimal"), "the document is written", 60)
    shop.await_condition("minimal", "SidecarsInForce", "True", deadline=60)
    until(lambda: "reloaded" in log(shop, "server", SIDECAR_CONTAINER), "the sidecar has taken it up", 60)

    shop.kubectl("delete", "pod", "server", "--wait=false")
    until(lambda: shop.find("pod", "server") is None, "it is gone", 120)
    assert shop.psql("select count(*), max(number) from farewell") == "4|3", "the proxy outlived what it had to write"
    until(lambda: "SidecarsInForce" not in shop.conditions("minimal"), "no sidecar is left", 60)


def test_job_completes(shop: Installed) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}}
    create(shop, {**job, "spec": {"template": pod("job"), "backoffLimit": 0}})

    shop.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=150s")

    (done,) = json.loads(shop.kubectl("get", "pods", "-l", "app=job", "-o", "json"))["items"]
    assert done["status"]["phase"] == "Succeeded"
    assert "first answer 42" in log(shop, done["metadata"]["name"])
    assert "drained" in log(shop, done["metadata"]["name"], SIDECAR_CONTAINER)


def test_sidecar_waits_for_its_share_of_the_total(shop: Installed) -> None:
    patch = {"spec": {"limits": {"maxServerConnections": TOTAL}}}
    shop.kubectl("patch", "heliosproxy", "minimal", "--type=merge", "--patch", json.dumps(patch))
    # Of 12 a pod has 2 at first, and 2 stay aside for an update: 5 each.
    until(lambda: shares(shop) == [5, 5], "the total is divided among the pods", 60)

    run(shop, "server")
    until(lambda: "first answer 42" in log(shop, "server"), "it was granted a share, and began", 120)
    until(lambda: max(shares(shop)) < 5, "the pods have given back what it got", 60)
    assert "granted" in log(shop, "server", SIDECAR_CONTAINER)
    shop.kubectl("delete", "pod", "server", "--grace-period=0", "--force")
    until(lambda: shares(shop) == [5, 5], "what it had goes back to the pods", 120)
    operator = shop.cluster.kubectl("-n", NAMESPACE, "logs", "deployment/helios-operator", "--tail=100")
    assert "look failed by a fault" not in operator


def shares(shop: Installed) -> list[int]:
    """Server connections that each pod may have."""
    return [pod.get("maxServerConnections", 0) for pod in shop.get("heliosproxy", "minimal")["status"].get("pods", ())]
