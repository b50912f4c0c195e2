"""Level node: pods come and go under 50 clients in transactions, and no client that pings first notices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.installed import Installed
from harness.plugin import Plugin
from harness.releases import PROXY, tagged
from harness.under_load import assert_undisturbed, begin, names, settle, under_load
from harness.wait import until
from helios_make.images import ensure_images
from helios_make.places import find_places

pytestmark = pytest.mark.level("node")

TOTAL = 20
NEXT = "localhost/helios-proxy:next"


@pytest.fixture
def busy(in_cluster: Installed) -> Installed:
    """The example with two pods, and the tables of the clients."""
    return begin(in_cluster)


def test_rolling_restart_disturbs_nobody(busy: Installed) -> None:
    old = names(busy)

    def restart() -> None:
        busy.kubectl("rollout", "restart", "deployment/minimal")
        settle(busy, 2, gone=old)

    assert_undisturbed(busy, under_load(busy, restart))


def test_scaling_disturbs_nobody(busy: Installed) -> None:
    def scale() -> None:
        for replicas in (5, 1):
            busy.kubectl("scale", "heliosproxy/minimal", f"--replicas={replicas}")
            settle(busy, replicas, gone=set())

    assert_undisturbed(busy, under_load(busy, scale))


def test_clients_that_stay_come_to_new_pods_when_they_are_old_enough(busy: Installed) -> None:
    patch = {"spec": {"limits": {"clientMaxAgeSeconds": 10}}}
    busy.kubectl("patch", "heliosproxy", "minimal", "--type=merge", "--patch", json.dumps(patch))

    def scale() -> None:
        busy.kubectl("scale", "heliosproxy/minimal", "--replicas=5")
        settle(busy, 5, gone=set())
        # One may be that which asks how much was written.
        until(lambda: len(crowds(busy)) == 5 and min(crowds(busy)) > 1, "every pod has clients", deadline=120)
        print(crowds(busy))
        busy.kubectl("scale", "heliosproxy/minimal", "--replicas=1")
        settle(busy, 1, gone=set())

    assert_undisturbed(busy, under_load(busy, scale))


def crowds(busy: Installed) -> list[int]:
    """Clients of each pod; nothing while a pod that is asked is not there."""
    status, shown, _ = Plugin(busy)("clients", "minimal")
    return [int(row.split()[1]) for row in shown.splitlines()[1:]] if status == 0 else []


def test_upgrade_of_image_and_configuration_disturbs_nobody(busy: Installed, tmp_path: Path) -> None:
    """The same image under another name: what is asked for is another one, and each pod is replaced."""
    archive = tagged(ensure_images(find_places(), [PROXY])[PROXY.tag], NEXT, tmp_path)
    busy.cluster.load_image(archive)
    old = names(busy)

    def upgrade() -> None:
        spec = {"image": NEXT, "pool": {"maxConnections": 11}}
        busy.kubectl("patch", "heliosproxy", "minimal", "--type=merge", "--patch", json.dumps({"spec": spec}))
        settle(busy, 2, gone=old)

    counts = under_load(busy, upgrade)

    assert_undisturbed(busy, counts)
    assert {pod["spec"]["containers"][0]["image"] for pod in busy.pods()} == {NEXT}
    assert "max_size = 11" in busy.document("minimal")


def test_total_of_server_connections_is_never_exceeded(busy: Installed) -> None:
    """PostgreSQL takes ten more than the total: what polls the nodes and reads definitions, and three for itself."""
    busy.kubectl("set", "env", "statefulset/database", f"MAX_CONNECTIONS={TOTAL + 10}")
    busy.kubectl("rollout", "status", "statefulset/database", "--timeout=60s")
    spec = {"limits": {"maxServerConnections": TOTAL}, "pool": {"maxConnections": 40, "acquireTimeoutSeconds": 30}}
    busy.kubectl("patch", "heliosproxy", "minimal", "--type=merge", "--patch", json.dumps({"spec": spec}))
    until(lambda: busy.psql("select 1"), "the proxies found the new pod", deadline=30)
    until(lambda: shares(busy) == [8, 8], f"17 of {TOTAL} are divided", deadline=30)

    def disturb() -> None:
        for replicas, each in ((5, 3), (1, 15), (2, 8)):
            busy.kubectl("scale", "heliosproxy/minimal", f"--replicas={replicas}")
            settle(busy, replicas, gone=set())
            until(lambda: shares(busy) == [each] * replicas, f"{replicas} pods have {each} each", deadline=30)  # noqa: B023
        old = names(busy)
        busy.kubectl("rollout", "restart", "deployment/minimal")
        settle(busy, 2, gone=old)

    counts = under_load(busy, disturb)

    assert_undisturbed(busy, counts)
    log = busy.kubectl("logs", "database-0")
    assert "database system is ready" in log
    assert not [line for line in log.splitlines() if "too many clients" in line or "connection slots" in line]


def shares(busy: Installed) -> list[int | None]:
    """Server connections that each pod may have."""
    return [pod.get("maxServerConnections") for pod in busy.get("heliosproxy", "minimal")["status"].get("pods", ())]
