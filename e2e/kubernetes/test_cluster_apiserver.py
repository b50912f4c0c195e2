"""The cluster of a session: its API server answers, the built-in controllers work, the audit log is on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster import Cluster, ClusterError, KubectlError, Level, open_cluster
from cluster.programs import find_programs
from harness.leftovers import command_line, processes_of
from harness.wait import until

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "localhost/none:1", "imagePullPolicy": "Never"}]},
        },
    },
}


def names(cluster: Cluster, namespace: str, kind: str) -> list[str]:
    """Names of the objects of a kind."""
    items = json.loads(cluster.kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]
    return [item["metadata"]["name"] for item in items]


@pytest.mark.smoke
def test_api_server_is_ready(cluster: Cluster) -> None:
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    assert cluster.server.startswith("https://")


@pytest.mark.smoke
def test_deployment_makes_pods_and_takes_them_along(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(DEPLOYMENT))

    until(lambda: len(names(cluster, namespace, "pods")) == 2, "the Deployment has two pods", deadline=30)
    assert len(names(cluster, namespace, "replicasets")) == 1

    cluster.kubectl("-n", namespace, "delete", "deployment", "web", "--cascade=background")

    until(lambda: not names(cluster, namespace, "pods"), "the pods are collected", deadline=60)


def test_refused_object_is_an_error_with_the_server_s_words(cluster: Cluster, namespace: str) -> None:
    wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": -1}}  # type: ignore[dict-item]

    with pytest.raises(KubectlError, match=r"spec\.replicas: Invalid value: -1"):
        cluster.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps(wrong))


@pytest.mark.smoke
def test_namespace_that_is_deleted_goes(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", "short-lived")

    cluster.kubectl("delete", "namespace", "short-lived", "--timeout=60s")

    assert "short-lived" not in cluster.kubectl("get", "namespaces", "-o", "name")


@pytest.mark.smoke
def test_audit_log_says_who_asked_for_what_and_was_told_what(cluster: Cluster, namespace: str) -> None:
    if cluster.audit_log is None:
        pytest.skip(f"level {cluster.level}: the API server is somebody else's, its audit log is not ours to read")
    with pytest.raises(KubectlError, match="NotFound"):
        cluster.kubectl("-n", namespace, "get", "configmap", "no-such-map")

    events = [json.loads(line) for line in cluster.audit_log.read_text(encoding="utf-8").splitlines()]

    asked = [event for event in events if event.get("objectRef", {}).get("name") == "no-such-map"]
    assert [(each["user"]["username"], each["verb"], each["responseStatus"]["code"]) for each in asked] == [
        ("admin", "get", 404)
    ]


def test_api_server_stops_and_starts_with_all_objects(cluster: Cluster, namespace: str) -> None:
    if cluster.level not in (Level.APISERVER, Level.NODE):
        pytest.skip(f"level {cluster.level}: the API server is somebody else's, it is not ours to stop")
    cluster.kubectl("-n", namespace, "create", "configmap", "kept", "--from-literal=a=b")

    cluster.stop_apiserver()

    with pytest.raises(KubectlError, match="refused"):
        cluster.kubectl("get", "--raw", "/readyz")

    cluster.start_apiserver()

    assert names(cluster, namespace, "configmaps").count("kept") == 1
    deployment = json.dumps(DEPLOYMENT)
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=deployment)
    until(lambda: len(names(cluster, namespace, "pods")) == 2, "the controllers work again", deadline=30)


def test_programs_of_kubebuilder_assets_are_used_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).symlink_to(find_programs(Level.APISERVER)[name])
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    with open_cluster("apiserver") as cluster:
        programs = {command_line(pid).split("\0")[0] for pid in processes_of(cluster.kubeconfig.parent)}

    assert {str(tmp_path / name) for name in ("etcd", "kube-apiserver")} <= programs
    assert str(tmp_path / "kube-controller-manager") not in programs


def test_given_cluster_is_used_and_left_as_it_is(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_KUBECONFIG", str(cluster.kubeconfig))

    with open_cluster("kubeconfig") as given:
        assert given.server == cluster.server
        assert given.audit_log is None
        with pytest.raises(ClusterError, match="level kubeconfig: the API server is not ours to stop"):
            given.stop_apiserver()

    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
