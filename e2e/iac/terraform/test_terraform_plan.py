"""What a plan tells before anything is written: bad values, unknown ones, other versions of a state, many resources."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from harness.resources import Shop
from harness.terraform import Project

STATES = Path(__file__).parent / "states"
BAD = {
    'name = "web"\n  nodes = [{ host = "a", role = "primary" }, { host = "b", role = "primary" }]': (
        "at most one node may have role: primary",
        "nodes",
    ),
    'name = "web"\n  nodes = [{ host = "a", port = 70000 }]': ("nodes[0].port is 70000", "65535"),
    'name = "web"\n  pool = { mode = "bouncy" }': ('pool.mode is "bouncy"', "session, transaction, statement"),
    'name = "Web!"': ('name is "Web!"', ""),
    'name = "web"\n  resources = { limits = { cpu = "many" } }': ('is "many"', "250m, 2 or 512Mi"),
    'name = "web"\n  timeouts = { create = "soon" }': ('timeouts.create is "soon"', "90s"),
    'name = "web"\n  wait_for_ready = "perhaps"': ('wait_for_ready is "perhaps"', "strict"),
}


def instance(body: str) -> str:
    return f'resource "heliosproxy_instance" "web" {{\n  {body}\n}}\n'


@pytest.mark.smoke
def test_a_bad_value_fails_at_plan_with_its_attribute_its_value_and_what_would_be_right(project: Project) -> None:
    # No API server is needed for any of it.
    project.environment = {"KUBECONFIG": "nowhere"}
    project.write(
        "".join(instance(body).replace('"web" {', f'"w{n}" {{', 1) for n, body in enumerate(BAD)), provider=""
    )

    said = project.refuse("validate", "-no-color")

    for wrong, right in BAD.values():
        assert wrong in said
        assert right in said
    assert "password" not in said
    project.write(instance('name = "web"\n  replicas = "many"'), provider="")
    assert "a number is required" in project.refuse("validate", "-no-color")


@pytest.mark.smoke
def test_a_plan_of_a_creation_needs_no_api_and_knows_what_it_can(project: Project) -> None:
    text = """
    resource "terraform_data" "made" { input = "db-7" }
    resource "heliosproxy_instance" "web" {
      name     = "web"
      nodes    = [{ host = terraform_data.made.output, role = "primary" }]
      replicas = 3
      pool     = { mode = "session" }
    }
    """
    nowhere = 'provider "heliosproxy" {\n  host = "https://127.0.0.1:1"\n  namespace = "elsewhere"\n}\n'
    unknown = text + '\nprovider "heliosproxy" {\n  host = "https://${terraform_data.made.output}"\n}\n'
    project.write(text, provider=nowhere)

    [planned] = [each for each in project.plan() if each["type"] == "heliosproxy_instance"]

    assert planned["change"]["after"]["id"] == "elsewhere/web"
    assert planned["change"]["after"]["nodes"][0]["port"] == 5432
    unknowns = planned["change"]["after_unknown"]
    assert unknowns["nodes"][0] == {"host": True}
    assert all(unknowns[name] is True for name in ("endpoint", "connection_secret", "current_primary"))
    project.write(unknown, provider="")
    [planned] = [each for each in project.plan() if each["type"] == "heliosproxy_instance"]
    assert planned["change"]["after_unknown"]["namespace"] is True
    assert planned["change"]["after"]["replicas"] == 3


def test_an_unknown_value_of_another_resource_is_applied(project: Project, shop: Shop) -> None:
    project.write("""
    resource "terraform_data" "made" { input = "db-7" }
    resource "heliosproxy_instance" "web" {
      name           = "web"
      wait_for_ready = "false"
      nodes          = [{ host = terraform_data.made.output }]
      auth           = { method = "trust" }
    }
    output "dsn" { value = provider::heliosproxy::dsn(heliosproxy_instance.web.endpoint, "app user", "shop") }
    output "toml" {
      value = provider::heliosproxy::render_config("web", {
        nodes = [{ host = "db-0" }], auth = { method = "trust" }, pool = { max_connections = 33 }
      })
    }
    """)

    project.apply()

    assert shop.get("HeliosProxy", "web")["spec"]["nodes"] == [{"host": "db-7", "port": 5432}]
    outputs = project.outputs()
    assert outputs["dsn"] == f"postgresql://app%20user@web.{shop.namespace}.svc:6432/shop"
    assert 'host = "db-0"' in outputs["toml"]
    assert "max_size = 33" in outputs["toml"]
    assert project.changes() == {}


def test_a_change_that_an_object_may_not_make_is_told_at_plan(project: Project) -> None:
    policy = """
    resource "heliosproxy_audit_policy" "pci" {
      name           = "pci"
      wait_for_ready = "false"
      hash_chain     = CHAIN
      backend        = { type = "s3", bucket = "records", region = "eu-central-1" }
    }
    """
    project.write(policy.replace("CHAIN", "true"))
    project.apply()
    project.write(policy.replace("CHAIN", "false"))

    assert "hash_chain cannot be switched off once it is on" in project.refuse("plan", "-no-color")


def test_a_state_of_the_previous_version_is_read_and_changes_nothing(project: Project, shop: Shop) -> None:
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 20, "idleTimeoutSeconds": 60, "maxLifetimeSeconds": 1800})
    project.write("""
    resource "heliosproxy_pool_profile" "fast" {
      name              = "fast"
      max_pool_size     = 20
      idle_timeout_secs = 60
      max_lifetime_secs = 1800
    }
    """)
    shutil.copy(STATES / "version-0.tfstate", project.folder / "terraform.tfstate")
    state = project.folder / "terraform.tfstate"
    host = "registry.terraform.io" if project.cli.name == "terraform" else "registry.opentofu.org"
    state.write_text(state.read_text().replace("NAMESPACE", shop.namespace).replace("HOST", host))

    assert project.changes() == {}

    project.run("refresh", "-no-color") if project.cli.name == "terraform" else project.apply("-refresh-only")
    stored = json.loads(state.read_text())["resources"][0]["instances"][0]
    assert stored["schema_version"] == 1
    assert stored["attributes"]["idle_timeout_secs"] == 60
    assert "idle_timeout_seconds" not in stored["attributes"]


def test_two_hundred_resources_are_planned_within_the_time(project: Project) -> None:
    project.write("""
    resource "heliosproxy_pool_profile" "many" {
      count         = 200
      name          = "p${count.index}"
      max_pool_size = 10 + count.index
    }
    """)

    started = time.monotonic()
    planned = project.changes()
    took = time.monotonic() - started
    print(f"{project.cli.name}: 200 resources planned in {took:.1f} s, load {os.getloadavg()[0]:.1f}")

    assert len(planned) == 200
    # Three seconds on an idle machine, where 20 are promised; 40 at a load of 22 on two cores.
    assert took < 120


LEAVES = {"string", "number", "bool"}


@pytest.mark.smoke
def test_the_schema_has_a_type_for_every_leaf(project: Project) -> None:
    project.write("")

    shown = json.loads(project.run("providers", "schema", "-json"))

    [provider] = shown["provider_schemas"].values()
    resources = provider["resource_schemas"]
    assert set(resources) == {
        f"heliosproxy_{word}" for word in ("instance", "pool_profile", "routing_rule", "audit_policy", "tenant_quota")
    }
    for schema in resources.values():
        untyped: list[str] = []
        collect(schema["block"]["attributes"], "", untyped)
        assert untyped == []
    password = resources["heliosproxy_instance"]["block"]["attributes"]["credentials"]["nested_type"]["attributes"]
    assert password["password_wo"].get("write_only") is True


def collect(attributes: dict[str, dict[str, object]], path: str, untyped: list[str]) -> None:
    """Paths of attributes whose type says nothing."""
    for name, attribute in attributes.items():
        nested = attribute.get("nested_type")
        if isinstance(nested, dict):
            collect(nested["attributes"], f"{path}{name}.", untyped)
            continue
        kind = attribute["type"]
        leaf = kind[1] if isinstance(kind, list) else kind
        if leaf not in LEAVES:
            untyped.append(f"{path}{name}")
