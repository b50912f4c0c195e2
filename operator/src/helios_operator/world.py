"""What the watch streams have told, as look-ups. The policies come from `watch`, the others from `informers`.

Read by the reconciler. All of it is complete before the first key is worked on. Objects that we wrote ourselves are
remembered here until the stream has caught up, so that a look right after a write does not see the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from helios.kube import Kind
from helios_operator.names import ProxyKey
from helios_operator.providers import CLUSTERS, Announced, Switch
from helios_operator.records import Child, Endpoint, Pod, Slice, Stored
from helios_operator.scaling import Scaler

__all__ = ["Named", "Placed", "World"]

V = TypeVar("V")
Named = tuple[str, str]
"""(namespace, name)"""
Placed = tuple[str, str, str]
"""(namespace, kind, name), or (kind, namespace, name) of a child"""
Index = Mapping[Any, Iterable[V]]


class World:
    """Look-ups over what the streams told and over what we wrote last."""

    def __init__(self) -> None:
        self.policies: Index[Stored] = {}
        """(namespace, kind, name) → policy; kopf's index once the watcher has started."""
        self.seen_children: dict[Placed, Child] = {}
        """(kind, namespace, name) → child."""
        self.seen_pods: dict[Named, dict[str, Pod]] = {}
        """(namespace, instance) → name → pod."""
        self.seen_sidecars: dict[Named, dict[str, Pod]] = {}
        """(namespace, proxy) → name → pod of an application with that proxy in it."""
        self.seen_slices: dict[Named, dict[str, Slice]] = {}
        """(namespace, service) → name → EndpointSlice."""
        self.seen_members: dict[str, dict[Placed, dict[str, Endpoint]]] = {}
        """Selector → (namespace, provider, cluster) → name → pod with a server that somebody else looks after."""
        self.seen_announced: dict[tuple[Kind, str], dict[Placed, dict[str, Announced]]] = {}
        """(kind, selector) → (namespace, provider, cluster) → name → object in which he says what he is about to do."""
        self.seen_scalers: dict[Named, Scaler] = {}
        """(namespace, name) → autoscaler of a Deployment or a HeliosProxy, whoever made it."""
        self._foreign: set[Kind] = set()
        self._proxies: dict[ProxyKey, Stored] = {}
        self._places: dict[ProxyKey, frozenset[Placed]] = {}
        self._proxies_of: dict[Placed, set[ProxyKey]] = {}
        self._written: dict[Placed, Child] = {}
        self._statuses: dict[ProxyKey | Placed, tuple[int, dict[str, Any]]] = {}
        self._specs: dict[Placed, tuple[str, int]] = {}

    def saw_proxy(self, key: ProxyKey, proxy: Stored, places: Iterable[Placed]) -> frozenset[Placed]:
        """A HeliosProxy is there, or was changed; `places` are (namespace, kind, name) of what it refers to.

        Returns those that it refers to since, and those that it does no more.
        """
        self._proxies[key] = proxy
        return self._refer(key, frozenset(places))

    def lost_proxy(self, key: ProxyKey) -> frozenset[Placed]:
        """A HeliosProxy is gone; returns what it referred to."""
        self._proxies.pop(key, None)
        self._statuses.pop(key, None)
        return self._refer(key, frozenset())

    def _refer(self, key: ProxyKey, places: frozenset[Placed]) -> frozenset[Placed]:
        before = self._places.pop(key, frozenset())
        for place in before:
            users = self._proxies_of[place]
            users.discard(key)
            if not users:
                del self._proxies_of[place]
        if places:
            self._places[key] = places
        for place in places:
            self._proxies_of.setdefault(place, set()).add(key)
        return before ^ places

    def saw_policy(self, place: Placed, uid: str, generation: int) -> bool:
        """A policy is there, or was changed; whether its spec is another than at the last time."""
        before, self._specs[place] = self._specs.get(place), (uid, generation)
        return before != (uid, generation)

    def lost_policy(self, place: Placed) -> None:
        """A policy is gone."""
        self._specs.pop(place, None)
        self._statuses.pop(place, None)

    def proxy(self, key: ProxyKey) -> Stored | None:
        """The HeliosProxy, or None if there is none."""
        return self._proxies.get(key)

    def all_proxies(self) -> list[ProxyKey]:
        """Every HeliosProxy."""
        return list(self._proxies)

    def proxies_of(self, namespace: str, kind: str, name: str) -> list[ProxyKey]:
        """Proxies that refer to a policy, or find their nodes behind a Service."""
        return list(self._proxies_of.get((namespace, kind, name), ()))

    def policy(self, namespace: str, kind: str, name: str) -> Stored | None:
        """A PoolProfile, RoutingRule, AuditPolicy or TenantQuota."""
        return next(iter(self.policies.get((namespace, kind, name)) or ()), None)

    def pods(self, key: ProxyKey) -> list[Pod]:
        """Pods of a proxy that are not about to end."""
        return [pod for pod in self.all_pods(key) if not pod.deleting]

    def settled_pods(self, key: ProxyKey) -> int:
        """Pods that are there, without the one more of a rolling update."""
        return len([pod for pod in self.pods(key) if not pod.ended]) - 1

    def all_pods(self, key: ProxyKey) -> list[Pod]:
        """Pods of a proxy, those too that are about to end."""
        return list(self.seen_pods.get((key.namespace, key.name), {}).values())

    def sidecars(self, key: ProxyKey) -> list[Pod]:
        """Pods of applications with this proxy in them, as long as it may run there."""
        return [pod for pod in self.seen_sidecars.get((key.namespace, key.name), {}).values() if not pod.ended]

    def endpoints(self, namespace: str, service: str) -> list[Endpoint]:
        """Addresses behind a Service, sorted; an address in two slices counts once."""
        slices = self.seen_slices.get((namespace, service), {})
        found = {(each.host, each.port): each for one in slices.values() for each in one.endpoints}
        return [found[place] for place in sorted(found)]

    def members(self, place: Placed) -> list[Endpoint]:
        """Servers of a cluster that somebody else looks after, sorted."""
        found = {each for groups in self.seen_members.values() for each in groups.get(place, {}).values()}
        return sorted(found, key=lambda one: (one.name or "", one.host))

    def has_cluster(self, kind: Kind, place: Placed) -> bool:
        """Whether the object by which others are told of a cluster is there."""
        return place in self.seen_announced.get((kind, ""), {})

    def switch(self, place: Placed) -> Switch | None:
        """Which other server somebody is about to make the primary of a cluster."""
        told = (each for groups in self.seen_announced.values() for each in groups.get(place, {}).values())
        return next((each.switch for each in told if each.switch is not None), None)

    def scalers(self, namespace: str) -> list[Scaler]:
        """Autoscalers of a namespace, ours among them."""
        return [scaler for (place, _), scaler in self.seen_scalers.items() if place == namespace]

    def child(self, kind: Kind, namespace: str, name: str) -> Child | None:
        """A child, as the stream or our last write shows it, whichever is newer."""
        place = (kind.name, namespace, name)
        seen = self.seen_children.get(place)
        written = self._written.get(place)
        if written is None:
            return seen
        if seen is not None and seen.version >= written.version:
            del self._written[place]
            return seen
        return written

    def saw_child(self, kind: str, namespace: str, name: str, child: Child) -> None:
        """An event shows a child. What was found in line and has the same content still is."""
        place = (kind, namespace, name)
        for before in (self.seen_children.get(place), self._written.get(place)):
            if before is not None and before.packed == child.packed and before.in_line_with is not None:
                child.in_line_with = before.in_line_with
        self.seen_children[place] = child

    def wrote(self, kind: Kind, namespace: str, name: str, child: Child) -> None:
        """Remember what a write of ours made. One that changed nothing made what the stream has shown already."""
        place = (kind.name, namespace, name)
        seen = self.seen_children.get(place)
        if seen is not None and seen.version == child.version:
            seen.in_line_with = child.in_line_with
        else:
            self._written[place] = child

    def saw_own_write(self, kind: str, namespace: str, name: str, version: int) -> bool:
        """Whether an event shows nothing but our own last write, which then counts as seen."""
        place = (kind, namespace, name)
        written = self._written.get(place)
        if written is None or written.version != version:
            return False
        self.seen_children[place] = self._written.pop(place)
        return True

    def serves(self, kind: Kind) -> bool:
        """Whether a kind of another project is there, and its objects are known."""
        return kind in self._foreign

    def started_serving(self, kind: Kind) -> None:
        """It is there, and was listed."""
        self._foreign.add(kind)

    def stopped_serving(self, kind: Kind) -> None:
        """It went, with every object of it."""
        self._foreign.discard(kind)
        if kind in CLUSTERS:
            self.seen_announced.pop((kind, ""), None)
        self.seen_children = {place: child for place, child in self.seen_children.items() if place[0] != kind.name}
        self._written = {place: child for place, child in self._written.items() if place[0] != kind.name}

    def gone(self, kind: str, namespace: str, name: str) -> None:
        """An object was deleted: nothing that we wrote is there any more."""
        self._written.pop((kind, namespace, name), None)

    def status(self, key: ProxyKey | Placed, stored: Stored) -> dict[str, Any]:
        """The status of a resource of ours, as the stream or our last write shows it, whichever is newer."""
        written = self._statuses.get(key)
        if written is not None and written[0] > stored.version:
            return written[1]
        self._statuses.pop(key, None)
        return stored.status

    def wrote_status(self, key: ProxyKey | Placed, version: int, status: dict[str, Any]) -> None:
        """Remember the status that we wrote."""
        self._statuses[key] = (version, status)

    def is_status_echo(self, key: ProxyKey | Placed, version: int) -> bool:
        """Whether an event shows nothing but our own last status."""
        written = self._statuses.get(key)
        if written is not None and written[0] <= version:
            del self._statuses[key]
        return written is not None and written[0] == version
