"""One field, one meaning: the committed CRDs, Helm's values, the schemas of Terraform and Pulumi, the pages and the
examples agree in every field of every spec."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
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
HELM = json.loads((ROOT / "helm" / "helios-proxy" / "values.schema.json").read_text())["properties"]
PLURALS = {
    "pool_profile": "poolProfiles",
    "routing_rule": "routingRules",
    "audit_policy": "auditPolicies",
    "tenant_quota": "tenantQuotas",
}
"""Kinds that the chart takes as a map of specs."""
REPLACES = "Another value needs another object."
KIND_OF = {"string": "string", "integer": "number", "number": "number", "boolean": "bool"}


def crd_of(resource: ResourceType) -> dict[str, Any]:
    """The schema of the spec in the committed CRD."""
    document = yaml.safe_load((ROOT / "crds" / f"{resource.model.names.plural}.yaml").read_text())
    [version] = document["spec"]["versions"]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def helm_of(word: str) -> Any:
    """The schema of the spec in the values of the chart, which has that of a HeliosProxy flat."""
    return HELM[PLURALS[word]]["additionalProperties"] if word in PLURALS else {"properties": HELM}


def pairs(sources: Mapping[str, Any], fields: tuple[Field, ...], path: str) -> Iterator[tuple[Any, ...]]:
    """(path, field, required, CRD, Helm value, Terraform attribute, Pulumi property) of every field, at every depth."""
    crd, helm, pulumi = sources["crd"], sources["helm"], sources["pulumi"]
    by_name = {each.name: each for each in sources["terraform"]}
    for field in fields:
        here = f"{path}.{field.key}"
        node, value, attribute = crd["properties"][field.key], helm["properties"][field.key], by_name[field.name]
        prop = pulumi["properties"][camel(field.name)]
        yield here, field, field.key in crd.get("required", ()), node, value, attribute, prop
        holder = field if field.kind == "object" else field.item
        if holder is not None and holder.fields:
            held = _held(field, prop)
            inner = {
                "crd": _held(field, node),
                "helm": _held(field, value),
                "terraform": attribute.nested_type.attributes,
                "pulumi": PULUMI["types"][held["$ref"].removeprefix("#/types/")],
            }
            yield from pairs(inner, holder.fields, here if field.kind == "object" else f"{here}[]")


def _held(field: Field, node: Any) -> Any:
    """What an object is, or a list or map holds."""
    return node if field.kind == "object" else node.get("items") or node["additionalProperties"]


def reference_rows(kind: str) -> dict[str, str]:
    """Path below spec → the row of the reference page."""
    page = (ROOT / "docs" / "reference" / f"{kind.lower()}.md").read_text()
    text = page.split("\n## Spec\n")[1].split("\n## ")[0]
    return {f"{kind}.{path}": row for row, path in re.findall(r"^(\| `spec\.([^`]+)` \|.*)$", text, re.M)}


def page_lines(word: str) -> dict[str, str]:
    """Path of an attribute → its line on the page in the registry's layout."""
    text = (ROOT / "terraform" / "docs" / "resources" / f"{word}.md").read_text()
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if heading := re.match(r"### Nested Schema for `(.*)`", line):
            section = f"{heading[1]}."
        elif attribute := re.match(r"- `(\w+)` \(", line):
            found[f"{section}{attribute[1]}"] = line
    return found


def attribute_path(resource: ResourceType, path: str) -> str:
    """`HeliosProxy.pool.maxConnections` → `pool.max_connections`."""
    names, fields = [], resource.spec.by_key
    for key in path.replace("[]", "").split(".")[1:]:
        field = fields[key]
        names.append(field.name)
        holder = field if field.kind == "object" else field.item
        fields = holder.by_key if holder is not None else {}
    return ".".join(names)


@pytest.mark.parametrize("word", list(RESOURCES))
def test_every_field_agrees_everywhere(word: str) -> None:
    resource = RESOURCES[word]
    pulumi = PULUMI["resources"][f"heliosproxy:index:{resource.token}"]
    sources = {
        "crd": crd_of(resource),
        "helm": helm_of(word),
        "terraform": TERRAFORM[f"heliosproxy_{word}"].block.attributes,
        "pulumi": {"properties": pulumi["inputProperties"]},
    }
    rows, lines = reference_rows(resource.kind), page_lines(word)
    found = list(pairs(sources, resource.spec.fields, resource.kind))

    assert len(found) > 3
    for path, field, required, node, value, attribute, prop in found:
        row, line = rows[path], lines[attribute_path(resource, path)]
        description = node.get("description", "")
        assert attribute.required == required, path
        assert attribute.description == description, path
        assert value.get("description", "").startswith(description), path
        assert prop["description"].startswith(description), path
        assert description in line, path
        assert description.replace("|", "\\|") in row, path
        if field.kind in KIND_OF and not field.is_name:
            assert node["type"] == value["type"] == prop["type"] == field.kind, path
            assert json.loads(attribute.type) == KIND_OF[field.kind], path
            assert node.get("default") == value.get("default") == prop.get("default"), path
            # An attribute that the API server fills in is computed, or a plan could not show its value.
            assert attribute.computed == ("default" in node), path
        assert ("default" in node) == ("The API server fills in" in line), path
        assert required == ("| required |" in row), path
        if field.is_name:
            assert (node["properties"].keys(), json.loads(attribute.type)) == ({"name"}, "string"), path
        assert prop.get("willReplaceOnChanges", False) == field.replaces == (REPLACES in line), path
        for allowed in node.get("enum", ()):
            assert allowed in value["enum"], path
            assert all(f"`{allowed}`" in text for text in (prop["description"], line, row)), path
    needed = [path.rpartition(".")[2] for path, _, is_required, *_ in found if is_required and path.count(".") == 1]
    assert set(pulumi.get("requiredInputs", ())) == {camel(resource.spec.by_key[key].name) for key in needed}


@pytest.mark.parametrize("word", list(RESOURCES))
def test_the_example_names_attributes_that_there_are(word: str) -> None:
    text = (ROOT / "terraform" / "examples" / "resources" / f"heliosproxy_{word}" / "resource.tf").read_text()
    [block] = re.findall(rf'resource "heliosproxy_{word}" "\w+" {{\n(.*?)\n}}', text, re.S)
    named = set(re.findall(r"^  (\w+) +=", block, re.M))
    attributes = {each.name: each for each in TERRAFORM[f"heliosproxy_{word}"].block.attributes}

    assert named <= attributes.keys()
    assert {name for name, each in attributes.items() if each.required} <= named
    assert f"```terraform\n{text}```" in (ROOT / "terraform" / "docs" / "resources" / f"{word}.md").read_text()


def test_the_committed_schema_is_what_the_table_makes() -> None:
    assert package_schema() == PULUMI
    references = json.dumps(PULUMI).split('"$ref": "#/types/')[1:]
    assert {each.split('"')[0] for each in references} <= PULUMI["types"].keys()
