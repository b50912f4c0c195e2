"""HeliosProxies and friends of the tests on Kubernetes: short ways to apply, change, read and await them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cluster import Cluster, KubectlError
from harness.wait import until

__all__ = ["POLICIES", "Shop"]

GROUP = "helios.heliosproxy.dev"
Json = dict[str, Any]
POLICIES: dict[str, Json] = {
    "PoolProfile": {"maxPoolSize": 20},
    "RoutingRule": {"match": {"applicationName": ["report*"]}, "route": "standby"},
    "AuditPolicy": {"backend": {"type": "s3", "bucket": "records", "region": "eu-central-1"}},
    "TenantQuota": {"maxQueriesPerMinute": 600},
}
"""Kind → a valid spec."""
NODES = [{"host": "db-0", "role": "primary"}, {"host": "db-1"}]


class Shop:
    """One namespace and what a test keeps in it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """kubectl in this namespace."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=input)

    def apply(self, kind: str, name: str, spec: Json, **metadata: Any) -> None:
        """Apply one of our resources."""
        value = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
        self.kubectl("apply", "-f", "-", input=json.dumps(value))

    def proxy(self, name: str = "web", **spec: Any) -> None:
        """Apply a HeliosProxy with two nodes whose clients are trusted, unless `spec` says otherwise."""
        self.apply("HeliosProxy", name, {"nodes": NODES, "auth": {"method": "trust"}, **spec})

    def stored_by_a_later_release(self, name: str = "web") -> bool:
        """Apply a HeliosProxy with a field `inventedLater`; whether the API server, which is told not to mind, keeps it
        instead of dropping what it does not know yet."""
        spec = {"nodes": [{"host": "db"}], "auth": {"method": "trust"}, "inventedLater": "x"}
        value = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "HeliosProxy", "metadata": {"name": name}, "spec": spec}
        self.kubectl("apply", "--validate=ignore", "-f", "-", input=json.dumps(value))
        return "inventedLater" in self.get("heliosproxy", name)["spec"]

    def find(self, kind: str, name: str) -> Json | None:
        """An object, or None."""
        try:
            value: Json = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        except KubectlError as error:
            if "NotFound" in str(error):
                return None
            raise
        return value

    def get(self, kind: str, name: str) -> Json:
        """An object that must be there."""
        value = self.find(kind, name)
        assert value is not None, f"{kind}/{name} does not exist"
        return value

    def names(self, kind: str) -> set[str]:
        """Names of all objects of a kind."""
        return {item["metadata"]["name"] for item in json.loads(self.kubectl("get", kind, "-o", "json"))["items"]}

    def document(self, name: str = "web") -> str:
        """The document in a proxy's ConfigMap; empty where there is none."""
        found = self.find("configmap", f"{name}-config")
        return str(found["data"]["helios.toml"]) if found else ""

    def conditions(self, name: str = "web") -> dict[str, tuple[str, str, str]]:
        """Type → (status, reason, message) of a HeliosProxy's conditions."""
        status = self.get("heliosproxy", name).get("status") or {}
        listed = status.get("conditions") or ()
        return {each["type"]: (each["status"], each["reason"], each["message"]) for each in listed}

    def await_condition(
        self, name: str, type: str, status: str, reason: str | None = None, deadline: float = 10.0
    ) -> str:
        """Return the message once a condition has this status (and reason)."""

        def turned() -> tuple[str, str, str] | None:
            found = self.conditions(name).get(type)
            wanted = found is not None and found[0] == status and reason in (None, found[1])
            return found if wanted else None

        found = until(turned, f"{type} of {name} is {status}/{reason}: {self.conditions(name)}", deadline)
        assert found is not None
        return found[2]

    def await_deployed(self, name: str = "web", deadline: float = 15.0) -> Json:
        """Return the Deployment once the status speaks of the present spec and the pods were asked for."""

        def settled() -> Json | None:
            proxy = self.get("heliosproxy", name)
            status = proxy.get("status") or {}
            seen = status.get("observedGeneration") == proxy["metadata"]["generation"]
            return self.find("deployment", name) if seen and status.get("configHash") else None

        found = until(settled, f"{name} is deployed", deadline)
        assert found is not None
        return found

    def await_accepted(self, kind: str, name: str, status: str | None = None, deadline: float = 10.0) -> Json:
        """Return the condition `Accepted` of a policy's present generation once it is there (and has this status)."""

        def told() -> Json | None:
            policy = self.get(kind, name)
            conditions = (policy.get("status") or {}).get("conditions") or ()
            found: Json | None = next((each for each in conditions if each["type"] == "Accepted"), None)
            if found is None or found["observedGeneration"] != policy["metadata"]["generation"]:
                return None
            return found if status in (None, found["status"]) else None

        found = until(told, f"{kind}/{name} says whether it is accepted", deadline)
        assert found is not None
        return found

    def until(self, condition: Callable[[], object], what: str, deadline: float = 10.0) -> None:
        """Wait for anything else."""
        until(condition, what, deadline)
