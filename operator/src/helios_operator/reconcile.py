"""Bring the cluster in line with one HeliosProxy. Called by the workers of the queue; knows nothing of kopf.

Read what is wanted from the world, render it, write the children in an order in which each finds what it needs, tell
the poller what the pods shall run, and write the status. Every look starts from nothing, so it may be cut off anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from helios.config import MaintenanceMode
from helios.kube import Client, Forbidden, Invalid, Kind, NotFound, ServerUnreachable
from helios.kube.errors import ApiError
from helios.kube.kinds import (
    AUTOSCALER,
    CERTIFICATE,
    CONFIG_MAP,
    DEPLOYMENT,
    LEASE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    POD_MONITOR,
    PROMETHEUS_RULE,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
)
from helios.telemetry.logs import fields
from helios_crds import HeliosProxy, ResourceError
from helios_crds.parse import parse_as
from helios_crds.placement import Placement
from helios_crds.problems import Problem, Reason, Severity
from helios_crds.render import RenderResult, discoveries
from helios_crds.since import Version, version_of_image
from helios_crds.workload import Workload, workload
from helios_operator.admin_secrets import AdminSecrets
from helios_operator.conditions import Finding
from helios_operator.desired import (
    Owner,
    autoscaler,
    certificate,
    config_map,
    connection_secret,
    deployment,
    disruption_budget,
    lease,
    network_policy,
    pod_monitor,
    prometheus_rule,
    role,
    role_binding,
    service_account,
    service_monitor,
    services,
)
from helios_operator.document import ConfigDocument, next_document, present_document
from helios_operator.errors import InvalidOwnership, OperatorError
from helios_operator.events import Recorder, turns_of
from helios_operator.hold import Hold, HoldError, held, hold_of
from helios_operator.judge import Judge, Written, secrets_of
from helios_operator.names import AUTOSCALED, HOLD, PROXY, REPLICAS_MANAGER, ROTATE, STATUS_MANAGER, ProxyKey
from helios_operator.pod_templates import PodTemplates
from helios_operator.poller import Poller
from helios_operator.queue import WorkQueue
from helios_operator.records import Child, Stored
from helios_operator.settings import OperatorSettings
from helios_operator.shares import divide
from helios_operator.status import Certifier, Observed, Trouble, status_of
from helios_operator.switchovers import HoldOrder, Switchovers
from helios_operator.world import World
from helios_operator.writer import Writer

__all__ = ["Reconciler"]

_log = logging.getLogger(__name__)


@dataclass
class _Look:
    """What one look has found so far."""

    proxy: Stored
    resource: HeliosProxy | None = None
    problems: tuple[Problem, ...] = ()
    result: RenderResult | None = None
    document: ConfigDocument | None = None
    held_back: int = 0
    """Pods that are not asked for yet, since the others still hold the server connections they need."""
    hold: Hold | None = None
    """Somebody has the clients wait, also one that is over."""
    not_served: tuple[str, ...] = ()
    """Kinds of other projects that are asked for and not there."""
    orders: Mapping[str, HoldOrder] = field(default_factory=dict)
    """Clusters that somebody else switches over."""
    keeps_pods: bool = False
    """The podTemplate is refused, or there is no room for more clients, so that the pods stay as they are."""

    @property
    def is_anothers(self) -> bool:
        """Whether a name that it needs is an older HeliosProxy's, so that nothing may be made."""
        return any(problem.reason is Reason.NAME_CLAIMED for problem in self.problems)

    @property
    def is_scaled_by_another(self) -> bool:
        """Whether somebody else's autoscaler is in the way of ours: none is made, and one that is there stays."""
        errors = (problem for problem in self.problems if problem.severity is Severity.ERROR)
        return any(problem.reason is Reason.AUTOSCALERS_CLASH for problem in errors)


