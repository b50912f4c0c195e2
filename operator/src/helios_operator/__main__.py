"""`python -m helios_operator`: hold the Lease, then watch and reconcile until told to end. Here the parts meet.

Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot start, 3 when another operator took the Lease.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress

from pydantic import ValidationError

from helios.errors import HeliosError
from helios.kube import Client, Lease, LeaseTimes, NotFound, ServerUnreachable
from helios.kube.errors import ApiError
from helios.kube.kubeconfig import find_access
from helios.telemetry.logs import configure, fields
from helios_crds import API_VERSION
from helios_operator import watch
from helios_operator.admission import Admission
from helios_operator.conditions import Finding
from helios_operator.errors import NotLeading
from helios_operator.foreign import ForeignKinds
from helios_operator.health import AdmissionFigures, Figures, Health
from helios_operator.informers import Informers
from helios_operator.names import CUSTOM, OPERATOR, ProxyKey
from helios_operator.policies import PolicyTeller
from helios_operator.poller import Poller
from helios_operator.queue import WorkQueue
from helios_operator.reconcile import Reconciler
from helios_operator.settings import OperatorSettings, parse_arguments
from helios_operator.world import Placed, World

_log = logging.getLogger("helios_operator")
LOST = 3
CRD_SECONDS = 1.0


class Operator:
    """One process: standing by, then leading."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._world = World()
        self._queue: WorkQueue[ProxyKey] = WorkQueue()
        self._policies: WorkQueue[Placed] = WorkQueue()
        access = find_access(settings.kubeconfig)
        self._plain = Client(access)
        self._client = Client(access, before_write=self._must_lead)
        times = LeaseTimes(settings.lease_duration, settings.lease_renew)
        self._lease = Lease(self._plain, settings.namespace, OPERATOR, settings.identity, times)
        self._admission = Admission(self._plain, settings, self._look_at_all) if settings.webhook_address else None

    async def run(self) -> int:
        """Until the end; the exit status."""
        health = Health(self._settings.health_address, self._figures)
        await health.start()
        _log.info("started", extra=fields(identity=self._settings.identity, health=health.url))
        self._take_signals()
        try:
            async with self._plain, self._client, self._admitting():
                if not await self._unless_stopped(self._lease.acquire()):
                    return 0
                _log.info("leading", extra=fields(identity=self._settings.identity))
                try:
                    if not await self._unless_stopped(self._crds_served()):
                        return 0
                    return LOST if await self._lead() else 0
                finally:
                    await self._lease.release()
        finally:
            await health.stop()

    @asynccontextmanager
    async def _admitting(self) -> AsyncIterator[None]:
        """Serve the webhooks meanwhile, whoever leads."""
        if self._admission is None:
            yield
            return
        task = asyncio.create_task(self._admission.run(), name="admission")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _lead(self) -> bool:
        """Watch and reconcile; whether the Lease went to somebody else."""
        poller = Poller(self._world, self._settings, self._queue.add)
        reconciler = Reconciler(self._client, self._world, self._queue, poller, self._settings, self._of_webhooks)
        # kopf takes the signals for itself and would then wait for its tasks one after the other.
        queues = (self._queue, self._policies)
        registry = watch.registry_of(self._client.access, self._world, *queues, self._take_signals)
        informers = Informers(self._client, self._world, *queues)
        every = self._settings.discovery_interval
        foreign = ForeignKinds(self._client, self._world, every, informers.foreign, informers.add_all)
        keep = asyncio.create_task(self._lease.keep(), name="lease")
        tasks = [keep, asyncio.create_task(self._stop.wait(), name="stop")]
        tasks += [asyncio.create_task(poller.run(), name="poller")]
        tasks += [asyncio.create_task(informers.run(), name="informers")]
        tasks += [asyncio.create_task(foreign.run(), name="kinds of others")]
        tasks += [asyncio.create_task(reconciler.follow_secrets(), name="Secrets")]
        tasks += [asyncio.create_task(self._work(reconciler, informers, foreign), name="workers")]
        tasks += [asyncio.create_task(watch.run(registry), name="watcher")]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        lost = keep in done
        if lost:
            _log.error("another operator holds the lease; ending")
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        return lost

    async def _work(self, reconciler: Reconciler, informers: Informers, foreign: ForeignKinds) -> None:
        """Work once the world is complete."""
        await informers.complete.wait()
        await foreign.complete()
        await watch.indexed(self._plain, self._world)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(self._queue.work(reconciler.look))
            group.create_task(self._policies.work(PolicyTeller(self._client, self._world).look))

    def _of_webhooks(self) -> Finding | None:
        return None if self._admission is None else self._admission.finding

    def _look_at_all(self) -> None:
        for key in self._world.all_proxies():
            self._queue.add(key)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def _must_lead(self) -> None:
        if not self._lease.is_held:
            raise NotLeading("the lease could not be renewed in time; nothing is written until it is")

    async def _crds_served(self) -> None:
        """Return when the API server serves all our kinds: `kubectl apply -f install.yaml` brings them with us."""
        wanted = {kind.plural for kind in CUSTOM.values()}
        while True:
            try:
                served = await self._plain.request("GET", f"/apis/{API_VERSION}")
            except (NotFound, ServerUnreachable) as error:
                _log.info("waiting for the CRDs", extra=fields(error=error))
            except ApiError as error:
                _log.warning("cannot see the CRDs", extra=fields(error=error))
            else:
                if wanted <= {each["name"] for each in served.get("resources") or ()}:
                    return
            await asyncio.sleep(CRD_SECONDS)

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Do `work` unless the process is told to end before; whether it was done."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return False

    def _figures(self) -> Figures:
        return Figures(
            leading=self._lease.is_held,
            queue_length=len(self._queue) + len(self._policies),
            oldest_seconds=self._queue.oldest_seconds,
            looks_done=self._queue.done,
            looks_failed=self._queue.failed,
            writes=self._client.writes,
            proxies=len(self._world.all_proxies()),
            admission=self._admission_figures(),
        )

    def _admission_figures(self) -> AdmissionFigures | None:
        seen = self._admission
        if seen is None:
            return None
        return AdmissionFigures(seen.is_ready, seen.answered, seen.refused, seen.certificate_ends)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator; the exit status."""
    try:
        settings = parse_arguments(arguments)
    except ValidationError as error:
        sys.stderr.write(f"helios_operator: {error}\n")
        return 1
    gc.freeze()  # what was imported stays: no collection needs to look at it
    configure(settings.log_level, settings.log_format)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        return asyncio.run(_run(settings))
    except HeliosError as error:
        _log.error("cannot run", extra=fields(error=error))
        return 1


async def _run(settings: OperatorSettings) -> int:
    return await Operator(settings).run()


if __name__ == "__main__":
    sys.exit(main())
