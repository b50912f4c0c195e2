"""The table → Pulumi's package schema, `pulumi/schema.json`, from which SDKs are generated. Called by `generate`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from helios import __version__
from helios_iac.connection import PROVIDER_FIELDS, SENSITIVE
from helios_iac.extras import PASSWORD, outputs_of
from helios_iac.fields import RESOURCES, Field
from helios_pulumi.properties import properties_of

__all__ = ["PACKAGE", "package_schema"]

PACKAGE: Final = "heliosproxy"
_SIMPLE: Final = {
    "string": "string",
    "quantity": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}
_ALL_LANGUAGES: Final = {"respectSchemaVersion": True}
"""For the generators of SDKs: the version of the SDK is the package's."""
_ENUM_AS_TEXT: Final = "Allowed: {}."


class _Types:
    """Object types, each under a name made of the path to it."""

    def __init__(self) -> None:
        self.types: dict[str, Any] = {}

    def property(self, field: Field, owner: str) -> dict[str, Any]:
        """The schema of one property."""
        made = {"description": _described(field), **self._type(field, owner)}
        if field.has_default and field.kind in _SIMPLE:
            made["default"] = field.default
        if field.name in SENSITIVE or field is PASSWORD:
            made["secret"] = True
        if field.replaces:
            made["willReplaceOnChanges"] = True
        return made

    def _type(self, field: Field, owner: str) -> dict[str, Any]:
        name = f"{owner}{field.camel[:1].upper()}{field.camel[1:]}"
        match field.kind:
            case "object":
                token = f"{PACKAGE}:index:{name}"
                self.types[token] = {"type": "object", **self.object(field.fields, field.description, name)}
                return {"$ref": f"#/types/{token}"}
            case "list" if field.item is not None:
                return {"type": "array", "items": self._type(replace(field.item, name=field.name), owner)}
            case "map" if field.item is not None:
                return {
                    "type": "object",
                    "additionalProperties": self._type(replace(field.item, name=field.name), owner),
                }
            case "json":
                return {"type": "object", "additionalProperties": {"$ref": "pulumi.json#/Any"}}
        return {"type": _SIMPLE[field.kind]}

    def object(self, fields: Iterable[Field], description: str, owner: str) -> dict[str, Any]:
        """An object with these properties."""
        listed = list(fields)
        made: dict[str, Any] = {
            "description": description,
            "properties": {field.camel: self.property(field, owner) for field in listed},
        }
        required = [field.camel for field in listed if field.required and not field.has_default]
        return {**made, "required": required} if required else made


def package_schema() -> dict[str, Any]:
    """The whole package."""
    types = _Types()
    resources = {
        f"{PACKAGE}:index:{resource.token}": _resource(types, resource.token, word)
        for word, resource in RESOURCES.items()
    }
    config = {field.camel: types.property(field, "Provider") for field in PROVIDER_FIELDS}
    return {
        "name": PACKAGE,
        "displayName": "HeliosProxy",
        "version": __version__,
        "description": "HeliosProxies and their policies on Kubernetes.",
        "keywords": ["category/database", "kind/native", "postgresql", "kubernetes"],
        "license": "Apache-2.0",
        "publisher": "heliosdatabase",
        "language": {
            "python": {**_ALL_LANGUAGES, "packageName": "pulumi_heliosproxy", "pyproject": {"enabled": True}},
            "nodejs": {**_ALL_LANGUAGES, "packageName": "@heliosdatabase/pulumi-heliosproxy"},
            "go": {
                **_ALL_LANGUAGES,
                "importBasePath": "github.com/heliosdatabase/pulumi-heliosproxy/sdk/go/heliosproxy",
            },
            "csharp": {**_ALL_LANGUAGES, "rootNamespace": "HeliosDatabase", "namespaces": {PACKAGE: "HeliosProxy"}},
        },
        "config": {"variables": config},
        "provider": {
            "description": "Where the objects of Helios are written: one Kubernetes API server.",
            "inputProperties": config,
            "properties": {},
        },
        "resources": resources,
        "types": dict(sorted(types.types.items())),
    }


def _resource(types: _Types, token: str, word: str) -> dict[str, Any]:
    resource = RESOURCES[word]
    inputs = types.object(properties_of(resource), resource.description, token)
    shown = {field.camel: {"type": "string", "description": field.description} for field in outputs_of(resource)}
    properties = {**inputs["properties"], **shown}
    always = ["name", "namespace"]
    # `name` is made up where it is left out.
    required = [name for name in inputs.get("required", ()) if name != "name"]
    return {
        "description": resource.description,
        "properties": properties,
        "required": sorted({*required, *always, *(("endpoint", "connectionSecret") if shown else ())}),
        "inputProperties": inputs["properties"],
        "requiredInputs": required,
    }


def _described(field: Field) -> str:
    text = field.description
    if "enum" in field.bounds:
        text = f"{text} {_ENUM_AS_TEXT.format(', '.join(f'`{each}`' for each in field.bounds['enum']))}".strip()
    return text
