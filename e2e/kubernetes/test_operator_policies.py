"""What the operator says about the four kinds of policies: accepted or not, and used by whom."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster import Cluster
from harness.operator import OperatorProcess
from harness.resources import POLICIES, Shop

CRD = "crd/poolprofiles.helios.heliosproxy.dev"
RULES = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def users_of(shop: Shop, kind: str, name: str) -> list[str]:
    """Names of the HeliosProxies in `usedBy`."""
    status = shop.get(kind, name).get("status") or {}
    assert all(each["kind"] == "HeliosProxy" for each in status.get("usedBy", ()))
    return [each["name"] for each in status.get("usedBy", ())]


@pytest.mark.smoke
@pytest.mark.usefixtures("operator")
def test_each_kind_says_whether_it_is_accepted(shop: Shop) -> None:
    for kind, spec in POLICIES.items():
        shop.apply(kind, "fast", spec)

    told = {kind: shop.await_accepted(kind, "fast") for kind in POLICIES}

    assert {kind: (each["status"], each["reason"]) for kind, each in told.items()} == {
        "PoolProfile": ("True", "Valid"),
        "RoutingRule": ("True", "Valid"),
        "AuditPolicy": ("False", "NotActedOn"),
        "TenantQuota": ("False", "NotActedOn"),
    }
    for kind in POLICIES:
        metadata = shop.get(kind, "fast")["metadata"]
        assert "finalizers" not in metadata, kind
        assert metadata.get("annotations", {}).keys() <= {"kubectl.kubernetes.io/last-applied-configuration"}, kind
        assert shop.get(kind, "fast")["status"]["observedGeneration"] == metadata["generation"]


@pytest.fixture
def without_rules(installed: Cluster) -> Iterator[None]:
    """The PoolProfile CRD of a release that had no cross-field rule yet."""
    rules = json.loads(installed.kubectl("get", CRD, "-o", "json"))
    rules = rules["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    installed.kubectl("patch", CRD, "--type=json", "-p", json.dumps([{"op": "remove", "path": RULES}]))
    yield
    patch = [{"op": "add", "path": RULES, "value": rules}]
    installed.kubectl("patch", CRD, "--type=json", "-p", json.dumps(patch))


@pytest.mark.usefixtures("operator", "without_rules")
def test_what_another_release_let_in_is_refused_with_field_and_sentence(shop: Shop) -> None:
    def took() -> bool:
        shop.apply("PoolProfile", "odd", {"maxPoolSize": 3, "minIdle": 9})
        return True

    shop.until(took, "the API server has the CRD without its rule")

    refused = shop.await_accepted("PoolProfile", "odd", "False")
    assert refused["reason"] == "Invalid"
    assert "spec: minIdle must not exceed maxPoolSize" in refused["message"]

    shop.apply("PoolProfile", "odd", {"maxPoolSize": 9, "minIdle": 9})
    assert shop.await_accepted("PoolProfile", "odd", "True")["reason"] == "Valid"


@pytest.mark.usefixtures("operator")
def test_used_by_follows_references(shop: Shop) -> None:
    for name in ("old", "new"):
        shop.apply("PoolProfile", name, {"maxPoolSize": 20})
        shop.await_accepted("PoolProfile", name)
    assert users_of(shop, "PoolProfile", "old") == []

    shop.proxy("web", poolProfileRef={"name": "old"})
    shop.proxy("api", poolProfileRef={"name": "old"})
    shop.until(lambda: users_of(shop, "PoolProfile", "old") == ["api", "web"], "both are told")

    shop.proxy("web", poolProfileRef={"name": "new"})
    shop.until(lambda: users_of(shop, "PoolProfile", "new") == ["web"], "the other profile has a user")
    shop.until(lambda: users_of(shop, "PoolProfile", "old") == ["api"], "this one has lost it")

    shop.proxy("web")
    shop.until(lambda: users_of(shop, "PoolProfile", "new") == [], "the reference was removed")
    shop.kubectl("delete", "heliosproxy", "api")
    shop.until(lambda: users_of(shop, "PoolProfile", "old") == [], "the proxy was deleted")
    assert shop.await_accepted("PoolProfile", "old")["status"] == "True"


def test_status_that_is_right_is_not_written_again(shop: Shop, operator: OperatorProcess) -> None:
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 20})
    shop.proxy(poolProfileRef={"name": "fast"}, replicas=0)
    shop.await_deployed()
    shop.until(lambda: users_of(shop, "PoolProfile", "fast") == ["web"], "the user is told")
    shop.until(lambda: shop.get("deployment", "web").get("status", {}).get("conditions"), "its controller is done")
    operator.wait_idle()
    writes, looks = operator.metric("writes_total"), operator.metric("looks_total")

    # An event that changes nothing which the operator acts on; the next one is seen after it.
    shop.kubectl("annotate", "poolprofile", "fast", "note=1")
    shop.apply("PoolProfile", "other", {"maxPoolSize": 20})
    shop.await_accepted("PoolProfile", "other")

    assert operator.metric("looks_total") == looks, "no HeliosProxy was looked at for it"
    assert operator.metric("writes_total") == writes + 1, "the status of the other one"


def test_status_that_somebody_overwrote_is_put_right(shop: Shop, operator: OperatorProcess) -> None:
    shop.apply("TenantQuota", "small", POLICIES["TenantQuota"])
    shop.await_accepted("TenantQuota", "small", "False")
    shop.until(lambda: operator.metric("queue_length") == 0, "no work is left")

    patch = {"status": {"observedGeneration": 7, "conditions": []}}
    shop.kubectl("patch", "tenantquota", "small", "--subresource=status", "--type=merge", "-p", json.dumps(patch))

    assert shop.await_accepted("TenantQuota", "small", "False")["reason"] == "NotActedOn"
    shop.until(lambda: shop.get("TenantQuota", "small")["status"]["observedGeneration"] == 1, "and the generation")
