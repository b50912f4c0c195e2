"""Values, paths and diagnostics of Terraform's protocol ↔ plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgpack
from tf.gen import tfplugin_pb2 as pb

from helios_iac.fields import Field
from helios_iac.problems import Diagnostic, Level
from helios_iac.values import UNKNOWN

__all__ = ["attribute_path", "decode", "diagnostics", "encode", "fitting", "read_dynamic"]

_UNKNOWN: Final = msgpack.ExtType(0, b"\x00")


def _from_extension(code: int, _data: bytes) -> Any:
    # 12 is an unknown value with what is known about it, which a newer Terraform sends.
    return UNKNOWN if code in (0, 12) else None


def _to_extension(value: Any) -> Any:
    if value is UNKNOWN:
        return _UNKNOWN
    raise TypeError(f"{type(value).__name__} is no value of Terraform")


def decode(value: Any) -> Any:
    """A DynamicValue as dicts, lists and plain values; None for null."""
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, ext_hook=_from_extension, strict_map_key=False)
    return json.loads(value.json) if value.json else None


def encode(value: Any) -> Any:
    """The inverse of `decode`."""
    return pb.DynamicValue(msgpack=msgpack.packb(value, default=_to_extension))


def read_dynamic(value: Any) -> Any:
    """A value of the type `dynamic`, which comes with its type."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], bytes):
        return value[1]
    return value


def fitting(fields: Iterable[Field], value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`value` with every attribute of `fields` and no other, whole numbers as integers."""
    if value is None:
        return None
    return {field.name: _fit(field, value.get(field.name)) for field in fields}


def _fit(field: Field, value: Any) -> Any:
    if value is None or value is UNKNOWN:
        return value
    match field.kind:
        case "object" if isinstance(value, Mapping):
            return fitting(field.fields, value)
        case "list" if field.item is not None and isinstance(value, list):
            return [_fit(field.item, item) for item in value]
        case "map" if field.item is not None and isinstance(value, Mapping):
            return {key: _fit(field.item, item) for key, item in value.items()}
        case "integer" | "number" if isinstance(value, (str, float)):
            # What does not fit into 64 bits comes as text, and a state file may have 2.0 for 2.
            number = Decimal(str(value))
            return int(number) if number == number.to_integral_value() else float(number)
    return value


def attribute_path(path: Iterable[str | int], fields: Iterable[Field]) -> Any:
    """A path of the protocol, which tells attributes from keys of maps."""
    steps: list[Any] = []
    here: dict[str, Field] | None = {field.name: field for field in fields}
    field: Field | None = None
    for step in path:
        if isinstance(step, int):
            steps.append(pb.AttributePath.Step(element_key_int=step))
        elif field is not None and field.kind == "map":
            steps.append(pb.AttributePath.Step(element_key_string=step))
        else:
            steps.append(pb.AttributePath.Step(attribute_name=step))
            field = None if here is None else here.get(step)
            here = None if field is None else {each.name: each for each in field.fields}
            continue
        field = None if field is None else field.item
        here = None if field is None else {each.name: each for each in field.fields}
    return pb.AttributePath(steps=steps)


def diagnostics(found: Iterable[Diagnostic], fields: Iterable[Field]) -> list[Any]:
    """Findings as Terraform shows them."""
    known = tuple(fields)
    severity = {Level.ERROR: pb.Diagnostic.ERROR, Level.WARNING: pb.Diagnostic.WARNING}
    made = []
    for each in found:
        message = pb.Diagnostic(severity=severity[each.level], summary=each.summary, detail=each.detail)
        if each.path:
            message.attribute.CopyFrom(attribute_path(each.path, known))
        made.append(message)
    return made
