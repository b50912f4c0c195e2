"""Events on a HeliosProxy: there for whoever runs `kubectl describe`, once for each thing that happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster import Cluster
from harness.operator import OperatorProcess
from harness.resources import POLICIES, Shop


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def events_of(shop: Shop, name: str) -> list[tuple[str, str, str]]:
    """(type, reason, note) of the Events that the operator made on a HeliosProxy, as it is now."""
    uid = shop.get("heliosproxy", name)["metadata"]["uid"]
    items = json.loads(shop.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    ours = [each for each in items if each["regarding"].get("uid") == uid]
    assert all(each["reportingController"] == "helios-operator" for each in ours)
    return sorted((each["type"], each["reason"], each["note"]) for each in ours)


def test_what_stops_a_proxy_is_told_once(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    with OperatorProcess(operator_kubeconfig, tmp_path, name="first").wait_leading():
        shop.apply("TenantQuota", "small", POLICIES["TenantQuota"])
        shop.proxy("limited", tenantQuotaRefs=[{"name": "small"}])
        shop.kubectl("create", "configmap", "taken-config")
        shop.proxy("taken")

        shop.until(lambda: len(events_of(shop, "limited")) == 1, "what is not acted on is told")
        shop.until(lambda: len(events_of(shop, "taken")) == 1, "so is an object of somebody else")
        (limited,), (taken,) = events_of(shop, "limited"), events_of(shop, "taken")
        assert limited[:2] == ("Warning", "NotActedOn")
        assert "no tenant would be limited" in limited[2]
        assert taken[:2] == ("Warning", "InvalidOwnership")
        assert "ConfigMap/taken-config" in taken[2]
        described = shop.kubectl("describe", "heliosproxy", "taken")
        assert "InvalidOwnership" in described.partition("Events:")[2]

    with OperatorProcess(operator_kubeconfig, tmp_path, name="second").wait_leading() as again:
        again.wait_idle()
        assert again.metric("looks_failed_total") > 0, "it has found the same trouble"
        assert (events_of(shop, "limited"), events_of(shop, "taken")) == ([limited], [taken])
