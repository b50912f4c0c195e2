"""What the operator makes for a Prometheus: objects of another project's kinds, which come and go."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from cluster import Cluster, KubectlError
from harness.foreign import install_kinds, remove_kinds
from harness.resources import Shop
from helios.config.secrets import metrics_token

KINDS = ("podmonitor", "prometheusrule")
ASKED = {"podMonitor": True, "prometheusRule": True, "labels": {"release": "prometheus"}}


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Iterator[Shop]:
    """A cluster that has none of those kinds, before and after."""
    remove_kinds(installed)
    yield Shop(installed, namespace)
    remove_kinds(installed)


@pytest.mark.usefixtures("discovering_operator")
def test_kinds_that_come_after_the_operator_are_used_and_missed_when_they_go(shop: Shop) -> None:
    shop.proxy(monitoring=ASKED)
    told = shop.await_condition("web", "Monitored", "False", "KindNotServed")
    assert "no PodMonitor and no PrometheusRule" in told
    shop.await_deployed()

    install_kinds(shop.cluster)
    for kind in KINDS:
        shop.until(lambda: shop.find(kind, "web"), f"there is a {kind}", 30)  # noqa: B023
    shop.until(lambda: "Monitored" not in shop.conditions(), "nothing is missed", 30)
    monitor = shop.get("podmonitor", "web")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    secret = shop.get("secret", "web-admin")["data"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    reference = endpoint["authorization"]["credentials"]
    token = base64.b64decode(secret["token"]).decode().split()[0]
    assert base64.b64decode(secret[reference["key"]]).decode() == metrics_token(token), "no more than the metrics"
    assert endpoint["tlsConfig"]["ca"]["secret"]["key"] in secret
    rules = shop.get("prometheusrule", "web")["spec"]["groups"][0]["rules"]
    assert all(f'namespace="{shop.namespace}",proxy="web"' in rule["expr"] for rule in rules)

    shop.kubectl("delete", "podmonitor", "web")
    shop.until(lambda: shop.find("podmonitor", "web"), "it is made anew", 30)
    shop.proxy(monitoring={"serviceMonitor": True})
    shop.until(lambda: shop.find("servicemonitor", "web"), "there is a servicemonitor", 30)
    for kind in KINDS:
        shop.until(lambda: shop.find(kind, "web") is None, f"no {kind} is left", 30)  # noqa: B023
    selector = shop.get("servicemonitor", "web")["spec"]["selector"]["matchLabels"]
    services = json.loads(shop.kubectl("get", "service", "-l", joined(selector), "-o", "json"))["items"]
    assert [each["metadata"]["name"] for each in services] == ["web-peers"], "every pod, and each once"

    remove_kinds(shop.cluster)
    assert "no ServiceMonitor" in shop.await_condition("web", "Monitored", "False", "KindNotServed", 30)
    with pytest.raises(KubectlError, match="everything would be scraped twice"):
        shop.proxy(monitoring={"serviceMonitor": True, "podMonitor": True})


def joined(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())
