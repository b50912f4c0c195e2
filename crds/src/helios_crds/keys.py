"""Every key of a configuration, by its models. Called by `since_record`; imports nothing of the project, so that it can
be run over the models of another version.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, get_args

from pydantic import BaseModel

__all__ = ["keys_of"]


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key below `model`, and `key=value` for each value that a key may have by name."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key
        for kind in _types(field.annotation):
            if issubclass(kind, BaseModel):
                yield from keys_of(kind, f"{key}.")
            elif issubclass(kind, StrEnum):
                yield from (f"{key}={value}" for value in kind)


def _types(annotation: Any) -> Iterator[type]:
    """The classes in an annotation such as `tuple[NodeConfig, ...] | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)
