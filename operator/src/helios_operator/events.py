"""Kubernetes Events on a HeliosProxy: what `kubectl describe` shows below the status. Called by the reconciler.

An Event tells that a condition turned, so there is one for each turn and none while it stays. Its name is made of what
it tells: an operator that was killed between the Event and the status makes the same one again, and is told that it
exists. Nothing of the operator's reads them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from helios.kube import AlreadyExists, Client
from helios.kube.errors import ApiError
from helios.kube.kinds import EVENT
from helios.telemetry.logs import fields
from helios_operator.names import MANAGER, OPERATOR, PROXY, ProxyKey

__all__ = ["Recorder", "Turn", "turns_of"]

_log = logging.getLogger(__name__)
Json = Mapping[str, Any]
MAX_NOTE: Final = 1_000
"""Characters; the API server takes 1 024 bytes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that happened to a HeliosProxy."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


def turns_of(before: Json, status: Json) -> list[Turn]:
    """What happened between two statuses: rolled out, refused by a pod, stalled (a foreign object counts, too)."""
    old, new = _by_type(before), _by_type(status)
    found: list[Turn] = []
    in_force = new.get("ConfigInForce", {})
    rolled_out = in_force.get("status") == "True" and (
        old.get("ConfigInForce", {}).get("status") != "True" or before.get("configHash") != status.get("configHash")
    )
    if rolled_out:
        found.append(Turn("Normal", "ConfigRolledOut", in_force["message"]))
    refused = new.get("ConfigValid", {})
    if refused.get("reason") == "RefusedByPod" and old.get("ConfigValid", {}).get("reason") != "RefusedByPod":
        found.append(Turn("Warning", "RefusedByPod", refused["message"]))
    stalled = new.get("Stalled")
    if stalled is not None and old.get("Stalled", {}).get("reason") != stalled["reason"]:
        found.append(Turn("Warning", stalled["reason"], stalled["message"]))
    return found


def _by_type(status: Json) -> dict[str, Json]:
    return {each["type"]: each for each in status.get("conditions") or ()}


class Recorder:
    """Creates Events."""

    def __init__(self, client: Client, identity: str) -> None:
        """`identity` is the name of this operator among several."""
        self._client = client
        self._identity = identity[:128]

    async def record(self, key: ProxyKey, uid: str, generation: int, turn: Turn) -> None:
        """Tell it; an Event that cannot be made is logged, for nothing depends on it. Raises ServerUnreachable."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        what = f"{uid}/{generation}/{turn.reason}/{turn.note}"
        value = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {
                "name": f"{key.name}.{hashlib.sha256(what.encode()).hexdigest()[:16]}",
                "namespace": key.namespace,
            },
            "regarding": {
                "apiVersion": PROXY.api_version,
                "kind": PROXY.name,
                "name": key.name,
                "namespace": key.namespace,
                "uid": uid,
            },
            "type": turn.type,
            "reason": turn.reason,
            "note": turn.note.encode()[:MAX_NOTE].decode(errors="ignore"),
            "action": "Reconcile",
            "eventTime": now,
            "reportingController": OPERATOR,
            "reportingInstance": self._identity,
        }
        try:
            await self._client.create(EVENT, value, MANAGER)
        except AlreadyExists:
            return
        except ApiError as error:
            _log.warning("event not recorded", extra=fields(object=key, reason=turn.reason, error=error))
