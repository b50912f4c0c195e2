"""What a program's properties mean: what changed between two sets of them, and what an object says by them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from helios_iac.extras import CREDENTIALS, WAIT
from helios_iac.fields import METADATA, Field, ResourceType
from helios_iac.values import camel_spelling, from_object, keep, same, with_defaults
from helios_pulumi.marshal import Secret, plain

__all__ = [
    "AUTONAMED",
    "UID",
    "changes",
    "inputs_of",
    "is_autonamed",
    "normal",
    "properties_of",
    "with_password_secret",
]

Properties = dict[str, Any]
AUTONAMED: Final = "__defaults"
"""Internal property that lists what the provider chose itself; Pulumi shows none that begins with two underscores."""
UID: Final = "__uid"


def properties_of(resource: ResourceType) -> tuple[Field, ...]:
    """Every input of a resource."""
    return (*resource.fields, WAIT, *((CREDENTIALS,) if resource.word == "instance" else ()))


def is_autonamed(inputs: Mapping[str, Any]) -> bool:
    """Whether the provider chose the name."""
    return "name" in (plain(inputs.get(AUTONAMED)) or ())


def with_password_secret(inputs: Mapping[str, Any]) -> Properties:
    """The inputs with every password marked as a secret, whatever the program did."""
    users = inputs.get(CREDENTIALS.name)
    held = plain(users)
    if not isinstance(held, Mapping):
        return dict(inputs)
    marked = {
        user: {**each, "passwordWo": Secret(each["passwordWo"])} if isinstance(each, Mapping) and each.get("passwordWo")
        else each
        for user, each in held.items()
    }  # fmt: skip
    return {**inputs, CREDENTIALS.name: marked}


def normal(resource: ResourceType, inputs: Mapping[str, Any]) -> Properties:
    """The inputs of the table as they end up: without marks, with the defaults of the API server."""
    bare = plain(inputs)
    return {
        field.camel: with_defaults(field, bare.get(field.camel), camel_spelling) for field in properties_of(resource)
    }


def changes(resource: ResourceType, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(path, `ADD`, `DELETE` or `UPDATE`, whether it replaces) of everything that differs."""
    before, after = normal(resource, old), normal(resource, new)
    for field in properties_of(resource):
        for path, kind in _differences(field, before[field.camel], after[field.camel], field.camel):
            yield path, kind, field.replaces


def _differences(field: Field, old: Any, new: Any, path: str) -> Iterator[tuple[str, str]]:
    if same(field, old, new, camel_spelling):
        return
    if field.kind == "object" and isinstance(old, Mapping) and isinstance(new, Mapping):
        for each in field.fields:
            yield from _differences(each, old.get(each.camel), new.get(each.camel), f"{path}.{each.camel}")
        return
    yield path, "ADD" if old is None else "DELETE" if new is None else "UPDATE"


def inputs_of(resource: ResourceType, live: Mapping[str, Any], before: Mapping[str, Any]) -> Properties:
    """What a program would have to say to get the object `live`, in the words of `before` where it means the same."""
    spec, metadata = live.get("spec") or {}, live["metadata"]
    inputs = dict(before)
    inputs |= {"name": metadata["name"], "namespace": metadata["namespace"]}
    bare = plain(before)
    for field in resource.spec.fields:
        present = from_object(field, spec.get(field.key), camel_spelling)
        inputs[field.camel] = _drifted(field, bare.get(field.camel), present)
    for field in METADATA[2:]:
        known = bare.get(field.camel)
        listed = metadata.get(field.key) or {}
        if before:
            listed = {key: value for key, value in listed.items() if key in (known or {})}
            inputs[field.camel] = keep(field, known, listed or None, camel_spelling)
        else:
            inputs[field.camel] = {key: value for key, value in listed.items() if "kubernetes.io/" not in key} or None
    return {key: value for key, value in inputs.items() if value is not None}


def _drifted(field: Field, said: Any, present: Any) -> Any:
    """What was said, wherever the object is as the API server makes it of that; else what the object has."""
    meant = with_defaults(field, said, camel_spelling)
    if same(field, meant, present, camel_spelling):
        return said
    if field.kind == "object" and isinstance(said, Mapping) and isinstance(present, Mapping):
        made = {each.camel: _drifted(each, said.get(each.camel), present.get(each.camel)) for each in field.fields}
        return {key: value for key, value in made.items() if value is not None}
    return _bare(keep(field, meant, present, camel_spelling))


def _bare(value: Any) -> Any:
    """Without properties that are null."""
    if isinstance(value, Mapping):
        return {key: _bare(item) for key, item in value.items() if item is not None}
    return [_bare(item) for item in value] if isinstance(value, list) else value
