"""The composition root of `helios serve`: configuration, engine, admin API, topology, signals, and the way out.

Called by `helios.commands.serve`. `serve` reads from top to bottom as the life of the process.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

from helios.config.foreign.load import Load
from helios.config.loader import load_with_warnings
from helios.errors import HeliosError
from helios.handover import Handover, Inheritance, inherit
from helios.running import HANDED_OVER, RunningProxy
from helios.telemetry.events import EventPump
from helios.telemetry.logs import fields
from helios.telemetry.tracing import pump_of
from helios.threads import on_daemon_thread
from helios.watching import watch

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_TOPOLOGY_PATIENCE_SECONDS = 10.0
"""How long a process that takes over looks for the primaries before it takes clients: they have a proxy that serves."""
_LOOK_SECONDS = 0.2
"""Between two looks at whether something has come about that nobody tells."""


async def serve(
    config_file: Path, load: Load = load_with_warnings, takeover: bool = False, sidecar: bool = False
) -> int:
    """Run a proxy until a signal ends it; the exit status. `HeliosError` if it cannot start.

    `load` reads the file, now and at each reload. With `takeover` it goes on with the sockets of the process that runs;
    as a `sidecar` it serves the pod of one application.
    """
    since_ns = time.time_ns()
    proxy = RunningProxy(config_file, load, sidecar)
    ends = _install_signals(proxy)
    async with AsyncExitStack() as stack:
        inheritance = await inherit(proxy.config.handover.socket_file) if takeover else Inheritance()
        stack.callback(inheritance.close)
        handover = Handover(proxy)
        stack.callback(handover.close)
        handover.bind(inheritance.door)
        stack.push_async_callback(proxy.admin.stop)
        await proxy.admin.bind(inheritance.admin(proxy.config.admin.address))

        stack.callback(proxy.core.stop)
        pump = EventPump(proxy.core, proxy.suspect, proxy.console.take)
        stack.callback(pump.stop)
        pump.start()
        spans = pump_of(proxy.config.tracing, proxy.core)
        if spans is not None:
            stack.callback(spans.stop)
            spans.start()
        stack.callback(proxy.console.stop)
        proxy.console.start()
        stack.push_async_callback(proxy.catalogs.stop)
        stack.callback(proxy.planner.stop)
        proxy.planner.start()

        stack.push_async_callback(proxy.topology.stop)
        stack.push_async_callback(proxy.membership.stop)
        proxy.watch_nodes()
        if inheritance.pid:
            await _look_for_primaries(proxy)
        stack.push_async_callback(proxy.failover.stop)
        await proxy.failover.join()
        descriptors = [listener.detach() for listener in inheritance.listeners]
        listeners = proxy.core.start(descriptors, inheritance.predecessors)
        proxy.failover.start()
        await proxy.admin.serve()
        listen = ",".join(str(listener) for listener in listeners)
        _log.info("helios ready", extra=fields(listen=listen, admin=proxy.admin.url))

        watcher = asyncio.create_task(watch(proxy, since_ns))
        stack.callback(watcher.cancel)
        if inheritance.pid:
            await inheritance.confirm(listeners)
            proxy.core.own_files()
        handover.start()
        return await _end(proxy, ends, handover)


def _install_signals(proxy: RunningProxy) -> asyncio.Queue[signal.Signals]:
    """SIGHUP reloads; SIGTERM and SIGINT queue up in the order they come, with what the console asks for."""
    loop = asyncio.get_running_loop()
    ends = proxy.ends
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ends.put_nowait, number)
    loop.add_signal_handler(signal.SIGHUP, proxy.reload)
    return ends


async def _look_for_primaries(proxy: RunningProxy) -> None:
    """Wait until each cluster has a primary, or for a while: without one the process before has none either."""
    limit = asyncio.get_running_loop().time() + _TOPOLOGY_PATIENCE_SECONDS
    while any(cluster.primary is None for cluster in proxy.clusters()):
        if asyncio.get_running_loop().time() > limit:
            _log.warning("taking over without a primary")
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _end(proxy: RunningProxy, ends: asyncio.Queue[signal.Signals], handover: Handover) -> int:
    """Wait for a signal, then drain; a second signal cuts the drain short. The exit status."""
    first = await ends.get()
    handover.close()
    signals = 1
    if first is HANDED_OVER and not await _outlast_clients(proxy, ends):
        signals = 2  # the first one asks for what happens anyway
    if first is signal.SIGQUIT:
        _log.info("ending at once, as the console asks")
        return 0
    drain = asyncio.create_task(_drain(proxy, _endpoint_delay(proxy, first)))
    second = asyncio.create_task(_last_of(ends, signals))
    await asyncio.wait([drain, second], return_when=asyncio.FIRST_COMPLETED)
    if drain.done():
        second.cancel()
        drain.result()
        return 0
    drain.cancel()
    _log.warning("ending at once, asked a second time", extra=fields(signal=second.result().name))
    return 128 + second.result().value


async def _outlast_clients(proxy: RunningProxy, ends: asyncio.Queue[signal.Signals]) -> bool:
    """Go on with the clients that are here until they have left, time is over, or a signal comes; whether one did."""
    keep_seconds = proxy.config.handover.keep_seconds
    facts = fields(clients=proxy.engine_state().clients.active, keep_seconds=keep_seconds)
    _log.info("handed over, going on with the clients that are here", extra=facts)
    limit = asyncio.get_running_loop().time() + keep_seconds
    asked = asyncio.create_task(ends.get())
    while proxy.engine_state().clients.active and asyncio.get_running_loop().time() < limit and not asked.done():
        await asyncio.wait([asked], timeout=_LOOK_SECONDS)
    asked.cancel()
    return asked.done()


async def _last_of(ends: asyncio.Queue[signal.Signals], count: int) -> signal.Signals:
    for _ in range(count - 1):
        await ends.get()
    return await ends.get()


def _endpoint_delay(proxy: RunningProxy, number: signal.Signals) -> int:
    """Seconds to keep accepting: SIGTERM comes from an orchestrator whose load balancers lag, SIGINT from a person."""
    return proxy.config.drain.endpoint_delay_seconds if number is signal.SIGTERM else 0


async def _drain(proxy: RunningProxy, endpoint_delay_seconds: int) -> None:
    """Not ready at once, accepting a while longer, then no new clients, then none in a transaction."""
    proxy.begin_drain()
    timeout_seconds = proxy.config.drain.timeout_seconds
    facts = fields(endpoint_delay_seconds=endpoint_delay_seconds, timeout_seconds=timeout_seconds)
    _log.info("draining", extra=facts)
    await asyncio.sleep(endpoint_delay_seconds)
    try:
        left = await on_daemon_thread("drain", lambda: proxy.core.drain(timeout_seconds * 1000))
    except HeliosError as error:
        _log.error("drain failed", extra=fields(error=error))
        return
    if left:
        _log.warning("drain timed out, remaining clients are cut off", extra=fields(clients=left))
    else:
        _log.info("drained")
