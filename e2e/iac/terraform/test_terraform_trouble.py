"""Clusters that are away, that refuse, that know nothing of us; a user who interrupts; credentials that expire."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cluster import Cluster
from cluster.local import LocalCluster
from harness.resources import Shop
from harness.terraform import Project
from harness.wait import until

PROFILE = """
resource "heliosproxy_pool_profile" "p" {
  name           = "fast"
  max_pool_size  = 5
  wait_for_ready = "MODE"
}
"""
QUIET = PROFILE.replace("MODE", "false")


def provider(arguments: str) -> str:
    return f'provider "heliosproxy" {{\n{arguments}\n}}\n'


def test_an_interrupt_ends_the_wait_and_the_state_is_true(project: Project, shop: Shop) -> None:
    # No operator looks at HeliosProxies here for long: their pods never start at this level.
    project.write('resource "heliosproxy_instance" "web" {\n  name = "web"\n  auth = { method = "trust" }\n}\n')
    process = project.start("apply", "-no-color", "-auto-approve", "-input=false")
    until(lambda: "web" in shop.names("HeliosProxy"), "the object is made", deadline=120)
    # It waits as soon as it has been made; the signal must not come before the create was answered.
    until(lambda: "web-users" not in shop.names("Secret"), "nothing else is written", deadline=5)
    time.sleep(1)

    interrupted = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, said = project.finish(process)
    took = time.monotonic() - interrupted
    print(f"{project.cli.name}: ended {took:.1f} s after the interrupt, load {os.getloadavg()[0]:.1f}")

    assert "the wait was interrupted" in said
    # Two seconds on an idle machine.
    assert took < 10
    assert project.state()["heliosproxy_instance.web"]["id"] == f"{shop.namespace}/web"
    assert "web" in shop.names("HeliosProxy")


def test_an_api_server_that_goes_away_in_the_middle_is_told_and_the_next_apply_heals(
    project: Project, shop: Shop, cluster: Cluster
) -> None:
    assert isinstance(cluster, LocalCluster)
    made, go_on = project.folder / "made", project.folder / "go-on"
    project.write(f"""
    resource "heliosproxy_pool_profile" "first" {{
      name           = "first"
      max_pool_size  = 5
      wait_for_ready = "false"
    }}
    resource "terraform_data" "pause" {{
      depends_on = [heliosproxy_pool_profile.first]
      provisioner "local-exec" {{
        command = "touch {made}; while [ ! -e {go_on} ]; do sleep 0.1; done"
      }}
    }}
    resource "heliosproxy_pool_profile" "second" {{
      depends_on     = [terraform_data.pause]
      name           = "second"
      max_pool_size  = 5
      wait_for_ready = "false"
    }}
    """)
    process = project.start("apply", "-no-color", "-auto-approve", "-input=false")
    until(made.exists, "the apply has begun", deadline=120)
    cluster.stop_apiserver()
    go_on.touch()
    try:
        status, said = project.finish(process)
    finally:
        cluster.start_apiserver()

    assert status != 0
    assert "check that the API server runs" in " ".join(said.split())
    assert "heliosproxy_pool_profile.first" in project.state()
    project.apply()
    assert shop.names("PoolProfile") == {"first", "second"}
    assert project.changes() == {}


def test_each_refusal_is_one_diagnostic_that_says_what_to_do(
    project: Project, shop: Shop, cluster: Cluster, tmp_path: Path
) -> None:
    project.write(QUIET, provider=provider('  kubeconfig = "missing"'))
    said = project.refuse_apply()
    assert "missing cannot be read: no such file" in said
    assert "set `kubeconfig`" in said
    project.write(QUIET, provider=provider('  kube_context = "moon"'))
    assert "has no context named moon" in project.refuse_apply()
    project.write(QUIET, provider=provider('  namespace = "no-such-namespace"'))
    said = project.refuse_apply()
    assert 'namespaces "no-such-namespace" not found' in said
    assert "check that its namespace exists" in said
    limited = limited_kubeconfig(shop, cluster, tmp_path)
    project.write(QUIET, provider=provider(f'  kubeconfig = "{limited}"\n  namespace = "{shop.namespace}"'))
    said = project.refuse_apply()
    assert "cannot create resource" in said
    assert "grant the identity" in said
    assert said.count("Error: ") == 1
    project.write(QUIET, provider=provider('  host = "https://127.0.0.1:1"\n  token = "x"'))
    assert "check that the API server runs" in project.refuse_apply()


def limited_kubeconfig(shop: Shop, cluster: Cluster, folder: Path) -> Path:
    """Of a ServiceAccount that may do nothing."""
    shop.kubectl("create", "serviceaccount", "nobody")
    return kubeconfig_with(cluster, folder, {"token": shop.kubectl("create", "token", "nobody").strip()})


def kubeconfig_with(cluster: Cluster, folder: Path, user: Mapping[str, object]) -> Path:
    document = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
    document["users"][0]["user"] = user
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


def test_a_cluster_without_our_kinds_or_with_other_versions_of_them_says_what_to_do(
    project: Project, cluster: Cluster
) -> None:
    crd = "crd/tenantquotas.helios.heliosproxy.dev"
    kept = json.loads(cluster.kubectl("get", crd, "-o", "json"))
    made = {key: kept["metadata"][key] for key in ("name", "labels")}
    document = {**{key: kept[key] for key in ("apiVersion", "kind", "spec")}, "metadata": made}
    [version] = kept["spec"]["versions"]
    later = {**document, "spec": {**kept["spec"], "versions": [{**version, "name": "v1beta1"}]}}
    cluster.kubectl("delete", crd)
    try:
        project.write(
            'resource "heliosproxy_tenant_quota" "q" {\n  name = "q"\n  max_queries_per_minute = 9\n'
            '  wait_for_ready = "false"\n}\n'
        )
        unknown = project.refuse_apply()
        define(cluster, later)
        other = project.refuse_apply()
        cluster.kubectl("delete", crd)
    finally:
        define(cluster, document)

    assert "the cluster does not know the kind TenantQuota" in unknown
    assert "install the operator with its definitions first" in unknown
    assert "the cluster serves TenantQuota in v1beta1, not in helios.heliosproxy.dev/v1alpha1" in other
    assert "use a release of the provider that writes one of these" in other


def define(cluster: Cluster, document: Mapping[str, Any]) -> None:
    """Apply a CRD, and wait until its versions are served and no others."""
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(document))
    name, plural = document["metadata"]["name"], document["spec"]["names"]["plural"]
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    wanted = {each["name"] for each in document["spec"]["versions"]}
    until(lambda: served(cluster, document["spec"]["group"], plural) == wanted, f"{wanted} are served", deadline=60)


def served(cluster: Cluster, group: str, plural: str) -> set[str]:
    """The versions in which the API server has a kind."""
    versions = [each["version"] for each in json.loads(cluster.kubectl("get", "--raw", f"/apis/{group}"))["versions"]]
    lists = {each: json.loads(cluster.kubectl("get", "--raw", f"/apis/{group}/{each}")) for each in versions}
    return {each for each, kinds in lists.items() if plural in {kind["name"] for kind in kinds["resources"]}}


PLUGIN = """
import json, sys, pathlib
folder = pathlib.Path(sys.argv[1])
calls = folder / "calls"
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
token = (folder / "token").read_text().strip()
status = {"token": token}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def let_write(shop: Shop, cluster: Cluster, account: str) -> None:
    """A ServiceAccount that may do everything to our kinds."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "admin-of-helios"},
        "rules": [{"apiGroups": ["helios.heliosproxy.dev"], "resources": ["*"], "verbs": ["*"]}],
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(role))
    shop.kubectl("create", "serviceaccount", account)
    bound = f"--serviceaccount={shop.namespace}:{account}"
    shop.kubectl("create", "rolebinding", account, "--clusterrole=admin-of-helios", bound)


IN_POD = """#!/bin/sh
# A mount namespace of our own in which /run holds what a pod has there.
exec unshare --mount sh -ec '
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$0" /run/secrets/kubernetes.io/serviceaccount
exec "$@"' FOLDER PROGRAM "$@"
"""


def test_in_a_pod_the_provider_is_the_pod_s_service_account(
    project: Project, shop: Shop, cluster: Cluster, tmp_path: Path
) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not make a mount namespace, in which /run looks as in a pod")
    let_write(shop, cluster, "runner")
    folder = tmp_path / "account"
    folder.mkdir()
    view = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
    [place] = view["clusters"]
    (folder / "token").write_text(shop.kubectl("create", "token", "runner").strip())
    (folder / "ca.crt").write_bytes(base64.b64decode(place["cluster"]["certificate-authority-data"]))
    (folder / "namespace").write_text(shop.namespace)
    program = tmp_path / "in-pod"
    program.write_text(IN_POD.replace("FOLDER", str(folder)).replace("PROGRAM", str(project.cli.program)))
    program.chmod(0o755)
    pod = replace(project, cli=replace(project.cli, program=program))
    server = urlsplit(place["cluster"]["server"])
    pod.environment = {
        "KUBECONFIG": "",
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    pod.write(QUIET, provider="")

    pod.apply()

    assert shop.names("PoolProfile") == {"fast"}
    assert pod.state()["heliosproxy_pool_profile.p"]["namespace"] == shop.namespace
    assert pod.changes() == {}


def test_a_token_that_is_refused_in_the_middle_of_a_wait_is_renewed(
    project: Project, shop: Shop, cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    for account in ("first", "second"):
        let_write(shop, cluster, account)
    (tmp_path / "token").write_text(shop.kubectl("create", "token", "first"))
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(tmp_path / "plugin.py"), str(tmp_path)],
        }
    }
    file = kubeconfig_with(cluster, tmp_path, user)
    text = "".join(
        f'resource "heliosproxy_instance" "w{n}" {{\n  name = "w{n}"\n  timeouts = {{ create = "20s" }}\n}}\n'
        for n in range(10)
    )
    project.write(text, provider=provider(f'  kubeconfig = "{file}"\n  namespace = "{shop.namespace}"'))
    process = project.start("apply", "-no-color", "-auto-approve", "-input=false")
    until(lambda: len(shop.names("HeliosProxy")) == 10, "the ten are made and wait", deadline=120)
    called = len((tmp_path / "calls").read_text())
    (tmp_path / "token").write_text(shop.kubectl("create", "token", "second"))
    shop.kubectl("delete", "serviceaccount", "first")

    status, said = project.finish(process)

    assert status == 0, said
    assert "after 20 s" in said
    # One process has one client: the ten asked for a token together, not each for itself.
    assert called <= 2
    assert len((tmp_path / "calls").read_text()) > called