class Reconciler:
    """Looks at HeliosProxies."""

    def __init__(
        self,
        client: Client,
        world: World,
        queue: WorkQueue[ProxyKey],
        poller: Poller,
        settings: OperatorSettings,
        of_webhooks: Callable[[], Finding | None],
    ) -> None:
        """`of_webhooks`: what is wrong with the operator's webhooks at the moment."""
        self._client = client
        self._world = world
        self._queue = queue
        self._poller = poller
        self._settings = settings
        self._of_webhooks = of_webhooks
        self._writer = Writer(client, world, queue.own)
        self._recorder = Recorder(client, settings.identity)
        self._judge = Judge(client, world, settings.resync)
        self._admin = AdminSecrets(client, settings.token_overlap, settings.resync)
        self._templates = PodTemplates(client, settings.resync)
        self._switchovers = Switchovers(world)
        self._connections: dict[ProxyKey, tuple[str, float]] = {}
        """uid of the proxy and the time at which its connection Secret was looked at."""
        self._leases: set[ProxyKey] = set()
        """Proxies whose Lease has been looked at since."""

    async def follow_secrets(self) -> None:
        """Look again at whoever reads a Secret that has changed, for ever: nobody announces that."""
        while True:
            await asyncio.sleep(self._settings.secret_refresh)
            try:
                for key in await self._judge.changed_secrets():
                    self._queue.add(key)
            except ServerUnreachable as error:
                _log.warning("Secrets are not followed", extra=fields(error=error))

    async def look(self, key: ProxyKey) -> None:
        """Look at one HeliosProxy. Raises what makes another look necessary, after the status has told it."""
        proxy = self._world.proxy(key)
        if proxy is None or proxy.deleting:
            self._forget(key)
            return
        look = _Look(proxy)
        failure: ApiError | OperatorError | None = None
        try:
            await self._render(key, look)
            if look.resource is not None and not look.is_anothers:
                await self._write(key, look)
        except (Forbidden, Invalid, InvalidOwnership) as error:
            failure = error
        await self._tell(key, look, failure)
        if failure is not None:
            raise failure
        self._plan_next(key, look)

    async def _render(self, key: ProxyKey, look: _Look) -> None:
        value = look.proxy.value
        try:
            look.resource = parse_as(HeliosProxy, value)
        except ResourceError as error:
            look.problems = error.problems
            look.document = present_document(await self._present(key, look.proxy))
            return
        look.orders = self._switchovers.orders(key, discoveries(look.resource))
        self._poller.hold(key, look.orders)
        look.hold = _hold(look.resource)
        is_held = look.hold is not None and look.hold.lasts(datetime.now(UTC))
        resource = held(look.resource, look.hold) if look.hold and is_held else look.resource
        place = Placement(version=self._oldest_reader(key, resource), pods=self._world.settled_pods(key))
        written = Written(value["spec"], look.proxy.created, look.proxy.uid)
        look.result = await self._judge.judge(key, resource, written, place)
        look.problems = look.result.problems
        look.keeps_pods = any(problem.reason is Reason.QUOTA_EXCEEDED for problem in look.problems)
        config = await self._present(key, look.proxy)
        look.document = self._document(key, look.result, config)
        if resource.spec.pod_template and look.document is not None:
            await self._try_template(key, look, look.document, config)

    async def _try_template(self, key: ProxyKey, look: _Look, document: ConfigDocument, config: Child | None) -> None:
        """A podTemplate that is refused leaves the pods, and what they run, as they are."""
        assert look.resource is not None and look.result is not None, "rendered"
        owner, work = Owner(key, look.proxy.uid), workload(look.resource)
        try:
            pods = deployment(owner, work, document, self._settings.image)
            found = await self._templates.problems(key, pods, work.pod_template)
        except ResourceError as error:
            found = error.problems
        if found:
            look.keeps_pods = True
            look.problems = (*look.problems, *found)
            look.result = replace(look.result, config=None, problems=look.problems)
            look.document = present_document(config)

    def _oldest_reader(self, key: ProxyKey, resource: HeliosProxy) -> Version | None:
        """The oldest version among the wanted image and the pods that are there; None where no tag tells one."""
        present = (*self._world.pods(key), *self._world.sidecars(key))
        images = {resource.spec.image or self._settings.image, *(pod.image for pod in present)}
        told = [version for version in map(version_of_image, images) if version is not None]
        return min(told, default=None)

    async def _present(self, key: ProxyKey, proxy: Stored) -> Child | None:
        """The ConfigMap, if it is ours. One that lost its label is missing in the streams; then it is read."""
        config = self._world.child(CONFIG_MAP, key.namespace, key.config_map)
        if config is None and self._world.child(DEPLOYMENT, key.namespace, key.name) is not None:
            config = await self._writer.read(CONFIG_MAP, key.namespace, key.config_map)
        return config if config is not None and config.owner == proxy.uid else None

    def _document(self, key: ProxyKey, result: RenderResult, config: Child | None) -> ConfigDocument | None:
        """What shall run: the new configuration, or the last good one while the new one is refused."""
        if result.config is None:
            return present_document(config)
        running = self._world.child(DEPLOYMENT, key.namespace, key.name)
        known = (running.generation if running is not None else 0, self._poller.least_generation(key))
        return next_document(result.config, config, known)

    async def _write(self, key: ProxyKey, look: _Look) -> None:
        """Services and credentials always; document and pods once there is a configuration."""
        assert look.resource is not None, "read"
        owner = Owner(key, look.proxy.uid)
        work = workload(look.resource)
        present = self._world.child(CONFIG_MAP, key.namespace, key.config_map)
        asked = look.resource.metadata.annotations.get(ROTATE, "")
        credentials = await self._admin.obtain(owner, asked, is_new=present is None)
        for service in services(owner, work):
            await self._writer.ensure(SERVICE, service, owner.uid)
        if work.read_port is None:
            await self._writer.remove(SERVICE, key.namespace, key.readers, owner.uid)
        await self._tell_applications(owner, work, await self._judge.authority(key.namespace, look.resource))
        await self._certify(owner, work)
        if look.document is None:
            return
        await self._writer.ensure(CONFIG_MAP, config_map(owner, look.document), owner.uid)
        self._poller.want(key, look.document, look.document.admin_port, credentials)
        self._poller.hold(key, look.orders)
        await self._entitle(key, work, owner)
        work = self._share_out(key, work, look)
        if not look.keeps_pods:
            is_handed_over = await self._hand_over(key, work, owner)
            pods = deployment(owner, work, look.document, self._settings.image, is_handed_over)
            await self._writer.ensure(DEPLOYMENT, pods, owner.uid)
        await self._surround(key, work, look, owner)
        await self._tell_prometheus(work, look, owner)

    async def _certify(self, owner: Owner, work: Workload) -> None:
        """Without what cert-manager makes of it there is no configuration, so it comes first."""
        if self._world.serves(CERTIFICATE):
            await self._ensure_or_remove(CERTIFICATE, owner.key, certificate(owner, work), owner.uid)

    async def _tell_applications(self, owner: Owner, work: Workload, authority: str | None) -> None:
        """Secrets are not watched, so it is looked now and then whether ours is as it should be."""
        key, now = owner.key, time.monotonic()
        uid, looked = self._connections.get(key, ("", 0.0))
        if uid != owner.uid or now - looked > self._settings.resync:
            self._world.gone(SECRET.name, key.namespace, key.connection)
            self._leases.discard(key)
            self._connections[key] = (owner.uid, now)
        await self._writer.ensure(SECRET, connection_secret(owner, work, authority), owner.uid)

    async def _hand_over(self, key: ProxyKey, work: Workload, owner: Owner) -> bool:
        """Whether an autoscaler says how many pods there are. Until it does, another manager of ours keeps the number:
        without an owner it would fall to one."""
        running = self._world.child(DEPLOYMENT, key.namespace, key.name)
        if work.autoscaling is None or running is None or running.owner != owner.uid:
            return False
        content = running.content
        if AUTOSCALED not in (content["metadata"].get("annotations") or {}):
            metadata = {"name": key.name, "namespace": key.namespace, "uid": running.uid}
            kept = {"replicas": content["spec"]["replicas"]}
            value = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "metadata": metadata, "spec": kept}
            await self._client.apply(DEPLOYMENT, value, REPLICAS_MANAGER)
        return True

    async def _entitle(self, key: ProxyKey, work: Workload, owner: Owner) -> None:
        """The right to promote, before there are pods that need it. The Lease changes all the time and is not watched;
        one that is not needed any more stays until the proxy goes."""
        rights = (
            (SERVICE_ACCOUNT, service_account(owner, work)),
            (ROLE, role(owner, work)),
            (ROLE_BINDING, role_binding(owner, work)),
        )
        for kind, value in rights:
            await self._ensure_or_remove(kind, key, value, owner.uid)
        shared = lease(owner, work)
        if shared is not None and key not in self._leases:
            self._world.gone(LEASE.name, key.namespace, key.lease)
            await self._writer.ensure(LEASE, shared, owner.uid)
            self._leases.add(key)

    async def _ensure_or_remove(self, kind: Kind, key: ProxyKey, value: dict[str, Any] | None, owner: str) -> None:
        if value is None:
            await self._writer.remove(kind, key.namespace, key.name, owner)
        else:
            await self._writer.ensure(kind, value, owner)

    async def _surround(self, key: ProxyKey, work: Workload, look: _Look, owner: Owner) -> None:
        """What stands around the pods only where it is asked for."""
        assert look.document is not None, "made"
        wanted = (
            (POD_DISRUPTION_BUDGET, disruption_budget(owner, work)),
            (AUTOSCALER, autoscaler(owner, work)),
            (NETWORK_POLICY, network_policy(owner, work, look.document, self._settings.namespace)),
        )
        for kind, value in wanted:
            if kind is not AUTOSCALER or not look.is_scaled_by_another:
                await self._ensure_or_remove(kind, key, value, owner.uid)

    async def _tell_prometheus(self, work: Workload, look: _Look, owner: Owner) -> None:
        """Objects of kinds that the cluster may not have."""
        wanted = (
            (POD_MONITOR, pod_monitor(owner, work)),
            (SERVICE_MONITOR, service_monitor(owner, work)),
            (PROMETHEUS_RULE, prometheus_rule(owner, work)),
        )
        look.not_served = tuple(kind.name for kind, value in wanted if value and not self._world.serves(kind))
        for kind, value in wanted:
            if self._world.serves(kind):
                await self._ensure_or_remove(kind, owner.key, value, owner.uid)

    def _share_out(self, key: ProxyKey, work: Workload, look: _Look) -> Workload:
        """Grant each pod its part of the total; `work` with as many pods as there are server connections for.

        An autoscaler asks nobody, so that what its pods need stays aside.
        """
        if look.document is None or not look.document.first_share or not work.server_connections:
            return work
        holders = self._poller.holders(key)
        most = work.replicas if work.autoscaling is None else work.autoscaling.max_replicas
        division = divide(work.server_connections, look.document.first_share, most, holders)
        self._poller.grant(key, division.grants)
        if work.autoscaling is not None:
            return work
        running = self._world.child(DEPLOYMENT, key.namespace, key.name)
        asked = running.content["spec"]["replicas"] if running is not None else 0
        pods = min(work.replicas, max(division.pods, asked))
        look.held_back = work.replicas - pods
        return replace(work, replicas=pods)

    async def _tell(self, key: ProxyKey, look: _Look, failure: ApiError | OperatorError | None) -> None:
        """Write the status if it says anything new."""
        seen = Observed(
            key=key,
            generation=look.proxy.generation,
            replicas=self._wanted_pods(key, look.resource),
            problems=look.problems,
            result=look.result,
            document=look.document,
            trouble=_trouble(failure),
            deployment=self._world.child(DEPLOYMENT, key.namespace, key.name),
            pods=tuple(self._world.pods(key)),
            views=self._poller.views(key),
            shares={each.name: each.share.limit for each in self._poller.holders(key) if each.share is not None},
            held_back=look.held_back,
            not_served=look.not_served,
            orders=look.orders,
            hold=look.resource.metadata.annotations.get(HOLD) if look.resource is not None else None,
            sidecars=tuple(pod for pod in self._world.sidecars(key) if not pod.deleting),
            maintenance=_maintenance(look.resource),
            certifier=self._certifier(key, look.resource),
            webhooks=self._of_webhooks(),
        )
        before = self._world.status(key, look.proxy)
        status = status_of(seen, before, datetime.now(UTC))
        if status == before:
            return
        for turn in turns_of(before, status):
            await self._recorder.record(key, look.proxy.uid, look.proxy.generation, turn)
        metadata = {"name": key.name, "namespace": key.namespace, "uid": look.proxy.uid}
        value = {"apiVersion": PROXY.api_version, "kind": PROXY.name, "metadata": metadata, "status": status}
        try:
            answer = await self._client.apply(PROXY, value, STATUS_MANAGER, subresource="status")
        except NotFound:
            self._world.lost_proxy(key)
            self._forget(key)
            return
        version = int(answer["metadata"]["resourceVersion"])
        self._world.wrote_status(key, version, answer["status"])
        self._queue.own(version)

    def _certifier(self, key: ProxyKey, resource: HeliosProxy | None) -> Certifier | None:
        if resource is None or workload(resource).certificate is None:
            return None
        made = self._world.child(CERTIFICATE, key.namespace, key.name)
        conditions = made.status.get("conditions", ()) if made is not None else ()
        said = next((each["message"] for each in conditions if each["type"] == "Ready"), "")
        return Certifier(self._world.serves(CERTIFICATE), said)

    def _wanted_pods(self, key: ProxyKey, resource: HeliosProxy | None) -> int:
        if resource is None:
            return 0
        running = self._world.child(DEPLOYMENT, key.namespace, key.name)
        if resource.spec.autoscaling is None or running is None:
            return resource.spec.replicas
        return int(running.content["spec"]["replicas"])

    def _plan_next(self, key: ProxyKey, look: _Look) -> None:
        """Come back for what nobody announces: Secrets, Endpoints, the end of an old token."""
        seconds = self._settings.resync * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the looks
        if any(problem.reason in (Reason.REF_MISSING, Reason.BACKENDS_MISSING) for problem in look.problems):
            seconds = self._settings.retry
            self._judge.doubt(key.namespace, secrets_of(look.resource) if look.resource is not None else ())
        turns = [seconds, self._admin.next_change(key)]
        if look.resource is not None:
            turns.append(self._switchovers.next_turn(key, discoveries(look.resource)))
        if look.hold is not None and (rest := look.hold.lasts(datetime.now(UTC))):
            turns.append(rest.total_seconds())
        self._queue.add_after(key, min(turn for turn in turns if turn is not None))

    def _forget(self, key: ProxyKey) -> None:
        """The children go with their owner; only our memory is to be cleared."""
        self._poller.forget(key)
        self._admin.forget(key)
        self._connections.pop(key, None)
        self._leases.discard(key)
        self._templates.forget(key)
        self._switchovers.forget(key)
        self._judge.forget(key)
        self._queue.forget(key)


def _hold(resource: HeliosProxy) -> Hold | None:
    """What the annotation says; one that cannot be read holds nobody, and the status tells."""
    try:
        return hold_of(resource.metadata.annotations.get(HOLD))
    except HoldError:
        return None


def _maintenance(resource: HeliosProxy | None) -> MaintenanceMode:
    asked = resource.spec.maintenance.mode if resource is not None and resource.spec.maintenance is not None else None
    return asked or MaintenanceMode.NONE


def _trouble(failure: ApiError | OperatorError | None) -> Trouble | None:
    if failure is None:
        return None
    reason: Any = failure.reason if isinstance(failure, ApiError) else type(failure).__name__
    return Trouble(reason or type(failure).__name__, str(failure))
