"""The operator's rights are enough and not more: no 403 in the audit log, and no rule that nothing used.

The audit log of the API server is read for what the ServiceAccount did while a tour through everything that the
operator does was made; `kubectl apply -f operator/install.yaml` alone is what installs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, KubectlError
from harness.admission import AdmittingOperator, remove_webhooks
from harness.foreign import CERTIFICATES, CLUSTERS, MONITORING, install_kinds
from harness.operator import ACCOUNT, INSTALL, NAMESPACE
from harness.resources import POLICIES, Shop
from harness.wait import until

USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
Use = tuple[str, str, str]
"""(group, resource with its part, verb)"""


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def granted() -> set[Use]:
    """Every single right in install.yaml."""
    roles = [each for each in yaml.safe_load_all(INSTALL.read_text()) if each["kind"] in ("ClusterRole", "Role")]
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def requests(log: Path, since: int) -> Iterator[dict[str, Any]]:
    """What the operator asked for since a position in the audit log."""
    with log.open("rb") as file:
        file.seek(since)
        for line in file:
            if line.endswith(b"\n"):
                event = json.loads(line)
                if event["user"]["username"] == USER:
                    yield event


def used(event: dict[str, Any]) -> Use | None:
    """The right that a request needed; None for discovery, which everybody has."""
    reference = event.get("objectRef") or {}
    if "resource" not in reference:
        return None
    part = f"/{reference['subresource']}" if reference.get("subresource") else ""
    return reference.get("apiGroup", ""), reference["resource"] + part, event["verb"]


def tour(shop: Shop, operator: AdmittingOperator) -> None:
    """Everything that the operator does at the API server."""
    shop.kubectl("create", "secret", "generic", "web-users", "--from-literal=users.txt=x")
    for kind, spec in POLICIES.items():
        shop.apply(kind, "fast", spec)
    for kind in POLICIES:
        shop.await_accepted(kind, "fast")
    shop.proxy(poolProfileRef={"name": "fast"}, auth={"method": "scram-sha-256"})
    shop.await_deployed()
    shop.proxy("limited", tenantQuotaRefs=[{"name": "fast"}])
    shop.await_condition("limited", "Stalled", "True")
    operator.configure()
    refs = {f"{kind}Refs": [{"name": "fast"}] for kind in ("tenantQuota", "routingRule")}
    with pytest.raises(KubectlError, match="no tenant would be limited"):
        shop.proxy("refused", auditPolicyRef={"name": "fast"}, poolProfileRef={"name": "fast"}, **refs)
    shop.proxy(readListenPort=5433)
    shop.until(lambda: shop.find("service", "web-ro"), "there is a Service of standbys")
    shop.proxy(nodes=[], replicas=3, listenPort=5432)
    shop.await_condition("web", "BackendsFound", "False")
    shop.proxy(replicas=3, listenPort=5432)
    shop.await_condition("web", "BackendsFound", "True")
    shop.until(lambda: shop.get("service", "web")["spec"]["ports"][0]["port"] == 5432, "the Service follows")
    shop.until(lambda: shop.find("service", "web-ro") is None, "it goes with its port")
    shop.kubectl("annotate", "heliosproxy", "web", "helios.heliosproxy.dev/rotate-admin=1")
    shop.until(lambda: "rotated-at" in str(shop.get("secret", "web-admin")["metadata"]), "the token is replaced")
    shop.kubectl("label", "deployment", "web", "app.kubernetes.io/managed-by-")
    label = "app.kubernetes.io/managed-by"
    shop.until(lambda: label in shop.get("deployment", "web")["metadata"]["labels"], "the label is back")
    around(shop)
    shop.kubectl("delete", "heliosproxy", "web")


def around(shop: Shop) -> None:
    """What is made, changed and taken away on demand."""
    kinds = ("poddisruptionbudget", "horizontalpodautoscaler", "networkpolicy")
    for most in (4, 5):
        scaled = {"minReplicas": 2, "maxReplicas": most}
        network = {"enabled": True, "monitoringNamespaces": [f"prometheus-{most}"]}
        shop.proxy(podDisruptionBudget={"maxUnavailable": most}, autoscaling=scaled, networkPolicy=network)
        for kind in kinds:
            shop.until(lambda: str(most) in str((shop.find(kind, "web") or {}).get("spec")), f"{kind}: {most}")  # noqa: B023
    rights = ("serviceaccount", "role", "rolebinding")
    shop.proxy(failover={"enabled": True})
    for kind in rights:
        shop.until(lambda: shop.find(kind, "web"), f"there is a {kind}")  # noqa: B023
        shop.kubectl("label", kind, "web", "app.kubernetes.io/name-")
        shop.until(lambda: "app.kubernetes.io/name" in shop.get(kind, "web")["metadata"]["labels"], "it is back")  # noqa: B023
    shop.proxy(replicas=1)
    for kind in (*kinds, *rights):
        shop.until(lambda: shop.find(kind, "web") is None, f"{kind} is gone")  # noqa: B023
    monitored(shop)


def monitored(shop: Shop) -> None:
    """The same of another project's kinds."""
    for kind, field in (("podmonitor", "podMonitor"), ("servicemonitor", "serviceMonitor")):
        for seconds in (20, 21):
            labels = {"release": f"every-{seconds}"}
            shop.proxy(monitoring={field: True, "prometheusRule": True, "intervalSeconds": seconds, "labels": labels})
            for made in (kind, "prometheusrule"):
                shop.until(lambda: labels["release"] in str(shop.find(made, "web")), f"{made}: {seconds}")  # noqa: B023
    for name in ("a.example", "b.example"):
        shop.proxy(tls={"certificate": {"issuerRef": {"name": "authority"}, "dnsNames": [name]}})
        shop.until(lambda: name in str(shop.find("certificate", "web")), f"a certificate for {name}")  # noqa: B023
    shop.proxy()
    for kind in ("podmonitor", "servicemonitor", "prometheusrule", "certificate"):
        shop.until(lambda: shop.find(kind, "web") is None, f"{kind} is gone")  # noqa: B023


