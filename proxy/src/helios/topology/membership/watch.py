"""Asks the sources of membership again and again, and passes on what changes. Made by `helios.running`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from helios.config import ClusterConfig, NodeConfig, ProxyConfig
from helios.tasks import cancel
from helios.telemetry.logs import fields
from helios.topology.membership.dns import DnsProvider
from helios.topology.membership.patroni import PatroniProvider
from helios.topology.membership.provider import Hint, Member, Provider, ProviderFailure
from helios.topology.monitor import TopologyMonitor

__all__ = ["MembershipWatch"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""Between two questions: a switchover is announced for about so long before it begins."""
_HOLD_SECONDS = 30.0
"""Longest pause for one announcement; whoever announces for ever must not stop everything for ever."""
_HOLDER = "provider"

Joined = Callable[[str, tuple[NodeConfig, ...]], None]
"""Called with a cluster and its nodes when they are others than before."""


class MembershipWatch:
    """Lives on one event loop."""

    def __init__(self, topology: TopologyMonitor, joined: Joined) -> None:
        self._topology = topology
        self._joined = joined
        self._tasks: dict[ClusterConfig, asyncio.Task[None]] = {}
        """By what people have written of the cluster."""

    def configure(self, config: ProxyConfig) -> None:
        """Ask the sources of `config`, which says what people have written, from now on."""
        wanted = [cluster for cluster in config.clusters if cluster.has_source]
        for cluster in self._tasks.keys() - set(wanted):
            self._tasks.pop(cluster).cancel()
        for cluster in wanted:
            if cluster not in self._tasks:
                self._tasks[cluster] = asyncio.create_task(self._run(cluster), name=f"members of {cluster.name}")

    async def stop(self) -> None:
        """End."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        await cancel(tasks)

    async def _run(self, cluster: ClusterConfig) -> None:
        source = _source_of(cluster)
        nodes, cause, held_since = cluster.nodes, "", 0.0
        while True:
            try:
                hint = await source.look()
                now = nodes_of(cluster.nodes, hint.members)
            except (ProviderFailure, ValueError) as failure:
                if str(failure) != cause:
                    cause = str(failure)
                    _log.warning("members cannot be asked for", extra=fields(cluster=cluster.name, error=cause))
                hint, now = Hint(()), nodes
            else:
                cause = ""
            if now not in ((), nodes):
                nodes = now
                _log.info("members", extra=fields(cluster=cluster.name, nodes=",".join(node.name for node in nodes)))
                self._joined(cluster.name, nodes)
            held_since = self._act(cluster.name, hint, held_since)
            await asyncio.sleep(_LOOK_SECONDS)

    def _act(self, cluster: str, hint: Hint, held_since: float) -> float:
        """Look at once where another one is said to lead, and hold as long as that is asked for; since when it is."""
        monitor = self._topology.cluster(cluster)
        if monitor is None:
            return 0.0
        primary = monitor.primary
        if hint.leader is not None and (primary is None or primary.node.name != hint.leader):
            for poll in monitor.polls:
                poll.wake()
        now = asyncio.get_running_loop().time()
        since = (held_since or now) if hint.hold is not None else 0.0
        monitor.hold(_HOLDER, hint.hold if now - since < _HOLD_SECONDS else None, leaver=hint.leader)
        return since


def nodes_of(listed: Sequence[NodeConfig], members: Sequence[Member]) -> tuple[NodeConfig, ...]:
    """The members as nodes; one that is listed keeps what is said of it, by its address or its name. `ValueError` for a
    name or an address that cannot be one."""
    by_address = {(node.host.lower(), node.port): node for node in listed}
    by_name = {node.name: node for node in listed}
    nodes: list[NodeConfig] = []
    for member in {(member.host.lower(), member.port): member for member in members}.values():
        known = by_address.get((member.host.lower(), member.port)) or by_name.get(member.name)
        if known is None:
            nodes.append(NodeConfig(name=member.name, host=member.host, port=member.port))
        else:
            nodes.append(known.model_copy(update={"name": member.name, "host": member.host, "port": member.port}))
    return tuple(sorted(nodes, key=lambda node: node.name))


def _source_of(cluster: ClusterConfig) -> Provider:
    return PatroniProvider(cluster.patroni_urls) if cluster.patroni_urls else DnsProvider(cluster.dns_names)
