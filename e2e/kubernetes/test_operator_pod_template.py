"""podTemplate: merged as the API server itself merges, refused by path, in force on the Deployment."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import Cluster
from harness.operator import OperatorProcess
from harness.resources import Shop
from helios.kube import Access, ApiError, Client
from helios.kube.kinds import DEPLOYMENT
from helios.kube.kubeconfig import find_access
from helios_operator.strategic_merge import MERGE_KEYS, MergeError, merged

Json = dict[str, Any]
PATIENCE = 60.0
"""Seconds for what takes one on an idle machine, and 10 are promised for."""
PROBE = {"httpGet": {"path": "/livez", "port": "admin"}, "periodSeconds": 5}
BASE: Json = {
    "metadata": {
        "labels": {"app": "web"},
        "annotations": {"restart": "1", "kept": "x"},
        "finalizers": ["a.b/c", "a.b/d"],
    },
    "spec": {
        "terminationGracePeriodSeconds": 20,
        "securityContext": {"runAsUser": 1, "fsGroup": 2, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {"disk": "fast", "zone": "a"},
        "tolerations": [{"key": "one", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "first"}, {"name": "second"}],
        "hostAliases": [{"ip": "198.18.0.1", "hostnames": ["a", "b"]}],
        "topologySpreadConstraints": [
            {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"},
            {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"},
        ],
        "initContainers": [{"name": "first", "image": "i:1"}],
        "containers": [
            {
                "name": "proxy",
                "image": "p:1",
                "args": ["serve", "-c"],
                "ports": [{"containerPort": 6432, "name": "postgres"}, {"containerPort": 9090, "name": "admin"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
                "livenessProbe": PROBE,
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/c"}, {"name": "tmp", "mountPath": "/tmp"}],
            },
            {"name": "other", "image": "o:1"},
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "web"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "all", "projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "b"}}]}},
        ],
    },
}


def proxy(**fields: Any) -> Json:
    return {"spec": {"containers": [{"name": "proxy", **fields}]}}


CASES: dict[str, Json] = {
    "nothing": {},
    "a scalar": {"spec": {"terminationGracePeriodSeconds": 60}},
    "a new scalar": {"spec": {"priorityClassName": "high", "hostNetwork": False}},
    "labels and annotations": {"metadata": {"labels": {"team": "shop"}, "annotations": {"kept": None, "new": "y"}}},
    "an object": {"spec": {"securityContext": {"runAsUser": 7, "supplementalGroups": [4]}}},
    "an object replaced": {"spec": {"securityContext": {"$patch": "replace", "runAsUser": 7}}},
    "an object emptied": {"spec": {"nodeSelector": {"$patch": "delete"}}},
    "an object removed": {"spec": {"securityContext": None}},
    "a key of a map removed": {"spec": {"nodeSelector": {"zone": None, "rack": "4"}}},
    "a null for what is not there": {"spec": {"affinity": None, "dnsConfig": {"searches": ["x"], "options": None}}},
    "an atomic list": {"spec": {"tolerations": [{"key": "two", "operator": "Exists"}]}},
    "an atomic list emptied": {"spec": {"tolerations": []}},
    "a list of plain values that is atomic": proxy(args=["other"]),
    "a container more": {"spec": {"containers": [{"name": "new", "image": "n:1"}]}},
    "containers in another order": {"spec": {"containers": [{"name": "other"}, {"name": "proxy"}]}},
    "a container between": {"spec": {"containers": [{"name": "proxy"}, {"name": "new", "image": "n:1"}]}},
    "a container removed": {"spec": {"containers": [{"name": "other", "$patch": "delete"}]}},
    "containers replaced": {"spec": {"containers": [{"$patch": "replace"}, {"name": "new", "image": "n:1"}]}},
    "an init container more": {
        "spec": {"initContainers": [{"name": "two", "image": "i:2", "restartPolicy": "Always"}]}
    },
    "variables merged": proxy(env=[{"name": "C", "value": "9"}, {"name": "X", "value": "0"}, {"name": "A"}]),
    "a variable removed": proxy(env=[{"name": "B", "$patch": "delete"}, {"name": "D", "value": "4"}]),
    "a variable from elsewhere": proxy(
        env=[{"name": "A", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    ),
    "a port more": proxy(ports=[{"containerPort": 8080, "name": "web"}]),
    "a port renamed": proxy(ports=[{"containerPort": 9090, "name": "renamed"}]),
    "a mount by its path": proxy(
        volumeMounts=[{"mountPath": "/tmp", "name": "all"}, {"mountPath": "/x", "name": "tmp"}]
    ),
    "a probe of another kind": proxy(livenessProbe={"httpGet": None, "exec": {"command": ["true"]}}),
    "a probe removed": proxy(livenessProbe=None),
    "resources": proxy(resources={"limits": {"memory": "2Gi"}, "requests": {"cpu": None}}),
    "a volume more": {"spec": {"volumes": [{"name": "new", "emptyDir": {}}]}},
    "a volume of another kind": {"spec": {"volumes": [{"name": "tmp", "emptyDir": None, "configMap": {"name": "y"}}]}},
    "a volume that keeps its name only": {
        "spec": {"volumes": [{"name": "tmp", "$retainKeys": ["name", "configMap"], "configMap": {"name": "y"}}]}
    },
    "sources of a volume": {
        "spec": {"volumes": [{"name": "all", "projected": {"sources": [{"secret": {"name": "z"}}]}}]}
    },
    "pull secrets": {"spec": {"imagePullSecrets": [{"name": "third"}, {"name": "first"}]}},
    "host aliases by address": {
        "spec": {"hostAliases": [{"ip": "198.18.0.1", "hostnames": ["c"]}, {"ip": "198.18.0.2"}]}
    },
    "spread by its key": {
        "spec": {"topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 3}]}
    },
    "plain values merged": {"metadata": {"finalizers": ["a.b/e", "a.b/d"]}},
    "plain values removed": {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}},
    "directives in what is new": proxy(lifecycle={"preStop": {"$patch": "delete"}, "postStart": None}),
}
BAD: dict[str, Json] = {
    "an item without its key": {"spec": {"containers": [{"image": "x:1"}]}},
    "an unknown directive": {"spec": {"containers": [{"name": "proxy", "$patch": "drop"}]}},
    "an unknown directive of an object": {"spec": {"securityContext": {"$patch": "drop"}}},
    "a field that $retainKeys lacks": {"spec": {"volumes": [{"name": "tmp", "$retainKeys": ["name"], "emptyDir": {}}]}},
    "an item that is no object": {"spec": {"containers": ["proxy"]}},
}


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


@pytest.mark.smoke
def test_a_template_is_merged_as_the_api_server_merges_it(shop: Shop) -> None:
    asyncio.run(compare(find_access(shop.cluster.kubeconfig), shop.namespace))


async def compare(access: Access, namespace: str) -> None:
    base: Json = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "base", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": BASE},
    }
    path = DEPLOYMENT.path(namespace, "base")
    tried = {"dryRun": "All"}
    async with Client(access) as client:
        await client.create(DEPLOYMENT, base, "test")

        async def theirs(case: Json) -> Json:
            patch = {"spec": {"template": case}}
            answer = await client.request("PATCH", path, tried, patch, "application/strategic-merge-patch+json")
            template: Json = answer["spec"]["template"]
            return template

        async def ours(case: Json) -> Json:
            # The API server's own words for the result: quantities, defaults, empty values.
            value = {**base, "spec": {**base["spec"], "template": merged(BASE, case)}}
            template: Json = (await client.request("PUT", path, tried, value))["spec"]["template"]
            return template

        different = {name for name, case in CASES.items() if await theirs(case) != await ours(case)}
        unlike = {name for name, case in CASES.items() if name != "nothing" and await ours(case) == await ours({})}
        for name, case in BAD.items():
            with pytest.raises(ApiError):
                print(name, await theirs(case))
            with pytest.raises(MergeError):
                print(name, merged(BASE, case))

    assert len(CASES) >= 30
    assert different == set()
    assert unlike == set(), "each case says something"


def test_the_keys_are_those_that_the_api_server_publishes(installed: Cluster) -> None:
    schemas: Json = {}
    for group in ("api/v1", "apis/apps/v1"):
        document = json.loads(installed.kubectl("get", "--raw", f"/openapi/v3/{group}"))
        schemas |= document["components"]["schemas"]

    published = dict(published_keys(schemas, schemas["io.k8s.api.core.v1.PodTemplateSpec"], ()))

    assert published == dict(MERGE_KEYS)


def published_keys(schemas: Json, schema: Json, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every list below `schema` that is merged, with the key of its items."""
    schema = resolved(schemas, schema)
    for name, child in (schema.get("properties") or {}).items():
        here = (*place, name)
        if "merge" in child.get("x-kubernetes-patch-strategy", "").split(","):
            yield here, child.get("x-kubernetes-patch-merge-key", "")
        below = child.get("items") or child
        if len(here) < 12:
            yield from published_keys(schemas, below, here)


