"""Looks at every pod now and then: is the wanted document in force, and who is primary. Started by `__main__`.

The reconciler says what is wanted; a pod that runs another document is sent it at once. What pods answer is kept here
for the status, and a change brings the proxy back onto the work queue. Nothing is written to the API server.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp

from helios.telemetry.logs import fields
from helios_operator.credentials import Credentials, host_of
from helios_operator.document import ConfigDocument
from helios_operator.errors import PodError, PodRefused
from helios_operator.names import ProxyKey
from helios_operator.pod_api import PodApi, PodConfig, PodTopology, trust
from helios_operator.records import Pod
from helios_operator.settings import OperatorSettings
from helios_operator.shares import Holder, PodShare
from helios_operator.switchovers import HoldOrder
from helios_operator.world import World

__all__ = ["PodView", "Poller"]

_log = logging.getLogger(__name__)
TICK_SECONDS: Final = 0.1
JITTER: Final = 0.2
RETRY_SECONDS: Final = 0.5
"""Until a pod that runs another document, or does not answer yet, is asked again."""
OUTDATED: Final = 409


@dataclass(frozen=True, slots=True)
class PodView:
    """What one pod said last."""

    config: PodConfig | None = None
    topology: PodTopology | None = None
    error: str | None = None
    """Why it did not answer."""
    refusal: str | None = None
    """Why it does not take the document."""


@dataclass
class _Wanted:
    document: ConfigDocument
    port: int
    credentials: Credentials
    tls: ssl.SSLContext | None = None
    """Made when the first pod is asked: a proxy without pods needs none, and each takes some memory."""
    due: dict[str, float] = field(default_factory=dict)
    """Address of a pod → when it is asked next, on the monotonic clock."""
    busy: set[str] = field(default_factory=set)
    views: dict[str, PodView] = field(default_factory=dict)
    """Name of a pod → what it said."""
    shares: dict[str, PodShare] = field(default_factory=dict)
    """Name of a pod → what it may have; the most of what it said and what was sent to it since."""
    grants: dict[str, int] = field(default_factory=dict)
    """Name of a pod → what it shall have."""
    orders: Mapping[str, HoldOrder] = field(default_factory=dict)
    """Cluster → why no transaction shall begin there."""
    told: dict[str, Mapping[str, HoldOrder]] = field(default_factory=dict)
    """Name of a pod → the orders that it has."""


class Poller:
    """All pods of all proxies."""

    def __init__(self, world: World, settings: OperatorSettings, changed: Callable[[ProxyKey], None]) -> None:
        """`changed` is called with a proxy whose pods say something new."""
        self._world = world
        self._settings = settings
        self._changed = changed
        self._wanted: dict[ProxyKey, _Wanted] = {}
        self._generations: dict[ProxyKey, int] = {}
        self._gate = asyncio.Semaphore(settings.poll_concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()

    def want(self, key: ProxyKey, document: ConfigDocument, port: int, credentials: Credentials) -> None:
        """From now on every pod of `key` shall run `document`."""
        present = self._wanted.get(key)
        if present is None or present.credentials is not credentials:
            wanted = _Wanted(document, port, credentials)
            if present is not None:
                wanted.views, wanted.shares, wanted.grants = present.views, present.shares, present.grants
                wanted.orders, wanted.told = present.orders, present.told
            self._wanted[key] = wanted
        elif present.document != document or present.port != port:
            present.document, present.port = document, port
            present.due.clear()

    def grant(self, key: ProxyKey, grants: Mapping[str, int]) -> None:
        """From now on these pods may have so many server connections."""
        wanted = self._wanted[key]
        for pod in (*self._world.all_pods(key), *self._world.sidecars(key)):
            if pod.name in grants and wanted.grants.get(pod.name) != grants[pod.name]:
                wanted.grants[pod.name] = grants[pod.name]
                wanted.due.pop(pod.ip or "", None)

    def hold(self, key: ProxyKey, orders: Mapping[str, HoldOrder]) -> None:
        """From now on no transaction shall begin in these clusters; at once, since nobody waits for us."""
        wanted = self._wanted.get(key)
        if wanted is not None and wanted.orders != orders:
            wanted.orders = orders
            wanted.due.clear()
            self._hurry.set()

    def holders(self, key: ProxyKey) -> list[Holder]:
        """The pods of a proxy, as far as their shares go."""
        wanted = self._wanted.get(key)
        shares = wanted.shares if wanted is not None and wanted.document.first_share else {}
        pods = [pod for pod in self._world.all_pods(key) if not pod.ended]
        sidecars = self._world.sidecars(key)
        return [
            *(Holder(pod.name, pod.running, pod.deleting, shares.get(pod.name)) for pod in pods),
            *(Holder(pod.name, pod.started, pod.deleting, shares.get(pod.name), is_sidecar=True) for pod in sidecars),
        ]

    def forget(self, key: ProxyKey) -> None:
        """The proxy is gone."""
        self._wanted.pop(key, None)
        self._generations.pop(key, None)

    def views(self, key: ProxyKey) -> dict[str, PodView]:
        """What the pods of a proxy said last, by name; pods that are gone are left out."""
        wanted = self._wanted.get(key)
        if wanted is None:
            return {}
        sidecars = self._world.sidecars(key)
        names = {pod.name for pod in (*self._world.pods(key), *sidecars) if not pod.deleting}
        wanted.views = {name: view for name, view in wanted.views.items() if name in names}
        names |= {pod.name for pod in (*self._world.all_pods(key), *sidecars)}
        wanted.shares = {name: share for name, share in wanted.shares.items() if name in names}
        wanted.grants = {name: limit for name, limit in wanted.grants.items() if name in names}
        wanted.told = {name: orders for name, orders in wanted.told.items() if name in names}
        return wanted.views

    def least_generation(self, key: ProxyKey) -> int:
        """The generation that a document must have so that every pod takes it; 0 where none refused one."""
        return self._generations.get(key, 0)

    async def run(self) -> None:
        """Ask for ever."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
            try:
                while True:
                    self._hurry.clear()
                    self._start_due(session)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._hurry.wait(), TICK_SECONDS)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_due(self, session: aiohttp.ClientSession) -> None:
        now = time.monotonic()
        for key, wanted in self._wanted.items():
            # One that leaves is asked what it still holds, where that counts.
            for pod in (*self._world.all_pods(key), *self._world.sidecars(key)):
                if pod.deleting and not wanted.document.first_share:
                    continue
                if not pod.running or pod.ip is None or pod.ip in wanted.busy or wanted.due.get(pod.ip, 0.0) > now:
                    continue
                wanted.busy.add(pod.ip)
                task = asyncio.create_task(self._look(session, key, wanted, pod, pod.ip))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _look(self, session: aiohttp.ClientSession, key: ProxyKey, wanted: _Wanted, pod: Pod, ip: str) -> None:
        """Ask one pod, and send it the document if it runs another, and its share if it has another."""
        document, orders = wanted.document, wanted.orders
        before = view = wanted.views.get(pod.name, PodView())
        held = wanted.shares.get(pod.name)
        try:
            wanted.tls = wanted.tls or trust(wanted.credentials)
            host, tokens = host_of(key), wanted.credentials.tokens
            api = PodApi(session, ip, wanted.port, host, tokens, wanted.tls, self._settings.poll_timeout)
            async with self._gate:
                await self._settle_orders(api, key, wanted, pod, orders)
                if not pod.deleting:
                    view = await self._ask(api, document, key, pod)
                if document.first_share:
                    await self._settle_share(api, wanted, pod)
        except PodError as error:
            view = replace(before, error=str(error), topology=None)
        finally:
            wanted.busy.discard(ip)
        settled = _has(view, document) and _has_share(wanted, pod) and wanted.told.get(pod.name, {}) == orders
        pause = self._settings.poll_interval if settled else RETRY_SECONDS
        unchanged = wanted.document == document and wanted.orders == orders
        wanted.due[ip] = time.monotonic() + (pause * random.uniform(1 - JITTER, 1 + JITTER) if unchanged else 0)  # noqa: S311
        if not pod.deleting:
            wanted.views[pod.name] = view
        if view != before or wanted.shares.get(pod.name) != held:
            self._changed(key)

    async def _ask(self, api: PodApi, document: ConfigDocument, key: ProxyKey, pod: Pod) -> PodView:
        config = await api.config()
        refusal = None
        if config.hash != document.hash:
            try:
                config = await api.post_config(document.text)
                _log.info("document taken", extra=fields(proxy=key, pod=pod.name, generation=config.generation))
            except PodRefused as error:
                refusal = str(error)
                if error.status == OUTDATED and error.generation is not None:
                    # One more than what it has: it may have another document of that very generation.
                    self._generations[key] = max(error.generation + 1, self.least_generation(key))
                _log.warning("document refused", extra=fields(proxy=key, pod=pod.name, error=refusal))
        return PodView(config, await api.topology(), None, refusal)

    async def _settle_orders(
        self, api: PodApi, key: ProxyKey, wanted: _Wanted, pod: Pod, orders: Mapping[str, HoldOrder]
    ) -> None:
        """First of all, since it may be too late in a moment. An order that has run out needs no word."""
        told = wanted.told.get(pod.name, {})
        try:
            for cluster in sorted({*told, *orders}):
                if told.get(cluster) != orders.get(cluster):
                    await api.hold(cluster, orders.get(cluster))
                    _log.info(
                        "transactions wait" if cluster in orders else "transactions begin again",
                        extra=fields(proxy=key, pod=pod.name, cluster=cluster),
                    )
        except PodError as error:
            # It may have to take its document first.
            _log.warning("not told of a switchover", extra=fields(proxy=key, pod=pod.name, error=error))
        else:
            wanted.told[pod.name] = orders

    async def _settle_share(self, api: PodApi, wanted: _Wanted, pod: Pod) -> None:
        share = await api.share()
        granted = wanted.grants.get(pod.name)
        if granted is not None and not pod.deleting and (granted != share.limit or not share.is_granted):
            # It may take this without our hearing of it.
            wanted.shares[pod.name] = replace(share, limit=max(share.limit, granted))
            share = await api.put_share(granted)
        wanted.shares[pod.name] = share


def _has(view: PodView, document: ConfigDocument) -> bool:
    return view.error is None and view.config is not None and view.config.hash == document.hash


def _has_share(wanted: _Wanted, pod: Pod) -> bool:
    """Whether what it may have is what it shall have, and what it has no more than that."""
    share = wanted.shares.get(pod.name)
    if not wanted.document.first_share or share is None:
        return True
    return share.excess == 0 and (pod.deleting or wanted.grants.get(pod.name, share.limit) == share.limit)
