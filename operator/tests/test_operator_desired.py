"""The objects that run a proxy: what the API server gets to see."""

from __future__ import annotations

from typing import Any

from operator_objects import KEY, OWNER, document_of, proxy

from helios_crds.workload import workload
from helios_operator.desired import (
    admin_secret,
    autoscaler,
    config_map,
    deployment,
    disruption_budget,
    network_policy,
    services,
)


def made(**spec: Any) -> dict[str, Any]:
    return deployment(OWNER, workload(proxy(**spec)), document_of(**spec), "helios-proxy:1")


def test_every_child_belongs_to_its_proxy() -> None:
    document, work = document_of(), workload(proxy())
    children = [
        config_map(OWNER, document),
        deployment(OWNER, work, document, "i"),
        admin_secret(OWNER, {"token": b"t"}, {}),
        *services(OWNER, work),
    ]

    for child in children:
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
            "HeliosProxy",
            "web",
            OWNER.uid,
            True,
        )
        assert child["metadata"]["namespace"] == KEY.namespace
        assert child["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "helios-operator"


def test_services_lead_to_clients_admin_and_peers() -> None:
    clients, admin, peers = services(OWNER, workload(proxy(listenPort=5432)))

    assert (clients["metadata"]["name"], clients["spec"]["ports"][0]["port"]) == ("web", 5432)
    assert (admin["metadata"]["name"], admin["spec"]["ports"][0]["port"]) == ("web-admin", 9090)
    assert peers["metadata"]["name"] == "web-peers"
    assert (peers["spec"]["clusterIP"], peers["spec"]["publishNotReadyAddresses"]) == ("None", True)


def test_those_who_only_read_have_a_service_of_their_own() -> None:
    spec = {"readListenPort": 7432, "service": {"type": "NodePort", "annotations": {"a": "b"}}}
    clients, readers, *_ = services(OWNER, workload(proxy(**spec)))

    assert readers["metadata"]["name"] == "web-ro"
    assert (readers["spec"]["type"], readers["metadata"]["annotations"]) == ("NodePort", {"a": "b"})
    (port,) = readers["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (clients["spec"]["ports"][0]["port"], "postgres-ro")
    container = made(**spec)["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "postgres-ro", "containerPort": 7432, "protocol": "TCP"} in container["ports"]
    policy = network_policy(OWNER, workload(proxy(networkPolicy={"enabled": True}, **spec)), document_of(**spec), "o")
    assert policy is not None
    assert [each["port"] for each in policy["spec"]["ingress"][0]["ports"]] == [6432, 7432]


def test_one_pod_more_comes_before_one_goes() -> None:
    spec = made(replicas=3)["spec"]

    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_pods_are_spread_as_far_as_there_is_room() -> None:
    spread = made()["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}, "none waits for room"
    assert {str(each["labelSelector"]["matchLabels"]) for each in spread} == {
        str(made()["spec"]["selector"]["matchLabels"])
    }


def test_pod_has_time_to_drain_and_no_identity() -> None:
    pod = made(drain={"endpointDelaySeconds": 7, "timeoutSeconds": 30})["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] == 42
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_configuration_and_secrets_are_mounted_as_folders() -> None:
    spec = {
        "auth": {"usersSecretRef": {"name": "people"}},
        "databases": [{"name": "app", "user": "app", "passwordSecretRef": {"name": "people", "key": "app"}}],
    }
    pod = made(**spec)["spec"]["template"]["spec"]

    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts["/etc/heliosproxy"] == "config"
    assert volumes["config"]["configMap"]["name"] == "web-config"
    assert volumes[mounts["/etc/heliosproxy/admin"]]["secret"]["secretName"] == "web-admin"
    people = volumes[mounts["/etc/heliosproxy/secrets/people"]]["secret"]
    assert [item["key"] for item in people["items"]] == ["app", "users.txt"]
    assert all("subPath" not in mount for mount in pod["containers"][0]["volumeMounts"])


def test_no_secret_enters_the_config_map() -> None:
    text = config_map(OWNER, document_of(auth={"usersSecretRef": {"name": "people"}}))["data"]["helios.toml"]

    assert "/etc/heliosproxy/secrets/people/users.txt" in text
    assert "token_file" in text
    assert "\ntoken =" not in text


def test_image_of_the_resource_goes_before_that_of_the_release() -> None:
    def image(**spec: Any) -> str:
        return str(made(**spec)["spec"]["template"]["spec"]["containers"][0]["image"])

    assert image() == "helios-proxy:1"
    assert image(image="mine:2") == "mine:2"


def test_change_that_pods_take_over_leaves_the_template_alone() -> None:
    assert made(pool={"maxConnections": 7})["spec"]["template"] == made()["spec"]["template"]
    assert made(workers=2)["spec"]["template"] != made()["spec"]["template"]


def test_budget_only_where_a_pod_may_go_and_another_stays() -> None:
    def budget(**spec: Any) -> int | None:
        found = disruption_budget(OWNER, workload(proxy(**spec)))
        return found["spec"]["maxUnavailable"] if found else None

    assert budget() == 1
    assert budget(replicas=5, podDisruptionBudget={"maxUnavailable": 2}) == 2
    assert budget(replicas=1) is None
    assert budget(replicas=1, autoscaling={"maxReplicas": 3}) == 1, "replicas is not looked at then"
    assert budget(autoscaling={"minReplicas": 1, "maxReplicas": 3}) is None
    assert budget(podDisruptionBudget={"enabled": False}) is None


def test_number_of_pods_is_not_ours_once_an_autoscaler_has_it() -> None:
    spec = {"replicas": 5, "autoscaling": {"minReplicas": 3, "maxReplicas": 9}}
    work, document = workload(proxy(**spec)), document_of(**spec)

    assert deployment(OWNER, work, document, "i")["spec"]["replicas"] == 3, "a new Deployment begins with the least"
    assert "replicas" not in deployment(OWNER, work, document, "i", is_handed_over=True)["spec"]
    made = autoscaler(OWNER, work)
    assert made is not None
    assert (made["spec"]["minReplicas"], made["spec"]["maxReplicas"]) == (3, 9)
    assert autoscaler(OWNER, workload(proxy())) is None
