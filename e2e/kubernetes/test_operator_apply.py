"""`kubectl apply` of a HeliosProxy: its children, its status, what a user may change, and what goes with it."""

from __future__ import annotations

import base64
import hashlib
import json
import tomllib
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from cluster import Cluster, KubectlError
from harness.resources import Shop

pytestmark = pytest.mark.usefixtures("operator")
GENEROUS_SECONDS = 5
"""The goal is one second on an idle machine."""


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


@pytest.mark.smoke
def test_children_have_the_right_content_and_owner(shop: Shop) -> None:
    shop.proxy(replicas=2, listenPort=5432)

    deployment = shop.await_deployed()

    owner = shop.get("heliosproxy", "web")["metadata"]["uid"]
    assert {"web-config"} <= shop.names("configmap")
    assert {"web", "web-admin", "web-peers"} <= shop.names("service")
    for kind, name in (
        *(("configmap", "web-config"), ("secret", "web-admin"), ("deployment", "web")),
        *(("service", "web"), ("service", "web-admin"), ("service", "web-peers")),
    ):
        (reference,) = shop.get(kind, name)["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (owner, True), f"{kind}/{name}"
    document = tomllib.loads(shop.document())
    assert [node["host"] for node in document["clusters"][0]["nodes"]] == ["db-0", "db-1"]
    assert document["listen_address"] == "0.0.0.0:5432"
    assert document["generation"] == 1
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] == 70
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert shop.get("service", "web-peers")["spec"]["publishNotReadyAddresses"] is True
    assert shop.get("service", "web-peers")["spec"]["clusterIP"] == "None"


@pytest.mark.smoke
def test_status_says_what_was_observed(shop: Shop) -> None:
    shop.proxy()
    shop.await_deployed()

    message = shop.await_condition("web", "Available", "False", "PodsNotReady")

    status = shop.get("heliosproxy", "web")["status"]
    assert message == "0 of 2 pods are ready"
    assert status["phase"] == "Pending"
    assert status["configHash"] == hashlib.sha256(shop.document().encode()).hexdigest()
    assert status["selector"] == "app.kubernetes.io/name=heliosproxy,app.kubernetes.io/instance=web"
    assert {name: found[0] for name, found in shop.conditions().items()} == {
        "Ready": "False",
        "ReferencesResolved": "True",
        "BackendsFound": "True",
        "ConfigValid": "True",
        "Available": "False",
        "ConfigInForce": "Unknown",
        "TopologyAgreed": "Unknown",
        "Reconciling": "True",
    }


def test_objects_of_users_carry_nothing_of_ours(shop: Shop) -> None:
    shop.proxy()
    shop.await_deployed()

    metadata = shop.get("heliosproxy", "web")["metadata"]

    assert "finalizers" not in metadata
    assert metadata.get("annotations", {}).keys() <= {"kubectl.kubernetes.io/last-applied-configuration"}


def test_admin_secret_is_made_once_and_rotated_on_demand(shop: Shop) -> None:
    shop.proxy()
    shop.await_deployed()
    first = _secret(shop)
    assert b"\n" not in first["token"].strip()
    names = x509.load_pem_x509_certificate(first["tls.crt"]).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert f"web-admin.{shop.namespace}.svc" in names.value.get_values_for_type(x509.DNSName)

    shop.proxy(replicas=3)
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 3, "the change arrived")
    assert _secret(shop) == first

    shop.kubectl("annotate", "heliosproxy", "web", "helios.heliosproxy.dev/rotate-admin=1")
    shop.until(lambda: len(_secret(shop)["token"].split()) == 2, "a new token came before the old one")

    second = _secret(shop)
    assert second["token"].split()[1] == first["token"].strip()
    assert second["tls.crt"] != first["tls.crt"]
    assert second["ca.crt"] == second["tls.crt"] + first["tls.crt"]


def _secret(shop: Shop) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in shop.get("secret", "web-admin")["data"].items()}


def written(shop: Shop, plural: str, name: str) -> datetime:
    """When the API server had stored the last write of an object, as its audit log says."""
    assert shop.cluster.audit_log is not None
    latest = ""
    with shop.cluster.audit_log.open() as log:
        for line in log:
            if shop.namespace in line and line.endswith("\n"):
                event = json.loads(line)
                about = event.get("objectRef") or {}
                place = (about.get("namespace"), about.get("resource"), about.get("name"), about.get("subresource"))
                if place == (shop.namespace, plural, name, None) and event["verb"] == "patch":
                    latest = event["stageTimestamp"]
    return datetime.fromisoformat(latest)


