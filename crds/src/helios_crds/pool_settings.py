"""Pool settings in force, and where each comes from: inline, then PoolProfile, then the default. Called by `render`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

from helios.config import PoolConfig, PoolMode
from helios_crds.base import SpecModel
from helios_crds.node import tree
from helios_crds.v1alpha1 import HeliosProxy, PoolProfile
from helios_crds.v1alpha1.settings import PoolSpec

__all__ = ["SOURCE_DEFAULT", "SOURCE_POOL_MODES", "SOURCE_SPEC", "Effective", "effective_pool", "mirrored", "names_of"]

SOURCE_SPEC: Final = "spec"
SOURCE_DEFAULT: Final = "default"
SOURCE_POOL_MODES: Final = "features.poolModes"


@dataclass(frozen=True)
class Effective:
    """One setting in force."""

    field: str
    """As in the spec, e.g. `pool.maxConnections`."""

    value: int | str | None
    """The value; None where the default is to have none."""

    source: str
    """`spec`, `PoolProfile/<name>`, `features.poolModes` or `default`."""

    def as_status(self) -> dict[str, str]:
        """The entry of `status.effective`."""
        return {"field": self.field, "value": "none" if self.value is None else str(self.value), "source": self.source}


@cache
def names_of(model: type[SpecModel]) -> Mapping[str, str]:
    """Configuration field → name in the resource, for every field of `model` that mirrors one."""
    return {node.mirror.name: name for name, node in tree(model).properties.items() if node.mirror is not None}


def mirrored(block: SpecModel | None) -> dict[str, Any]:
    """Configuration field → value, for every mirroring field of `block` that is set."""
    if block is None:
        return {}
    values = vars(block)
    return {config: values[name] for config, name in _mirrors(type(block)) if values[name] is not None}


@cache
def _mirrors(model: type[SpecModel]) -> tuple[tuple[str, str], ...]:
    """(configuration field, attribute) for every mirroring field."""
    aliases = {field.alias: name for name, field in model.model_fields.items()}
    return tuple((config, aliases[alias]) for config, alias in names_of(model).items())


def effective_pool(proxy: HeliosProxy, profile: PoolProfile | None) -> tuple[dict[str, Any], tuple[Effective, ...]]:
    """(settings that are not the default, all settings in force with their sources)."""
    layers: list[tuple[str, dict[str, Any]]] = []
    features = proxy.spec.features
    if features is not None and features.pool_modes is False:
        layers.append((SOURCE_POOL_MODES, {"mode": PoolMode.SESSION}))
    layers.append((SOURCE_SPEC, mirrored(proxy.spec.pool)))
    if profile is not None:
        layers.append((str(profile), mirrored(profile.spec)))
    chosen: dict[str, Any] = {}
    effective: list[Effective] = []
    for config, alias in names_of(PoolSpec).items():
        source, value = next(
            ((name, layer[config]) for name, layer in layers if config in layer),
            (SOURCE_DEFAULT, PoolConfig.model_fields[config].default),
        )
        if source != SOURCE_DEFAULT:
            chosen[config] = value
        shown = value.value if isinstance(value, StrEnum) else str(value).lower() if isinstance(value, bool) else value
        effective.append(Effective(f"pool.{alias}", shown, source))
    return chosen, tuple(effective)
