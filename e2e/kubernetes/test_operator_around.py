"""What stands around the pods where it is asked for: budget, autoscaler, network policy, where applications connect."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cluster import Cluster, KubectlError
from harness.certificates import Authority
from harness.resources import GROUP, Shop

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


def test_of_two_autoscalers_the_operators_is_not_made(shop: Shop) -> None:
    scale(shop, "Deployment")
    shop.proxy(autoscaling={"maxReplicas": 4})

    told = shop.await_condition("web", "Stalled", "True", "AutoscalersClash", deadline=10)
    assert "HorizontalPodAutoscaler/load scales Deployment/web as well" in told
    assert shop.conditions()["ConfigValid"][:2] == ("False", "AutoscalersClash")
    assert shop.names("horizontalpodautoscaler") == {"load"}

    shop.kubectl("delete", "horizontalpodautoscaler", "load")
    shop.until(lambda: shop.find("horizontalpodautoscaler", "web"), "it is made once it is the only one", 30)
    shop.until(lambda: "Stalled" not in shop.conditions(), "nothing is in the way", 30)

    # One that comes later is told of, and what is there stays.
    scale(shop, "HeliosProxy")
    shop.await_condition("web", "Stalled", "True", "AutoscalersClash", deadline=10)
    assert shop.names("horizontalpodautoscaler") == {"load", "web"}
    shop.proxy(replicas=3)
    shop.until(lambda: shop.names("horizontalpodautoscaler") == {"load"}, "the user's own is the only one", 30)
    shop.await_condition("web", "ConfigValid", "True", "Valid", deadline=30)
    assert "Stalled" not in shop.conditions()

    scale(shop, "Deployment")
    told = shop.await_condition("web", "ConfigValid", "True", "AutoscalersClash", deadline=10)
    assert "have it scale HeliosProxy/web" in told


def scale(shop: Shop, kind: str) -> None:
    """A user's own autoscaler."""
    version = "apps/v1" if kind == "Deployment" else f"{GROUP}/v1alpha1"
    spec = {"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": "web"}, "maxReplicas": 9}
    value = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "load"}}
    shop.kubectl("apply", "-f", "-", input=json.dumps({**value, "spec": spec}))


def test_applications_are_told_where_to_connect(shop: Shop) -> None:
    shop.proxy(listenPort=5432)
    shop.await_deployed()

    host = f"web.{shop.namespace}.svc"
    writing = {
        "host": host,
        "port": "5432",
        "uri": f"postgresql://{host}:5432/",
        "jdbc-uri": f"jdbc:postgresql://{host}:5432/",
    }
    assert told(shop) == writing
    assert shop.names("service") == {"web", "web-admin", "web-peers"}

    # Those who only read have a name of their own, and nothing else that differs.
    shop.proxy(listenPort=5432, readListenPort=5433)
    shop.until(lambda: shop.find("service", "web-ro"), "there is a Service of standbys")
    host = f"web-ro.{shop.namespace}.svc"
    reading = {
        "read-only-host": host,
        "read-only-port": "5432",
        "read-only-uri": f"postgresql://{host}:5432/",
        "read-only-jdbc-uri": f"jdbc:postgresql://{host}:5432/",
    }
    shop.until(lambda: told(shop) == writing | reading, "the Secret tells of both")
    shop.until(lambda: 'read_listen_address = "0.0.0.0:5433"' in shop.document(), "the pods listen there")
    assert len(shop.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["ports"]) == 3
    with pytest.raises(KubectlError, match="readListenPort must differ"):
        shop.proxy(listenPort=5432, readListenPort=5432)

    shop.proxy(listenPort=5432)
    shop.until(lambda: shop.find("service", "web-ro") is None, "the Service goes with the port")
    shop.until(lambda: told(shop) == writing, "nobody is told of it any more")


def test_applications_are_told_whom_to_trust(shop: Shop, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.sign("web", f"DNS:web.{shop.namespace}.svc")
    shop.kubectl("create", "secret", "tls", "plain", f"--cert={certificate.cert}", f"--key={certificate.key}")
    files = {"tls.crt": certificate.cert, "tls.key": certificate.key, "ca.crt": authority.cert}
    shop.kubectl("create", "secret", "generic", "whole", *(f"--from-file={key}={file}" for key, file in files.items()))
    shop.proxy(tls={"secretRef": {"name": "plain"}})
    shop.await_deployed()
    assert "ca.crt" not in told(shop), "nobody has said who signed it"

    shop.proxy(tls={"secretRef": {"name": "whole"}})
    shop.until(lambda: told(shop).get("ca.crt") == authority.cert.read_text(), "it is passed on", deadline=30)
    shop.proxy()
    shop.until(lambda: "ca.crt" not in told(shop), "no certificate is shown any more", deadline=30)


def told(shop: Shop) -> dict[str, str]:
    """What the Secret for applications holds."""
    data = shop.get("secret", "web-connection")["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}
