"""Attributes ↔ objects of the API, and when two values mean the same. Pure; used by both providers.

An attribute that is not known yet is `UNKNOWN`, one that is left out is None. Objects of attributes hold every name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import Any, Final

from helios_iac.fields import Field, ResourceType

__all__ = [
    "UNKNOWN",
    "Spelling",
    "Unknown",
    "camel_spelling",
    "from_object",
    "has_unknown",
    "keep",
    "same",
    "snake_spelling",
    "spec_of",
    "with_defaults",
]


class Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "(known after apply)"

    def __deepcopy__(self, memo: object) -> Unknown:
        return self


UNKNOWN: Final = Unknown()
"""A value that another resource will have once it was made."""
_PART: Final = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_FACTOR: Final = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


@dataclass(frozen=True)
class Spelling:
    """How one of the tools writes attributes."""

    name: Callable[[Field], str]
    has_json_text: bool
    """Whether an object of another schema is text."""

    def __call__(self, field: Field) -> str:
        """The name of an attribute."""
        return self.name(field)


snake_spelling: Final = Spelling(attrgetter("name"), has_json_text=True)
"""As Terraform has them."""
camel_spelling: Final = Spelling(attrgetter("camel"), has_json_text=False)
"""As Pulumi has them."""


def has_unknown(value: Any) -> bool:
    """Whether a value, or one inside it, is not known yet."""
    if isinstance(value, Mapping):
        return any(map(has_unknown, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_unknown, value))
    return value is UNKNOWN


def spec_of(resource: ResourceType, attributes: Mapping[str, Any], spell: Spelling = snake_spelling) -> dict[str, Any]:
    """The spec that the attributes ask for, by the keys of the resource; what is left out is not in it."""
    spec: dict[str, Any] = _to_api(resource.spec, attributes, spell)
    return spec


def _to_api(field: Field, value: Any, spell: Spelling) -> Any:
    if value is None or value is UNKNOWN:
        return value
    if field.is_name and field.kind == "string":
        return {"name": value}
    match field.kind:
        case "object":
            made = {each.key: _to_api(each, value.get(spell(each)), spell) for each in field.fields}
            # An apply that empties an object leaves a null behind, which the schema refuses; where nothing fills the
            # object in, an empty one says no more than none.
            return {
                key: item for (key, item), each in zip(made.items(), field.fields, strict=True) if _says(each, item)
            }
        case "list" if field.item is not None:
            return [_to_api(field.item, item, spell) for item in value]
        case "map" if field.item is not None:
            return {key: _to_api(field.item, item, spell) for key, item in value.items()}
        case "integer" if isinstance(value, float) and value.is_integer():
            return int(value)
        case "json":
            return _read(value)
    return value


def _read(value: Any) -> Any:
    """What JSON text says; text that is none stays, for the models to refuse."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _says(field: Field, value: Any) -> bool:
    """Whether a value says anything: null never, an empty object only where it stands for something else than none."""
    return value is not None and (value != {} or field.kind != "object" or field.required or field.has_default)


def from_object(field: Field, value: Any, spell: Spelling = snake_spelling) -> Any:
    """The attribute of what the API server has; None where it has nothing."""
    if value is None:
        return None
    if field.is_name and field.kind == "string":
        return value.get("name")
    match field.kind:
        case "object":
            return {spell(each): from_object(each, value.get(each.key), spell) for each in field.fields}
        case "list" if field.item is not None:
            return [from_object(field.item, item, spell) for item in value]
        case "map" if field.item is not None:
            return {key: from_object(field.item, item, spell) for key, item in value.items()}
        case "quantity":
            return str(value)
        case "json" if spell.has_json_text:
            return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return value


def with_defaults(field: Field, value: Any, spell: Spelling = snake_spelling) -> Any:
    """What the API server makes of an attribute: its default where it is left out, also inside of objects."""
    if value is UNKNOWN:
        return value
    if value is None:
        return _spelt(field, field.default, spell) if field.has_default else None
    match field.kind:
        case "object":
            return {spell(each): with_defaults(each, value.get(spell(each)), spell) for each in field.fields}
        case "list" if field.item is not None:
            return [with_defaults(field.item, item, spell) for item in value]
    return value


def _spelt(field: Field, value: Any, spell: Spelling) -> Any:
    """A default, which the table has under Terraform's names."""
    if field.kind == "object" and isinstance(value, Mapping):
        return {spell(each): _spelt(each, value.get(each.name), spell) for each in field.fields}
    return value


def same(field: Field, one: Any, other: Any, spell: Spelling = snake_spelling) -> bool:
    """Whether two attributes mean the same: quantities by amount, null as empty, unordered lists in any order."""
    if one is UNKNOWN or other is UNKNOWN:
        return one is other
    match field.kind:
        case "object":
            if one is None or other is None:
                return _is_empty(one) and _is_empty(other)
            return all(same(each, one.get(spell(each)), other.get(spell(each)), spell) for each in field.fields)
        case "list" if field.item is not None:
            left, right = one or [], _in_order_of(field, one or [], other or [], spell)
            item = field.item
            return len(left) == len(right) and all(same(item, a, b, spell) for a, b in zip(left, right, strict=True))
        case "map" if field.item is not None:
            left_map, right_map = one or {}, other or {}
            return left_map.keys() == right_map.keys() and all(
                same(field.item, item, right_map[key], spell) for key, item in left_map.items()
            )
        case "quantity" if one is not None and other is not None:
            return bool(_amount(one) == _amount(other))
        case "json":
            return bool(_read(one) == _read(other))
    return bool(one == other)


def keep(field: Field, old: Any, new: Any, spell: Spelling = snake_spelling) -> Any:
    """`new`, in the words and the order of `old` wherever both mean the same."""
    if same(field, old, new, spell):
        return old
    if new is None or new is UNKNOWN or old is None or old is UNKNOWN:
        return new
    match field.kind:
        case "object":
            return {spell(each): keep(each, old.get(spell(each)), new.get(spell(each)), spell) for each in field.fields}
        case "map" if field.item is not None:
            return {key: keep(field.item, old.get(key), item, spell) for key, item in new.items()}
        case "list" if field.item is not None:
            return _in_order_of(field, old, new, spell)
    return new


def _is_empty(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    return value is None or value == []


def _in_order_of(field: Field, old: list[Any], new: list[Any], spell: Spelling) -> list[Any]:
    """The items of `new` in the order of `old`, then those that `old` has not; as they are where the order counts."""
    keys, item = field.list_keys, field.item
    if not keys or item is None or has_unknown(old) or has_unknown(new):
        return new
    names = [spell(item.by_key[key]) for key in keys if key in item.by_key]

    def identity(value: Any) -> str:
        return repr([value.get(name) for name in names] if isinstance(value, Mapping) and names else value)

    places = {identity(value): index for index, value in enumerate(old)}
    return sorted(new, key=lambda value: places.get(identity(value), len(places)))


def _amount(value: Any) -> Any:
    """A quantity as a number; the text itself where it is none, which validation refuses."""
    found = _PART.match(str(value))
    try:
        return Decimal(found[1]) * _FACTOR[found[2] or ""] if found else str(value)
    except InvalidOperation:
        return str(value)
