"""The table of attributes: what it has, how values are translated by it, what it says is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from helios_crds.node import Node, tree
from helios_iac.fields import RESOURCES, Field
from helios_iac.problems import IacError, Level
from helios_iac.users import lines_of, users_text, verifier
from helios_iac.validate import document_of, validate
from helios_iac.values import UNKNOWN, camel_spelling, from_object, same, snake_spelling, spec_of

FULL: dict[str, Any] = {
    "replicas": 3,
    "nodes": [{"host": "db-0", "port": 5432, "role": "primary"}, {"host": "db-1", "port": 5433}],
    "pool": {"mode": "transaction", "idleTimeoutSeconds": 60},
    "poolProfileRef": {"name": "fast"},
    "routingRuleRefs": [{"name": "a"}, {"name": "b"}],
    "auth": {"method": "trust", "usersSecretRef": {"name": "u", "key": "users.txt"}},
    "resources": {"requests": {"cpu": "250m"}},
    "limits": {"maxPreparedBytes": 1 << 39},
    "podTemplate": {"spec": {"hostNetwork": True, "dnsPolicy": None, "containers": [{"name": "proxy"}]}},
}


def test_every_field_of_the_models_has_one_attribute() -> None:
    for resource in RESOURCES.values():
        spec = tree(resource.model).properties["spec"]
        for field in resource.spec.fields:
            named = field.is_name or (field.item is not None and field.item.is_name)
            assert named or keys(field) == keys(spec.properties[field.key]), field.name
        names = [field.name for field in resource.fields]
        assert len(names) == len(set(names))


def keys(one: Field | Node) -> Any:
    """The keys below an attribute, or below a node of the models, at every depth."""
    if isinstance(one, Field):
        held = one if one.kind == "object" else one.item
        below: dict[str, Any] = {} if held is None else dict(held.by_key)
    else:
        node = one if one.properties else one.items
        below = {} if node is None else dict(node.properties)
    return {key: keys(child) for key, child in below.items()}


def test_the_original_s_spelling_is_kept() -> None:
    paths = {
        word: {".".join(path) for field in resource.fields for path, _ in field.walk()}
        for word, resource in RESOURCES.items()
    }

    assert {"nodes", "pool.max_connections", "pool.idle_timeout_secs", "features", "pool_profile_ref"} <= paths[
        "instance"
    ]
    assert {"max_pool_size", "min_idle", "idle_timeout_secs", "max_lifetime_secs", "reset_query"} <= paths[
        "pool_profile"
    ]
    assert {"match.application_name_patterns", "match.query_pattern", "max_lag_millis"} <= paths["routing_rule"]
    assert {"hash_chain", "retention_days", "backend.bucket", "included_tables"} <= paths["audit_policy"]
    assert {"max_bytes_read_per_minute", "cost_budget_dollars_per_day"} <= paths["tenant_quota"]


@pytest.mark.parametrize("spell", [snake_spelling, camel_spelling])
def test_an_object_is_the_same_after_both_ways(spell: Any) -> None:
    resource = RESOURCES["instance"]

    attributes = from_object(resource.spec, FULL, spell)

    assert spec_of(resource, attributes, spell) == FULL
    assert attributes[spell(next(each for each in resource.fields if each.key == "poolProfileRef"))] == "fast"


def test_quantities_mean_the_same_by_amount() -> None:
    quantity = Field("cpu", "cpu", "quantity")

    for one, other in (("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("2k", "2000"), ("1", 1)):
        assert same(quantity, one, other), (one, other)
    assert not same(quantity, "1", "1001m")
    assert not same(quantity, "1G", "1Gi")


def test_another_schema_s_object_is_json_text_in_terraform_and_means_what_it_says() -> None:
    instance = RESOURCES["instance"]
    [field] = [each for each in instance.fields if each.kind == "json"]
    text = '{"spec": {"b": [1, null], "a": "ü"}}'

    written = from_object(field, {"spec": {"b": [1, None], "a": "ü"}})

    assert (field.name, written) == ("pod_template", '{"spec":{"a":"ü","b":[1,null]}}')
    assert same(field, text, written)
    assert not same(field, text, '{"spec":{}}')
    [found] = validate(instance, {"name": "web", "auth": {"method": "trust"}, "pod_template": "{spec"})
    assert (found.path, str(found)) == (
        ("pod_template",),
        "pod_template is no JSON text of an object: write jsonencode({ ... })",
    )
    [found] = validate(instance, {"name": "web", "podTemplate": 3}, None, camel_spelling)
    assert found.summary == "podTemplate is 3, an integer"


def test_what_is_not_known_is_not_judged() -> None:
    resource = RESOURCES["instance"]
    wrong = {"name": "web", "replicas": -1, "nodes": [{"host": UNKNOWN, "port": 70000}]}

    found = {each.path for each in validate(resource, wrong)}

    assert found == {("replicas",), ("nodes", 0, "port")}
    assert validate(resource, {"name": UNKNOWN, "nodes": UNKNOWN}) == []
    two = [{"host": "a", "role": "primary"}, {"host": UNKNOWN, "role": "primary"}]
    assert [each for each in validate(resource, {"name": "web", "nodes": two}) if each.level is Level.ERROR] == []


def test_problems_are_told_by_the_names_of_the_attributes() -> None:
    profile = RESOURCES["pool_profile"]

    [found] = validate(profile, {"name": "p", "min_idle": 9, "max_pool_size": 5})
    [camel] = validate(profile, {"name": "p", "minIdle": 9, "maxPoolSize": 5}, None, camel_spelling)

    assert found.summary == "min_idle must not exceed max_pool_size"
    assert camel.summary == "minIdle must not exceed maxPoolSize"


def test_a_users_file_keeps_the_line_of_an_unchanged_user() -> None:
    first = users_text({"app": "one", 'o"dd': "two"}, {"app": 1, 'o"dd': 1}, {}, "")
    same_again = users_text({"app": None, 'o"dd': None}, {"app": 1, 'o"dd': 1}, {"app": 1, 'o"dd': 1}, first)
    changed = users_text({"app": "three"}, {"app": 2}, {"app": 1}, first)

    assert same_again == first
    assert set(lines_of(first)) == {"app", 'o"dd'}
    assert changed != first and set(lines_of(changed)) == {"app"}
    with pytest.raises(IacError, match="app need password_wo"):
        users_text({"app": None}, {"app": 1}, {}, "")


def test_a_verifier_has_the_form_of_postgresql_s() -> None:
    made = verifier("secret", b"helios-test-salt")

    assert made.startswith("SCRAM-SHA-256$4096:aGVsaW9zLXRlc3Qtc2FsdA==$")
    assert made == verifier("se\u00adcret", b"helios-test-salt"), "a soft hyphen is mapped to nothing"


def test_a_document_says_nothing_that_was_left_out() -> None:
    assert document_of(RESOURCES["pool_profile"], {"name": "p", "pool": None, "labels": None})["spec"] == {}
