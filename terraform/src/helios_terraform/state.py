"""An object of the API → the state of a resource or data source; earlier states → that of this version. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from helios_iac.extras import outputs
from helios_iac.fields import METADATA, ResourceType
from helios_iac.problems import IacError
from helios_iac.values import from_object, keep
from helios_terraform.attributes import SCHEMA_VERSION, data_fields, resource_fields
from helios_terraform.plugin.wire import fitting

__all__ = ["UPGRADES", "data_of", "private_of", "state_of", "uid_of", "upgraded"]

State = dict[str, Any]
_NOT_OURS: Final = ("kubectl.kubernetes.io/", "deployment.kubernetes.io/")
"""Annotations that tools leave; nobody wants to have them in a configuration."""


def state_of(resource: ResourceType, live: Mapping[str, Any], prior: Mapping[str, Any] | None) -> State:
    """The state of the object `live`; in the words of `prior` where it means the same."""
    before: Mapping[str, Any] = prior or {}
    state = {field.name: before.get(field.name) for field in resource_fields(resource.word)}
    state |= _metadata(live, prior) | _spec(resource, live, before) | outputs(resource, live)
    return state


def data_of(resource: ResourceType, live: Mapping[str, Any]) -> State:
    """What a data source says of the object."""
    state = _metadata(live, None) | _spec(resource, live, {}) | outputs(resource, live)
    state["status"] = from_object(resource.status, live.get("status"))
    return fitting(data_fields(resource.word), state) or {}


def _spec(resource: ResourceType, live: Mapping[str, Any], before: Mapping[str, Any]) -> State:
    spec = live.get("spec") or {}
    return {
        field.name: keep(field, before.get(field.name), from_object(field, spec.get(field.key)))
        for field in resource.spec.fields
    }


def _metadata(live: Mapping[str, Any], prior: Mapping[str, Any] | None) -> State:
    """Names, and of labels and annotations those that the state has; all of them where there is no state yet."""
    metadata = live["metadata"]
    state: State = {"name": metadata["name"], "namespace": metadata["namespace"]}
    for field in METADATA[2:]:
        present = {
            key: value for key, value in (metadata.get(field.key) or {}).items() if not key.startswith(_NOT_OURS)
        }
        if prior is not None:
            known = prior.get(field.name)
            present = {key: value for key, value in present.items() if key in (known or {})}
            state[field.name] = keep(field, known, present or None)
        else:
            state[field.name] = present or None
    return state


def private_of(live: Mapping[str, Any]) -> bytes:
    """What Terraform keeps for us beside the state."""
    return json.dumps({"uid": live["metadata"]["uid"]}).encode()


def uid_of(private: bytes) -> str | None:
    """The uid in what Terraform kept; None where the object was never seen."""
    return json.loads(private).get("uid") if private else None


def _seconds_to_secs(value: Any) -> Any:
    """Version 0 wrote `_seconds` as the resource does; from 1 on it is `_secs`, as users of the original know it."""
    if isinstance(value, dict):
        return {
            (f"{key.removesuffix('_seconds')}_secs" if key.endswith("_seconds") else key): _seconds_to_secs(item)
            for key, item in value.items()
        }
    return [_seconds_to_secs(item) for item in value] if isinstance(value, list) else value


UPGRADES: Final[Mapping[int, Callable[[State], State]]] = {0: _seconds_to_secs}
"""Version of a state → what makes one of the next version of it."""


def upgraded(resource: ResourceType, version: int, state: State) -> State:
    """A state of this version, with all its attributes. Raises IacError for one of a newer provider."""
    if version > SCHEMA_VERSION:
        raise IacError(
            f"the state of {resource.word} was written by a newer provider (schema {version}, this one reads up to "
            f"{SCHEMA_VERSION})",
            "use that version of the provider or a newer one",
        )
    for step in range(version, SCHEMA_VERSION):
        state = UPGRADES[step](state)
    return fitting(resource_fields(resource.word), state) or {}
