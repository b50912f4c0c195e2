"""HeliosProxies and what runs for them: children, pods, EndpointSlices. Started by `__main__`.

There may be thousands of them, and kopf spends a task and a kilobyte on each object that it watches (docs/adr/0020), so
`helios.kube.watch` follows them. Every change puts its proxies on the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

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
from helios_operator.providers import (
    CLUSTERS,
    DECISIONS,
    MEMBERS,
    announced_by_object,
    announced_by_patroni,
    member_of,
    place_of,
    place_of_object,
)
from helios_operator.queue import WorkQueue
from helios_operator.records import child_of, pod_of, sidecar_of, slice_of, stored_of
from helios_operator.references import places_of
from helios_operator.scaling import Scaler, scaler_of
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
TENANT_QUOTA: Final = "TenantQuota"
SLICE_SERVICE: Final = "kubernetes.io/service-name"
Json = dict[str, Any]
USED_BY_SECONDS: Final = 0.3
"""From a proxy's new reference to the status of what it refers to."""
Names = frozenset[tuple[str, str]]
K = TypeVar("K", tuple[str, str], Placed)
V = TypeVar("V")


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
        pods = self._groups(self._pod_key, world.seen_pods, pod_of, self._add_group)
        sidecars = self._groups(self._sidecar_key, world.seen_sidecars, sidecar_of, self._add_group)
        slices = self._groups(self._slice_key, world.seen_slices, slice_of, self._add_group)
        watches.append(self._watch(client, POD, MANAGED_SELECTOR, *pods))
        watches.append(self._watch(client, POD, SIDECAR, *sidecars))
        watches.append(self._watch(client, ENDPOINT_SLICE, None, *slices))
        for selector in MEMBERS:
            servers = world.seen_members.setdefault(selector, {})
            members = self._groups(place_of, servers, member_of, self._add_users)
            watches.append(self._watch(client, POD, selector, *members))
        for kind, selector in DECISIONS:
            told = world.seen_announced.setdefault((kind, selector), {})
            decisions = self._groups(place_of, told, announced_by_patroni, self._add_users)
            watches.append(self._watch(client, kind, selector, *decisions))
        watches.append(self._scalers(client))
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
            before, stored, places = world.proxy(key), stored_of(value), places_of(key, value.get("spec") or {})
            turned = world.saw_proxy(key, stored, places)
            self._add_policies(turned)
            if before is None or before.generation != stored.generation:
                self._add_sharing(key, {*turned, *places})
            version = int(value["metadata"]["resourceVersion"])
            if not world.is_status_echo(key, version):
                queue.add(key, version)

        def lost(value: Json) -> None:
            gone(ProxyKey(*_place(value)))

        def gone(key: ProxyKey) -> None:
            turned = world.lost_proxy(key)
            self._add_policies(turned)
            self._add_sharing(key, turned)
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

    def foreign(self, kind: Kind) -> Watch:
        """Follows a kind of another project: one that proxies control, or that tells of a cluster."""
        if kind not in CLUSTERS:
            return self.children(kind)
        told = self._world.seen_announced.setdefault((kind, ""), {})
        objects = self._groups(partial(place_of_object, kind), told, announced_by_object, self._add_users)
        return Watch(self._client, kind, None, *objects)

    def _scalers(self, client: Client) -> Watch:
        """Follows every autoscaler: one of a user's carries no label, and may come to scale something else."""
        held = self._world.seen_scalers

        def put(place: tuple[str, str], scaler: Scaler | None) -> None:
            before = held.pop(place, None)
            if scaler is not None:
                held[place] = scaler
            if scaler != before:
                for each in {each.target for each in (before, scaler) if each is not None}:
                    self._add(ProxyKey(place[0], each))

        def listed(names: Names) -> None:
            for place in [place for place in held if place not in names]:
                put(place, None)

        return self._watch(
            client,
            AUTOSCALER,
            None,
            lambda value: put(_place(value), scaler_of(value)),
            lambda value: put(_place(value), None),
            listed,
        )

    def _groups(
        self,
        key_of: Callable[[Json], K],
        held: dict[K, dict[str, V]],
        picture: Callable[[Json], V | None],
        changed: Callable[[K], None],
    ) -> tuple[Callable[[Json], None], Callable[[Json], None], Callable[[Names], None]]:
        """(seen, lost, listed) for objects that are kept by what they belong to, first its namespace; `picture` makes
        None of others. `changed` is called with what they belong to."""

        def drop(key: K, name: str) -> None:
            group = held.get(key, {})
            if group.pop(name, None) is not None:
                if not group:
                    del held[key]
                changed(key)

        def seen(value: Json) -> None:
            key, name = key_of(value), value["metadata"]["name"]
            made = picture(value)
            if made is None:
                drop(key, name)
            elif held.setdefault(key, {}).get(name) != made:
                held[key][name] = made
                changed(key)

        def lost(value: Json) -> None:
            drop(key_of(value), value["metadata"]["name"])

        def listed(names: Names) -> None:
            for key, group in list(held.items()):
                for name in [name for name in group if (key[0], name) not in names]:
                    drop(key, name)

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

    def _add_sharing(self, key: ProxyKey, places: Iterable[Placed]) -> None:
        """What one proxy has of a quota, the others have not."""
        for namespace, kind, name in places:
            if kind == TENANT_QUOTA:
                for other in self._world.proxies_of(namespace, kind, name):
                    if other != key:
                        self._queue.add(other)

    def _add_group(self, key: tuple[str, str]) -> None:
        """A proxy of that name, and proxies that find their nodes behind a Service of that name."""
        self._add(ProxyKey(*key))
        for other in self._world.proxies_of(key[0], "Service", key[1]):
            self._queue.add(other)

    def _add_users(self, place: Placed) -> None:
        """Proxies whose nodes are those of a cluster that somebody else looks after."""
        for key in self._world.proxies_of(*place):
            self._queue.add(key)

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
