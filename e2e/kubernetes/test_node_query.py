"""Level node: `kubectl apply` installs the operator, another one makes a proxy, and queries go through its Service."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.installed import EXAMPLE, Installed
from harness.wait import until

pytestmark = pytest.mark.level("node")

WHO_ASKS = "select host(client_addr) from pg_stat_activity where pid = pg_backend_pid()"
ASYNCPG = """
import asyncio, asyncpg, json, os
async def main():
    password = os.environ["PGPASSWORD"]
    connection = await asyncpg.connect(host="minimal", port=6432, user="app", password=password, database="app")
    rows = [await connection.fetchval("select $1::int * 7", number) for number in range(20)]
    print(json.dumps([rows, await connection.fetchval("QUERY")]))
    await connection.close()
asyncio.run(main())
"""


@pytest.mark.smoke
def test_apply_to_query_by_both_protocols(in_cluster: Installed) -> None:
    print(f"applied → Ready with 2 pods: {in_cluster.apply_example():.1f} s")

    simple = until(lambda: in_cluster.psql(WHO_ASKS), "the Service answers psql", deadline=20)
    products, extended = in_cluster.python(ASYNCPG.replace("QUERY", WHO_ASKS))

    pods = {pod["status"]["podIP"] for pod in in_cluster.pods()}
    assert len(pods) == 2
    assert simple in pods
    assert extended in pods
    assert products == [7 * number for number in range(20)]
    status = in_cluster.get("heliosproxy", "minimal")["status"]
    database = in_cluster.get("pod", "database-0")["status"]["podIP"]
    assert (status["readyReplicas"], status["healthyNodes"], status["currentPrimary"]) == (2, 1, f"{database}:5432")


def test_three_pods_work_within_a_minute_from_nothing(in_cluster: Installed, tmp_path: Path) -> None:
    three = tmp_path / "three.yaml"
    three.write_text(EXAMPLE.read_text().replace("replicas: 2", "replicas: 3"))
    started = time.monotonic()

    in_cluster.kubectl("apply", "-f", str(three))
    in_cluster.await_condition("minimal", "Ready", "True", deadline=60)
    addresses = {pod["status"]["podIP"] for pod in in_cluster.pods()}
    # The Service leads to any of them.
    asked = {until(lambda: in_cluster.psql(WHO_ASKS), "the Service answers psql", deadline=30)}
    took = time.monotonic() - started

    def each_has_answered() -> bool:
        asked.add(in_cluster.psql(WHO_ASKS))
        return asked - {""} == addresses

    until(each_has_answered, "each pod to answer", deadline=60)
    print(f"applied → a query through the Service of three pods: {took:.1f} s")
    assert len(addresses) == 3
    assert took < 60


def test_pods_run_the_image_as_it_is_meant(in_cluster: Installed) -> None:
    in_cluster.apply_example()
    program = "import os; print(os.getuid(), os.path.exists('/var/run/secrets/kubernetes.io'))"

    for pod in in_cluster.pods():
        (container,) = pod["spec"]["containers"]
        (status,) = pod["status"]["containerStatuses"]
        seen = in_cluster.kubectl("exec", pod["metadata"]["name"], "--", "python", "-c", program)

        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert status["restartCount"] == 0
        assert seen.split() == ["65534", "False"]


def test_data_outlives_the_database_s_pod(in_cluster: Installed) -> None:
    in_cluster.apply_example()
    until(lambda: in_cluster.psql("select 1"), "the Service answers psql", deadline=20)
    in_cluster.psql("create table kept as select 42 as number")

    in_cluster.kubectl("delete", "pod", "database-0")
    in_cluster.kubectl("rollout", "status", "statefulset/database", "--timeout=60s")

    # The new pod has another address; the operator finds it and hands it to the proxies.
    found = until(lambda: in_cluster.psql("select number from kept"), "the proxies found the new pod", deadline=30)
    assert found == "42"
