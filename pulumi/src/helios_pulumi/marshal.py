"""Properties of Pulumi's protocol ↔ plain Python: secrets, outputs and unknown values are marked inside of a Struct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from helios_iac.values import UNKNOWN

__all__ = ["pack", "plain", "unpack"]

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
"""Key that says what a marked object is."""
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_TEXT: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands for a value that is not known yet, whatever its type."""


class Secret:
    """A value that Pulumi encrypts in its state and hides in its output."""

    def __init__(self, value: Any) -> None:
        self.value = value


def unpack(struct: Any) -> dict[str, Any]:
    """A Struct as dicts, lists and plain values; secrets as `Secret`, whole numbers as integers."""
    return {key: _read(value) for key, value in struct.fields.items()}


def _read(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value == UNKNOWN_TEXT else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_read(item) for item in value.list_value.values]
        case "struct_value":
            return _read_struct(value.struct_value)
    return None


def _read_struct(struct: Any) -> Any:
    fields = struct.fields
    if SIGNATURE not in fields:
        return unpack(struct)
    match fields[SIGNATURE].string_value:
        case mark if mark == SECRET:
            return Secret(_read(fields["value"]))
        case mark if mark == OUTPUT:
            value = _read(fields["value"]) if "value" in fields else UNKNOWN
            return Secret(value) if "secret" in fields and fields["secret"].bool_value else value
    # An asset, an archive or a reference to a resource: none of our properties takes one.
    return None


def plain(value: Any) -> Any:
    """`value` without the marks of secrets."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def pack(properties: Mapping[str, Any]) -> Any:
    """The inverse of `unpack`; None is left out."""
    struct = Struct()
    struct.update({key: _write(item) for key, item in properties.items() if item is not None})
    return struct


def _write(value: Any) -> Any:
    if value is UNKNOWN:
        return UNKNOWN_TEXT
    if isinstance(value, Secret):
        return {SIGNATURE: SECRET, "value": _write(value.value)}
    if isinstance(value, Mapping):
        return {key: _write(item) for key, item in value.items() if item is not None}
    return [_write(item) for item in value] if isinstance(value, (list, tuple)) else value
