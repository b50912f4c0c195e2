"""Refuses a HeliosProxy that could never run, with the reason at `kubectl apply` instead of in its status later.

The schema and its rules are the API server's own business; here it is about other objects. It is the reconciler's
judgement, so whoever comes past the webhook is told the same by the conditions.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from helios.config import Provider
from helios.kube import Client, NotFound
from helios.kube.kinds import AUTOSCALER, ENDPOINT_SLICE, POD
from helios_crds import HeliosProxy, ResourceError
from helios_crds.parse import parse_as
from helios_crds.placement import Placement
from helios_crds.problems import Problem, Reason, Severity
from helios_crds.since import version_of_image
from helios_operator.admission.review import Json, Verdict
from helios_operator.claims import rivals
from helios_operator.informers import SLICE_SERVICE
from helios_operator.judge import Judge, Written
from helios_operator.names import CUSTOM, PROXY, ProxyKey
from helios_operator.providers import kind_of, label_text, member_of, place_of_object
from helios_operator.records import slice_of, slim, stored_of
from helios_operator.references import places_of
from helios_operator.scaling import scaler_of
from helios_operator.settings import OperatorSettings
from helios_operator.world import World

__all__ = ["Validator"]

MAY_COME: Final = (Reason.REF_MISSING, Reason.BACKENDS_MISSING)
"""What is missing may be applied a moment later."""
PROVIDERS: Final = frozenset(Provider)


class Validator:
    """Reviews HeliosProxies."""

    def __init__(self, client: Client, settings: OperatorSettings) -> None:
        self._client = client
        self._image = settings.image

    async def review(self, asked: Json) -> Verdict:
        """Errors refuse, unless they were there before this change: one that is wrong may be changed all the same."""
        new, old = asked["object"], asked.get("oldObject")
        if new["metadata"].get("deletionTimestamp") or (old and old.get("spec") == new.get("spec")):
            return Verdict()
        key = ProxyKey(asked["namespace"], new["metadata"]["name"])
        found = await self._problems(key, new, is_new=old is None)
        errors = [each for each in found if each.severity is Severity.ERROR and each.reason not in MAY_COME]
        if old and errors:
            before = set(await self._problems(key, old, is_new=False))
            errors = [each for each in errors if each not in before]
        if errors:
            return Verdict("; ".join(map(str, errors)), tuple(str(each) for each in found if each not in errors))
        return Verdict(warnings=tuple(map(str, found)))

    async def _problems(self, key: ProxyKey, value: Json, *, is_new: bool) -> Iterable[Problem]:
        try:
            resource = parse_as(HeliosProxy, slim(value))
        except ResourceError as error:
            return error.problems
        spec = value.get("spec") or {}
        world = await self._surroundings(key, spec)
        place = Placement(version=version_of_image(resource.spec.image or self._image))
        metadata = value["metadata"]
        since = "" if is_new else str(metadata.get("creationTimestamp") or "")
        written = Written(spec, since, None if is_new else metadata.get("uid"))
        result = await Judge(self._client, world, believe=0).judge(key, resource, written, place)
        return result.problems

    async def _surroundings(self, key: ProxyKey, spec: Json) -> World:
        """The part of the world that this HeliosProxy can see."""
        world = World()
        policies = {}
        for namespace, kind, name in places_of(key, spec):
            if kind in CUSTOM:
                found = await self._get(kind, namespace, name)
                policies[(namespace, kind, name)] = [] if found is None else [stored_of(found)]
            elif kind in PROVIDERS:
                await self._members(world, Provider(kind), namespace, name)
            else:
                labels = f"{SLICE_SERVICE}={name}"
                async for items, _ in self._client.pages(ENDPOINT_SLICE, namespace, labels):
                    slices = {item["metadata"]["name"]: slice_of(item) for item in items}
                    world.seen_slices.setdefault((namespace, name), {}).update(slices)
        world.policies = policies
        async for items, _ in self._client.pages(AUTOSCALER, key.namespace, None):
            scalers = {item["metadata"]["name"]: scaler_of(item) for item in items}
            world.seen_scalers |= {(key.namespace, name): each for name, each in scalers.items() if each is not None}
        if spec.get("tenantQuotaRefs"):
            async for items, _ in self._client.pages(PROXY, key.namespace, None):
                for item in items:
                    other = ProxyKey(key.namespace, item["metadata"]["name"])
                    world.saw_proxy(other, stored_of(item), places_of(other, item.get("spec") or {}))
        for other in rivals(key):
            found = await self._get(PROXY.name, other.namespace, other.name)
            if found is not None:
                world.saw_proxy(other, stored_of(found), ())
        return world

    async def _members(self, world: World, provider: Provider, namespace: str, name: str) -> None:
        kind = kind_of(provider)
        if kind is not None:
            told = world.seen_announced.setdefault((kind, ""), {})
            with suppress(NotFound):
                async for items, _ in self._client.pages(kind, namespace):
                    told |= {place_of_object(kind, item): {} for item in items}
                world.started_serving(kind)
        servers = world.seen_members.setdefault(provider, {}).setdefault((namespace, provider, name), {})
        async for items, _ in self._client.pages(POD, namespace, label_text(provider, name)):
            found = {item["metadata"]["name"]: member_of(item) for item in items}
            servers.update({pod: server for pod, server in found.items() if server is not None})

    async def _get(self, kind: str, namespace: str, name: str) -> Json | None:
        try:
            return await self._client.get(CUSTOM[kind], namespace, name)
        except NotFound:
            return None
