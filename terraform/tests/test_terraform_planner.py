"""What a plan holds, for every attribute of every kind, without a cluster: the pure part of the provider."""

from __future__ import annotations

from typing import Any

import pytest

from helios_iac.fields import RESOURCES, ResourceType
from helios_iac.values import UNKNOWN
from helios_terraform.attributes import resource_fields
from helios_terraform.planner import explicit, plan
from helios_terraform.state import UPGRADES, state_of, upgraded

INSTANCE = RESOURCES["instance"]


def config_of(resource: ResourceType, **given: Any) -> dict[str, Any]:
    """A configuration in which everything else is left out."""
    return {field.name: given.get(field.name) for field in resource_fields(resource.word)}


def live_of(**spec: Any) -> dict[str, Any]:
    """What the API server has."""
    metadata = {"name": "web", "namespace": "shop", "uid": "1"}
    return {"metadata": metadata, "spec": {"replicas": 2, **spec}}


def test_a_plan_fills_in_the_defaults_of_the_api_server() -> None:
    made = plan(INSTANCE, None, config_of(INSTANCE, name="web", nodes=[{"host": "db-0"}]), "shop").planned

    assert made["replicas"] == 2
    assert made["nodes"][0]["port"] == 5432
    assert made["resources"] == {
        "requests": {"cpu": "250m", "memory": "128Mi"},
        "limits": {"cpu": "2", "memory": "512Mi"},
    }
    assert made["id"] == "shop/web"
    assert made["endpoint"] is UNKNOWN


@pytest.mark.parametrize(
    ("name", "written", "stored"),
    [
        ("resources", {"requests": {"cpu": "1000m"}, "limits": None}, {"requests": {"cpu": "1"}}),
        ("console", {"admin_users": ["a", "b"], "stats_users": None}, {"adminUsers": ["b", "a"]}),
        ("databases", [], None),
        ("pool", {"mode": None}, None),
    ],
)
def test_what_means_the_same_is_no_change(name: str, written: Any, stored: Any) -> None:
    field = next(each for each in INSTANCE.fields if each.name == name)
    written = {each.name: written.get(each.name) for each in field.fields} if isinstance(written, dict) else written
    config = config_of(INSTANCE, name="web", **{name: written})
    planned = plan(INSTANCE, None, config, "shop").planned
    spec = {} if stored is None else {field.key: stored}
    state = state_of(INSTANCE, live_of(**({"resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {
        "cpu": "2", "memory": "512Mi"}}} | spec)), planned)  # fmt: skip

    again = plan(INSTANCE, state, config, "shop")

    assert state[name] == written
    assert again.planned == state
    assert again.replaces == ()


def test_a_removed_attribute_is_planned_with_its_default() -> None:
    state = state_of(INSTANCE, live_of(replicas=5, listenPort=7000), None)

    made = plan(INSTANCE, state, config_of(INSTANCE, name="web"), "shop")

    assert (made.planned["replicas"], made.planned["listen_port"]) == (2, None)
    assert made.planned["endpoint"] is UNKNOWN
    assert made.planned["id"] == "shop/web"


def test_a_name_a_namespace_and_what_is_immutable_replace() -> None:
    policy = RESOURCES["audit_policy"]
    backend = {"type": "s3", "bucket": "records", "region": "r"}
    state = state_of(policy, {**live_of(), "spec": {"backend": backend}}, None)

    def replaces(**given: Any) -> Any:
        config = config_of(policy, **{"name": "web", "backend": backend, **given})
        return plan(policy, state, config, "shop").replaces

    assert replaces() == ()
    assert replaces(name="other") == (("name",),)
    assert replaces(namespace="other") == (("namespace",),)
    assert replaces(backend={**backend, "bucket": "others"}) == (("backend",),)
    assert replaces(backend={**backend, "bucket": UNKNOWN}) == (("backend",),)
    assert replaces(retention_days=9) == ()


def test_only_what_was_asked_for_is_sent() -> None:
    config = config_of(INSTANCE, name="web", replicas=2)
    planned = plan(INSTANCE, None, config, "shop").planned

    sent = {field.name: explicit(field, config[field.name], planned[field.name]) for field in INSTANCE.spec.fields}

    assert {name: value for name, value in sent.items() if value is not None} == {"replicas": 2}


def test_passwords_are_in_no_plan() -> None:
    users = {"app": {"password_wo": "secret", "password_wo_version": 1}}

    made = plan(INSTANCE, None, config_of(INSTANCE, name="web", credentials=users), "shop").planned

    assert made["credentials"] == {"app": {"password_wo": None, "password_wo_version": 1}}


def test_each_earlier_state_becomes_one_of_this_version() -> None:
    profile = RESOURCES["pool_profile"]

    state = upgraded(profile, 0, {"name": "fast", "idle_timeout_seconds": 60, "gone": 1})

    assert sorted(UPGRADES) == [0]
    assert set(state) == {field.name for field in resource_fields("pool_profile")}
    assert state["idle_timeout_secs"] == 60


RESERVED = {"count", "for_each", "depends_on", "provider", "providers", "lifecycle", "connection", "provisioner"}
RESERVED |= {"source", "version", "locals"}


@pytest.mark.parametrize("word", list(RESOURCES))
def test_no_attribute_has_a_name_that_terraform_keeps_for_itself(word: str) -> None:
    # As an attribute of a resource, or as a variable of the module.
    assert RESERVED & {field.name for field in resource_fields(word)} == set()
