"""Level node: what goes wrong around a running proxy is told, and does not reach its clients."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.client import Client, Target, rows
from harness.installed import Installed
from harness.wait import until

pytestmark = pytest.mark.level("node")

NOWHERE = "localhost/helios-nowhere:1"
TOLD_SECONDS = 10.0
AWAY_SECONDS = 60.0
"""How long the API server is gone."""
RECOVERY_SECONDS = 120.0
"""Until controllers and kubelet, which wait longer each time they fail, have found it again."""


@pytest.fixture
def serving(in_cluster: Installed) -> Installed:
    """The example, answering."""
    in_cluster.apply_example()
    until(lambda: in_cluster.psql("select 1"), "the Service answers psql", deadline=20)
    return in_cluster


def target(serving: Installed) -> Target:
    """The Service as the machine reaches it, which takes no API server."""
    address = serving.get("service", "minimal")["spec"]["clusterIP"]
    return Target(address, 6432, "app", "app-secret", "app")


def named(in_cluster: Installed, condition: str) -> str:
    """The message of a condition that is False because an image cannot be had; empty when it is not."""
    status, reason, message = in_cluster.conditions("minimal").get(condition, ("", "", ""))
    return message if (status, reason) in (("False", "ErrImagePull"), ("False", "ImagePullBackOff")) else ""


def test_image_that_does_not_exist_is_told(in_cluster: Installed) -> None:
    in_cluster.apply("HeliosProxy", "minimal", {"replicas": 2, "image": NOWHERE})

    message = until(lambda: named(in_cluster, "Available"), "Available says that the image is missing", TOLD_SECONDS)

    assert NOWHERE in message
    in_cluster.apply_example()


def test_pods_serve_on_when_the_next_image_does_not_exist(serving: Installed) -> None:
    serving.apply("HeliosProxy", "minimal", {"replicas": 2, "image": NOWHERE})

    message = until(lambda: named(serving, "Ready"), "Ready says that the image is missing", TOLD_SECONDS)

    assert NOWHERE in message
    assert serving.conditions("minimal")["Available"][0] == "True"
    assert serving.psql("select 1") == "1"
    serving.apply_example()


@pytest.fixture
def without_apiserver(serving: Installed) -> Iterator[Target]:
    """The Service, while the API server is gone. It comes back, and the next test has a cluster that works."""
    service = target(serving)
    serving.cluster.stop_apiserver()
    yield service
    serving.cluster.start_apiserver()
    started = time.monotonic()
    serving.kubectl("delete", "pod", "psql", "--wait=true", f"--timeout={RECOVERY_SECONDS:g}s")
    serving.kubectl("scale", "heliosproxy/minimal", "--replicas=3")
    until(lambda: len(serving.pods()) == 3, "operator and controllers work again", RECOVERY_SECONDS)
    serving.await_condition("minimal", "Ready", "True", deadline=RECOVERY_SECONDS)
    print(f"a third pod is ready {time.monotonic() - started:.1f} s after the API server came back")


def test_clients_do_not_notice_that_the_api_server_is_gone(without_apiserver: Target) -> None:
    end = time.monotonic() + AWAY_SECONDS
    answers = 0
    with Client(without_apiserver) as lasting:
        while time.monotonic() < end:
            with Client(without_apiserver) as fresh:
                assert rows(fresh.query("select 1")) == [["1"]]
            assert rows(lasting.extended("select 2")) == [["2"]]
            answers += 1

    print(f"{answers} logins and as many statements of a lasting client in {AWAY_SECONDS:g} s without an API server")
    assert answers > AWAY_SECONDS
