"""Attributes → the schema that Terraform asks for, a type for every leaf."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from tf.gen import tfplugin_pb2 as pb

from helios_iac.connection import PROVIDER_FIELDS, SENSITIVE
from helios_iac.extras import ID, OUTPUTS, PASSWORD
from helios_iac.fields import METADATA, RESOURCES, Field
from helios_terraform.attributes import SCHEMA_VERSION, data_fields, resource_fields

__all__ = [
    "data_schemas",
    "provider_schema",
    "resource_schemas",
    "role_in_data",
    "role_in_provider",
    "role_in_resource",
]

_SIMPLE: Final = {
    "string": "string",
    "quantity": "string",
    "json": "string",
    "integer": "number",
    "number": "number",
    "boolean": "bool",
}
_NESTING: Final = {
    "object": pb.Schema.Object.SINGLE,
    "list": pb.Schema.Object.LIST,
    "map": pb.Schema.Object.MAP,
}
_WRITE_ONLY: Final = b"\x58\x01"
"""`Attribute.write_only = true` (field 11) as bytes: the messages of `tf` are older than it."""
_COMPUTED: Final = frozenset({ID.name, *(each.name for each in OUTPUTS)})


def resource_schemas() -> dict[str, Any]:
    """Name → schema of every resource."""
    return {
        f"heliosproxy_{word}": _schema(resource_fields(word), resource.description, role_in_resource, SCHEMA_VERSION)
        for word, resource in RESOURCES.items()
    }


def data_schemas() -> dict[str, Any]:
    """Name → schema of every data source."""
    return {
        f"heliosproxy_{word}": _schema(data_fields(word), resource.description, role_in_data, 0)
        for word, resource in RESOURCES.items()
    }


def provider_schema() -> Any:
    """The provider's own arguments."""
    text = "Where the objects of Helios are written: one Kubernetes API server."
    return _schema(PROVIDER_FIELDS, text, role_in_provider, 0)


Role = dict[str, bool]


def role_in_resource(field: Field, depth: int) -> Role:
    """What an attribute of a resource is to its user; `depth` is 0 at the top."""
    if depth == 0 and field.name in _COMPUTED:
        return {"computed": True}
    if field.required:
        return {"required": True}
    filled = field.has_default or (depth == 0 and field.name == METADATA[1].name)
    return {"optional": True, "computed": filled, "sensitive": field is PASSWORD}


def role_in_data(field: Field, depth: int) -> Role:
    """The same for a data source."""
    if depth == 0 and field.name == "name":
        return {"required": True}
    if depth == 0 and field.name == "namespace":
        return {"optional": True, "computed": True}
    return {"computed": True}


def role_in_provider(field: Field, depth: int) -> Role:
    """The same for the provider's own arguments."""
    if depth and field.required:
        return {"required": True}
    return {"optional": True, "sensitive": field.name in SENSITIVE}


def _schema(fields: Iterable[Field], description: str, role: Any, version: int) -> Any:
    block = pb.Schema.Block(
        attributes=[_attribute(field, role, 0) for field in fields],
        description=description,
        description_kind=pb.MARKDOWN,
    )
    return pb.Schema(version=version, block=block)


def _attribute(field: Field, role: Any, depth: int) -> Any:
    made = pb.Schema.Attribute(
        name=field.name, description=field.description, description_kind=pb.MARKDOWN, **role(field, depth)
    )
    if field is PASSWORD:
        made.MergeFromString(_WRITE_ONLY)
    holder = field if field.kind == "object" else field.item
    if holder is not None and holder.kind == "object":
        inner = [_attribute(each, role, depth + 1) for each in holder.fields]
        made.nested_type.CopyFrom(pb.Schema.Object(attributes=inner, nesting=_NESTING[field.kind]))
    else:
        made.type = json.dumps(_type(field)).encode()
    return made


def _type(field: Field) -> Any:
    if field.item is not None:
        return [field.kind, _type(field.item)]
    return _SIMPLE[field.kind]
