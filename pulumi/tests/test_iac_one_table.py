"""One field, one meaning: the committed CRDs, Terraform's schema and Pulumi's agree in every field of every spec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from helios_iac.fields import RESOURCES, Field, ResourceType, camel
from helios_pulumi.generate import SCHEMA
from helios_pulumi.schema import package_schema
from helios_terraform.plugin.schema import resource_schemas

ROOT = Path(__file__).resolve().parents[2]
PULUMI = json.loads(SCHEMA.read_text())
TERRAFORM = resource_schemas()
KIND_OF = {"string": "string", "integer": "number", "number": "number", "boolean": "bool"}


def crd_of(resource: ResourceType) -> dict[str, Any]:
    """The schema of the spec in the committed CRD."""
    document = yaml.safe_load((ROOT / "crds" / f"{resource.model.names.plural}.yaml").read_text())
    [version] = document["spec"]["versions"]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def pairs(crd: Any, attributes: Any, pulumi: Any, fields: tuple[Field, ...], path: str) -> Iterator[tuple[Any, ...]]:
    """(path, field, required, CRD, Terraform attribute, Pulumi property) of every field, at every depth."""
    by_name = {each.name: each for each in attributes}
    for field in fields:
        here = f"{path}.{field.key}"
        node, attribute = crd["properties"][field.key], by_name[field.name]
        prop = pulumi["properties"][camel(field.name)]
        yield here, field, field.key in crd.get("required", ()), node, attribute, prop
        holder = field if field.kind == "object" else field.item
        if holder is not None and holder.fields:
            inner = node if field.kind == "object" else node.get("items") or node["additionalProperties"]
            held = prop if field.kind == "object" else prop.get("items") or prop["additionalProperties"]
            below = PULUMI["types"][held["$ref"].removeprefix("#/types/")]
            yield from pairs(inner, attribute.nested_type.attributes, below, holder.fields, here)


@pytest.mark.parametrize("word", list(RESOURCES))
def test_every_field_agrees_everywhere(word: str) -> None:
    resource = RESOURCES[word]
    block = TERRAFORM[f"heliosproxy_{word}"].block
    pulumi = PULUMI["resources"][f"heliosproxy:index:{resource.token}"]
    found = list(
        pairs(
            crd_of(resource),
            block.attributes,
            {"properties": pulumi["inputProperties"]},
            resource.spec.fields,
            resource.kind,
        )
    )

    assert len(found) > 3
    for path, field, required, node, attribute, prop in found:
        assert attribute.required == required, path
        assert node.get("description", "") == attribute.description, path
        assert prop["description"].startswith(attribute.description), path
        if field.kind in KIND_OF and not field.is_name:
            assert node["type"] == field.kind, path
            assert json.loads(attribute.type) == KIND_OF[field.kind], path
            assert prop["type"] == field.kind, path
            assert node.get("default") == prop.get("default"), path
            # An attribute that the API server fills in is computed, or a plan could not show its value.
            assert attribute.computed == ("default" in node), path
        if field.is_name:
            assert (node["properties"].keys(), json.loads(attribute.type)) == ({"name"}, "string"), path
        assert prop.get("willReplaceOnChanges", False) == field.replaces, path
        if "enum" in node:
            assert all(str(value) in prop["description"] for value in node["enum"]), path
    required = [path.rpartition(".")[2] for path, _, is_required, *_ in found if is_required and path.count(".") == 1]
    assert set(pulumi.get("requiredInputs", ())) == {camel(resource.spec.by_key[key].name) for key in required}


def test_the_committed_schema_is_what_the_table_makes() -> None:
    assert package_schema() == PULUMI
    references = json.dumps(PULUMI).split('"$ref": "#/types/')[1:]
    assert {each.split('"')[0] for each in references} <= PULUMI["types"].keys()
