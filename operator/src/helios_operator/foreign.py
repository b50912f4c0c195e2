"""Kinds of other projects, such as a PodMonitor: looked for in the API's discovery, followed while they are served.

Their CustomResourceDefinitions may come and go at any time. kopf would want them there at its start, so `helios.kube`
follows them. Run by `__main__`; the reconciler asks `World.serves`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from helios.kube import Client, Kind, NotFound, Watch
from helios.kube.errors import KubeError
from helios.kube.kinds import (
    CERTIFICATE,
    CLOUDNATIVE_PG_CLUSTER,
    CRUNCHY_CLUSTER,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SERVICE_MONITOR,
    ZALANDO_CLUSTER,
)
from helios.telemetry.logs import fields
from helios_operator.world import World

__all__ = ["FOREIGN", "ForeignKinds"]

_log = logging.getLogger(__name__)
FOREIGN: Final = (
    POD_MONITOR,
    SERVICE_MONITOR,
    PROMETHEUS_RULE,
    CERTIFICATE,
    CLOUDNATIVE_PG_CLUSTER,
    CRUNCHY_CLUSTER,
    ZALANDO_CLUSTER,
)
RETRY_SECONDS: Final = 1.0
FIRST_SECONDS: Final = 10.0
"""After this the work begins although a kind that is served could not be listed."""


class ForeignKinds:
    """Looks for `FOREIGN`, and follows those that are there."""

    def __init__(
        self, client: Client, world: World, seconds: float, follow: Callable[[Kind], Watch], turned: Callable[[], None]
    ) -> None:
        """`seconds` between two looks; `follow` makes the watch of a kind; `turned` is called when one came or went."""
        self._client = client
        self._world = world
        self._seconds = seconds
        self._follow = follow
        self._turned = turned
        self._tasks: dict[Kind, asyncio.Task[None]] = {}
        self._looked = False
        self._complete = asyncio.Event()

    async def run(self) -> None:
        """Look for ever; the watches end with it."""
        try:
            while True:
                pause = self._seconds if await self._look() else RETRY_SECONDS
                await asyncio.sleep(pause)
        finally:
            for kind in list(self._tasks):
                await self._unfollow(kind)

    async def complete(self) -> None:
        """Return when what is served was listed, so that the first look at a proxy sees it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await self._complete.wait()

    async def _look(self) -> bool:
        """Compare what is served with what is followed; whether the API server could be asked."""
        try:
            groups = sorted({kind.api_version for kind in FOREIGN})
            served = [kind for group in groups for kind in await self._served(group)]
        except KubeError as error:
            _log.warning("cannot look for kinds of other projects", extra=fields(error=error))
            return False
        for kind in FOREIGN:
            if kind in served and kind not in self._tasks:
                self._tasks[kind] = asyncio.create_task(self._watched(kind).run(), name=f"watch {kind.plural}")
            elif kind not in served and kind in self._tasks:
                await self._unfollow(kind)
                self._world.stopped_serving(kind)
                _log.info("no longer served", extra=fields(kind=kind.name))
                self._turned()
        self._looked = True
        self._check_complete()
        return True

    def _check_complete(self) -> None:
        if self._looked and all(map(self._world.serves, self._tasks)):
            self._complete.set()

    async def _served(self, api_version: str) -> Iterable[Kind]:
        try:
            answer = await self._client.request("GET", f"/apis/{api_version}")
        except NotFound:
            return ()
        names = {each["name"] for each in answer.get("resources") or ()}
        return [kind for kind in FOREIGN if kind.api_version == api_version and kind.plural in names]

    def _watched(self, kind: Kind) -> Watch:
        watch = self._follow(kind)
        listed = watch.listed

        def first(names: frozenset[tuple[str, str]]) -> None:
            listed(names)
            if not self._world.serves(kind):
                self._world.started_serving(kind)
                _log.info("served", extra=fields(kind=kind.name))
                self._turned()
                self._check_complete()

        watch.listed = first
        return watch

    async def _unfollow(self, kind: Kind) -> None:
        task = self._tasks.pop(kind)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
