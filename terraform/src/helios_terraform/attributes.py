"""The attributes of Terraform's resources and data sources: those of the table, `helios_iac.extras`, and timeouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from helios_iac.extras import CREDENTIALS, ID, STRICT, WAIT, check_extras, outputs_of
from helios_iac.fields import RESOURCES, Field
from helios_iac.problems import Diagnostic

__all__ = ["SCHEMA_VERSION", "TIMEOUTS", "Waiting", "check", "data_fields", "resource_fields", "waiting"]

SCHEMA_VERSION: Final = 1
"""Version of the state of every resource; `state.UPGRADES` leads here."""
_DURATIONS: Final = {"create": 600.0, "update": 600.0, "delete": 120.0}
"""Seconds. Pods that pull an image need minutes; a delete waits for finalizers of others only."""
TIMEOUTS: Final = Field(
    "timeouts",
    "timeouts",
    "object",
    "How long to wait, such as `90s` or `5m`.",
    fields=tuple(
        Field(name, name, "string", f"Time for the {name}. Left out: {seconds / 60:g}m.")
        for name, seconds in _DURATIONS.items()
    ),
)
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@cache
def resource_fields(word: str) -> tuple[Field, ...]:
    """Every attribute of a resource."""
    resource = RESOURCES[word]
    credentials = (CREDENTIALS,) if resource.word == "instance" else ()
    return (*resource.fields, WAIT, TIMEOUTS, *credentials, ID, *outputs_of(resource))


@cache
def data_fields(word: str) -> tuple[Field, ...]:
    """Every attribute of a data source: as the resource, with the whole status."""
    resource = RESOURCES[word]
    return (*resource.fields, ID, *outputs_of(resource), replace(resource.status, description="What the operator saw."))


@dataclass(frozen=True)
class Waiting:
    """What a configuration says about waiting."""

    wanted: bool
    strict: bool
    seconds: float


def waiting(state: Mapping[str, Any], operation: str) -> Waiting:
    """For `create`, `update` or `delete`."""
    mode = state.get(WAIT.name) or "true"
    given = (state.get(TIMEOUTS.name) or {}).get(operation)
    return Waiting(mode != "false", mode == STRICT, _seconds(given) if given else _DURATIONS[operation])


def check(config: Mapping[str, Any]) -> list[Diagnostic]:
    """What is wrong with waits and credentials."""
    found = check_extras(config.get(WAIT.name), config.get(CREDENTIALS.name))
    timeouts = config.get(TIMEOUTS.name)
    for name, value in timeouts.items() if isinstance(timeouts, Mapping) else ():
        if isinstance(value, str) and not _seconds(value):
            path = (TIMEOUTS.name, name)
            found.append(Diagnostic(f'timeouts.{name} is "{value}"', "write a duration such as 90s or 1h30m", path))
    return found


def _seconds(text: str) -> float:
    """A duration; 0 for what is none."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return 0.0
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
