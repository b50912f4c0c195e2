"""Resources under the real command lines: made, planned again, changed, replaced, drifted, imported, gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.operator import OperatorProcess
from harness.resources import Shop
from harness.terraform import Project
from harness.wait import until

ALL = """
resource "heliosproxy_pool_profile" "fast" {
  name              = "fast"
  mode              = "transaction"
  max_pool_size     = 20
  idle_timeout_secs = 60
  wait_for_ready    = "strict"
}
resource "heliosproxy_audit_policy" "pci" {
  name       = "pci"
  hash_chain = true
  backend    = { type = "s3", bucket = "records", region = "eu-central-1" }
}
resource "heliosproxy_tenant_quota" "big" {
  name                      = "big"
  max_bytes_read_per_minute = 1125899906842624
}
resource "heliosproxy_routing_rule" "reports" {
  name  = "reports"
  match = { application_name_patterns = ["report*"] }
  route = "standby"
}
resource "heliosproxy_instance" "web" {
  name             = "web"
  wait_for_ready   = "false"
  labels           = { team = "shop" }
  nodes            = [{ host = "db-0", role = "primary" }, { host = "db-1", port = 5433 }]
  auth             = { method = "trust" }
  pool             = { mode = "transaction", max_connections = 50 }
  pool_profile_ref = heliosproxy_pool_profile.fast.name
  resources        = { requests = { cpu = "1000m", memory = "1Gi" } }
  timeouts         = { create = "90s" }
}
data "heliosproxy_pool_profile" "fast" {
  name       = heliosproxy_pool_profile.fast.name
  depends_on = [heliosproxy_pool_profile.fast]
}
output "endpoint" { value = heliosproxy_instance.web.endpoint }
output "secret" { value = heliosproxy_instance.web.connection_secret }
output "accepted" { value = data.heliosproxy_pool_profile.fast.status.conditions[0].status }
"""
WEB = """
resource "heliosproxy_instance" "web" {
  name           = "web"
  wait_for_ready = "false"
  labels         = { team = "shop" }
  auth           = { method = "trust" }
  nodes          = [{ host = "db-0", role = "primary" }, { host = "db-1" }]
  pool           = { mode = "transaction", max_connections = 50 }
  resources      = { requests = { cpu = "1", memory = "1Gi" } }
}
"""


def spec_of(shop: Shop, kind: str = "HeliosProxy", name: str = "web") -> dict[str, Any]:
    """The spec of an object."""
    spec: dict[str, Any] = shop.get(kind, name)["spec"]
    return spec


@pytest.mark.smoke
@pytest.mark.usefixtures("operator")
def test_five_kinds_are_made_planned_changed_and_destroyed(project: Project, shop: Shop) -> None:
    project.write(ALL)

    said = project.apply()

    assert (project.folder / ".terraform.lock.hcl").read_text().count("h1:") == 1
    assert "AuditPolicy" in said and "does not act on" in said
    assert spec_of(shop, "PoolProfile", "fast") == {"mode": "transaction", "maxPoolSize": 20, "idleTimeoutSeconds": 60}
    assert spec_of(shop, "TenantQuota", "big") == {"maxBytesReadPerMinute": 1 << 50}
    web = spec_of(shop)
    assert web["poolProfileRef"] == {"name": "fast"}
    assert web["nodes"] == [{"host": "db-0", "port": 5432, "role": "primary"}, {"host": "db-1", "port": 5433}]
    assert web["replicas"] == 2
    outputs = project.outputs()
    assert outputs == {
        "endpoint": f"web.{shop.namespace}.svc:6432",
        "secret": "web-users",
        "accepted": "True",
    }
    state = project.state()["heliosproxy_tenant_quota.big"]
    assert state["max_bytes_read_per_minute"] == 1 << 50
    assert project.changes() == {}

    changed = ALL.replace("max_pool_size     = 20", "max_pool_size     = 30").replace('cpu = "1000m"', 'cpu = "1"')
    project.write(changed.replace('bucket = "records"', 'bucket = "others"'))

    assert project.changes() == {
        "heliosproxy_pool_profile.fast": "update",
        "heliosproxy_audit_policy.pci": "replace",
    }
    before = shop.get("AuditPolicy", "pci")["metadata"]["uid"]
    project.apply()
    assert spec_of(shop, "PoolProfile", "fast")["maxPoolSize"] == 30
    assert shop.get("AuditPolicy", "pci")["metadata"]["uid"] != before
    assert project.changes() == {}

    project.run("destroy", "-no-color", "-auto-approve")
    assert [name for kind in ("PoolProfile", "HeliosProxy", "AuditPolicy") for name in shop.names(kind)] == []


def test_a_removed_attribute_gets_its_default_back(project: Project, shop: Shop) -> None:
    project.write(WEB.replace('name           = "web"', 'name = "web"\n  replicas = 5\n  listen_port = 7000'))
    project.apply()
    assert (spec_of(shop)["replicas"], spec_of(shop)["listenPort"]) == (5, 7000)

    project.write(WEB.replace('pool           = { mode = "transaction", max_connections = 50 }', "pool = {}"))
    project.apply()

    spec = spec_of(shop)
    assert spec["replicas"] == 2
    assert "listenPort" not in spec
    assert "pool" not in spec
    assert project.changes() == {}


@pytest.mark.usefixtures("operator")
def test_an_attribute_that_came_by_a_change_goes_by_another(project: Project, shop: Shop) -> None:
    """An operator writes the status meanwhile, which makes it another applier of the object."""
    project.write(WEB)
    project.apply()
    until(lambda: shop.get("HeliosProxy", "web").get("status"), "a status", deadline=60)
    project.write(WEB.replace('name           = "web"', 'name = "web"\n  listen_port = 7000'))
    project.apply()
    assert spec_of(shop)["listenPort"] == 7000

    project.write(WEB)
    project.apply()

    assert "listenPort" not in spec_of(shop)
    assert project.changes() == {}


def test_create_before_destroy_makes_the_new_object_first(project: Project, shop: Shop) -> None:
    text = """
    variable "name" { default = "one" }
    resource "heliosproxy_pool_profile" "p" {
      name          = var.name
      max_pool_size = 5
      wait_for_ready = "false"
      lifecycle { create_before_destroy = true }
    }
    """
    project.write(text)
    project.apply()

    project.write(text.replace('"one"', '"two"'))

    assert project.changes() == {"heliosproxy_pool_profile.p": "replace"}
    project.apply()
    assert shop.names("PoolProfile") == {"two"}


DRIFTS: dict[str, list[dict[str, Any]]] = {
    "replicas": [{"op": "replace", "path": "/spec/replicas", "value": 7}],
    "pool": [
        {"op": "replace", "path": "/spec/pool/maxConnections", "value": 99},
        {"op": "add", "path": "/spec/pool/minConnections", "value": 1},
    ],
    "nodes": [{"op": "add", "path": "/spec/nodes/-", "value": {"host": "db-9"}}],
    "resources": [{"op": "replace", "path": "/spec/resources/requests/cpu", "value": "3"}],
    "listen_port": [{"op": "add", "path": "/spec/listenPort", "value": 7000}],
    "labels": [{"op": "replace", "path": "/metadata/labels/team", "value": "other"}],
}
"""Attribute → what somebody does to it: a scalar, a nested object and one more field of it, an element of a list, a key
of a map, a field that we never set, a label."""


def test_drift_is_shown_and_its_owner_is_named_and_with_force_it_is_repaired(project: Project, shop: Shop) -> None:
    text = WEB.replace('name           = "web"', 'name = "web"\n  replicas = 3')
    project.write(text)
    project.apply()
    before = shop.get("HeliosProxy", "web")
    patch = [step for steps in DRIFTS.values() for step in steps]
    shop.kubectl("patch", "heliosproxy", "web", "--type=json", "--field-manager=bob", "-p", json.dumps(patch))

    [change] = [each["change"] for each in project.plan() if each["type"] == "heliosproxy_instance"]

    assert change["actions"] == ["update"]
    assert {name for name in DRIFTS if change["before"][name] != change["after"][name]} == set(DRIFTS)
    assert [node["host"] for node in change["before"]["nodes"]] == ["db-0", "db-1", "db-9"]
    refused = project.refuse_apply()

    assert "is owned by bob" in refused
    assert "spec.replicas" in refused
    assert "force_conflicts = true" in refused
    assert spec_of(shop)["replicas"] == 7

    project.arguments = "  force_conflicts = true"
    project.write(text)
    project.apply()

    after = shop.get("HeliosProxy", "web")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert project.changes() == {}


def test_an_object_of_kubectl_is_imported_changed_and_loses_an_attribute(project: Project, shop: Shop) -> None:
    shop.proxy("web", replicas=4, listenPort=7000)
    project.write(WEB)
    refused = project.refuse_apply()
    assert f"HeliosProxy {shop.namespace}/web exists already" in refused
    assert f"terraform import heliosproxy_instance.NAME {shop.namespace}/web" in refused

    project.run("import", "-no-color", "heliosproxy_instance.web", f"{shop.namespace}/web")
    state = project.state()["heliosproxy_instance.web"]
    assert (state["replicas"], state["listen_port"], state["id"]) == (4, 7000, f"{shop.namespace}/web")
    project.arguments = "  force_conflicts = true"
    project.write(WEB)
    project.apply()

    spec = spec_of(shop)
    assert spec["replicas"] == 2
    assert "listenPort" not in spec
    assert spec["pool"] == {"mode": "transaction", "maxConnections": 50}
    assert project.changes() == {}


def test_an_existing_object_is_adopted_when_that_is_asked_for(project: Project, shop: Shop) -> None:
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 5, "minIdle": 1})
    project.arguments = "  take_ownership = true"
    project.write('resource "heliosproxy_pool_profile" "p" {\n  name = "fast"\n  max_pool_size = 6\n'
                  '  wait_for_ready = "false"\n}\n')  # fmt: skip

    project.apply()

    assert spec_of(shop, "PoolProfile", "fast") == {"maxPoolSize": 6}
    assert project.changes() == {}


def test_a_password_is_in_no_state_plan_or_log(project: Project, shop: Shop) -> None:
    secret = "gehe1m-und-lang"
    variable = 'variable "password" {\n  type = string\n  sensitive = true\n  ephemeral = true\n}\n'
    users = "credentials = { app = { password_wo = var.password, password_wo_version = 1 } }"
    project.environment = {"TF_LOG": "trace", "TF_LOG_PATH": "trace.log", "TF_VAR_password": secret}
    project.write(variable + WEB.replace('name           = "web"', f'name = "web"\n  {users}'))
    project.run("plan", "-no-color", "-out=plan")
    project.run("apply", "-no-color", "plan")

    shown = project.run("show", "-json")
    first = json.loads(shop.kubectl("get", "secret", "web-users", "-o", "json"))["data"]["users.txt"]
    newer = users.replace("version = 1", "version = 2")
    project.write(variable + WEB.replace('name           = "web"', f'name = "web"\n  {newer}'))
    project.apply()
    second = json.loads(shop.kubectl("get", "secret", "web-users", "-o", "json"))["data"]["users.txt"]

    assert first != second
    assert project.changes() == {}
    written = [each for each in project.folder.rglob("*") if each.is_file() and ".terraform" not in each.parts]
    files = [each for each in written if each.suffix != ".tf"]
    assert (project.folder / "trace.log") in files
    assert [each.name for each in files if secret.encode() in each.read_bytes()] == []
    assert secret not in shown + "".join(project.logs)
    project.write(WEB)
    project.apply()
    assert shop.find("secret", "web-users") is not None


def test_a_wait_tells_why_and_strict_makes_it_an_error(project: Project, shop: Shop, operator: OperatorProcess) -> None:
    quota = """
    resource "heliosproxy_tenant_quota" "q" {
      name                      = "q"
      wait_for_ready            = "MODE"
      max_bytes_read_per_minute = 1000
    }
    """
    project.write(quota.replace("MODE", "true"))
    said = project.apply()
    assert "is not Accepted" in said and "NotActedOn" in said
    assert shop.names("TenantQuota") == {"q"}

    project.write(quota.replace("MODE", "strict").replace("1000", "2000"))
    refused = project.refuse_apply()

    assert "TenantQuota" in refused and "NotActedOn" in refused
    assert spec_of(shop, "TenantQuota", "q")["maxBytesReadPerMinute"] == 2000
    assert project.changes() == {}
    assert operator.exit_status is None


@pytest.mark.usefixtures("operator")
def test_a_pod_template_is_json_text_that_is_compared_by_what_it_says(project: Project, shop: Shop) -> None:
    text = """
    resource "terraform_data" "made" { input = "high" }
    resource "heliosproxy_instance" "web" {
      name           = "web"
      wait_for_ready = "false"
      auth           = { method = "trust" }
      pod_template   = TEMPLATE
    }
    """
    made = """jsonencode({
      spec = {
        priorityClassName = terraform_data.made.output
        containers        = [{ name = "proxy", livenessProbe = null, env = [{ name = "TZ", value = "UTC" }] }]
      }
    })"""
    project.write(text.replace("TEMPLATE", made))

    project.apply()

    container = {"name": "proxy", "livenessProbe": None, "env": [{"name": "TZ", "value": "UTC"}]}
    wanted = {"spec": {"priorityClassName": "high", "containers": [container]}}
    assert shop.get("HeliosProxy", "web")["spec"]["podTemplate"] == wanted
    assert project.changes() == {}
    other_words = json.dumps(wanted, indent=1).replace('"', '\\"').replace("\n", "\\n")
    project.write(text.replace("TEMPLATE", f'"{other_words}"'))
    assert project.changes() == {}
    project.write(text.replace("TEMPLATE", '"{spec"'))
    assert "pod_template is no JSON text of an object" in project.refuse("plan", "-no-color")
    project.write(text.replace("TEMPLATE", 'jsonencode({ spec = { priorityClassName = "low" } })'))
    project.apply()
    assert shop.get("HeliosProxy", "web")["spec"]["podTemplate"] == {"spec": {"priorityClassName": "low"}}
    project.write(text.replace("TEMPLATE", "null"))
    project.apply()
    assert "podTemplate" not in shop.get("HeliosProxy", "web")["spec"]
    assert project.changes() == {}
