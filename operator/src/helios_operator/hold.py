"""A hold: somebody has a HeliosProxy's clients wait for a while, by an annotation and not by the spec. Pure.

`kubectl helios pause` writes it, the reconciler takes it for `paused: true` until it ends. So nothing differs from the
YAML that a GitOps tool applies again, pods that start meanwhile hold too, and one that is forgotten ends by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from helios_crds import HeliosProxy
from helios_operator.conditions import Finding, time_text
from helios_operator.names import HOLD

__all__ = ["Hold", "HoldError", "held", "hold_finding", "hold_of"]


class HoldError(ValueError):
    """The annotation says something else than who and until when."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds, and until when."""

    by: str
    until: datetime

    @property
    def text(self) -> str:
        """The annotation's value."""
        return json.dumps({"by": self.by, "until": time_text(self.until)})

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
        return Hold(str(value["by"]), until if until.tzinfo else until.replace(tzinfo=UTC))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise HoldError(f'{HOLD} must be {{"by": "…", "until": "2030-01-31T12:00:00Z"}}, is {text[:200]}') from error


def held(resource: HeliosProxy) -> HeliosProxy:
    """The resource as it is while a hold lasts."""
    return resource.model_copy(update={"spec": resource.spec.model_copy(update={"paused": True})})


def hold_finding(text: str | None, now: datetime) -> Finding | None:
    """The condition `Held`: there while a hold lasts, and False where the annotation cannot be read."""
    try:
        hold = hold_of(text)
    except HoldError as error:
        return Finding("Held", "False", "Invalid", str(error))
    if hold is None or not hold.lasts(now):
        return None
    message = f"clients wait between transactions, for {hold.by}, until {time_text(hold.until)}"
    return Finding("Held", "True", "Held", message)