@pytest.mark.smoke
def test_pool_profile_edited_removed_and_made_again(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 20})
    shop.proxy(poolProfileRef={"name": "fast"})
    shop.await_deployed()
    assert tomllib.loads(shop.document())["pool"]["max_size"] == 20
    template = shop.get("deployment", "web")["spec"]["template"]

    shop.apply("PoolProfile", "fast", {"maxPoolSize": 30})
    shop.until(lambda: "max_size = 30" in shop.document(), "the edit is in the ConfigMap", GENEROUS_SECONDS)
    if shop.cluster.audit_log is not None:
        took = written(shop, "configmaps", "web-config") - written(shop, "poolprofiles", "fast")
        with capsys.disabled():
            print(f" [PoolProfile edit to ConfigMap: {took.total_seconds():.3f} s by the API server's clock] ", end="")
        assert timedelta() < took < timedelta(seconds=GENEROUS_SECONDS)
    assert tomllib.loads(shop.document())["generation"] == 2

    shop.kubectl("delete", "poolprofile", "fast")
    message = shop.await_condition("web", "ReferencesResolved", "False", "RefMissing")
    assert "PoolProfile/fast does not exist" in message
    assert "max_size" not in shop.document()
    assert tomllib.loads(shop.document())["generation"] == 3

    shop.apply("PoolProfile", "fast", {"maxPoolSize": 40})
    shop.await_condition("web", "ReferencesResolved", "True")
    assert "max_size = 40" in shop.document()
    assert shop.get("deployment", "web")["spec"]["template"] == template, "no pod was started anew"


def test_pool_profile_renamed(shop: Shop) -> None:
    shop.apply("PoolProfile", "old", {"maxPoolSize": 20})
    shop.proxy(poolProfileRef={"name": "old"})
    shop.await_deployed()

    shop.apply("PoolProfile", "new", {"maxPoolSize": 21})
    shop.proxy(poolProfileRef={"name": "new"})
    shop.until(lambda: "max_size = 21" in shop.document(), "the new profile counts")
    shop.apply("PoolProfile", "old", {"maxPoolSize": 22})
    shop.kubectl("delete", "poolprofile", "old")
    shop.apply("PoolProfile", "new", {"maxPoolSize": 23})

    shop.until(lambda: "max_size = 23" in shop.document(), "only the new one counts")
    assert tomllib.loads(shop.document())["generation"] == 3


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"pool": {"minConnections": 9, "maxConnections": 3}}, r"spec.pool: .*minConnections must not exceed"),
        ({"nodes": [{"host": "a", "role": "primary"}, {"host": "b", "role": "primary"}]}, r"at most one node"),
        ({"replicas": -1}, r"spec.replicas: .*greater than or equal to 0"),
        ({"pol": {}}, r'unknown field "spec.pol"'),
    ],
)
def test_invalid_object_is_refused_with_field_and_sentence(shop: Shop, spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(KubectlError, match=sentence):
        shop.proxy(**spec)


def test_invalid_together_is_told_by_field_and_runs_the_last_good_one(shop: Shop) -> None:
    shop.apply("PoolProfile", "small", {"maxPoolSize": 5})
    shop.proxy(poolProfileRef={"name": "small"})
    shop.await_deployed()
    before = shop.document()

    shop.proxy(poolProfileRef={"name": "small"}, pool={"minConnections": 50}, replicas=4)
    message = shop.await_condition("web", "ConfigValid", "False", "ConfigInvalid")

    assert "spec.pool.minConnections" in message or "minConnections" in message
    assert shop.conditions()["Stalled"][:2] == ("True", "ConfigInvalid")
    assert shop.document() == before
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 4, "what does not depend on it goes on")


@pytest.mark.smoke
def test_deleted_proxy_takes_its_children_and_leaves_the_user_s(shop: Shop) -> None:
    shop.kubectl("create", "secret", "generic", "web-users", '--from-literal=users.txt="app" "secret"')
    shop.proxy(auth={"method": "scram-sha-256"})
    shop.await_deployed()

    shop.kubectl("delete", "heliosproxy", "web", "--wait=false")

    shop.until(lambda: "web" not in shop.names("deployment"), "the Deployment went", 30)
    shop.until(lambda: not {"web", "web-admin", "web-peers"} & shop.names("service"), "the Services went", 30)
    shop.until(lambda: "web-config" not in shop.names("configmap"), "the ConfigMap went", 30)
    shop.until(lambda: "web-admin" not in shop.names("secret"), "the admin Secret went", 30)
    assert "web-users" in shop.names("secret")


def test_scale_reaches_the_pods(shop: Shop) -> None:
    shop.proxy()
    shop.await_deployed()

    shop.kubectl("scale", "heliosproxy", "web", "--replicas=5")

    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 5, "five pods are wanted")


def test_quota_that_refuses_pods_is_told_within_ten_seconds(shop: Shop) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    shop.kubectl("apply", "-f", "-", input=json.dumps(quota))
    shop.until(lambda: shop.get("resourcequota", "none").get("status", {}).get("hard"), "the quota is in force")

    shop.proxy()

    message = shop.await_condition("web", "Available", "False", "FailedCreate", deadline=10)
    assert "exceeded quota" in message
    assert shop.conditions()["Ready"][:2] == ("False", "FailedCreate")


def test_quota_that_refuses_services_stalls_with_the_server_s_words(shop: Shop) -> None:
    spec = {"hard": {"count/services": "1"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}, "spec": spec}
    shop.kubectl("apply", "-f", "-", input=json.dumps(quota))
    shop.until(lambda: shop.get("resourcequota", "one").get("status", {}).get("hard"), "the quota is in force")

    shop.proxy()
    message = shop.await_condition("web", "Stalled", "True", "Forbidden", deadline=10)
    assert "exceeded quota: one" in message

    shop.kubectl("delete", "resourcequota", "one")
    shop.until(lambda: "Stalled" not in shop.conditions(), "it goes on by itself", 40)
    shop.await_deployed()
