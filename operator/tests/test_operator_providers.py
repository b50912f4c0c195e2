"""What the objects of other projects tell: which pods are servers of which cluster, and who is about to be primary."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from helios.config import Provider
from helios.kube.kinds import CLOUDNATIVE_PG_CLUSTER, ZALANDO_CLUSTER
from helios_crds.render import Discovery
from helios_operator.discovery import discover
from helios_operator.providers import (
    Announced,
    Placed,
    Switch,
    announced_by_object,
    announced_by_patroni,
    label_text,
    member_of,
    place_of,
    place_of_object,
)
from helios_operator.records import Endpoint
from helios_operator.world import World

CRUNCHY = "postgres-operator.crunchydata.com"
LABELS: dict[Provider, dict[str, str]] = {
    Provider.CLOUDNATIVE_PG: {
        "cnpg.io/cluster": "pg",
        "cnpg.io/podRole": "instance",
        "cnpg.io/instanceRole": "primary",
    },
    Provider.CRUNCHY: {f"{CRUNCHY}/cluster": "pg", f"{CRUNCHY}/data": "postgres", f"{CRUNCHY}/role": "master"},
    Provider.ZALANDO: {"application": "spilo", "cluster-name": "pg", "spilo-role": "master"},
    Provider.PATRONI: {"application": "patroni", "cluster-name": "pg", "role": "primary"},
}
"""Of a pod, as each project writes them."""


def pod(labels: dict[str, str], **more: Any) -> dict[str, Any]:
    metadata = {"name": "pg-0", "namespace": "shop", "labels": labels, **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"containers": [{"name": "db"}]}, "status": {"podIP": "198.18.0.1"}, **more}


def decided(name: str, labels: dict[str, str], **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "labels": labels, "annotations": annotations}}


@pytest.mark.parametrize("provider", LABELS)
def test_a_pod_belongs_to_the_cluster_that_its_labels_name(provider: Provider) -> None:
    labels = LABELS[provider]

    assert place_of(pod(labels)) == ("shop", provider.value, "pg")
    wanted = dict(each.split("=") for each in label_text(provider, "pg").split(","))
    assert wanted.items() <= labels.items(), "kubectl finds it by what the condition says"
    assert place_of(pod({})) == ("shop", "patroni", ""), "nobody's"


def test_the_port_is_patronis_or_the_containers_or_postgresqls_own() -> None:
    labels = LABELS[Provider.CRUNCHY]
    database = {"name": "database", "ports": [{"name": "postgres", "containerPort": 5433}]}
    named = {"containers": [{"name": "x", "ports": [{"containerPort": 8008}]}, database]}
    told = {"annotations": {"status": json.dumps({"conn_url": "postgres://198.18.0.1:5434/postgres"})}}

    assert member_of(pod(labels)) == Endpoint("198.18.0.1", 5432, "pg-0")
    assert member_of(pod(labels, spec=named)) == Endpoint("198.18.0.1", 5433, "pg-0")
    assert member_of(pod(labels, spec=named, metadata=told)) == Endpoint("198.18.0.1", 5434, "pg-0")
    for broken in ("{", "[]", '{"conn_url": 3}', '{"conn_url": "postgres://h:x/"}', "null"):
        member = member_of(pod(labels, metadata={"annotations": {"status": broken}}))
        assert member is not None
        assert member.port == 5432, broken


def test_a_pod_without_an_address_or_at_its_end_is_no_server() -> None:
    assert member_of(pod({}, status={})) is None
    assert member_of(pod({}, status={"podIP": "198.18.0.1", "phase": "Failed"})) is None


def test_cloudnativepg_says_who_shall_be_primary() -> None:
    def told(**status: str) -> Announced:
        return announced_by_object({"metadata": {"name": "pg", "namespace": "shop"}, "status": status})

    assert told(currentPrimary="pg-1", targetPrimary="pg-1") == Announced(None)
    assert told(targetPrimary="pg-1") == told() == Announced(None), "the first one is no other"
    assert told(currentPrimary="pg-1", targetPrimary="pg-2") == Announced(Switch("pg-1", "pg-2"))
    assert told(currentPrimary="pg-1", targetPrimary="pending") == Announced(Switch("pg-1", None))
    assert place_of_object(CLOUDNATIVE_PG_CLUSTER, pod({})) == ("shop", "cloudnativepg", "pg-0")


@pytest.mark.parametrize("provider", [Provider.CRUNCHY, Provider.ZALANDO, Provider.PATRONI])
def test_patroni_keeps_what_it_was_asked_for_beside_its_leader(provider: Provider) -> None:
    labels = LABELS[provider]
    name = "pg-ha-failover" if provider is Provider.CRUNCHY else "pg-failover"

    assert announced_by_patroni(decided(name, labels)) == Announced(None)
    assert announced_by_patroni(decided(name, labels, leader="pg-0")) == Announced(Switch("pg-0", None))
    assert announced_by_patroni(decided(name, labels, leader="pg-0", member="pg-1")) == Announced(
        Switch("pg-0", "pg-1")
    )
    scheduled = announced_by_patroni(decided(name, labels, leader="pg-0", scheduled_at="2030-01-02T03:04:05+01:00"))
    assert scheduled == Announced(Switch("pg-0", None, datetime(2030, 1, 2, 2, 4, 5, tzinfo=UTC)))
    for other in ("pg", "pg-config", "other-failover"):
        assert announced_by_patroni(decided(other, labels, leader="pg-0")) is None, other


async def test_what_is_missing_is_told() -> None:
    world = World()
    place: Placed = ("shop", "zalando", "pg")
    wanted = [Discovery("main", "pg", Provider.ZALANDO)]

    async def why() -> str:
        found = await discover(None, world, "shop", wanted)  # type: ignore[arg-type] # no Service is asked for
        return found.missing["main"]

    assert "serves no postgresql of acid.zalan.do/v1 yet" in await why()
    world.started_serving(ZALANDO_CLUSTER)
    assert await why() == "Zalando's postgresql/pg does not exist in this namespace"
    world.seen_announced[(ZALANDO_CLUSTER, "")] = {place: {"pg": Announced(None)}}
    assert await why() == "no pod with application=spilo,cluster-name=pg has an address"
    world.seen_members["spilo"] = {place: {"pg-0": Endpoint("198.18.0.1", 5432, "pg-0")}}
    found = await discover(None, world, "shop", wanted)  # type: ignore[arg-type] # as above
    assert [(node.name, node.host) for node in found.nodes["main"]] == [("pg-0", "198.18.0.1")]
    world.stopped_serving(ZALANDO_CLUSTER)
    assert world.members(place), "the pods are there all the same"
