"""Who owns which field of an object: reading and handing over `metadata.managedFields`. Pure.

The operator's writer and the providers for infrastructure code call it. A create leaves its fields owned by an
`Update`, and an apply that leaves out a field does not remove what an `Update` owns; hence it is turned before the
first apply of an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["as_applied", "owners", "taken"]

Json = dict[str, Any]
Step = str | int


def as_applied(entries: Iterable[Json], manager: str) -> list[Json]:
    """The entries with that of `manager`'s own create turned into one of an apply, or part of the one that is there."""
    entries = list(entries)
    mine = [entry for entry in entries if entry.get("manager") == manager and not entry.get("subresource")]
    if all(entry.get("operation") == "Apply" for entry in mine):
        return entries
    fields: Json = {}
    for entry in mine:
        fields = _united(fields, entry.get("fieldsV1") or {})
    others = [entry for entry in entries if entry not in mine]
    return [*others, {**mine[-1], "operation": "Apply", "fieldsV1": fields}]


def taken(entries: Iterable[Json], manager: str) -> list[Json]:
    """The entries with everything that others own of the spec handed over to an apply of `manager`."""
    mine: Json = {}
    others: list[Json] = []
    template: Json = {}
    for entry in entries:
        fields = dict(entry.get("fieldsV1") or {})
        if entry.get("subresource") == "status":
            others.append(entry)
            continue
        if entry.get("manager") == manager and not entry.get("subresource"):
            mine, template = _united(mine, fields), entry
            continue
        template = template or entry
        spec = fields.pop("f:spec", None)
        if spec is not None:
            mine = _united(mine, {"f:spec": spec})
        if fields:
            others.append({**entry, "fieldsV1": fields})
    own = {**template, "manager": manager, "operation": "Apply", "fieldsV1": mine}
    own.pop("subresource", None)
    return [*others, own]


def owners(entries: Iterable[Json], value: Any, path: tuple[Step, ...]) -> list[str]:
    """The managers that own the field of `value` at `path`, in the order of the entries."""
    keys = list(_field_keys(value, path))
    return [str(entry.get("manager")) for entry in entries if _owns(entry.get("fieldsV1") or {}, keys)]


def _united(one: Json, other: Json) -> Json:
    made = dict(one)
    for key, item in other.items():
        made[key] = _united(made[key], item) if key in made else item
    return made


def _field_keys(value: Any, path: tuple[Step, ...]) -> Iterator[tuple[str, Any]]:
    """(kind of step, what it names) of each step of a path: `f` a field, `k` an item of a list with its value."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
            yield "k", value
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
            yield "f", step


def _owns(fields: Mapping[str, Any], keys: list[tuple[str, Any]]) -> bool:
    """Whether a set of fields has the one at `keys`, or something that holds it whole, or something below it."""
    here: Mapping[str, Any] = fields
    for kind, what in keys:
        found = here.get(f"f:{what}") if kind == "f" else _item(here, what)
        if found is None:
            return kind == "k" and not any(key.startswith(("k:", "v:")) for key in here)
        if not found:
            return True
        here = found
    return True


def _item(fields: Mapping[str, Any], value: Any) -> Any:
    """The set of fields of a list's item."""
    for key, below in fields.items():
        if key.startswith("v:") and json.loads(key[2:]) == value:
            return below
        if key.startswith("k:") and isinstance(value, Mapping):
            names = json.loads(key[2:])
            if all(value.get(name) == wanted for name, wanted in names.items()):
                return below
    return None
