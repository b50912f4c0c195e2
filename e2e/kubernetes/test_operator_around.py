"""What stands around the pods where it is asked for: budget, autoscaler, network policy, where applications connect."""

from __future__ import annotations

import base64
import json

import pytest

from cluster import Cluster, KubectlError
from harness.resources import Shop

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


@pytest.mark.smoke
def test_budget_is_there_while_at_least_two_pods_are_wanted(shop: Shop) -> None:
    shop.proxy(replicas=2)
    shop.until(lambda: shop.find("poddisruptionbudget", "web"), "two pods have a budget")
    assert shop.get("poddisruptionbudget", "web")["spec"]["maxUnavailable"] == 1

    shop.proxy(replicas=1)
    shop.until(lambda: shop.find("poddisruptionbudget", "web") is None, "a single pod has none")
    shop.proxy(replicas=3, podDisruptionBudget={"maxUnavailable": 2})
    shop.until(lambda: budget_of(shop) == 2, "the budget is as asked for")
    shop.proxy(replicas=3, podDisruptionBudget={"enabled": False})
    shop.until(lambda: shop.find("poddisruptionbudget", "web") is None, "it is switched off")


def budget_of(shop: Shop) -> int | None:
    found = shop.find("poddisruptionbudget", "web")
    return found["spec"]["maxUnavailable"] if found else None


def test_somebody_elses_object_is_left_alone(shop: Shop) -> None:
    foreign = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}}
    shop.kubectl("create", "-f", "-", input=json.dumps({**foreign, "spec": {"maxUnavailable": 7}}))

    shop.proxy(replicas=2)
    assert "PodDisruptionBudget/web" in shop.await_condition("web", "Stalled", "True", "InvalidOwnership")
    shop.proxy(replicas=1)
    shop.until(lambda: "Stalled" not in shop.conditions(), "a single pod needs no budget")

    assert budget_of(shop) == 7


def test_autoscaler_takes_over_the_number_of_pods_as_it_is(shop: Shop) -> None:
    shop.proxy(replicas=5)
    shop.await_deployed()

    shop.proxy(replicas=2, autoscaling={"minReplicas": 2, "maxReplicas": 9, "targetCpuPercent": 60})
    shop.until(lambda: shop.find("horizontalpodautoscaler", "web"), "there is an autoscaler")
    shop.kubectl("scale", "deployment/web", "--replicas=7")
    shop.await_condition("web", "ConfigValid", "True")
    shop.proxy(replicas=2, autoscaling={"minReplicas": 3, "maxReplicas": 9})
    shop.until(lambda: autoscaler(shop)["minReplicas"] == 3, "the autoscaler follows")

    assert autoscaler(shop)["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    assert shop.get("deployment", "web")["spec"]["replicas"] == 7, "what the autoscaler writes is left alone"
    told = json.loads(shop.kubectl("get", "events", "-o", "json"))["items"]
    assert not [event["message"] for event in told if event["message"].startswith("Scaled down")]
    shop.proxy(replicas=4)
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 4, "replicas counts again")
    shop.until(lambda: shop.find("horizontalpodautoscaler", "web") is None, "the autoscaler is gone")
    with pytest.raises(KubectlError, match="maxReplicas must be at least minReplicas"):
        shop.proxy(autoscaling={"minReplicas": 5, "maxReplicas": 4})


def autoscaler(shop: Shop) -> dict[str, object]:
    spec: dict[str, object] = shop.get("horizontalpodautoscaler", "web")["spec"]
    return spec


def test_network_policy_service_and_account_are_as_asked_for(shop: Shop) -> None:
    service = {"type": "NodePort", "annotations": {"example.com/balancer": "internal"}}
    shop.proxy(networkPolicy={"enabled": True}, service=service, serviceAccountName="reader")
    deployment = shop.await_deployed()
    shop.until(lambda: shop.find("networkpolicy", "web"), "there is a policy")

    made = shop.get("service", "web")
    assert made["spec"]["type"] == "NodePort"
    assert made["metadata"]["annotations"]["example.com/balancer"] == "internal"
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "reader"
    shop.proxy(networkPolicy={"enabled": True, "monitoringNamespaces": ["prometheus"]})
    shop.until(lambda: "prometheus" in json.dumps(shop.get("networkpolicy", "web")["spec"]), "the policy follows")
    shop.proxy()
    shop.until(lambda: shop.find("networkpolicy", "web") is None, "it is switched off")
    shop.until(lambda: shop.get("service", "web")["spec"]["type"] == "ClusterIP", "the Service is as before")


def test_applications_are_told_where_to_connect(shop: Shop) -> None:
    shop.proxy(listenPort=5432)
    shop.await_deployed()

    data = shop.get("secret", "web-connection")["data"]
    told = {name: base64.b64decode(value).decode() for name, value in data.items()}
    host = f"web.{shop.namespace}.svc"
    assert told == {
        "host": host,
        "port": "5432",
        "uri": f"postgresql://{host}:5432/",
        "jdbc-uri": f"jdbc:postgresql://{host}:5432/",
    }
