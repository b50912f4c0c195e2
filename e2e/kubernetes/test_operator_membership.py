"""Nodes of clusters that other operators look after: objects and pods, written here as those operators write them.

The kinds are CloudNativePG's and Zalando's own, and Crunchy's in short. No kubelet runs at this level: a pod has the
address that its test writes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import Cluster
from harness.foreign import CLUSTERS, install_kinds, remove_kinds
from harness.resources import Shop

PATIENCE = 60
CRUNCHY = "postgres-operator.crunchydata.com"
OBJECTS: dict[str, dict[str, Any]] = {
    "cloudnativepg": {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "spec": {"instances": 2, "storage": {"size": "1Gi"}},
    },
    "zalando": {
        "apiVersion": "acid.zalan.do/v1",
        "kind": "postgresql",
        "spec": {
            "teamId": "pg",
            "numberOfInstances": 2,
            "volume": {"size": "1Gi"},
            "postgresql": {"version": "17"},
        },
    },
    "crunchy": {
        "apiVersion": f"{CRUNCHY}/v1beta1",
        "kind": "PostgresCluster",
        "spec": {"postgresVersion": 17, "port": 5433, "instances": [{"name": "one", "replicas": 2}]},
    },
}
"""Provider → the object that its users write."""
MISSING = {
    "cloudnativepg": ("no Cluster of postgresql.cnpg.io/v1", "CloudNativePG's Cluster/pg does not exist"),
    "zalando": ("no postgresql of acid.zalan.do/v1", "Zalando's postgresql/pg does not exist"),
    "crunchy": (f"no PostgresCluster of {CRUNCHY}/v1beta1", "Crunchy's PostgresCluster/pg does not exist"),
}
"""What is told before the kind is there, and before the object is."""
LABELS = {
    "cloudnativepg": {"cnpg.io/cluster": "pg", "cnpg.io/podRole": "instance"},
    "zalando": {"application": "spilo", "cluster-name": "pg"},
    "crunchy": {f"{CRUNCHY}/cluster": "pg", f"{CRUNCHY}/data": "postgres"},
    "patroni": {"application": "patroni", "cluster-name": "pg"},
}
PORTS = {"cloudnativepg": 5432, "zalando": 5432, "crunchy": 5433, "patroni": 5434}


def server(shop: Shop, provider: str, name: str, address: str) -> None:
    """A pod as the operator of its cluster makes it and the kubelet runs it."""
    metadata: dict[str, Any] = {"name": name, "labels": LABELS[provider]}
    container: dict[str, Any] = {"name": "database", "image": "postgres"}
    if provider == "crunchy":
        container["ports"] = [{"name": "postgres", "containerPort": PORTS[provider]}]
    if provider == "patroni":
        told = {"conn_url": f"postgres://{address}:{PORTS[provider]}/postgres", "state": "running", "role": "replica"}
        metadata["annotations"] = {"status": json.dumps(told)}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    shop.kubectl("apply", "-f", "-", input=json.dumps(pod))
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    shop.kubectl("patch", "pod", name, "--subresource=status", "-p", json.dumps(status))


def proxy(shop: Shop, provider: str) -> None:
    cluster = {"name": "main", "provider": provider, "discovery": {"clusterName": "pg"}}
    shop.proxy(nodes=[], clusters=[cluster])


def nodes(shop: Shop) -> dict[str, tuple[str, int]]:
    """Name → address of the nodes that the proxies are told."""
    document = shop.document()
    listed = tomllib.loads(document)["clusters"][0]["nodes"] if document else []
    return {node["name"]: (node["host"], node.get("port", 5432)) for node in listed}


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Iterator[Shop]:
    """A cluster that knows none of those projects, before and after."""
    remove_kinds(installed, CLUSTERS)
    yield Shop(installed, namespace)
    remove_kinds(installed, CLUSTERS)


@pytest.mark.usefixtures("discovering_operator")
@pytest.mark.parametrize("provider", OBJECTS)
def test_a_cluster_of_another_operator_is_found_and_followed(shop: Shop, provider: str) -> None:
    proxy(shop, provider)
    no_kind, no_object = MISSING[provider]
    assert no_kind in shop.await_condition("web", "BackendsFound", "False", "BackendsMissing", PATIENCE)

    install_kinds(shop.cluster, CLUSTERS)
    shop.until(lambda: no_object in shop.conditions()["BackendsFound"][2], "the object is missed", PATIENCE)
    value = {**OBJECTS[provider], "metadata": {"name": "pg"}}
    shop.kubectl("apply", "-f", "-", input=json.dumps(value))
    shop.until(lambda: "no pod with" in shop.conditions()["BackendsFound"][2], "the pods are missed", PATIENCE)
    assert "web" not in shop.names("deployment")

    port = PORTS[provider]
    both = {"pg-1": ("198.18.9.1", port), "pg-2": ("198.18.9.2", port)}
    for name, (address, _) in both.items():
        server(shop, provider, name, address)
    shop.await_condition("web", "BackendsFound", "True", "EndpointsFound", PATIENCE)
    shop.until(lambda: nodes(shop) == both, "both are nodes", PATIENCE)
    deployment = shop.await_deployed(deadline=PATIENCE)

    server(shop, provider, "pg-3", "198.18.9.3")
    shop.until(lambda: nodes(shop).get("pg-3") == ("198.18.9.3", port), "the third is one, too", PATIENCE)
    for gone in ("pg-1", "pg-3"):
        shop.kubectl("delete", "pod", gone, "--grace-period=0", "--force")
    shop.until(lambda: nodes(shop) == {"pg-2": both["pg-2"]}, "they are none any more", PATIENCE)
    after = shop.get("deployment", "web")
    template = deployment["spec"]["template"]
    assert after["spec"]["template"] == template, "nodes come and go without a restart of any pod"

    shop.kubectl("delete", "pod", "pg-2", "--grace-period=0", "--force")
    shop.await_condition("web", "BackendsFound", "False", "BackendsMissing", PATIENCE)
    assert list(nodes(shop)) == ["pg-2"], "the last configuration stays"


@pytest.mark.usefixtures("discovering_operator")
def test_patroni_without_an_operator_is_known_by_its_labels(shop: Shop) -> None:
    proxy(shop, "patroni")
    told = shop.await_condition("web", "BackendsFound", "False", "BackendsMissing", PATIENCE)
    assert "no pod with application=patroni,cluster-name=pg" in told

    server(shop, "patroni", "pg-1", "198.18.9.1")
    server(shop, "zalando", "other", "198.18.9.9")

    shop.until(lambda: nodes(shop) == {"pg-1": ("198.18.9.1", 5434)}, "its pod is the node", PATIENCE)


def test_a_name_needs_somebody_who_gave_it(installed: Cluster, namespace: str) -> None:
    shop = Shop(installed, namespace)
    for cluster, why in (
        ({"name": "main", "discovery": {"clusterName": "pg"}}, "needs a provider"),
        ({"name": "main", "provider": "rds", "discovery": {"clusterName": "pg"}}, "needs a provider"),
        ({"name": "main", "discovery": {}}, "either serviceName or clusterName"),
    ):
        with pytest.raises(Exception, match=why):
            shop.proxy(nodes=[], clusters=[cluster])
