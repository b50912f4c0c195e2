"""The Helm charts by the real helm: lint, what they render, and their life on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, Level, open_cluster
from harness.helm import CHARTS, Helm, HelmError
from harness.operator import INSTALL, NAMESPACE, ROOT, OperatorProcess, established, kubeconfig_of_operator
from harness.resources import GROUP, Shop
from harness.wait import until
from helios_operator.alerts import operator_groups

OPERATOR, PROXY = str(CHARTS / "helios-operator"), str(CHARTS / "helios-proxy")
CRDS = sorted((ROOT / "crds").glob("*.yaml"))
SOME_KUBERNETES = ("--kube-version=1.34.0",)
"""What is rendered without a cluster is rendered for this one."""
VALUES = {
    "replicas": 2,
    "nodes": [{"host": "db-0", "role": "primary"}, {"host": "db-1"}],
    "auth": {"method": "trust"},
    "poolProfileRef": {"name": "fast"},
    "poolProfiles": {"fast": {"maxPoolSize": 33}},
}
ALL_ON = {
    "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
    "proxyImage": "registry.example/helios-proxy:1",
    "extraArgs": ["--poll-interval=10"],
    "serviceAccount": {"annotations": {"a": "b"}},
    "webhook": {"certificate": "certManager", "issuerRef": {"name": "authority"}},
    "podMonitor": {"enabled": True, "labels": {"team": "data"}},
    "prometheusRule": {"enabled": True, "labels": {"team": "data"}},
    "podAnnotations": {"c": "d"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "e", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}


@pytest.fixture
def offline(tmp_path: Path) -> Helm:
    return Helm(None, NAMESPACE, tmp_path)


@pytest.fixture
def fresh() -> Iterator[Cluster]:
    """A cluster without our CRDs: those of the others were not made by helm."""
    with open_cluster(Level.APISERVER) as opened:
        yield opened


def written(folder: Path, values: dict[str, Any]) -> str:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    return str(file)


def test_charts_are_clean_and_refuse_values_that_are_wrong(offline: Helm, tmp_path: Path) -> None:
    offline("lint", "--strict", OPERATOR)
    offline("lint", "--strict", OPERATOR, "--values", written(tmp_path, ALL_ON))
    offline("lint", "--strict", PROXY, "--values", written(tmp_path, VALUES))

    for chart, wrong, named in (
        (OPERATOR, {"replicaCount": 0}, "replicaCount"),
        (OPERATOR, {"replicas": 2}, "replicas"),
        (OPERATOR, {"webhook": {"failurePolicy": "Perhaps"}}, "failurePolicy"),
        (OPERATOR, {"webhook": {"certificate": "certManager"}}, "name of an issuer"),
        (OPERATOR, {"image": {"digest": "sha256:1"}}, "digest"),
        (PROXY, {"replica": 2}, "replica"),
        (PROXY, {"listenPort": 70_000}, "listenPort"),
        (PROXY, {"poolProfiles": {"fast": {"maxPoolSise": 3}}}, "maxPoolSise"),
    ):
        with pytest.raises(HelmError, match=named):
            offline("template", "x", chart, *SOME_KUBERNETES, "--values", written(tmp_path, wrong))


def test_operator_chart_is_what_install_yaml_is(offline: Helm, tmp_path: Path) -> None:
    """Two replicas and their budget, roles for people, and a hook are all that the chart has beside it."""
    rendered = by_place(offline("template", "any", OPERATOR, *SOME_KUBERNETES))
    plain = by_place(INSTALL.read_text())
    plain.pop(("Namespace", NAMESPACE))

    assert rendered.keys() - plain.keys() == {
        ("PodDisruptionBudget", "helios-operator"),
        ("ClusterRole", "helios-operator-view"),
        ("ClusterRole", "helios-operator-edit"),
        ("Job", "helios-operator-rollback"),
    }
    assert plain.keys() <= rendered.keys()
    for place, wanted in plain.items():
        assert essence(rendered[place]) == essence(wanted), place
    everything = by_place(offline("template", "any", OPERATOR, *SOME_KUBERNETES, "--values", written(tmp_path, ALL_ON)))
    container = everything["Deployment", "helios-operator"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"helios-operator@sha256:{'0' * 64}"
    certificate = everything["Certificate", "helios-operator-webhook"]["spec"]
    assert certificate["secretName"] == everything["Service", certificate["secretName"]]["metadata"]["name"]
    assert certificate["dnsNames"] == [f"helios-operator-webhook.{NAMESPACE}.svc"]
    assert everything["PrometheusRule", "helios-operator"]["spec"]["groups"] == operator_groups()
    hook = everything["Job", "helios-operator-rollback"]
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-rollback"
    pod = hook["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == container["image"]
    selector = everything["Service", certificate["secretName"]]["spec"]["selector"]
    assert not selector.items() <= pod["metadata"]["labels"].items(), "it is no operator"
    assert "--webhook-certificate=given" in container["args"]
    assert container["args"][-2:] == ["--image=registry.example/helios-proxy:1", "--poll-interval=10"]


def by_place(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) → object."""
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text) if each}


