"""Level node: what stands around the pods has its effect, and Helm alone brings operator and proxy."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from cluster import Cluster, KubectlError
from harness.certificates import Authority
from harness.helm import CHARTS, Helm, HelmError
from harness.installed import EXAMPLE, PSQL, Installed
from harness.operator import ROOT, install
from harness.resources import GROUP, Json
from harness.wait import until

pytestmark = pytest.mark.level("node")

LOCAL = {
    "nameOverride": "by-helm",
    "crds": {"enabled": False},
    "image": {"repository": "localhost/helios-operator", "tag": "dev", "pullPolicy": "Never"},
    "proxyImage": "localhost/helios-proxy:dev",
}
"""Names of its own: other tests of the session have installed the operator by install.yaml."""


@pytest.fixture
def helm_namespace(cluster_with_images: Cluster, namespace: str, tmp_path: Path) -> Iterator[Installed]:
    """A namespace in which releases may be made; the operator of the chart is in it too, and goes at the end."""
    install(cluster_with_images)
    yield Installed(cluster_with_images, namespace)
    Helm(cluster_with_images, namespace, tmp_path)("uninstall", "operators", "--wait")


def test_helm_alone_brings_operator_and_proxy(helm_namespace: Installed, tmp_path: Path) -> None:
    shop = helm_namespace
    helm = Helm(shop.cluster, shop.namespace, tmp_path)
    values = tmp_path / "values.json"
    values.write_text(json.dumps(LOCAL))

    helm("install", "operators", str(CHARTS / "helios-operator"), "--values", str(values), "--wait", "--timeout=90s")
    values.write_text(json.dumps(yaml.safe_load(EXAMPLE.read_text()).get("spec") or {}))
    helm("install", "minimal", str(CHARTS / "helios-proxy"), "--values", str(values))
    shop.await_condition("minimal", "Ready", "True", deadline=60)
    until(lambda: shop.psql("select 41 + 1") == "42", "the Service answers psql", deadline=30)

    helm("uninstall", "minimal", "--wait")
    until(lambda: not shop.pods(), "the pods went with the release", deadline=120)


def test_rollback_is_refused_by_the_hook_s_own_pod(helm_namespace: Installed, tmp_path: Path) -> None:
    """The release that is gone back to looks first, by its own image, whether it knows everything that is stored."""
    shop = helm_namespace
    helm = Helm(shop.cluster, shop.namespace, tmp_path)
    values = tmp_path / "values.json"
    values.write_text(json.dumps({**LOCAL, "crds": {"enabled": True}, "webhook": {"enabled": False}}))
    chart = (str(CHARTS / "helios-operator"), "--values", str(values), "--wait", "--timeout=90s")
    notes = helm("install", "operators", *chart, "--take-ownership")
    helm("upgrade", "operators", *chart, "--set", "replicaCount=1")
    back = ("rollback", "operators", "1", "--wait", "--timeout=120s")
    with later_definitions(shop.cluster):
        shop.apply("PoolProfile", "fast", {"maxPoolSize": 20})
        until(lambda: shop.stored_by_a_later_release("later"), "the API server knows a field of a later release", 30)

        with pytest.raises(HelmError, match="job by-helm-rollback failed"):
            helm(*back)
        assert f"kubectl -n {shop.namespace} logs job/by-helm-rollback" in notes
        said = shop.kubectl("logs", "job/by-helm-rollback")
        shown = "jsonpath={.items[*].status.containerStatuses[0].state.terminated.message}"
        assert shop.kubectl("get", "pods", "-l", "job-name=by-helm-rollback", "-o", shown).strip() == said.strip()
        assert f"HeliosProxy {shop.namespace}/later: spec.inventedLater: " in said
        assert operators(shop) == 1, "nothing was rolled back"

        shop.kubectl("delete", "heliosproxy", "later")
        helm(*back)
        assert operators(shop) == 2


@contextmanager
def later_definitions(cluster: Cluster) -> Iterator[None]:
    """A HeliosProxy has one field more; afterwards the definitions are nobody's release, as they were."""
    now = yaml.safe_load((ROOT / "crds" / "heliosproxies.yaml").read_text())
    later = copy.deepcopy(now)
    schema = later["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["properties"]["inventedLater"] = {"type": "string"}
    define(cluster, later)
    try:
        yield
    finally:
        define(cluster, now)
        crds = [name for name in cluster.kubectl("get", "crd", "-o", "name").split() if name.endswith(GROUP)]
        marks = ("meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-", "helm.sh/resource-policy-")
        cluster.kubectl("annotate", *crds, *marks)
        cluster.kubectl("label", *crds, "app.kubernetes.io/managed-by-")


def define(cluster: Cluster, definition: Json) -> None:
    """By whom install.yaml is applied, so that nobody else is in its way later."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(definition))


def operators(shop: Installed) -> int:
    """How many of the release are wanted."""
    return int(shop.get("deployment", "by-helm")["spec"]["replicas"])


def test_budget_lets_one_pod_go_at_a_time(in_cluster: Installed) -> None:
    in_cluster.apply_example()
    first, second = (pod["metadata"]["name"] for pod in in_cluster.pods())
    until(lambda: allowed(in_cluster) == 1, "the budget has seen both pods", deadline=30)

    evict(in_cluster, first)
    with pytest.raises(KubectlError, match="disruption budget"):
        evict(in_cluster, second)
    until(lambda: allowed(in_cluster) == 1, "another pod took its place", deadline=120)


def allowed(shop: Installed) -> int:
    """Pods that may be evicted now."""
    found = shop.find("poddisruptionbudget", "minimal")
    return int(((found or {}).get("status") or {}).get("disruptionsAllowed", 0))


def evict(shop: Installed, pod: str) -> None:
    """As `kubectl drain` does."""
    metadata = {"name": pod, "namespace": shop.namespace}
    wish = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{shop.namespace}/pods/{pod}/eviction"
    shop.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(wish))


def test_connection_secret_leads_to_the_database(in_cluster: Installed) -> None:
    in_cluster.apply_example()
    uri = base64.b64decode(in_cluster.get("secret", "minimal-connection")["data"]["uri"]).decode()
    asked = ("exec", "psql", "--", PSQL[0], f"{uri}app?user=app", "--tuples-only", "--command", "select 6 * 7")

    until(lambda: in_cluster.psql("select 1"), "the Service answers", deadline=20)

    assert in_cluster.kubectl(*asked).strip() == "42"


def test_an_application_verifies_the_proxy_by_what_the_secret_says(in_cluster: Installed, tmp_path: Path) -> None:
    """psql with the Secret mounted, and nothing else told: host, port and whom to trust are in it."""
    host = f"minimal.{in_cluster.namespace}.svc"
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    signed = authority.sign("minimal", f"DNS:{host}")
    files = {"tls.crt": signed.cert, "tls.key": signed.key, "ca.crt": authority.cert}
    in_cluster.kubectl("create", "secret", "generic", "shown", *(f"--from-file={k}={v}" for k, v in files.items()))
    in_cluster.kubectl("create", "configmap", "stranger", f"--from-file=ca.crt={stranger.cert}")
    spec = yaml.safe_load(EXAMPLE.read_text()).get("spec") or {}
    in_cluster.apply("HeliosProxy", "minimal", {**spec, "tls": {"mode": "require", "secretRef": {"name": "shown"}}})
    in_cluster.await_condition("minimal", "Ready", "True", deadline=60)
    in_cluster.kubectl("apply", "-f", "-", input=json.dumps(APPLICATION))
    in_cluster.kubectl("wait", "--for=condition=Ready", "pod/application", "--timeout=60s")

    def psql(authorities: str, host: str = "$host") -> str:
        where = f"host={host} port=$port dbname=app user=app sslmode=verify-full sslrootcert={authorities}/ca.crt"
        command = f'psql "{where}" -Atqc "select 6 * 7"'
        return in_cluster.kubectl("exec", "application", "--", "sh", "-c", command).strip()

    until(lambda: in_cluster.psql("select 1"), "the Service answers", deadline=30)
    assert psql("/connection") == "42"
    with pytest.raises(KubectlError, match="certificate verify failed"):
        psql("/stranger")
    with pytest.raises(KubectlError, match="does not match host name"):
        psql("/connection", "minimal")


def test_pods_are_let_into_a_restricted_namespace(in_cluster: Installed) -> None:
    """PostgreSQL and the clients came before the rule, which is asked about new pods only."""
    in_cluster.kubectl("label", "namespace", in_cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    loose = ("run", "loose", "--image=localhost/helios-postgres:dev", "--image-pull-policy=Never", "--restart=Never")
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        in_cluster.kubectl(*loose)

    in_cluster.apply_example()

    until(lambda: in_cluster.psql("select 6 * 7") == "42", "the Service answers", deadline=60)
    assert len(in_cluster.pods()) == 2


APPLICATION = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "application"},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "main",
                "image": "localhost/helios-postgres:dev",
                "imagePullPolicy": "Never",
                "command": ["sleep", "3600"],
                "env": [
                    {"name": "PGPASSWORD", "value": "app-secret"},
                    *(
                        {"name": key, "valueFrom": {"secretKeyRef": {"name": "minimal-connection", "key": key}}}
                        for key in ("host", "port")
                    ),
                ],
                "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("connection", "stranger")],
            }
        ],
        "volumes": [
            {"name": "connection", "secret": {"secretName": "minimal-connection"}},
            {"name": "stranger", "configMap": {"name": "stranger"}},
        ],
    },
}
"""An application that is told everything by the Secret."""
