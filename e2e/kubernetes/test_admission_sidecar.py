"""Pods that ask for a proxy in them, at a real API server: what they are made with, and why they are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, KubectlError
from harness.admission import AdmittingOperator, remove_webhooks
from harness.resources import Shop
from helios_operator.names import SIDECAR, SIDECAR_CONTAINER

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SECURE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 1000}


@pytest.fixture
def shop(installed: Cluster, namespace: str, operator_kubeconfig: Path, tmp_path: Path) -> Iterator[Shop]:
    """A namespace of the strictest kind, and an operator that the API server asks about pods."""
    with AdmittingOperator(installed, operator_kubeconfig, tmp_path) as operator:
        try:
            operator.wait_leading()
            operator.configure()
            shop = Shop(installed, namespace)
            shop.until(lambda: is_asked(shop), "the API server asks", 60)
            shop.kubectl("label", "namespace", namespace, RESTRICTED)
            yield shop
        finally:
            print(operator.log)
            remove_webhooks(installed)


def pod(name: str = "app", proxy: str | None = "web", **spec: Any) -> Any:
    secure = {**SECURE, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "app", "image": "app:1", "securityContext": secure}
    labels = {} if proxy is None else {SIDECAR: proxy}
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
    return {**value, "spec": {"containers": [container], **spec}}


def make(shop: Shop, value: Any, *options: str) -> Any:
    """What the API server makes of it."""
    return json.loads(shop.kubectl("create", "-f", "-", "-o", "json", *options, input=json.dumps(value)))


def is_asked(shop: Shop) -> bool:
    return "does not exist in this namespace" in refusal(shop, pod(proxy="nobody"))


def refusal(shop: Shop, value: Any) -> str:
    try:
        make(shop, value, "--dry-run=server")
    except KubectlError as error:
        return str(error)
    return ""


def folders(container: Any) -> list[str]:
    """What is mounted."""
    return [each["mountPath"] for each in container.get("volumeMounts", ())]


def test_pod_is_made_with_the_proxy_in_it(shop: Shop) -> None:
    shop.kubectl("create", "secret", "generic", "people", "--from-literal=users.txt=x")
    shop.proxy(auth={"usersSecretRef": {"name": "people"}}, drain={"timeoutSeconds": 20}, replicas=0)
    shop.until(shop.document, "it has a configuration", 30)

    made = make(shop, pod(initContainers=[{**pod()["spec"]["containers"][0], "name": "migrate"}]))
    tried = make(shop, pod("tried"), "--dry-run=server")
    plain = make(shop, pod("plain", proxy=None))

    for spec in (made["spec"], tried["spec"]):
        sidecar = spec["initContainers"][0]
        assert (sidecar["name"], sidecar["restartPolicy"]) == (SIDECAR_CONTAINER, "Always")
        assert sidecar["args"][-1] == "--sidecar"
        secrets = {each["secret"]["secretName"] for each in spec["volumes"] if "secret" in each}
        assert secrets == {"people", "web-admin"}
        assert {each["name"] for each in spec["volumes"]} >= {each["name"] for each in sidecar["volumeMounts"]}
        assert spec["terminationGracePeriodSeconds"] > 30 + 20
        assert folders(spec["containers"][0]) == folders(plain["spec"]["containers"][0]), "the application is as it was"
    assert [each["name"] for each in made["spec"]["initContainers"]] == [SIDECAR_CONTAINER, "migrate"]
    assert "initContainers" not in plain["spec"]
    assert shop.find("pod", "tried") is None
    # Nothing runs here, so that nothing can be asked; who is there is told all the same.
    told = shop.await_condition("web", "SidecarsInForce", "False", deadline=30)
    assert "0 of 1 sidecars" in told
    assert shop.get("heliosproxy", "web")["status"]["sidecars"] == 1
    shop.kubectl("delete", "pod", "app", "--force", "--grace-period=0")
    shop.until(lambda: "SidecarsInForce" not in shop.conditions(), "it is gone", 30)


def test_pod_that_cannot_have_it_is_refused_with_the_reason(shop: Shop) -> None:
    shop.proxy("empty", nodes=[])
    shop.proxy(replicas=0)
    shop.await_condition("empty", "BackendsFound", "False", deadline=30)
    shop.until(shop.document, "it has a configuration", 30)
    listens = [{**pod()["spec"]["containers"][0], "ports": [{"containerPort": 9090}]}]

    for value, told in (
        (pod(proxy="nobody"), "HeliosProxy/nobody does not exist in this namespace"),
        (pod(proxy=""), "must name a HeliosProxy"),
        (pod(proxy="empty"), "has no configuration yet: spec.nodes: no node is known"),
        (pod(containers=listens), "container app listens on port 9090, as the sidecar does"),
    ):
        assert told in refusal(shop, value)

    shop.kubectl("label", "namespace", shop.namespace, RESTRICTED.split("=")[0] + "-")
    assert "hostNetwork" in refusal(shop, pod(hostNetwork=True))


def test_without_an_operator_only_pods_with_the_label_are_refused(
    installed: Cluster, namespace: str, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    shop = Shop(installed, namespace)
    with AdmittingOperator(installed, operator_kubeconfig, tmp_path) as operator:
        operator.wait_leading()
        operator.configure()
        shop.until(lambda: is_asked(shop), "the API server asks", 60)
    try:
        assert "failed calling webhook" in refusal(shop, pod())
        make(shop, pod("plain", proxy=None))
        shop.proxy()  # taken unseen
    finally:
        remove_webhooks(installed)
