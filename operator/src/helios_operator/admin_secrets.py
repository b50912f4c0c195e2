"""Secret `<name>-admin` in the cluster: made once, never overwritten, replaced on demand or before it expires.

Called by the reconciler. Secrets are neither listed nor watched: they are read by name and remembered for a while.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from helios.kube import AlreadyExists, Client, NotFound
from helios.kube.kinds import SECRET
from helios.telemetry.logs import fields
from helios_operator.credentials import METRICS, Credentials, make_credentials
from helios_operator.desired import Owner, admin_secret
from helios_operator.errors import InvalidOwnership
from helios_operator.names import MANAGER, ROTATE, ROTATED, ProxyKey
from helios_operator.records import controller_of

__all__ = ["AdminSecrets", "decoded"]

_log = logging.getLogger(__name__)
FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def decoded(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """Content of a Secret as the API server gives it."""
    return {name: base64.b64decode(content) for name, content in (secret.get("data") or {}).items()}


@dataclass
class _Known:
    credentials: Credentials
    uid: str
    version: str
    asked: str
    """The user's word for the last rotation."""
    rotated: datetime | None
    read: float


class AdminSecrets:
    """The credentials of every proxy."""

    def __init__(self, client: Client, overlap: float, refresh: float) -> None:
        """`overlap`: seconds that an old token is still taken; `refresh`: seconds until a Secret is read again."""
        self._client = client
        self._overlap = timedelta(seconds=overlap)
        self._refresh = refresh
        self._known: dict[ProxyKey, _Known] = {}

    def forget(self, key: ProxyKey) -> None:
        """The proxy is gone."""
        self._known.pop(key, None)

    async def obtain(self, owner: Owner, asked: str, is_new: bool) -> Credentials:
        """The credentials of a proxy, made or replaced if need be. `is_new`: it has no children yet, so create first.

        `asked` is the user's word for a rotation; another one than last time replaces them.
        Raises InvalidOwnership where the name is somebody else's.
        """
        known = self._known.get(owner.key)
        if known is None or time.monotonic() - known.read > self._refresh or known.rotated is not None:
            known = await self._make(owner, asked) if is_new else await self._read(owner, asked)
            self._known[owner.key] = known
        now = datetime.now(UTC)
        if known.asked != asked or known.credentials.is_expiring(now):
            await self._patch(owner.key, known, known.credentials.replaced(owner.key, now), asked, now)
        elif known.rotated is not None and now - known.rotated > self._overlap:
            await self._patch(owner.key, known, known.credentials.settled(), asked, None)
        return known.credentials

    def next_change(self, key: ProxyKey) -> float | None:
        """Seconds until an old token must go; None where there is none."""
        known = self._known.get(key)
        if known is None or known.rotated is None:
            return None
        return max(0.0, (known.rotated + self._overlap - datetime.now(UTC)).total_seconds()) + 1.0

    async def _make(self, owner: Owner, asked: str) -> _Known:
        made = make_credentials(owner.key)
        annotations = {ROTATE: asked} if asked else {}
        try:
            answer = await self._client.create(SECRET, admin_secret(owner, made.files(), annotations), MANAGER)
        except AlreadyExists:
            return await self._read(owner, asked)
        _log.info("created", extra=fields(object=f"Secret {owner.key.namespace}/{owner.key.admin}"))
        return _known(answer, made)

    async def _read(self, owner: Owner, asked: str) -> _Known:
        try:
            secret = await self._client.get(SECRET, owner.key.namespace, owner.key.admin)
        except NotFound:
            return await self._make(owner, asked)
        if controller_of(secret["metadata"]) != owner.uid:
            raise InvalidOwnership(SECRET.name, owner.key.admin)
        files = decoded(secret)
        found = Credentials.of_files(files)
        known = _known(secret, found or make_credentials(owner.key))
        if found is None:
            await self._patch(owner.key, known, known.credentials, asked, None)
        elif found.files()[METRICS] != files.get(METRICS):
            await self._patch(owner.key, known, found, known.asked, known.rotated)
        return known

    async def _patch(
        self, key: ProxyKey, known: _Known, new: Credentials, asked: str, rotated: datetime | None
    ) -> None:
        """Write `new` into the very Secret that was read; raises Conflict where it changed since."""
        data = {name: base64.b64encode(content).decode() for name, content in new.files().items()}
        annotations = {ROTATE: asked or None, ROTATED: rotated.strftime(FORMAT) if rotated else None}
        metadata = {"uid": known.uid, "resourceVersion": known.version, "annotations": annotations}
        self._known.pop(key, None)
        patch = {"metadata": metadata, "data": data}
        answer = await self._client.merge(SECRET, key.namespace, key.admin, patch, MANAGER)
        fresh = _known(answer, new)
        known.credentials, known.version = fresh.credentials, fresh.version
        known.asked, known.rotated, known.read = fresh.asked, fresh.rotated, fresh.read
        self._known[key] = known
        _log.info("replaced" if rotated else "settled", extra=fields(object=f"Secret {key.namespace}/{key.admin}"))


def _known(secret: Mapping[str, Any], credentials: Credentials) -> _Known:
    metadata = secret["metadata"]
    annotations = metadata.get("annotations") or {}
    return _Known(
        credentials=credentials,
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        asked=annotations.get(ROTATE, ""),
        rotated=_time(annotations.get(ROTATED)),
        read=time.monotonic(),
    )


def _time(text: str | None) -> datetime | None:
    """A time that we wrote; one that somebody else wrote counts as long ago, so that an old token goes."""
    if text is None:
        return None
    try:
        return datetime.strptime(text, FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
