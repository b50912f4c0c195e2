"""The generated CRDs obey what the API server says about structural schemas (and are no larger than they may be)."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from helios_crds import API_VERSION, GROUP, KINDS, HeliosProxy, ResourceError
from helios_crds.base import Resource, SpecModel
from helios_crds.node import tree
from helios_crds.parse import parse_as
from helios_crds.structural import custom_resource_definition
from helios_crds.yaml import dump, load_documents

MAX_BYTES = 200 * 1024
FORBIDDEN = {
    "$ref",
    "$defs",
    "definitions",
    "title",
    "nullable",
    "const",
    "examples",
    "deprecated",
    "uniqueItems",
    "oneOf",
}


def schemas(model: type[Resource]) -> Iterator[tuple[str, dict[str, Any]]]:
    version = custom_resource_definition(model)["spec"]["versions"][0]
    yield from walk(model.__name__, version["schema"]["openAPIV3Schema"])


def walk(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(f"{path}.{name}", child)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from walk(f"{path}[]", schema[key])


every_kind = pytest.mark.parametrize("model", list(KINDS.values()), ids=list(KINDS))


@every_kind
def test_schema_is_structural(model: type[Resource]) -> None:
    for path, schema in schemas(model):
        assert not FORBIDDEN & schema.keys(), path
        if schema.get("x-kubernetes-int-or-string"):
            assert "type" not in schema, path
            assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            continue
        assert schema["type"] in {"object", "array", "string", "integer", "number", "boolean"}, path
        assert "anyOf" not in schema, path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        assert schema.get("additionalProperties") not in (True, False), path
        assert schema.get("exclusiveMinimum", True) is True, path
        assert set(schema.get("required", ())) <= schema.get("properties", {}).keys(), path


@every_kind
def test_every_list_string_and_map_is_bounded(model: type[Resource]) -> None:
    for path, schema in schemas(model):
        if path.count(".") == 1 and path.endswith((".apiVersion", ".kind", ".metadata")):
            continue
        match schema.get("type"):
            case "array":
                assert schema["maxItems"] <= 1000, path
                assert schema["x-kubernetes-list-type"] in {"map", "set", "atomic"}, path
            case "string":
                assert "maxLength" in schema or "enum" in schema or schema.get("format") == "date-time", path
            case "object" if "additionalProperties" in schema:
                assert schema["maxProperties"] <= 64, path
            case "integer" if ".spec" in path:
                assert {"minimum", "maximum"} <= schema.keys(), path


@every_kind
def test_keys_of_a_list_map_are_always_there(model: type[Resource]) -> None:
    for path, schema in schemas(model):
        if schema.get("x-kubernetes-list-type") == "map":
            item = schema["items"]
            for key in schema["x-kubernetes-list-map-keys"]:
                assert key in item.get("required", ()) or "default" in item["properties"][key], f"{path}: {key}"


@every_kind
def test_no_default_is_null_and_none_breaks_its_own_bounds(model: type[Resource]) -> None:
    for path, schema in schemas(model):
        if "default" in schema:
            assert "null" not in dump(schema["default"]), path
            if schema["type"] == "integer":
                assert schema["minimum"] <= schema["default"] <= schema["maximum"], path


@every_kind
def test_no_default_on_what_a_reference_can_set(model: type[Resource]) -> None:
    for path, node in tree(model).walk():
        assert node.mirror is None or not isinstance(node.default, (int, str)), path


@every_kind
def test_every_field_is_described(model: type[Resource]) -> None:
    for path, node in tree(model).walk():
        assert path[-1:] == ("[]",) or node.description, f"{model.__name__}: {'.'.join(path)}"


@every_kind
def test_names_columns_and_subresources(model: type[Resource]) -> None:
    crd = custom_resource_definition(model)
    spec, version = crd["spec"], crd["spec"]["versions"][0]

    assert crd["metadata"]["name"] == f"{spec['names']['plural']}.{GROUP}"
    assert spec["names"]["categories"] == ["helios"]
    assert spec["names"]["shortNames"]
    assert version["subresources"]["status"] == {}
    known = {re.sub(r"\[\]", "", path) for path, _ in schemas(model)}
    for column in version["additionalPrinterColumns"]:
        field = model.__name__ + re.sub(r"\[\?\(.*?\)\]", "", column["jsonPath"])
        assert field in known or ".metadata." in field, column


def test_helios_proxy_prints_and_scales() -> None:
    version = custom_resource_definition(KINDS["HeliosProxy"])["spec"]["versions"][0]
    always = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]

    assert always == ["Replicas", "Phase", "Primary", "Age"]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]["default"] == 2


def test_ordered_references_are_atomic_and_named_lists_are_maps() -> None:
    spec = tree(KINDS["HeliosProxy"]).properties["spec"].properties
    kinds = {name: node.bounds["x-kubernetes-list-type"] for name, node in spec.items() if node.kind == "array"}

    assert kinds == {
        "nodes": "map",
        "clusters": "map",
        "databases": "map",
        "users": "map",
        "routingRuleRefs": "atomic",
        "tenantQuotaRefs": "map",
    }


def test_an_open_object_keeps_what_is_in_it_and_its_nulls() -> None:
    proxy = KINDS["HeliosProxy"]
    schema = custom_resource_definition(proxy)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    wanted = {"spec": {"dnsPolicy": None, "containers": [{"name": "proxy", "livenessProbe": None}]}}
    document = {"apiVersion": API_VERSION, "kind": "HeliosProxy", "metadata": {"name": "web"}}

    parsed = parse_as(HeliosProxy, {**document, "spec": {"podTemplate": wanted, "pool": None}})

    field = schema["properties"]["spec"]["properties"]["podTemplate"]
    assert {key: value for key, value in field.items() if key != "description"} == {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    assert parsed.spec.pod_template == wanted
    with pytest.raises(ResourceError, match=r"spec.podTemplate: is 3, an integer; write a mapping"):
        parse_as(HeliosProxy, {**document, "spec": {"podTemplate": 3}})


@every_kind
def test_file_is_small_and_reads_the_same_by_kubectl_and_by_yaml(model: type[Resource]) -> None:
    crd = custom_resource_definition(model)

    text = dump(crd)

    assert len(text) <= MAX_BYTES
    assert load_documents(text)[0].value == crd
    assert yaml.safe_load(text) == crd
    assert not re.search(r"[&*]id\d", text)


@every_kind
def test_units_are_in_the_names(model: type[Resource]) -> None:
    """A time or size without its unit in the name is a question every reader has to ask."""
    for path, node in tree(model).leaves():
        name = path[-1]
        if node.kind == "integer" and re.search(
            r"(?i)timeout|interval|lag|delay|lifetime|retention|bytes|budget", name
        ):
            assert re.search(r"Seconds|Millis|Days|Minute|Bytes|bytes", name) or name.endswith("PerDay"), path


class _Loop(SpecModel):
    """Contains itself."""

    inner: "_Loop | None" = None
    """Itself."""


class _Union(SpecModel):
    """Two types in one field."""

    value: int | str = 1
    """Either."""


@pytest.mark.parametrize(("model", "message"), [(_Loop, "contains itself"), (_Union, "a union of 2 types")])
def test_what_no_crd_can_say_is_refused_by_the_generator(model: type[SpecModel], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tree(model)
