"""HeliosProxies and what runs for them: children, pods, EndpointSlices. Started by `__main__`.

There may be thousands of them, and kopf spends a task and a kilobyte on each object that it watches (docs/adr/0020), so
`helios.kube.watch` follows them. Every change puts its proxies on the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from helios.kube import Client, Kind, Watch
from helios.kube.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    ROLE,
    ROLE_BINDING,
    SERVICE,
    SERVICE_ACCOUNT,
)
from helios_operator.claims import rivals
from helios_operator.names import INSTANCE, MANAGED_SELECTOR, PROXY, SIDECAR, ProxyKey
from helios_operator.queue import WorkQueue
from helios_operator.records import child_of, pod_of, sidecar_of, slice_of, stored_of
from helios_operator.references import places_of
from helios_operator.world import Placed, World

__all__ = ["Informers"]

CHILDREN: Final = (
    CONFIG_MAP,
    SERVICE,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    AUTOSCALER,
    NETWORK_POLICY,
    SERVICE_ACCOUNT,
    ROLE,
    ROLE_BINDING,
)
SLICE_SERVICE: Final = "kubernetes.io/service-name"
Json = dict[str, Any]
USED_BY_SECONDS: Final = 0.3
"""From a proxy's new reference to the status of what it refers to."""
Names = frozenset[tuple[str, str]]


def _place(value: Json) -> tuple[str, str]:
    return value["metadata"]["namespace"], value["metadata"]["name"]


class Informers:
    """Every kind, followed at once."""

    def __init__(self, client: Client, world: World, queue: WorkQueue[ProxyKey], policies: WorkQueue[Placed]) -> None:
        self._world = world
        self._queue = queue
        self._policies = policies
        self._client = client
        watches = [self._proxies(client), *map(self.children, CHILDREN)]
        pods = self._groups(self._pod_key, world.seen_pods, pod_of)
        sidecars = self._groups(self._sidecar_key, world.seen_sidecars, sidecar_of)
        slices = self._groups(self._slice_key, world.seen_slices, slice_of)
        watches.append(self._watch(client, POD, MANAGED_SELECTOR, *pods))
        watches.append(self._watch(client, POD, SIDECAR, *sidecars))
        watches.append(self._watch(client, ENDPOINT_SLICE, None, *slices))
        self._watches = watches
        self._unlisted = {(watch.kind, watch.labels) for watch in watches}
        self.complete = asyncio.Event()
        """Set once every kind was listed."""

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run(), name=f"watch {watch.kind.plural}")

    def _watch(
        self,
        client: Client,
        kind: Kind,
        labels: str | None,
        seen: Callable[[Json], None],
        lost: Callable[[Json], None],
        listed: Callable[[Names], None],
    ) -> Watch:
        def done(names: Names) -> None:
            listed(names)
            self._unlisted.discard((kind, labels))
            if not self._unlisted:
                self.complete.set()

        return Watch(client, kind, labels, seen, lost, done)

    def _proxies(self, client: Client) -> Watch:
        world, queue = self._world, self._queue

        def seen(value: Json) -> None:
            key = ProxyKey(*_place(value))
            self._add_policies(world.saw_proxy(key, stored_of(value), places_of(key, value.get("spec") or {})))
            version = int(value["metadata"]["resourceVersion"])
            if not world.is_status_echo(key, version):
                queue.add(key, version)

        def lost(value: Json) -> None:
            gone(ProxyKey(*_place(value)))

        def gone(key: ProxyKey) -> None:
            self._add_policies(world.lost_proxy(key))
            queue.add(key)
            for other in rivals(key):
                self._add(other)

        def listed(names: Names) -> None:
            for key in world.all_proxies():
                if (key.namespace, key.name) not in names:
                    gone(key)

        return self._watch(client, PROXY, None, seen, lost, listed)

    def children(self, kind: Kind) -> Watch:
        """Follows the objects of one kind that proxies control."""
        world = self._world

        def seen(value: Json) -> None:
            namespace, name = _place(value)
            version = int(value["metadata"]["resourceVersion"])
            if not world.saw_own_write(kind.name, namespace, name, version):
                world.saw_child(kind.name, namespace, name, child_of(value))
                self._add_owner(value, version)

        def lost(value: Json) -> None:
            gone(*_place(value))
            self._add_owner(value)

        def gone(namespace: str, name: str) -> None:
            world.seen_children.pop((kind.name, namespace, name), None)
            world.gone(kind.name, namespace, name)

        def listed(names: Names) -> None:
            held = [place for place in world.seen_children if place[0] == kind.name and place[1:] not in names]
            for _, namespace, name in held:
                gone(namespace, name)
            if held:
                self.add_all()

        return self._watch(self._client, kind, MANAGED_SELECTOR, seen, lost, listed)

    def _groups(
        self, key_of: Callable[[Json], tuple[str, str]], held: dict[tuple[str, str], dict[str, Any]], picture: Any
    ) -> tuple[Callable[[Json], None], Callable[[Json], None], Callable[[Names], None]]:
        """(seen, lost, listed) for objects that are kept by what they belong to; `picture` makes None of others."""

        def seen(value: Json) -> None:
            key, name = key_of(value), value["metadata"]["name"]
            made = picture(value)
            if made is None:
                return
            if held.setdefault(key, {}).get(name) != made:
                held[key][name] = made
                self._add_group(key)

        def lost(value: Json) -> None:
            key = key_of(value)
            group = held.get(key, {})
            group.pop(value["metadata"]["name"], None)
            if not group:
                held.pop(key, None)
            self._add_group(key)

        def listed(names: Names) -> None:
            for key, group in list(held.items()):
                for name in [name for name in group if (key[0], name) not in names]:
                    del group[name]
                    self._add_group(key)

        return seen, lost, listed

    @staticmethod
    def _pod_key(value: Json) -> tuple[str, str]:
        return value["metadata"]["namespace"], (value["metadata"].get("labels") or {}).get(INSTANCE, "")

    @staticmethod
    def _sidecar_key(value: Json) -> tuple[str, str]:
        return value["metadata"]["namespace"], (value["metadata"].get("labels") or {}).get(SIDECAR, "")

    @staticmethod
    def _slice_key(value: Json) -> tuple[str, str]:
        return value["metadata"]["namespace"], (value["metadata"].get("labels") or {}).get(SLICE_SERVICE, "")

    def _add_policies(self, places: Iterable[Placed]) -> None:
        """Who uses them is told by their status; of many proxies that come at once it tells at once."""
        for place in places:
            if self._world.policy(*place) is not None:
                self._policies.add_after(place, USED_BY_SECONDS)

    def _add_group(self, key: tuple[str, str]) -> None:
        """A proxy of that name, and proxies that find their nodes behind a Service of that name."""
        self._add(ProxyKey(*key))
        for other in self._world.proxies_of(key[0], "Service", key[1]):
            self._queue.add(other)

    def _add_owner(self, value: Json, cause: int | None = None) -> None:
        for reference in value["metadata"].get("ownerReferences") or ():
            if reference["kind"] == PROXY.name and reference.get("controller"):
                self._add(ProxyKey(value["metadata"]["namespace"], reference["name"]), cause)

    def _add(self, key: ProxyKey, cause: int | None = None) -> None:
        """One that is not known yet, or no more, needs no look: its own event brings it up."""
        if self._world.proxy(key) is not None:
            self._queue.add(key, cause)

    def add_all(self) -> None:
        """Whom it concerns is not known: objects went while nobody looked, or a kind came."""
        for key in self._world.all_proxies():
            self._queue.add(key)
