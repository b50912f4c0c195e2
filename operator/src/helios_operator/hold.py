"""A hold: somebody has a HeliosProxy's clients wait, or leave, for a while, by an annotation and not by the spec. Pure.

`kubectl helios pause` and `drain` write it, the reconciler takes it for `maintenance` until it ends. So nothing differs
from the YAML that a GitOps tool applies again, pods that start meanwhile do the same, and one that is forgotten ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from helios.config import MaintenanceMode
from helios_crds import HeliosProxy
from helios_crds.v1alpha1.settings import MaintenanceSpec
from helios_operator.conditions import Finding, time_text
from helios_operator.names import HOLD

__all__ = ["UNTIL", "Hold", "HoldError", "held", "hold_finding", "hold_of"]


UNTIL: Final = ", until "
"""What tells a hold from a maintenance of the spec in the condition's message."""
_EFFECTS: Final = {
    MaintenanceMode.NONE: ("Open", "clients are served, whatever spec.maintenance says"),
    MaintenanceMode.HOLD: ("Held", "clients wait between transactions"),
    MaintenanceMode.REJECT: ("Rejecting", "new clients are refused"),
    MaintenanceMode.DRAIN: ("Draining", "new clients are refused, the others leave between transactions"),
}
"""Reason and sentence of the condition."""


class HoldError(ValueError):
    """The annotation says something else than who and until when."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds, and until when."""

    by: str
    until: datetime
    mode: MaintenanceMode = MaintenanceMode.HOLD
    """What becomes of clients."""

    @property
    def text(self) -> str:
        """The annotation's value."""
        return json.dumps({"by": self.by, "until": time_text(self.until), "mode": self.mode.value})

    def lasts(self, now: datetime) -> timedelta:
        """What is left of it."""
        return max(self.until - now, timedelta())


def hold_of(text: str | None) -> Hold | None:
    """What the annotation says; None where there is none. Raises HoldError."""
    if text is None:
        return None
    try:
        value = json.loads(text)
        until = datetime.fromisoformat(value["until"])
        mode = MaintenanceMode(value.get("mode", MaintenanceMode.HOLD))
        return Hold(str(value["by"]), until if until.tzinfo else until.replace(tzinfo=UTC), mode)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        wanted = '{"by": "…", "until": "2030-01-31T12:00:00Z", "mode": "hold"}'
        raise HoldError(f"{HOLD} must be {wanted}, is {text[:200]}") from error


def held(resource: HeliosProxy, hold: Hold) -> HeliosProxy:
    """The resource as it is while a hold lasts."""
    asked = {"maintenance": MaintenanceSpec(mode=hold.mode)}
    return resource.model_copy(update={"spec": resource.spec.model_copy(update=asked)})


def hold_finding(text: str | None, now: datetime, of_spec: MaintenanceMode = MaintenanceMode.NONE) -> Finding | None:
    """The condition `Held`: there while a hold or a maintenance of the spec lasts; False where the annotation cannot be
    read."""
    try:
        hold = hold_of(text)
    except HoldError as error:
        return Finding("Held", "False", "Invalid", str(error))
    if hold is not None and hold.lasts(now):
        reason, message = _EFFECTS[hold.mode]
        return Finding("Held", "True", reason, f"{message}, for {hold.by}{UNTIL}{time_text(hold.until)}")
    if of_spec is MaintenanceMode.NONE:
        return None
    reason, message = _EFFECTS[of_spec]
    return Finding("Held", "True", reason, f"{message}, as spec.maintenance says")
