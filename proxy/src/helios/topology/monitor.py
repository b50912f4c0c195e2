"""Polling of all nodes: a task a node, an election after each poll, the outcome published when it changes.

Made by `helios.app`, which hands the published clusters to the engine and wakes a node's poll when the engine saw
something suspicious. `clusters` is read by the admin API and the metrics at any time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from helios.config import ClusterConfig, ProxyConfig
from helios.core import ClusterView, NodePosition, NodeView
from helios.tasks import cancel
from helios.telemetry.logs import fields
from helios.topology.cluster import ClusterMonitor
from helios.topology.credentials import Login
from helios.topology.node_poll import NodePoll, PollSettings
from helios.topology.status import ClusterStatus

__all__ = ["TopologyMonitor"]

_log = logging.getLogger(__name__)

_ASKED_FOR = "admin"


class TopologyMonitor:
    """All clusters of one proxy. Lives on one event loop; `publish` is called on it, with every cluster each time, and
    `moved` with the position of a node after each poll that had an answer, `polled` with cluster, node and what was
    wrong, if anything was, after each poll."""

    def __init__(
        self,
        publish: Callable[[Sequence[ClusterView]], None],
        moved: Callable[[NodePosition], None],
        polled: Callable[[str, str, str | None], None],
    ) -> None:
        self._publish = publish
        self._moved = moved
        self._polled = polled
        self._clusters: dict[str, ClusterMonitor] = {}
        self._tasks: dict[NodePoll, asyncio.Task[None]] = {}
        self._logins: Mapping[str, Login] = {}
        self._releases: dict[str, asyncio.TimerHandle] = {}
        """Cluster → the end of what was held."""

    def configure(self, config: ProxyConfig, logins: Mapping[str, Login]) -> None:
        """Poll the nodes of `config` as `logins` from now on. Nodes that stay keep what is known about them."""
        for name, login in logins.items():
            if self._logins.get(name) != login:
                _log.info("monitor login", extra=fields(cluster=name, user=login.user, source=login.source))
        self._logins = logins
        self._clusters = {cluster.name: self._cluster(cluster, config) for cluster in config.clusters}
        self._start_and_stop()
        self._publish_all()

    def wake(self, cluster: str, node: str) -> None:
        """Poll this node at once, and all of its cluster if it is the primary: who takes its place is seen elsewhere.
        Unknown names are those of an older configuration and mean nothing."""
        monitor = self._clusters.get(cluster)
        if monitor is None:
            return
        is_primary = monitor.primary is not None and monitor.primary.node.name == node
        for poll in monitor.polls:
            if is_primary or poll.node.name == node:
                poll.wake()

    def hold(self, cluster: str, reason: str | None, seconds: float, leaver: str | None = None) -> bool:
        """Let no transaction begin in a cluster for so long at most, since somebody else is about to change who leads;
        no reason ends it, and so does another primary than `leaver`. Whether there is such a cluster."""
        monitor = self._clusters.get(cluster)
        if monitor is None:
            return False
        if cluster in self._releases:
            self._releases.pop(cluster).cancel()
        monitor.hold(_ASKED_FOR, reason, leaver=leaver)
        if reason is not None:
            _log.warning("held", extra=fields(cluster=cluster, reason=reason, seconds=seconds))
            release = partial(monitor.hold, _ASKED_FOR, None)
            self._releases[cluster] = asyncio.get_running_loop().call_later(seconds, release)
        return True

    def cluster(self, name: str) -> ClusterMonitor | None:
        """What is known of one cluster; None if it is not configured."""
        return self._clusters.get(name)

    def clusters(self) -> tuple[ClusterStatus, ...]:
        """What is known at this moment, in the order of the configuration."""
        return tuple(cluster.status() for cluster in self._clusters.values())

    def primary(self, cluster: str) -> NodeView | None:
        """The primary of a cluster at this moment, if there is one."""
        if cluster not in self._clusters:
            return None
        view = self._clusters[cluster].view()
        return next((node for node in view.nodes if node.name == view.primary), None)

    async def stop(self) -> None:
        """End all polls and their connections."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        await cancel(tasks)

    def _cluster(self, cluster: ClusterConfig, config: ProxyConfig) -> ClusterMonitor:
        settings = PollSettings(
            login=self._logins[cluster.name],
            interval_seconds=config.monitor.interval_ms / 1000,
            timeout_seconds=config.monitor.timeout_ms / 1000,
            resolve_seconds=config.monitor.resolve_seconds,
            failure_threshold=config.monitor.failure_threshold,
        )
        monitor = self._clusters.get(cluster.name) or ClusterMonitor(
            cluster.name, self._publish_all, self._moved, partial(self._polled, cluster.name)
        )
        monitor.configure(cluster.nodes, settings)
        return monitor

    def _start_and_stop(self) -> None:
        wanted = {poll for cluster in self._clusters.values() for poll in cluster.polls}
        for poll in self._tasks.keys() - wanted:
            self._tasks.pop(poll).cancel()
        for poll in wanted - self._tasks.keys():
            task = asyncio.create_task(poll.run(), name=f"poll of {poll.cluster}/{poll.node.name}")
            task.add_done_callback(_log_fault)
            self._tasks[poll] = task

    def _publish_all(self) -> None:
        self._publish([cluster.view() for cluster in self._clusters.values()])


def _log_fault(task: asyncio.Task[None]) -> None:
    """A poll ends by being cancelled only; anything else is a fault of ours and must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s ended", task.get_name(), exc_info=error)
