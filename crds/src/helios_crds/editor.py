"""Node tree → JSON Schema for editors (completion and checking of the YAML while it is typed). Called by `generate`."""

from __future__ import annotations

from typing import Any, Final

from helios_crds.base import METADATA_FIELDS, Resource
from helios_crds.node import MISSING, Node, tree
from helios_crds.parse import API_VERSION

__all__ = ["DRAFT", "editor_schema", "index_schema"]

DRAFT: Final = "http://json-schema.org/draft-07/schema#"


def editor_schema(model: type[Resource]) -> dict[str, Any]:
    """Draft-07 schema of one kind: closed objects, so that an editor marks a misspelt field."""
    root = _schema(tree(model))
    root["properties"]["apiVersion"]["enum"] = [API_VERSION]
    metadata = root["properties"]["metadata"]
    metadata["properties"] = {name: metadata["properties"].get(name, {}) for name in METADATA_FIELDS}
    metadata["additionalProperties"] = False
    return {"$schema": DRAFT, "title": model.__name__, **root}


def index_schema(files: dict[str, str]) -> dict[str, Any]:
    """One schema for files that mix kinds; `files` maps each kind to the file of its schema."""
    branches = [
        {"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": file}} for kind, file in files.items()
    ]
    return {
        "$schema": DRAFT,
        "title": "Helios resources",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {"kind": {"enum": list(files)}},
        "allOf": branches,
    }


def _schema(node: Node) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    text = " ".join([node.description, *(f"Rule: {rule.message}." for rule in node.rules)]).strip()
    if text:
        schema["description"] = text
    if node.kind == "int-or-string":
        schema["type"] = ["integer", "string"]
    else:
        schema["type"] = "object" if node.kind in ("map", "open") else node.kind
    schema |= {key: value for key, value in node.bounds.items() if not key.startswith("x-")}
    if node.default is not MISSING:
        schema["default"] = node.default
    if node.kind == "object":
        schema["properties"] = {name: _schema(child) for name, child in node.properties.items()}
        schema["additionalProperties"] = node.is_open
        if node.required:
            schema["required"] = [name for name in node.properties if name in node.required]
    if node.items is not None:
        schema["items" if node.kind == "array" else "additionalProperties"] = _schema(node.items)
    return schema
