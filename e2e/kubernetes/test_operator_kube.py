"""`helios.kube` against a real API server: typed errors, server-side apply, a watch that goes on, a Lease for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from cluster import Cluster
from helios.kube import AlreadyExists, Client, Conflict, Forbidden, Invalid, Lease, LeaseTimes, NotFound, Unauthorized
from helios.kube.client import Json
from helios.kube.kinds import CONFIG_MAP, LEASE, SECRET, SERVICE
from helios.kube.kubeconfig import from_kubeconfig
from helios.kube.watch import Watch

SECONDS = 30


@pytest_asyncio.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(from_kubeconfig(cluster.kubeconfig)) as opened:
        yield opened


def config_map(namespace: str, name: str = "a", **data: str) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "kube-test"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_errors_say_what_happened(client: Client, namespace: str, cluster: Cluster) -> None:
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await client.get(CONFIG_MAP, namespace, "a")
    made = await client.create(CONFIG_MAP, config_map(namespace, x="1"), "test")
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAP, config_map(namespace), "test")
    with pytest.raises(Invalid, match="ports: Required value"):
        await client.create(SERVICE, {**config_map(namespace), "kind": "Service", "spec": {}, "data": None}, "test")
    assert made["metadata"]["resourceVersion"] != "1"
    with pytest.raises(Conflict):
        await client.merge(CONFIG_MAP, namespace, "a", {"metadata": {"resourceVersion": "1"}}, "test")

    nobody = from_kubeconfig(cluster.kubeconfig)
    nobody.token, nobody.certificate, nobody.key = "wrong", None, None
    async with Client(nobody) as stranger:
        with pytest.raises(Unauthorized):
            await stranger.get(SECRET, namespace, "x")
    nobody.token = cluster.kubectl("-n", namespace, "create", "token", "default").strip()
    async with Client(nobody) as guest:
        with pytest.raises(Forbidden, match="cannot get resource"):
            await guest.get(SECRET, namespace, "x")


async def test_apply_owns_its_fields_and_no_other_object(client: Client, namespace: str) -> None:
    first = await client.apply(CONFIG_MAP, config_map(namespace, x="1", y="2"), "test")
    again = await client.apply(CONFIG_MAP, config_map(namespace, x="1", y="2"), "test")
    less = await client.apply(CONFIG_MAP, config_map(namespace, x="1"), "test")

    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], "nothing changed"
    assert less["data"] == {"x": "1"}
    other = config_map(namespace, x="3")
    other["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(Invalid, match=r"metadata\.uid"):
        await client.apply(CONFIG_MAP, other, "test")
    other["metadata"]["name"] = "nobody"
    with pytest.raises(Conflict, match="uid"):
        await client.apply(CONFIG_MAP, other, "test")
    with pytest.raises(Conflict, match="conflict"):
        await client.apply(CONFIG_MAP, config_map(namespace, x="4"), "rival", force=False)


async def test_watch_sees_everything_and_outlives_the_api_server(
    client: Client, namespace: str, cluster: Cluster
) -> None:
    seen: dict[str, str] = {}
    lists: list[frozenset[tuple[str, str]]] = []

    def keep(value: Json) -> None:
        seen[value["metadata"]["name"]] = str(value.get("data", {}).get("x"))

    def drop(value: Json) -> None:
        seen.pop(value["metadata"]["name"])

    await client.create(CONFIG_MAP, config_map(namespace, "before", x="1"), "test")
    watch = Watch(client, CONFIG_MAP, "app=kube-test", keep, drop, lists.append)
    running = asyncio.create_task(watch.run())
    await until(lambda: bool(lists))
    assert (namespace, "before") in lists[0]

    await client.create(CONFIG_MAP, config_map(namespace, "after", x="1"), "test")
    await client.apply(CONFIG_MAP, config_map(namespace, "before", x="2"), "test")
    await until(lambda: seen == {"before": "2", "after": "1"})

    await asyncio.to_thread(cluster.stop_apiserver)
    await asyncio.to_thread(cluster.start_apiserver)
    await client.apply(CONFIG_MAP, config_map(namespace, "after", x="9"), "test")
    await client.merge(CONFIG_MAP, namespace, "before", {"metadata": {"labels": {"app": None}}}, "test")
    await until(lambda: seen == {"after": "9"})
    running.cancel()


async def test_lease_has_one_holder_and_goes_over(client: Client, namespace: str) -> None:
    times = LeaseTimes(duration=2, renew=0.5, retry=0.1)
    first = Lease(client, namespace, "leader", "first", times)
    second = Lease(client, namespace, "leader", "second", times)

    await first.acquire()
    assert first.is_held
    assert not await second.attempt()

    # The first one falls silent: nobody renews.
    async with asyncio.timeout(SECONDS):
        await second.acquire()
    assert not first.is_held, "it counted itself out before the second one could take over"
    assert second.is_held
    assert not await first.attempt()
    spec = (await client.get(LEASE, namespace, "leader"))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 2)

    await second.release()
    assert await first.attempt()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the streams' callbacks are plain functions
            await asyncio.sleep(0.02)
