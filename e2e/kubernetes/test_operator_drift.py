"""What others do to our children is repaired; what belongs to others is left alone."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from cluster import Cluster
from harness.operator import OperatorProcess
from harness.resources import Shop


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


@pytest.mark.smoke
def test_drift_is_repaired(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()

    shop.kubectl("scale", "deployment", "web", "--replicas=9")
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 2, "replicas are as wanted again")

    shop.kubectl("delete", "deployment", "web", "--wait=false")
    shop.until(lambda: "web" in shop.names("deployment"), "the Deployment is there again")

    shop.kubectl("delete", "service", "web-peers")
    shop.until(lambda: "web-peers" in shop.names("service"), "the Service is there again")

    patch = json.dumps({"spec": {"selector": {"app": "evil"}}})
    shop.kubectl("patch", "service", "web", "--type=merge", "-p", patch)
    shop.until(lambda: "web" in str(shop.get("service", "web")["spec"]["selector"]), "the selector is back")


def test_document_that_was_changed_comes_back_with_a_higher_generation(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()
    original = tomllib.loads(shop.document())
    drifted = shop.document().replace("generation = 1", "generation = 5").replace("db-1", "evil")

    shop.kubectl(
        "patch", "configmap", "web-config", "--type=merge", "-p", json.dumps({"data": {"helios.toml": drifted}})
    )

    shop.until(lambda: "generation = 6" in shop.document(), "a higher generation than the pods may have loaded")
    assert tomllib.loads(shop.document()) == {**original, "generation": 6}


def test_config_map_that_was_deleted_goes_on_counting(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()
    shop.proxy(pool={"maxConnections": 9})
    shop.until(lambda: "generation = 2" in shop.document(), "the edit arrived")

    shop.kubectl("delete", "configmap", "web-config")

    shop.until(lambda: "generation = 3" in shop.document(), "it is there again, and higher")


def test_label_that_was_removed_comes_back(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()
    uid = shop.get("configmap", "web-config")["metadata"]["uid"]

    shop.kubectl("label", "configmap", "web-config", "app.kubernetes.io/managed-by-")

    shop.until(
        lambda: "app.kubernetes.io/managed-by" in shop.get("configmap", "web-config")["metadata"]["labels"],
        "it is back",
    )
    assert shop.get("configmap", "web-config")["metadata"]["uid"] == uid
    assert "generation = 1\n" in shop.document()


def test_pass_without_changes_writes_nothing(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()
    operator.wait_idle()
    versions = _versions(shop)

    before, looks = operator.metric("writes_total"), operator.metric("looks_total")
    shop.kubectl("label", "heliosproxy", "web", "a=b")
    shop.until(lambda: operator.metric("looks_total") > looks, "it was looked at")

    assert operator.metric("writes_total") == before
    assert _versions(shop) == versions


def test_operator_that_starts_again_writes_nothing(shop: Shop, operator: OperatorProcess, installed: Cluster) -> None:
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 20})
    shop.proxy(poolProfileRef={"name": "fast"})
    shop.await_deployed()
    shop.until(lambda: "usedBy" in shop.get("poolprofile", "fast")["status"], "the profile is told who uses it")
    operator.wait_idle()
    versions, proxy = _versions(shop), shop.get("heliosproxy", "web")["metadata"]["resourceVersion"]
    profile = shop.get("poolprofile", "fast")["metadata"]["resourceVersion"]
    assert operator.stop() == 0

    again = OperatorProcess(operator.kubeconfig, operator.log_file.parent, name="again")
    with again.wait_leading():
        again.wait_idle()
        shop.until(lambda: again.metric("proxies") >= 1, "it sees the proxy")

    assert _versions(shop) == versions
    assert shop.get("heliosproxy", "web")["metadata"]["resourceVersion"] == proxy
    assert shop.get("poolprofile", "fast")["metadata"]["resourceVersion"] == profile


def _versions(shop: Shop) -> dict[str, str]:
    """Generation or resourceVersion of everything that the operator writes; a Deployment's status is not ours."""
    found: dict[str, str] = {}
    for kind, names in {"configmap": ["web-config"], "service": ["web", "web-admin", "web-peers"]}.items():
        found |= {f"{kind}/{name}": shop.get(kind, name)["metadata"]["resourceVersion"] for name in names}
    found["secret"] = shop.get("secret", "web-admin")["metadata"]["resourceVersion"]
    found["deployment"] = str(shop.get("deployment", "web")["metadata"]["generation"])
    return found


FOREIGN: dict[str, tuple[str, dict[str, Any]]] = {
    "configmap": ("web-config", {"data": {"mine": "yes"}}),
    "secret": ("web-admin", {"stringData": {"mine": "yes"}}),
    "service": ("web", {"spec": {"ports": [{"port": 80}], "selector": {"app": "mine"}}}),
    "deployment": (
        "web",
        {
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "mine"}},
                "template": {
                    "metadata": {"labels": {"app": "mine"}},
                    "spec": {"containers": [{"name": "c", "image": "mine"}]},
                },
            }
        },
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_object_with_our_name_is_left_alone(kind: str, shop: Shop, operator: OperatorProcess) -> None:
    name, content = FOREIGN[kind]
    api = {"deployment": "apps/v1"}.get(kind, "v1")
    titles = {"configmap": "ConfigMap", "secret": "Secret", "service": "Service", "deployment": "Deployment"}
    value = {"apiVersion": api, "kind": titles[kind], "metadata": {"name": name}, **content}
    shop.kubectl("create", "-f", "-", input=json.dumps(value))
    shop.until(lambda: shop.find(kind, name), "it exists")
    before = shop.get(kind, name)

    shop.proxy()

    message = shop.await_condition("web", "Stalled", "True", "InvalidOwnership")
    assert f"{titles[kind]}/{name}" in message
    after = shop.get(kind, name)
    assert _content(after) == _content(before)
    if kind != "deployment":
        assert "web" not in shop.names("deployment"), "no pods run with somebody else's object"

    shop.kubectl("delete", kind, name)
    shop.until(lambda: "Stalled" not in shop.conditions(), "it goes on by itself", 40)


def _content(value: dict[str, object]) -> dict[str, object]:
    metadata = value["metadata"]
    assert isinstance(metadata, dict)
    kept = {key: metadata.get(key) for key in ("uid", "labels", "ownerReferences")}
    return {"metadata": kept, **{key: value.get(key) for key in ("data", "spec")}}


def test_children_of_two_proxies_that_want_one_name_do_not_mix(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy("web")
    shop.await_deployed("web")
    service = shop.get("service", "web-admin")

    shop.proxy("web-admin")

    message = shop.await_condition("web-admin", "Stalled", "True", "InvalidOwnership")
    assert "Service/web-admin" in message
    assert shop.get("service", "web-admin")["spec"] == service["spec"]
    assert "Stalled" not in shop.conditions("web")


def test_foreign_object_that_takes_a_child_s_place_is_left_alone(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()
    operator.freeze()
    shop.kubectl("delete", "configmap", "web-config")
    shop.kubectl("create", "configmap", "web-config", "--from-literal=mine=yes")
    shop.proxy(pool={"maxConnections": 9})

    operator.thaw()

    shop.await_condition("web", "Stalled", "True", "InvalidOwnership", deadline=30)
    assert shop.get("configmap", "web-config")["data"] == {"mine": "yes"}
