"""What the streams told: references both ways, our own writes before the streams show them, objects that went."""

from __future__ import annotations

from typing import Any

from operator_objects import KEY, OWNER, document_of, proxy, stored

from helios.kube import Client
from helios.kube.access import Access
from helios.kube.kinds import CONFIG_MAP, POD, SERVICE
from helios_crds.workload import workload
from helios_operator.desired import config_map, services
from helios_operator.informers import Informers
from helios_operator.names import ProxyKey, labels_of
from helios_operator.queue import WorkQueue
from helios_operator.records import Stored, stored_of
from helios_operator.world import World

PLACE = ("shop", "PoolProfile", "fast")


def seen_proxy(version: int = 1) -> Stored:
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": OWNER.uid, "resourceVersion": str(version)}
    return stored_of({"metadata": metadata, "spec": {}, "status": {"phase": "Ready"}})


def raw(value: dict[str, Any], version: int = 10) -> dict[str, Any]:
    metadata = {**value["metadata"], "uid": "u", "resourceVersion": str(version)}
    return {**value, "metadata": metadata}


def informers(world: World) -> tuple[Informers, WorkQueue[ProxyKey]]:
    queue: WorkQueue[ProxyKey] = WorkQueue()
    return Informers(Client(Access("https://198.18.0.1")), world, queue, WorkQueue()), queue


def watch_of(all_of_them: Informers, name: str) -> Any:
    return next(watch for watch in all_of_them._watches if watch.kind.name == name)


def test_reference_that_is_given_up_is_forgotten() -> None:
    world = World()
    world.saw_proxy(KEY, seen_proxy(), [PLACE, ("shop", "Service", "db")])
    assert world.proxies_of(*PLACE) == [KEY]

    world.saw_proxy(KEY, seen_proxy(), [("shop", "Service", "db")])

    assert world.proxies_of(*PLACE) == []
    assert world.proxies_of("shop", "Service", "db") == [KEY]
    world.lost_proxy(KEY)
    assert world.proxies_of("shop", "Service", "db") == []
    assert world.proxy(KEY) is None


def test_own_write_counts_until_the_stream_has_caught_up() -> None:
    world = World()
    first = stored(config_map(OWNER, document_of()), 10)
    second = stored(config_map(OWNER, document_of()), 12)
    world.seen_children[("ConfigMap", "shop", "web-config")] = first

    world.wrote(CONFIG_MAP, "shop", "web-config", second)
    assert world.child(CONFIG_MAP, "shop", "web-config") is second

    newer = stored(config_map(OWNER, document_of()), 13)
    world.seen_children[("ConfigMap", "shop", "web-config")] = newer
    assert world.child(CONFIG_MAP, "shop", "web-config") is newer


def test_what_was_found_in_line_stays_so_while_its_content_does() -> None:
    world, place = World(), ("ConfigMap", "shop", "web-config")
    value = config_map(OWNER, document_of())
    world.saw_child(*place, stored(value, 10))
    unchanged = stored(value, 10)
    unchanged.in_line_with = "hash"

    world.wrote(CONFIG_MAP, "shop", "web-config", unchanged)
    assert world.child(CONFIG_MAP, "shop", "web-config") is world.seen_children[place]
    world.saw_child(*place, stored(value, 11))
    assert world.seen_children[place].in_line_with == "hash"

    world.saw_child(*place, stored({**value, "data": {"helios.toml": "other"}}, 12))
    assert world.seen_children[place].in_line_with is None


def test_own_status_counts_until_its_echo() -> None:
    world = World()
    world.wrote_status(KEY, 5, {"phase": "Pending"})

    assert world.status(KEY, seen_proxy(4)) == {"phase": "Pending"}
    assert world.is_status_echo(KEY, 5)
    assert world.status(KEY, seen_proxy(5)) == {"phase": "Ready"}
    assert not world.is_status_echo(KEY, 6)


def test_proxy_that_went_while_nobody_looked_is_missed_by_the_next_list() -> None:
    world = World()
    streams, queue = informers(world)
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": OWNER.uid, "resourceVersion": "1"}
    value = {"metadata": metadata, "spec": {"poolProfileRef": {"name": "fast"}}}

    watch_of(streams, "HeliosProxy").seen(value)
    assert world.proxies_of(*PLACE) == [KEY]
    assert world.proxies_of("shop", "Service", "web-backends") == [KEY], "it names no nodes"
    assert len(queue) == 1

    watch_of(streams, "HeliosProxy").listed(frozenset())
    assert world.proxy(KEY) is None
    assert world.proxies_of(*PLACE) == []


def test_change_of_a_child_brings_its_proxy_up() -> None:
    world = World()
    world.saw_proxy(KEY, seen_proxy(), [])
    streams, queue = informers(world)

    watch_of(streams, "Service").seen(raw(services(OWNER, workload(proxy()))[0]))

    assert len(queue) == 1
    assert world.child(SERVICE, "shop", "web") is not None


def test_echo_of_our_own_write_brings_nobody_up() -> None:
    world = World()
    world.saw_proxy(KEY, seen_proxy(), [])
    streams, queue = informers(world)
    value = services(OWNER, workload(proxy()))[0]
    world.wrote(SERVICE, "shop", "web", stored(value, 10))

    watch_of(streams, "Service").seen(raw(value, 10))

    assert len(queue) == 0


def test_child_that_went_while_nobody_looked_is_missed_by_the_next_list() -> None:
    world = World()
    world.saw_proxy(KEY, seen_proxy(), [])
    streams, queue = informers(world)
    world.seen_children[("Service", "shop", "web")] = stored(services(OWNER, workload(proxy()))[0])

    watch_of(streams, "Service").listed(frozenset())

    assert world.child(SERVICE, "shop", "web") is None
    assert len(queue) == 1


def test_pod_is_known_by_its_proxy_and_forgotten_when_it_is_gone() -> None:
    world = World()
    world.saw_proxy(KEY, seen_proxy(), [])
    streams, queue = informers(world)
    pod = {
        "metadata": {"name": "web-1", "namespace": "shop", "labels": labels_of(KEY)},
        "spec": {"containers": [{"name": "proxy", "image": "helios-proxy:0.1.0"}]},
        "status": {"podIP": "198.18.0.9"},
    }

    watch_of(streams, POD.name).seen(pod)
    assert [(each.ip, each.image) for each in world.pods(KEY)] == [("198.18.0.9", "helios-proxy:0.1.0")]
    assert len(queue) == 1

    watch_of(streams, POD.name).lost(pod)
    assert world.pods(KEY) == []


def test_work_begins_when_every_kind_was_listed() -> None:
    streams, _ = informers(World())
    for watch in streams._watches:
        assert not streams.complete.is_set()
        watch.listed(frozenset())

    assert streams.complete.is_set()


def test_reference_tells_what_it_changed() -> None:
    world = World()
    other = ("shop", "PoolProfile", "slow")

    assert world.saw_proxy(KEY, seen_proxy(), [PLACE]) == {PLACE}
    assert world.saw_proxy(KEY, seen_proxy(), [PLACE]) == frozenset()
    assert world.saw_proxy(KEY, seen_proxy(), [other]) == {PLACE, other}
    assert world.lost_proxy(KEY) == {other}


def test_policy_counts_as_changed_by_its_spec_only() -> None:
    world = World()

    assert world.saw_policy(PLACE, "u", 1)
    assert not world.saw_policy(PLACE, "u", 1)
    assert world.saw_policy(PLACE, "u", 2)
    assert world.saw_policy(PLACE, "made again", 2)
    world.lost_policy(PLACE)
    assert world.saw_policy(PLACE, "made again", 2)
