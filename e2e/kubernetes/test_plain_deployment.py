"""docs/deployment/kubernetes as `kubectl apply -k` takes it, without the operator: two pods that pool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cluster import Cluster, KubectlError
from harness.installed import Installed
from harness.operator import ROOT
from harness.resources import Shop
from harness.wait import until

FOLDER = ROOT / "docs" / "deployment" / "kubernetes"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def test_objects_are_taken_and_belong_together(cluster: Cluster, namespace: str) -> None:
    shop = Shop(cluster, namespace)
    shop.kubectl("label", "namespace", namespace, RESTRICTED)
    shop.kubectl("apply", "--validate=strict", "-k", str(FOLDER))

    deployment = shop.get("deployment", "helios")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    for kind in ("service", "poddisruptionbudget"):
        selector = shop.get(kind, "helios")["spec"]["selector"]
        assert (selector.get("matchLabels") or selector).items() <= labels.items(), kind
    container = deployment["template"]["spec"]["containers"][0]
    assert container["image"] == "helios-proxy:0.1.0"
    config = deployment["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert shop.get("configmap", config)["data"].keys() == {"helios.toml"}
    pods = "app.kubernetes.io/name=helios"
    shop.until(
        lambda: len(json.loads(shop.kubectl("get", "pods", "-l", pods, "-o", "json"))["items"]) == 2, "two pods", 60
    )


@pytest.mark.level("node")
def test_two_pods_answer(cluster_with_images: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster = Installed(cluster_with_images, namespace)
    folder = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, folder)
    replace(folder / "kustomization.yaml", "    newTag: 0.1.0", "    newName: localhost/helios-proxy\n    newTag: dev")
    replace(folder / "helios.toml", 'host = "postgres"', 'host = "minimal-backends"')
    secrets = {
        "admin-token": "secret-of-the-test",
        "users.txt": '"app" "app-secret"',
        "monitor-password": "monitor-secret",
    }
    literals = [f"--from-literal={name}={text}" for name, text in secrets.items()]
    cluster.kubectl("create", "secret", "generic", "helios", *literals)

    cluster.kubectl("apply", "-k", str(folder))
    cluster.kubectl("rollout", "status", "deployment/helios", "--timeout=120s")
    until(lambda: answer(cluster) == "42", "the Service leads to pods", 60)


def answer(cluster: Installed) -> str:
    """What a client sees; nothing while the Service has no rules yet."""
    psql = ("psql", "--host=helios", "--port=6432", "--username=app", "-Atc", "select 6 * 7", "app")
    try:
        return cluster.kubectl("exec", "psql", "--", *psql).strip()
    except KubectlError as error:
        if "Connection refused" in str(error) or "could not translate" in str(error):
            return ""
        raise


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
