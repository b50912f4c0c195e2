"""Level node: pods of a local image run, a Service answers by name, and the machine reaches both."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from cluster import BUSYBOX_IMAGE, Cluster, ClusterError, KubectlError, Level, busybox_archive
from harness.wait import until

pytestmark = pytest.mark.level("node")

SERVE = "mkdir -p /tmp/www && echo from $HOSTNAME > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A local image in the node."""
    if cluster.level is Level.KUBECONFIG:
        pytest.skip("level kubeconfig: local images cannot be loaded into somebody else's cluster")
    cluster.load_image(busybox_archive(tmp_path_factory.mktemp("image")))
    return BUSYBOX_IMAGE


def container(image: str, script: str) -> dict[str, object]:
    """A container that runs a script, with a probe that tells when it serves."""
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    fixed = {"name": "main", "imagePullPolicy": "Never", "readinessProbe": probe}
    return {**fixed, "image": image, "command": ["sh", "-c", script]}


def deploy(cluster: Cluster, namespace: str, image: str) -> None:
    """Two web servers behind the Service `web`, ready."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container(image, SERVE)]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    ports = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": ports}
    objects = {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(objects))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")


@pytest.mark.smoke
def test_service_answers_by_name_from_another_pod(cluster: Cluster, namespace: str, image: str) -> None:
    deploy(cluster, namespace, image)
    run = ("-n", namespace, "run", "client", f"--image={image}", "--image-pull-policy=Never", "--restart=Never")
    cluster.kubectl(*run, "--command", "--", "sleep", "600")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")

    def answer() -> str:
        try:
            return cluster.kubectl("-n", namespace, "exec", "client", "--", "wget", "-q", "-O", "-", "http://web/")
        except KubectlError:
            # The rules of the Service may come a moment after its pods are ready.
            return ""

    pods = {f"from {name.removeprefix('pod/')}" for name in pods_of(cluster, namespace)}
    assert until(answer, "the Service answers", deadline=20).strip() in pods
    # Both pods, and each time: a reply that comes from the wrong address would be lost.
    assert {answer().strip() for _ in range(20)} == pods


def pods_of(cluster: Cluster, namespace: str) -> list[str]:
    """The web servers."""
    return cluster.kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", "name").split()


@pytest.mark.smoke
def test_machine_reaches_pods_and_services(cluster: Cluster, namespace: str, image: str) -> None:
    deploy(cluster, namespace, image)
    path = "jsonpath={.items[0].status.podIP}"
    pod = cluster.kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", path)
    service = cluster.kubectl("-n", namespace, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str) -> str:
        try:
            with direct.open(url, timeout=2) as reply:
                return str(reply.read().decode())
        except OSError:
            return ""

    assert until(lambda: get(f"http://{pod}:8080/"), "the pod answers", deadline=20).startswith("from web-")
    assert until(lambda: get(f"http://{service}/"), "the Service answers", deadline=20).startswith("from web-")


def test_volume_claim_is_bound_and_keeps_what_was_written(cluster: Cluster, namespace: str, image: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(claim))

    def run(name: str, script: str) -> str:
        spec = {
            "restartPolicy": "Never",
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", script],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        cluster.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(pod))
        wait = ("-n", namespace, "wait", f"pod/{name}", "--timeout=60s")
        cluster.kubectl(*wait, "--for=jsonpath={.status.phase}=Succeeded")
        return cluster.kubectl("-n", namespace, "logs", name)

    run("writer", "echo kept > /data/file")

    assert run("reader", "cat /data/file") == "kept\n"


def test_archive_that_is_no_image_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    if cluster.level is not Level.NODE:
        pytest.skip(f"level {cluster.level}: not our containerd")
    (tmp_path / "wrong.tar").write_bytes(b"no archive")

    with pytest.raises(ClusterError, match=r"wrong\.tar: containerd refused it"):
        cluster.load_image(tmp_path / "wrong.tar")
