"""Everything inside the cluster: the operator as a Deployment, PostgreSQL as a StatefulSet, clients as pods.

Called by the fixtures of e2e/kubernetes for level `node`; hands on `Installed`, a namespace in which
examples/01-minimal finds what it needs.
"""

from __future__ import annotations

import json
import time

from cluster import Cluster, KubectlError
from harness.admission import remove_webhooks
from harness.operator import INSTALL, NAMESPACE, ROOT
from harness.resources import Json, Shop
from helios_make.images import IMAGES, POSTGRES, ensure_images
from helios_make.places import find_places

__all__ = ["CLIENTS", "Installed", "install_operator", "load_images", "remove_operator"]

POSTGRES_FOLDER = ROOT / "e2e" / "kubernetes" / "postgres"
BACKENDS = POSTGRES_FOLDER / "backends.yaml"
CLIENTS = POSTGRES_FOLDER / "transactions.py"
EXAMPLE = ROOT / "examples" / "01-minimal" / "helios-proxy.yaml"
RELEASED = {
    "helios-operator:0.1.0": "localhost/helios-operator:dev",
    "helios-proxy:0.1.0": "localhost/helios-proxy:dev",
}
"""What install.yaml names → what `make images` has built."""
PSQL = ("psql", "--host=minimal", "--port=6432", "--username=app", "--no-align", "--tuples-only", "--quiet")
PODS = "app.kubernetes.io/instance=minimal"
OPERATOR_PODS = "app.kubernetes.io/name=helios-operator"
READY_SECONDS = 30
"""From `kubectl apply` of a HeliosProxy to Ready with two pods."""


def load_images(cluster: Cluster) -> None:
    """Our images and PostgreSQL's in the node."""
    for archive in ensure_images(find_places(), (*IMAGES, POSTGRES)).values():
        cluster.load_image(archive)


def install_operator(cluster: Cluster) -> None:
    """`kubectl apply` of install.yaml with our images in the place of the released ones; returns when it is ready."""
    text = INSTALL.read_text()
    for released, built in RELEASED.items():
        assert released in text
        text = text.replace(released, built)
    cluster.kubectl("apply", "--server-side", "-f", "-", input=text)
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/helios-operator", "--timeout=60s")


def remove_operator(cluster: Cluster) -> None:
    """Print its log and remove it: other tests start operators of their own, which want the Lease."""
    print(cluster.kubectl("-n", NAMESPACE, "logs", "deployment/helios-operator", "--tail=60"))
    cluster.kubectl("-n", NAMESPACE, "scale", "deployment/helios-operator", "--replicas=0")
    # Not by the garbage collector, which takes a minute when the API server was away.
    cluster.kubectl("-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", OPERATOR_PODS, "--timeout=60s")
    cluster.kubectl("-n", NAMESPACE, "delete", "deployment/helios-operator", "--wait=false")
    remove_webhooks(cluster)


class Installed(Shop):
    """A namespace with a PostgreSQL that takes connections and two pods that hold clients."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        super().__init__(cluster, namespace)
        self.kubectl("apply", "-f", str(BACKENDS))
        self.kubectl("rollout", "status", "statefulset/database", "--timeout=90s")
        self.kubectl("wait", "--for=condition=Ready", "pod/psql", "pod/asyncpg", "--timeout=60s")

    def apply_example(self) -> float:
        """`kubectl apply` of the example; seconds until it is Ready."""
        started = time.monotonic()
        self.kubectl("apply", "-f", str(EXAMPLE))
        self.await_condition("minimal", "Ready", "True", deadline=READY_SECONDS)
        return time.monotonic() - started

    def pods(self) -> list[Json]:
        """The proxy's pods, those that are leaving too."""
        items: list[Json] = json.loads(self.kubectl("get", "pods", "-l", PODS, "-o", "json"))["items"]
        return items

    def psql(self, sql: str) -> str:
        """What psql in a pod prints, by the simple protocol through the Service; empty while nothing answers there."""
        try:
            return self.kubectl("exec", "psql", "--", *PSQL, "--command", sql, "app").strip()
        except KubectlError as error:
            # The rules of a Service may come a moment after its pods are ready.
            if "Connection refused" in str(error) or "could not translate" in str(error):
                return ""
            raise

    def python(self, program: str, *arguments: str) -> Json | list[object]:
        """The JSON that a program prints in a pod that has asyncpg, which speaks the extended protocol only."""
        answer: Json | list[object] = json.loads(
            self.kubectl("exec", "asyncpg", "--", "python", "-c", program, *arguments)
        )
        return answer