def resolved(schemas: Json, schema: Json) -> Json:
    """A schema without references."""
    while True:
        references = (
            [schema["$ref"]]
            if "$ref" in schema
            else [each["$ref"] for each in schema.get("allOf") or () if "$ref" in each]
        )
        if not references:
            return schema
        schema = schemas[references[0].rpartition("/")[2]]


def wanted(**fields: Any) -> Json:
    return {"spec": {"priorityClassName": "system-node-critical", "containers": [{"name": "proxy", **fields}]}}


@pytest.mark.smoke
def test_a_typo_is_told_by_its_path_and_touches_nothing(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy(podTemplate=wanted(env=[{"name": "TZ", "value": "UTC"}]))
    before = shop.await_deployed(deadline=PATIENCE)["spec"]["template"]
    document = shop.document()
    looks, started = operator.metric("looks_total"), time.monotonic()

    shop.proxy(podTemplate=wanted(enw=[{"name": "TZ", "value": "UTC"}]), pool={"maxConnections": 7}, replicas=3)
    message = shop.await_condition("web", "ConfigValid", "False", "UnknownField", PATIENCE)
    print(f"a typo in podTemplate was told after {time.monotonic() - started:.1f} s, load {os.getloadavg()[0]:.1f}")

    assert before["spec"]["priorityClassName"] == "system-node-critical"
    assert before["spec"]["containers"][0]["env"] == [{"name": "TZ", "value": "UTC"}]
    assert "spec.podTemplate.spec.containers[0].enw: no such field" in message
    assert shop.conditions()["Stalled"][:2] == ("True", "UnknownField")
    kept = shop.get("deployment", "web")["spec"]
    assert (kept["template"], kept["replicas"]) == (before, 2)
    assert shop.document() == document
    shop.proxy(podTemplate=wanted(terminationMessagePolicy="Sometimes"))
    message = shop.await_condition("web", "ConfigValid", "False", "Invalid", PATIENCE)
    assert 'terminationMessagePolicy: Unsupported value: "Sometimes"' in message
    shop.proxy(podTemplate=wanted(image="other:1"))
    shop.until(lambda: "[0].image: must stay" in shop.conditions()["ConfigValid"][2], "what is ours is told", PATIENCE)
    rate = (operator.metric("looks_total") - looks) / (time.monotonic() - started)
    assert rate < 20, f"{rate} looks a second are a loop"

    shop.proxy(podTemplate=wanted(env=None), pool={"maxConnections": 7}, replicas=3)

    shop.await_condition("web", "ConfigValid", "True", deadline=PATIENCE)
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 3, "everything is in force", PATIENCE)
    assert "env" not in shop.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    assert "max_size = 7" in shop.document()


