"""Which version of the proxy knows which key of helios.toml, and a configuration without what an older one does not.

`since.toml` is the record, kept by `helios_crds.since_record`: the only place that decides what a version knows.
`render` calls `fitting` where an older proxy is to read the document; the operator tells the version by the image.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from helios.config import ProxyConfig
from helios.config.tree import Path as KeyPath
from helios.config.writer import stated

__all__ = ["RECORD", "Version", "fitting", "is_guard", "key_of", "key_versions", "parse_version", "version_of_image"]

RECORD: Final = Path(__file__).with_name("since.toml")
GUARDS: Final = ("admin", "auth", "console", "tls", "clusters.tls", "pool.mode", "databases.pool.mode")
"""Keys, and those below them, without which a proxy would let in or answer somebody otherwise than it was told to."""

Version = tuple[int, int, int]
Model = TypeVar("Model", bound=BaseModel)


def parse_version(text: str) -> Version | None:
    """`0.1.0`, `v0.1.0` or `0.1.0-debian` as numbers; None for what is no version."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)(?![\d.])", text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def version_of_image(image: str) -> Version | None:
    """The version that the tag of a container image tells; None for other tags, and where there is a digest only.

    A number below the first version is somebody's own count and tells nothing.
    """
    name = image.partition("@")[0].rpartition("/")[2]
    version = parse_version(name.partition(":")[2])
    return None if version is None or version < min(key_versions().values()) else version


@cache
def key_versions() -> Mapping[str, Version]:
    """Key of helios.toml → the version that brought it; `key=value` for each value that a key may have by name."""
    record = tomllib.loads(RECORD.read_text(encoding="utf-8"))
    return {key: version for text, keys in record.items() if (version := parse_version(text)) for key in keys}


def key_of(path: KeyPath) -> str:
    """The key at `path`, without the numbers of list items."""
    return ".".join(part for part in path if isinstance(part, str))


def is_guard(path: KeyPath) -> bool:
    """Whether a proxy must not run without the key at `path` once it was asked for."""
    key = f"{key_of(path)}."
    return any(key.startswith(f"{guard}.") for guard in GUARDS)


def fitting(config: ProxyConfig, version: Version | None) -> tuple[ProxyConfig, tuple[KeyPath, ...]]:
    """(`config` with the default for every key that `version` does not know, the paths of those keys).

    None stands for this version, which knows all of them.
    """
    unknown = frozenset() if version is None else _newer_than(version)
    left_out = tuple(_unknown(config, (), unknown)) if unknown else ()
    return (_without(config, (), left_out) if left_out else config), left_out


@cache
def _newer_than(version: Version) -> frozenset[str]:
    return frozenset(key for key, since in key_versions().items() if since > version)


def _unknown(model: BaseModel, path: KeyPath, unknown: frozenset[str]) -> Iterator[KeyPath]:
    for name, value in stated(model):
        below = (*path, name)
        key = key_of(below)
        if key in unknown or (isinstance(value, StrEnum) and f"{key}={value}" in unknown):
            yield below
        elif isinstance(value, BaseModel):
            yield from _unknown(value, below, unknown)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _unknown(item, (*below, index), unknown)


def _without(model: Model, path: KeyPath, left_out: tuple[KeyPath, ...]) -> Model:
    """`model`, which stands at `path`, with the defaults of what is left out of it."""
    changed: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        below, value = (*path, name), getattr(model, name)
        if below in left_out:
            changed[name] = field.get_default(call_default_factory=True, validated_data=vars(model))
        elif isinstance(value, BaseModel):
            changed[name] = _without(value, below, left_out)
        elif isinstance(value, tuple):
            changed[name] = tuple(
                _without(item, (*below, index), left_out) if isinstance(item, BaseModel) else item
                for index, item in enumerate(value)
            )
    return model.model_copy(update=changed)
