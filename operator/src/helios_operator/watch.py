"""The only file that knows kopf: decorators over the streams of the policies. Indexes become the world, events keys.

Nothing is decided here. No create, update or delete handler of kopf is used: they would put annotations and finalizers
on the users' objects. Started by `__main__`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import kopf

from helios.kube import Access, Client, KubeError
from helios.telemetry.logs import fields
from helios_crds import GROUP, VERSION
from helios_operator.names import POLICIES, ProxyKey
from helios_operator.queue import WorkQueue
from helios_operator.records import Stored, stored_of
from helios_operator.world import Placed, World

__all__ = ["indexed", "registry_of", "run", "settings_of"]

_log = logging.getLogger(__name__)
INDEX_SECONDS: Final = 0.1
"""Between two looks whether the index is complete."""
Body = Mapping[str, Any]


class _Backoffs:
    """Seconds between attempts to reach the API server, without an end."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1.0, 2.0), itertools.repeat(3.0))


class _NoDiff(kopf.DiffBaseStorage):
    """Nothing is compared with what was handled last: kopf would copy every object of every event for that."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Never called for events and indexes."""


class _NoProgress(kopf.ProgressStorage):
    """No handler has a progress that would have to be written into the objects."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Never called for events and indexes."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Never called for events and indexes."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:
        """Never called for events and indexes."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def settings_of() -> kopf.OperatorSettings:
    """kopf's settings: no posting, no scanning, no peering, only our own objects of the built-in kinds."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = _NoDiff()
    settings.persistence.progress_storage = _NoProgress()
    settings.watching.server_timeout = 300
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.5
    settings.networking.error_backoffs = _Backoffs()
    return settings


async def run(registry: kopf.OperatorRegistry) -> None:
    """Watch until cancelled."""
    await kopf.operator(registry=registry, settings=settings_of(), clusterwide=True, standalone=True)


async def indexed(client: Client, world: World) -> None:
    """Return when kopf's index holds every policy that there is; kopf itself does not tell that it is complete."""
    while True:
        try:
            there = [
                (item["metadata"]["namespace"], kind.name, item["metadata"]["name"])
                for kind in POLICIES
                async for items, _ in client.pages(kind)
                for item in items
            ]
        except KubeError as error:
            _log.warning("cannot list the policies", extra=fields(error=error))
        else:
            if all(world.policy(*place) is not None for place in there):
                return
        await asyncio.sleep(INDEX_SECONDS)


def registry_of(
    access: Access,
    world: World,
    queue: WorkQueue[ProxyKey],
    policies: WorkQueue[Placed],
    started: Callable[[], None],
) -> kopf.OperatorRegistry:
    """All decorators, over one world and its queues; `started` is called once kopf has set itself up."""
    registry = kopf.OperatorRegistry()
    _login(registry, access)
    _take_index(registry, world, started)
    _index_policies(registry)
    _policy_events(registry, world, queue, policies)
    return registry


def _login(registry: kopf.OperatorRegistry, access: Access) -> None:
    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        access.forget_token()
        return kopf.ConnectionInfo(
            server=access.server,
            ca_data=access.ca,
            insecure=access.insecure,
            token=access.bearer(),
            certificate_data=access.certificate,
            private_key_data=access.key,
            default_namespace=access.namespace,
        )


def _take_index(registry: kopf.OperatorRegistry, world: World, started: Callable[[], None]) -> None:
    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def take_index(policies: Any = None, **_: Any) -> None:
        world.policies = policies
        started()


def _index_policies(registry: kopf.OperatorRegistry) -> None:
    for kind in POLICIES:

        @kopf.index(GROUP, VERSION, kind.plural, registry=registry, id="policies")
        async def policies(body: Body, namespace: str | None, name: str, **_: Any) -> dict[Placed, Stored]:
            return {_place(body, namespace, name): stored_of(body)}


def _place(body: Body, namespace: str | None, name: str) -> Placed:
    return str(namespace), str(body["kind"]), name


def _policy_events(
    registry: kopf.OperatorRegistry, world: World, queue: WorkQueue[ProxyKey], policies: WorkQueue[Placed]
) -> None:
    for kind in POLICIES:

        @kopf.on.event(GROUP, VERSION, kind.plural, registry=registry)
        async def policy_event(type: str | None, body: Body, namespace: str | None, name: str, **_: Any) -> None:
            place = _place(body, namespace, name)
            stored = stored_of(body)
            if type == "DELETED":
                world.lost_policy(place)
            else:
                if not world.is_status_echo(place, stored.version):
                    policies.add(place)
                if not world.saw_policy(place, stored.uid, stored.generation):
                    return
            for key in world.proxies_of(*place):
                queue.add(key)