def essence(value: dict[str, Any]) -> dict[str, Any]:
    """Without labels and what the chart makes a value of."""
    made: dict[str, Any] = json.loads(json.dumps({key: item for key, item in value.items() if key != "metadata"}))
    if value["kind"] == "Deployment":
        made["spec"].pop("replicas")
        made["spec"]["template"].pop("metadata")
        (container,) = made["spec"]["template"]["spec"]["containers"]
        container.pop("imagePullPolicy", None)
        optional = ("--image=", "--log-level=")
        container["args"] = [each for each in container["args"] if not each.startswith(optional)]
    return made


def test_releases_are_installed_upgraded_rolled_back_and_removed(fresh: Cluster, tmp_path: Path) -> None:
    operators = Helm(fresh, NAMESPACE, tmp_path)
    # The operator of this test runs outside of the cluster, where no Service leads to it.
    # Nor does a Job run there; what it would is in test_helm_rollback.py.
    without = "webhook.enabled=false,crds.checkRollback=false"
    notes = operators("install", "first", OPERATOR, "--create-namespace", "--set", without)
    assert "stay when this release is uninstalled" in notes
    fresh.kubectl("create", "namespace", "shop")
    shop, releases = Shop(fresh, "shop"), Helm(fresh, "shop", tmp_path)

    with OperatorProcess(kubeconfig_of_operator(fresh, tmp_path / "account"), tmp_path).wait_leading() as operator:
        releases("install", "web", PROXY, "--values", written(tmp_path, VALUES))
        until(lambda: shop.find("deployment", "web"), "the proxy of the release is deployed", 30)
        until(lambda: "max_size = 33" in shop.document(), "with the profile of the release", 30)
        for command, pods in (
            (("upgrade", "web", PROXY, "--reuse-values", "--set", "replicas=3"), 3),
            (("rollback", "web", "1"), 2),
        ):
            releases(*command)
            until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == pods, f"{pods} pods", 30)  # noqa: B023
        releases("uninstall", "web")
        until(lambda: shop.find("heliosproxy", "web") is None, "the proxy went with its release", 30)
        print(operator.log)

    operators("upgrade", "first", OPERATOR, "--set", "replicaCount=3", "--set", without)
    assert deployed(fresh) == 3
    operators("rollback", "first", "1")
    assert deployed(fresh) == 2
    shop.proxy("kept")
    operators("uninstall", "first")
    assert fresh.kubectl("-n", NAMESPACE, "get", "deployment", "--ignore-not-found") == ""
    assert shop.find("heliosproxy", "kept") is not None, "CRDs and what is stored stay"

    with pytest.raises(HelmError, match="cannot be imported"):
        operators("install", "second", OPERATOR)
    notes = operators("install", "second", OPERATOR, "--set", "crds.enabled=false")
    assert "crds.enabled=false" in notes
    operators("uninstall", "second")
    operators("install", "third", OPERATOR, "--take-ownership", "--set", "crds.keep=false")
    operators("uninstall", "third")
    until(
        lambda: "heliosproxies" not in fresh.kubectl("get", "crd", "-o", "name"), "the CRDs went as they were told", 30
    )


def test_definitions_that_were_applied_before_are_left_alone_or_taken_over(fresh: Cluster, tmp_path: Path) -> None:
    """As NOTES say, for whoever has applied them by kubectl, which GitOps tools do before anything else."""
    for file in CRDS:
        fresh.kubectl("apply", "--server-side", "-f", str(file))
    until(lambda: len(CRDS) == len(names_of_crds(fresh) & established(fresh)), "the definitions are served", 30)
    fresh.kubectl("create", "namespace", "shop")
    shop = Shop(fresh, "shop")
    shop.proxy("kept")
    helm = Helm(fresh, NAMESPACE, tmp_path)
    quiet = ("--set", "webhook.enabled=false,crds.checkRollback=false")

    with pytest.raises(HelmError, match="cannot be imported"):
        helm("install", "any", OPERATOR, "--create-namespace", *quiet)
    notes = helm("install", "any", OPERATOR, "--create-namespace", *quiet, "--set", "crds.enabled=false")
    assert "crds.enabled=false" in notes
    assert owners_of_crds(fresh) == {None}
    helm("uninstall", "any")
    assert owners_of_crds(fresh) == {None}

    notes = helm("install", "any", OPERATOR, "--take-ownership", *quiet)
    assert "--take-ownership" in notes
    assert owners_of_crds(fresh) == {"any"}
    helm("upgrade", "any", OPERATOR, "--set", "replicaCount=3", *quiet)
    assert deployed(fresh) == 3
    # Who applies them again is in nobody's way.
    for file in CRDS:
        fresh.kubectl("apply", "--server-side", "-f", str(file))
    helm("uninstall", "any")
    assert len(names_of_crds(fresh)) == len(CRDS)
    assert shop.find("heliosproxy", "kept") is not None, "what is stored was never touched"


def names_of_crds(cluster: Cluster) -> set[str]:
    return {each["metadata"]["name"] for each in our_crds(cluster)}


def owners_of_crds(cluster: Cluster) -> set[str | None]:
    """Releases that they belong to."""
    key = "meta.helm.sh/release-name"
    return {each["metadata"].get("annotations", {}).get(key) for each in our_crds(cluster)}


def our_crds(cluster: Cluster) -> list[dict[str, Any]]:
    items = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    return [item for item in items if item["spec"]["group"] == GROUP]


def deployed(cluster: Cluster) -> int:
    return int(
        cluster.kubectl("-n", NAMESPACE, "get", "deployment", "helios-operator", "-o", "jsonpath={.spec.replicas}")
    )