@pytest.mark.smoke
def test_no_request_is_forbidden_and_no_right_is_unused(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    log = shop.cluster.audit_log
    if log is None:
        pytest.skip("somebody else runs the API server, so there is no audit log to read")
    since = log.stat().st_size
    shop.kubectl("-n", NAMESPACE, "delete", "lease", ACCOUNT, "--ignore-not-found")
    install_kinds(shop.cluster, (*MONITORING, *CLUSTERS, *CERTIFICATES))

    with AdmittingOperator(shop.cluster, operator_kubeconfig, tmp_path, "--discovery-interval=1") as operator:
        try:
            operator.wait_leading()
            tour(shop, operator)
            operator.wait_idle()
        finally:
            remove_webhooks(shop.cluster)

    def unused() -> set[Use]:
        return granted() - {used(event) for event in requests(log, since)}

    until(lambda: not unused(), f"every right was used, but {sorted(unused())}", 10)
    # In namespaces of other tests, which are being deleted, nothing can be made any more: no matter of rights.
    ours = (None, "", shop.namespace, NAMESPACE)
    refused = [
        event
        for event in requests(log, since)
        if event.get("responseStatus", {}).get("code") == 403
        and (event.get("objectRef") or {}).get("namespace") in ours
    ]
    assert [(used(event), event["responseStatus"].get("message")) for event in refused] == []


def test_kubectl_apply_alone_installs_the_operator(installed: Cluster) -> None:
    try:
        installed.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(INSTALL))
        again = installed.kubectl("apply", "--server-side", "-f", str(INSTALL))

        deployment = json.loads(installed.kubectl("-n", NAMESPACE, "get", "deployment", ACCOUNT, "-o", "json"))
        assert again.count("serverside-applied") == len(list(yaml.safe_load_all(INSTALL.read_text())))
        assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == ACCOUNT
    finally:
        installed.kubectl("-n", NAMESPACE, "delete", "deployment", ACCOUNT, "--ignore-not-found")
        remove_webhooks(installed)
