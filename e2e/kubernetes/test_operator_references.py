"""References in any order, policies that go, Secrets and nodes that come later."""

from __future__ import annotations

import json
import tomllib

import pytest

from cluster import Cluster
from harness.resources import Shop

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def test_proxy_before_its_profile(shop: Shop) -> None:
    shop.proxy(poolProfileRef={"name": "later"})
    shop.await_deployed()
    shop.await_condition("web", "ReferencesResolved", "False", "RefMissing")
    assert "pool" not in tomllib.loads(shop.document())

    shop.apply("PoolProfile", "later", {"maxPoolSize": 11})

    shop.await_condition("web", "ReferencesResolved", "True")
    assert tomllib.loads(shop.document())["pool"]["max_size"] == 11


def test_new_proxy_without_its_policy_does_not_start(shop: Shop) -> None:
    shop.proxy(routingRuleRefs=[{"name": "reads"}])

    message = shop.await_condition("web", "ReferencesResolved", "False", "RefMissing")

    assert "RoutingRule/reads does not exist" in message
    assert shop.conditions()["Available"][:2] == ("False", "NoDeployment")
    assert "web" not in shop.names("deployment")

    shop.apply("RoutingRule", "reads", {"match": {"applicationName": ["report*"]}, "route": "standby"})
    shop.await_deployed()


def test_policy_that_goes_leaves_the_last_document_and_stalls(shop: Shop) -> None:
    shop.apply("RoutingRule", "reads", {"match": {"applicationName": ["report*"]}, "route": "standby"})
    shop.proxy(routingRuleRefs=[{"name": "reads"}])
    shop.await_deployed()
    before = shop.document()

    shop.kubectl("delete", "routingrule", "reads")
    message = shop.await_condition("web", "Stalled", "True", "RefMissing")
    shop.proxy(routingRuleRefs=[{"name": "reads"}], pool={"maxConnections": 9}, replicas=3)
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 3, "scaling goes on")

    assert "the last configuration stays in force" in message
    assert shop.document() == before

    shop.apply("RoutingRule", "reads", {"match": {"applicationName": ["report*"]}, "route": "standby"})
    shop.until(lambda: "Stalled" not in shop.conditions(), "it goes on")
    shop.until(lambda: "max_size = 9" in shop.document(), "the edit counts now")


def test_kind_that_would_protect_is_never_pretended(shop: Shop) -> None:
    shop.apply("TenantQuota", "small", {"maxQueriesPerMinute": 600})
    shop.proxy(tenantQuotaRefs=[{"name": "small"}])

    message = shop.await_condition("web", "Stalled", "True", "NotActedOn")

    assert "no tenant would be limited" in message
    assert "web" not in shop.names("deployment")


def test_secret_that_is_missing_or_lacks_the_key_is_told_within_ten_seconds(shop: Shop) -> None:
    shop.proxy(auth={"usersSecretRef": {"name": "people"}})
    message = shop.await_condition("web", "ReferencesResolved", "False", "RefMissing", deadline=10)
    assert "Secret/people does not exist" in message

    shop.kubectl("create", "secret", "generic", "people", "--from-literal=other=x")
    shop.until(lambda: "has no key users.txt" in shop.conditions()["ReferencesResolved"][2], "the key is missed", 10)

    patch = json.dumps({"stringData": {"users.txt": '"app" "secret"\n'}})
    shop.kubectl("patch", "secret", "people", "-p", patch)
    shop.await_condition("web", "ReferencesResolved", "True", deadline=10)
    deployment = shop.await_deployed()
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert "people" in [volume.get("secret", {}).get("secretName") for volume in volumes]
    assert 'secret"' not in shop.document()


def test_secret_that_is_no_longer_named_is_no_longer_mounted(shop: Shop) -> None:
    shop.kubectl("create", "secret", "generic", "people", "--from-literal=users.txt=x")
    shop.proxy(auth={"usersSecretRef": {"name": "people"}})
    shop.await_deployed()

    shop.proxy(auth={"method": "trust"})

    shop.until(lambda: "people" not in json.dumps(shop.get("deployment", "web")["spec"]), "the volume went")
    shop.until(lambda: "people" not in shop.document(), "and the document does not name it")


def slice_of(name: str, service: str, *addresses: str) -> str:
    """An EndpointSlice as the endpoint controller writes it."""
    value = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "postgres", "port": 5432}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }
    return json.dumps(value)


def test_nodes_are_discovered_behind_the_backends_service(shop: Shop) -> None:
    shop.proxy(nodes=[])
    message = shop.await_condition("web", "BackendsFound", "False", "BackendsMissing")
    assert "Service/web-backends has no endpoints" in message
    assert "web" not in shop.names("deployment")

    shop.kubectl("apply", "-f", "-", input=slice_of("pg", "web-backends", "198.18.9.1", "198.18.9.2"))
    shop.await_condition("web", "BackendsFound", "True", "EndpointsFound")
    nodes = tomllib.loads(shop.document())["clusters"][0]["nodes"]
    assert [node["host"] for node in nodes] == ["198.18.9.1", "198.18.9.2"]

    shop.kubectl("apply", "-f", "-", input=slice_of("pg", "web-backends", "198.18.9.1", "198.18.9.3"))
    shop.until(lambda: "198.18.9.3" in shop.document(), "the new node is in the ConfigMap")
    assert "198.18.9.2" not in shop.document()

    shop.kubectl("delete", "endpointslice", "pg")
    shop.await_condition("web", "BackendsFound", "False", "BackendsMissing")
    assert "198.18.9.3" in shop.document(), "the last document stays"


def test_endpoints_object_counts_where_there_is_no_slice(shop: Shop) -> None:
    value = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        # Without a Service of that name no controller mirrors it into a slice.
        "metadata": {"name": "web-backends"},
        "subsets": [{"addresses": [{"ip": "198.18.9.7"}], "ports": [{"port": 5433}]}],
    }
    shop.kubectl("apply", "-f", "-", input=json.dumps(value))

    shop.proxy(nodes=[])

    shop.await_deployed()
    (node,) = tomllib.loads(shop.document())["clusters"][0]["nodes"]
    assert (node["host"], node["port"]) == ("198.18.9.7", 5433)
