"""Configuration and present state → what a plan holds and what it replaces. Pure: no API is asked.

Everything is derived from the configuration, never from Terraform's own proposal, so that an attribute that was removed
gets its default back. A value that means the same as the state's is left in the state's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helios_iac.extras import CREDENTIALS, PASSWORD, outputs_of
from helios_iac.fields import Field, ResourceType
from helios_iac.problems import Step
from helios_iac.values import UNKNOWN, same, with_defaults
from helios_terraform.attributes import resource_fields

__all__ = ["Plan", "explicit", "plan"]

State = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a plan holds."""

    planned: State
    replaces: tuple[tuple[Step, ...], ...]
    """Attributes whose change needs another object."""


def plan(resource: ResourceType, prior: Mapping[str, Any] | None, config: Mapping[str, Any], namespace: Any) -> Plan:
    """The plan; `namespace` is what the provider's configuration says, UNKNOWN where that is not known yet."""
    planned = {field.name: config.get(field.name) for field in resource_fields(resource.word)}
    for field in resource.fields:
        value = with_defaults(field, config.get(field.name))
        planned[field.name] = value if prior is None else _settled(field, prior.get(field.name), value)
    if planned["namespace"] is None:
        planned["namespace"] = namespace if prior is None or namespace is not UNKNOWN else prior["namespace"]
    if CREDENTIALS.name in planned:
        planned[CREDENTIALS.name] = _without_passwords(config.get(CREDENTIALS.name))
    planned["id"] = _identity(planned)
    changes = prior is None or any(
        not same(field, prior.get(field.name), planned[field.name]) for field in resource.spec.fields
    )
    for field in outputs_of(resource):
        planned[field.name] = UNKNOWN if changes or prior is None else prior.get(field.name)
    replaces = () if prior is None else tuple(_replaces(resource, prior, planned))
    return Plan(planned, replaces)


def explicit(field: Field, config: Any, planned: Any) -> Any:
    """`planned` without what the API server fills in by itself, so that we do not own what nobody asked for."""
    if config is None and field.has_default and same(field, planned, field.default):
        return None
    if field.kind == "object" and isinstance(planned, Mapping):
        given = config if isinstance(config, Mapping) else {}
        return {each.name: explicit(each, given.get(each.name), planned.get(each.name)) for each in field.fields}
    return planned


def _settled(field: Field, old: Any, new: Any) -> Any:
    """`new`, or the very value of the state where both mean the same: a list is taken whole, as Terraform demands."""
    if old is not None and new is not None and same(field, old, new):
        return old
    if field.kind == "object" and isinstance(old, Mapping) and isinstance(new, Mapping):
        return {each.name: _settled(each, old.get(each.name), new.get(each.name)) for each in field.fields}
    return new


def _without_passwords(users: Any) -> Any:
    """Write-only values are in no plan and no state."""
    if not isinstance(users, Mapping):
        return users
    return {user: {**each, PASSWORD.name: None} if isinstance(each, Mapping) else each for user, each in users.items()}


def _identity(planned: State) -> Any:
    name, namespace = planned["name"], planned["namespace"]
    return UNKNOWN if UNKNOWN in (name, namespace) else f"{namespace}/{name}"


def _replaces(resource: ResourceType, prior: Mapping[str, Any], planned: State) -> list[tuple[Step, ...]]:
    return [
        (field.name,)
        for field in resource.fields
        if field.replaces and not same(field, prior.get(field.name), planned[field.name])
    ]
