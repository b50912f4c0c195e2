"""List one kind and follow its changes for ever. The operator holds its view of the cluster with it.

What is listed comes page by page and what changes one by one, so that no more than a page is held here. After a lost
connection the stream goes on where it ended; when the API server has forgotten that place, everything is listed anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from helios.kube.client import Client, Json
from helios.kube.errors import ApiError, KubeError
from helios.kube.kinds import Kind

__all__ = ["Watch"]

_log = logging.getLogger(__name__)
STREAM_SECONDS: Final = 300
"""The server ends a stream after this; the next one begins at the same place."""
FIRST_BACKOFF: Final = 0.2
LAST_BACKOFF: Final = 3.0
GONE: Final = 410


@dataclass
class Watch:
    """One kind, in all namespaces, by a label selector."""

    client: Client
    kind: Kind
    labels: str | None
    seen: Callable[[Json], None]
    """Called with an object that is there, or was changed."""
    lost: Callable[[Json], None]
    """Called with the last state of an object that is gone, or that the selector no longer picks."""
    listed: Callable[[frozenset[tuple[str, str]]], None]
    """Called after a complete list with (namespace, name) of all there are: others are gone, unseen."""

    async def run(self) -> None:
        """Follow until cancelled."""
        version: str | None = None
        backoff = FIRST_BACKOFF
        while True:
            try:
                if version is None:
                    version = await self._list()
                version = await self._follow(version)
                backoff = FIRST_BACKOFF
            except KubeError as error:
                if isinstance(error, ApiError) and error.status == GONE:
                    version = None
                    continue
                _log.warning("cannot watch %s: %s", self.kind.plural, error)
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311 - spreads requests
                backoff = min(2 * backoff, LAST_BACKOFF)

    async def _list(self) -> str:
        names: set[tuple[str, str]] = set()
        version = ""
        async for items, version in self.client.pages(self.kind, labels=self.labels):  # noqa: B007 - the last counts
            for item in items:
                names.add((item["metadata"]["namespace"], item["metadata"]["name"]))
                self.seen(item)
        self.listed(frozenset(names))
        return version

    async def _follow(self, version: str) -> str:
        """Follow one stream to its end; the place where it ended. Raises ApiError 410 where that place is forgotten."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(STREAM_SECONDS),
            **({"labelSelector": self.labels} if self.labels else {}),
        }
        async for event in self.client.stream(self.kind.path(), query):
            value: dict[str, Any] = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(int(value.get("code") or 0), str(value.get("reason")), str(value.get("message")))
            version = value["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                self.lost(value)
            elif event["type"] != "BOOKMARK":
                self.seen(value)
        return version