def test_a_template_in_other_words_is_applied_once(shop: Shop, operator: OperatorProcess) -> None:
    """The API server writes 1000m as 1 and leaves out what is empty; that is no drift."""
    shop.proxy(podTemplate=wanted(resources={"requests": {"ephemeral-storage": "1024Mi"}}, envFrom=[]))
    shop.await_deployed(deadline=PATIENCE)
    seen = "deployment.kubernetes.io/revision"
    shop.until(
        lambda: seen in shop.get("deployment", "web")["metadata"]["annotations"], "its controller saw it", PATIENCE
    )
    operator.wait_idle()
    written, looks = operator.metric("writes_total"), operator.metric("looks_total")

    for number in range(4):
        before = operator.metric("looks_total")
        shop.kubectl("annotate", "--overwrite", "heliosproxy", "web", f"note={number}")
        shop.until(lambda before=before: operator.metric("looks_total") > before, "it was looked at", PATIENCE)  # type: ignore[misc]

    assert operator.metric("looks_total") - looks >= 4
    assert operator.metric("writes_total") - written <= 2, "at most what the controller's annotation still made of it"
    shop.kubectl("set", "image", "deployment/web", "proxy=evil:1")
    shop.until(lambda: "evil" not in json.dumps(shop.get("deployment", "web")["spec"]), "drift is repaired", PATIENCE)


def test_a_first_template_that_is_refused_makes_no_pods(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy(podTemplate={"spec": {"containers": [{"image": "x"}]}})

    message = shop.await_condition("web", "ConfigValid", "False", "Invalid", PATIENCE)

    assert "spec.podTemplate.spec.containers[0]: has no name" in message
    assert "web" not in shop.names("deployment")
    shop.proxy(podTemplate={"spec": {"hostNetwork": "yes"}})
    said = "hostNetwork: is of type string; write true or false"
    shop.until(lambda: said in shop.conditions()["Stalled"][2], "the type is told", PATIENCE)
    assert operator.exit_status is None
