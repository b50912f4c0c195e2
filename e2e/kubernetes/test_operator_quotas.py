"""TenantQuotas: client connections of several HeliosProxies together, divided by the operator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster import Cluster, KubectlError
from harness.admission import AdmittingOperator, remove_webhooks
from harness.resources import Shop


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    made = Shop(installed, namespace)
    made.apply("TenantQuota", "acme", {"maxConcurrentConnections": 100})
    return made


REFS = [{"name": "acme"}]


def clients(shop: Shop, name: str) -> int | None:
    """Clients that each pod of a proxy takes by its document."""
    found = re.search(r"^max_client_connections = (\d+)$", shop.document(name), re.M)
    return int(found[1]) if found else None


@pytest.mark.usefixtures("operator")
def test_client_connections_are_divided_and_the_youngest_is_refused(shop: Shop) -> None:
    shop.await_accepted("TenantQuota", "acme", "True")
    shop.proxy("first", tenantQuotaRefs=REFS)
    shop.until(lambda: clients(shop, "first") == 33, "it has all of them, for two pods and one more", 30)
    assert shop.await_condition("first", "QuotaSatisfied", "True") == "each pod takes up to 33 clients"

    shop.proxy("second", tenantQuotaRefs=REFS, limits={"maxClientConnections": 20})
    shop.until(lambda: clients(shop, "first") == 13, "the first has the rest", 30)
    shop.until(lambda: clients(shop, "second") == 20, "what is stated is kept", 30)

    shop.proxy("third", tenantQuotaRefs=REFS, limits={"maxClientConnections": 14})
    told = shop.await_condition("third", "Stalled", "True", "QuotaExceeded", deadline=10)
    assert "TenantQuota/acme allows 100 client connections" in told
    assert shop.conditions("third")["QuotaSatisfied"][:2] == ("False", "QuotaExceeded")
    assert shop.find("deployment", "third") is None

    # More pods than there is room for are not made either, and what runs stays.
    shop.await_deployed("second")
    shop.proxy("second", tenantQuotaRefs=REFS, limits={"maxClientConnections": 20}, replicas=4)
    shop.await_condition("second", "Stalled", "True", "QuotaExceeded", deadline=10)
    assert shop.get("deployment", "second")["spec"]["replicas"] == 2

    shop.apply("TenantQuota", "acme", {"maxConcurrentConnections": 200})
    for name, share in (("first", 19), ("second", 20), ("third", 14)):
        shop.until(lambda: clients(shop, name) == share, f"{name} has {share}", 30)  # noqa: B023
    shop.until(lambda: shop.get("deployment", "second")["spec"]["replicas"] == 4, "there is room for the pods", 30)
    shop.kubectl("delete", "heliosproxy", "second", "third")
    shop.until(lambda: clients(shop, "first") == 66, "what the others had is free", 30)


def test_one_that_there_is_no_room_for_is_refused_at_once(
    shop: Shop, installed: Cluster, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    with AdmittingOperator(installed, operator_kubeconfig, tmp_path) as process:
        try:
            process.wait_leading()
            shop.proxy("first", tenantQuotaRefs=REFS, limits={"maxClientConnections": 30})
            process.configure(failurePolicy="Fail")
            shop.until(lambda: is_refused(shop), "the API server asks", 60)
            assert shop.find("heliosproxy", "second") is None
            shop.proxy("third", tenantQuotaRefs=REFS, limits={"maxClientConnections": 3})
        finally:
            print(process.log)
            remove_webhooks(installed)


def is_refused(shop: Shop) -> bool:
    try:
        shop.kubectl("delete", "heliosproxy", "second", "--ignore-not-found")
        shop.proxy("second", tenantQuotaRefs=REFS, limits={"maxClientConnections": 4})
    except KubectlError as error:
        return "TenantQuota/acme allows 100 client connections" in str(error)
    return False
