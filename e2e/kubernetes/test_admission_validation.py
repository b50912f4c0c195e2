"""A HeliosProxy that could never run is refused at `kubectl apply`, and where nobody is asked by its conditions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, KubectlError
from harness.admission import AdmittingOperator, remove_webhooks
from harness.resources import GROUP, NODES, Shop


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


@pytest.fixture
def admitting(installed: Cluster, operator_kubeconfig: Path, tmp_path: Path) -> Iterator[AdmittingOperator]:
    """An operator that is asked about every HeliosProxy; without its answer none is taken."""
    with AdmittingOperator(installed, operator_kubeconfig, tmp_path) as process:
        try:
            process.wait_leading()
            process.configure(failurePolicy="Fail")
            yield process
        finally:
            print(process.log)
            remove_webhooks(installed)


def strictly(shop: Shop, name: str, **spec: object) -> None:
    """Have the API server judge a HeliosProxy, and take a warning for an error."""
    metadata = {"name": name, "namespace": shop.namespace}
    value = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "HeliosProxy", "metadata": metadata}
    wanted = {**value, "spec": {"nodes": NODES, "auth": {"method": "trust"}, **spec}}
    shop.kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-f", "-", input=json.dumps(wanted))


def test_what_can_never_run_is_refused_with_the_reason(shop: Shop, admitting: AdmittingOperator) -> None:
    shop.until(lambda: is_refused(shop, "web", adminPort=6432), "the API server asks", 60)
    shop.proxy("web")

    for name, spec, told in (
        ("web-admin", {}, "metadata.name: Service/web-admin belongs to HeliosProxy/web, which is older"),
        ("same", {"listenPort": 9090}, "port 9090 is listen_address's too"),
        ("loop", {"nodes": [], "clusters": [{"name": "main", "discovery": {"serviceName": "loop"}}]}, "proxy itself"),
    ):
        with pytest.raises(KubectlError, match="denied the request") as refused:
            shop.proxy(name, **spec)
        assert told in str(refused.value)
        assert shop.find("heliosproxy", name) is None

    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"}
    scaler: dict[str, object] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "load"},
    }
    scaler["spec"] = {"scaleTargetRef": target, "maxReplicas": 9}
    shop.kubectl("create", "-f", "-", input=json.dumps(scaler))
    with pytest.raises(KubectlError, match="HorizontalPodAutoscaler/load scales Deployment/scaled as well"):
        shop.proxy("scaled", autoscaling={"maxReplicas": 4})

    # What may come a moment later is only told.
    missing = {"poolProfileRef": {"name": "later"}, "auth": {"usersSecretRef": {"name": "people"}}, "nodes": []}
    with pytest.raises(KubectlError, match="warning") as warned:
        strictly(shop, "early", **missing)
    for told in ("PoolProfile/later does not exist", "Secret/people does not exist", "Service/early-backends"):
        assert told in str(warned.value)
    shop.apply("PoolProfile", "later", {"maxPoolSize": 11})
    strictly(shop, "early", poolProfileRef={"name": "later"})

    # One that is there although it is wrong can be changed, and not be made worse.
    remove_webhooks(shop.cluster)
    shop.until(lambda: applied(shop, "web-admin"), "nobody is asked any more", 60)
    admitting.configure(failurePolicy="Fail")
    shop.until(lambda: is_refused(shop, "web-peers"), "the API server asks again", 60)
    shop.proxy("web-admin", paused=True)
    with pytest.raises(KubectlError, match="port 9090 is listen_address's too"):
        shop.proxy("web-admin", listenPort=9090)


def is_refused(shop: Shop, name: str, **spec: object) -> bool:
    try:
        strictly(shop, name, **spec)
    except KubectlError as error:
        return "denied the request" in str(error)
    return False


def applied(shop: Shop, name: str) -> bool:
    try:
        shop.proxy(name)
    except KubectlError as error:
        assert "denied the request" in str(error), error
        return False
    return True


@pytest.mark.usefixtures("operator")
def test_of_two_that_claim_one_service_the_younger_has_nothing(shop: Shop) -> None:
    shop.proxy("web")
    shop.await_deployed("web")
    before = shop.get("service", "web-admin")

    shop.proxy("web-admin")

    told = shop.await_condition("web-admin", "Stalled", "True", "NameClaimed", deadline=10)
    assert "Service/web-admin belongs to HeliosProxy/web" in told
    assert shop.conditions("web-admin")["ConfigValid"][:2] == ("False", "NameClaimed")
    assert shop.names("deployment") == {"web"}
    assert not {name for kind in ("service", "secret", "configmap") for name in shop.names(kind) if "admin-" in name}
    assert shop.get("service", "web-admin")["metadata"]["uid"] == before["metadata"]["uid"]
    assert "Stalled" not in shop.conditions("web")

    shop.kubectl("delete", "heliosproxy", "web")
    shop.until(lambda: shop.find("deployment", "web-admin"), "the name is free", 60)
    shop.until(lambda: "Stalled" not in shop.conditions("web-admin"), "it goes on", 60)
