"""Node tree → OpenAPI v3 schema as the API server takes it, and the CRD around it. Called by `generate`."""

from __future__ import annotations

from typing import Any

from helios_crds.base import GROUP, VERSION, Column, Resource
from helios_crds.node import MISSING, Node, tree

__all__ = ["custom_resource_definition", "structural"]


def structural(node: Node) -> dict[str, Any]:
    """The structural schema of `node`: no references, titles, nulls, or `additionalProperties` beside properties."""
    schema: dict[str, Any] = {}
    if node.description:
        schema["description"] = node.description
    schema |= _type_of(node) | dict(node.bounds)
    if node.default is not MISSING:
        schema["default"] = node.default
    if node.properties:
        schema["properties"] = {name: structural(child) for name, child in node.properties.items()}
    if node.required:
        schema["required"] = [name for name in node.properties if name in node.required]
    if node.items is not None:
        schema["items" if node.kind == "array" else "additionalProperties"] = structural(node.items)
    if node.kind == "array":
        schema.setdefault("x-kubernetes-list-type", "atomic")
    if node.rules:
        schema["x-kubernetes-validations"] = [{"rule": rule.rule, "message": rule.message} for rule in node.rules]
    return schema


def _type_of(node: Node) -> dict[str, Any]:
    match node.kind:
        case "int-or-string":
            return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
        case "map":
            return {"type": "object"}
        case "open":
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case "integer":
            return {"type": "integer", "format": "int64"}
    return {"type": node.kind}


def custom_resource_definition(model: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as `kubectl apply` takes it."""
    root = tree(model)
    kind = model.__name__
    names = model.names
    subresources: dict[str, Any] = {"status": {}}
    if names.scale is not None:
        subresources["scale"] = {
            "specReplicasPath": names.scale.spec_replicas,
            "statusReplicasPath": names.scale.status_replicas,
            "labelSelectorPath": names.scale.selector,
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "helios", "app.kubernetes.io/component": "crds"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": names.plural,
                "singular": kind.lower(),
                "shortNames": list(names.short),
                "categories": ["helios"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [_column(column) for column in names.columns],
                    "schema": {"openAPIV3Schema": _root_schema(root)},
                }
            ],
        },
    }


def _root_schema(root: Node) -> dict[str, Any]:
    """`apiVersion`, `kind` and `metadata` belong to the API server; a CRD may only name their types."""
    schema = structural(root)
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    schema.pop("required", None)
    if root.properties["spec"].default is MISSING:
        schema["required"] = ["spec"]
    else:
        schema["properties"]["spec"]["default"] = {}  # the defaults below fill it
    return schema


def _column(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.priority:
        made["priority"] = column.priority
    if column.description:
        made["description"] = column.description
    return made
