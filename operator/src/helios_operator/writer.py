"""Bring one child in line: create it, or apply it to the very object that is ours. Called by the reconciler.

The first write is a create, so that an object of somebody else with that name is never changed; later ones are
server-side applies that carry the uid, so that an object which took its place meanwhile is not changed either.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from helios.kube import AlreadyExists, Client, Conflict, Invalid, Kind, NotFound
from helios.kube.ownership import as_applied
from helios.telemetry.logs import fields
from helios_operator.errors import InvalidOwnership
from helios_operator.names import APPLIED, MANAGER
from helios_operator.records import Child, child_of
from helios_operator.world import World

__all__ = ["Writer", "digest", "is_within", "stamped"]

_log = logging.getLogger(__name__)
Json = dict[str, Any]
_SORTED: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
ATTEMPTS: Final = 3
"""Looks at an object that others change or delete in the same moment."""


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(_SORTED.encode(value).encode()).hexdigest()


def stamped(value: Json) -> Json:
    """`value` with the annotation that says what was applied."""
    metadata = value["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED: digest(value)}
    return {**value, "metadata": {**metadata, "annotations": annotations}}


def is_within(wanted: Any, present: Any) -> bool:
    """Whether everything in `wanted` is in `present` too; lists are of one length, their items matched by position."""
    if wanted == present:
        return True
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(
            key in present and is_within(item, present[key]) for key, item in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(present, list) and len(wanted) == len(present) and all(map(is_within, wanted, present))
    return False


class Writer:
    """Creates and applies children; leaves alone what is as it should be, and what is not ours."""

    def __init__(self, client: Client, world: World, wrote: Callable[[int], None]) -> None:
        """`wrote` is called with the resourceVersion that a write made."""
        self._client = client
        self._world = world
        self._own = wrote

    async def ensure(self, kind: Kind, value: Json, owner: str) -> bool:
        """Make the object `value`, whose controller is `owner` (a uid); whether something was written.

        Raises InvalidOwnership where the name is somebody else's, and whatever the API server says.
        """
        value = stamped(value)
        metadata = value["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        child = self._world.child(kind, namespace, name)
        for _ in range(ATTEMPTS):
            if child is None:
                try:
                    return self._wrote(kind, value, await self._client.create(kind, value, MANAGER), "created")
                except AlreadyExists:
                    child = await self.read(kind, namespace, name)
                    continue
            if child.owner != owner:
                raise InvalidOwnership(kind.name, name)
            if _is_in_line(value, child):
                return False
            try:
                return self._wrote(kind, value, await self._apply(kind, value, child), "applied")
            except (Conflict, NotFound):
                child = await self.read(kind, namespace, name)
            except Invalid:
                # A uid that cannot be changed means that another object took the place of ours.
                uid, child = child.uid, await self.read(kind, namespace, name)
                if child is not None and child.uid == uid:
                    raise
        raise Conflict(409, "Conflict", f"{kind.name}/{name} is being changed by somebody else all the time")

    async def remove(self, kind: Kind, namespace: str, name: str, owner: str) -> None:
        """Delete the object of that name if `owner` (a uid) controls it; what is somebody else's stays."""
        child = self._world.child(kind, namespace, name)
        if child is None or child.owner != owner or child.deleting:
            return
        try:
            await self._client.delete(kind, namespace, name, child.uid)
        except (NotFound, Conflict):
            return  # it went, or another one has its name; the stream tells
        self._world.gone(kind.name, namespace, name)
        _log.info("deleted", extra=fields(object=f"{kind.name} {namespace}/{name}"))

    async def read(self, kind: Kind, namespace: str, name: str) -> Child | None:
        """The object as it is now, None if there is none: the streams do not show one without our label."""
        try:
            return child_of(await self._client.get(kind, namespace, name))
        except NotFound:
            self._world.gone(kind.name, namespace, name)
            return None

    async def _apply(self, kind: Kind, value: Json, child: Child) -> Json:
        metadata = value["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if child.created:
            await self._own_as_apply(kind, namespace, name, child)
        of_that = {**value, "metadata": {**metadata, "uid": child.uid}}
        return await self._client.apply(kind, of_that, MANAGER)

    async def _own_as_apply(self, kind: Kind, namespace: str, name: str, child: Child) -> None:
        """Turn the ownership that our create left into that of an apply; else no apply could remove a field."""
        live = await self._client.get(kind, namespace, name)
        if live["metadata"]["uid"] != child.uid:
            raise Conflict(409, "Conflict", f"{kind.name}/{name} is another object now")
        patch = {
            "uid": child.uid,
            "resourceVersion": live["metadata"]["resourceVersion"],
            "managedFields": as_applied(live["metadata"].get("managedFields") or [], MANAGER),
        }
        await self._client.merge(kind, namespace, name, {"metadata": patch}, MANAGER)

    def _wrote(self, kind: Kind, value: Json, answer: Json, what: str) -> bool:
        metadata = value["metadata"]
        made = child_of(answer)
        # Also where the API server wrote it in other words: 1000m is 1 to it.
        made.in_line_with = value["metadata"]["annotations"][APPLIED]
        self._world.wrote(kind, metadata["namespace"], metadata["name"], made)
        self._own(made.version)
        place = f"{kind.name} {metadata['namespace']}/{metadata['name']}"
        _log.info("%s", what, extra=fields(object=place))
        return True


def _is_in_line(value: Json, child: Child) -> bool:
    """Whether it was applied as it is wanted now, and nobody changed what we want since."""
    applied = value["metadata"]["annotations"][APPLIED]
    if child.in_line_with == applied:
        return True
    content = child.content
    metadata = content["metadata"]
    if metadata["annotations"].get(APPLIED) != applied:
        return False
    wanted = {key: item for key, item in value.items() if key not in ("apiVersion", "kind")}
    wanted["metadata"] = {key: item for key, item in value["metadata"].items() if key in metadata}
    is_so = is_within(wanted, content)
    child.in_line_with = applied if is_so else None
    return is_so
