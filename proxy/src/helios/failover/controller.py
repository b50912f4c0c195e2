"""Failover and switchover of the clusters of one proxy: keeps the lease, and a guard over each cluster.

Made by `helios.running`; the admin API reads `statuses` and calls `switch_over`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from helios.config import FailoverConfig, ProxyConfig
from helios.failover import fence, steps
from helios.failover.decisions import Decisions, Settle
from helios.failover.file_lease import FileLease
from helios.failover.guard import Guard
from helios.failover.kube_lease import KubeLease
from helios.failover.lease import Lease, LeaseError
from helios.failover.obstacle import Obstacle
from helios.failover.status import FailoverStatus, SwitchoverFailure
from helios.failover.switchover import switch_over
from helios.tasks import cancel
from helios.topology.monitor import TopologyMonitor

__all__ = ["FailoverController"]

_NO_LEASE = "neither failover.lease_file nor failover.lease_name is set"


@dataclass
class _Watched:
    """One cluster; `task` once there is a lease."""

    guard: Guard
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self.task = asyncio.create_task(self.guard.run(), name=f"failover of {self.guard.decisions.name}")


class FailoverController:
    """Lives on one event loop."""

    def __init__(self, topology: TopologyMonitor, settle: Settle) -> None:
        self._topology = topology
        self._settle = settle
        self._config = ProxyConfig()
        self._lease: Lease | None = None
        self._watched: dict[str, _Watched] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def configure(self, config: ProxyConfig) -> None:
        """Act by `config` from now on; the topology does already."""
        self._config = config
        before, self._watched = self._watched, {}
        for cluster in config.clusters:
            watched = before.pop(cluster.name, None) or self._watch(cluster.name)
            watched.guard.decisions.config = config.failover
            self._watched[cluster.name] = watched
        for watched in before.values():
            task = asyncio.create_task(_end(watched))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def join(self) -> None:
        """Be one of those that share the lease, if the configuration says so. `LeaseError` if it cannot be used."""
        self._lease = _lease_of(self._config.failover)
        if self._lease is not None:
            await self._lease.refresh()

    def start(self) -> None:
        """Begin to watch, once the engine runs."""
        if self._lease is None:
            return
        self._keeper = asyncio.create_task(_keep(self._lease), name="failover lease")
        for watched in self._watched.values():
            watched.guard.decisions.lease = self._lease
            watched.start()

    async def stop(self) -> None:
        """End, and give the lease back. What servers are being told is told to its end, which takes seconds at most."""
        await asyncio.gather(*map(_end, self._watched.values()), *self._ending)
        if self._keeper is not None:
            await cancel([self._keeper])
        if self._lease is not None:
            await self._lease.close()
            self._lease = None

    def statuses(self) -> tuple[FailoverStatus, ...]:
        """What people are told."""
        return tuple(self._status(watched.guard) for watched in self._watched.values())

    async def switch_over(self, cluster: str, to: str | None) -> str:
        """Make a standby the primary while the primary lives; the name of the new one. `SwitchoverFailure` with the
        reason if not, and then nothing has changed."""
        watched = self._watched.get(cluster)
        if watched is None:
            raise SwitchoverFailure(f"there is no cluster {cluster!r}")
        decisions = watched.guard.decisions
        if self._lease is None:
            raise SwitchoverFailure("failover.enabled and failover.lease_file or lease_name must be set")
        if not decisions.may_decide:
            raise SwitchoverFailure(self._lease.problem or "another proxy holds the lease; ask that one")
        if decisions.turn.locked() and decisions.record.hold is not None:
            raise SwitchoverFailure("a failover or switchover is under way already")
        async with decisions.turn:
            try:
                with decisions.at_work():
                    return await switch_over(decisions, to)
            except (steps.StepFailure, fence.FenceFailure, LeaseError) as error:
                raise SwitchoverFailure(str(error)) from error

    def _watch(self, cluster: str) -> _Watched:
        monitor = self._topology.cluster(cluster)
        assert monitor is not None, "the topology is configured first"
        decisions = Decisions(cluster, monitor, self._config.failover, self._lease, self._settle)
        watched = _Watched(Guard(decisions))
        if self._lease is not None:
            watched.start()
        return watched

    def _status(self, guard: Guard) -> FailoverStatus:
        config, decisions, record = self._config.failover, guard.decisions, guard.decisions.record
        refused, obstacle = decisions.refused, decisions.obstacle
        if refused is None:
            is_homeless = config.enabled and self._lease is None
            refused, obstacle = (_NO_LEASE, Obstacle.LEASE) if is_homeless else (None, None)
        return FailoverStatus(
            cluster=decisions.name,
            enabled=config.enabled,
            policy=config.policy.value,
            holds_lease=decisions.may_decide,
            hold=record.hold or guard.lapsed,
            verdict=decisions.verdict,
            step=decisions.progress.step,
            refused=refused,
            obstacle=obstacle,
            promoting=record.promoting,
            promotions=record.promotions,
            last_promotion_at=decisions.last_promotion_at,
            fence=decisions.fence,
            fenced=tuple(sorted(record.fenced)),
            xid_bound=record.xid_bound,
            losses=record.losses,
        )


def _lease_of(config: FailoverConfig) -> Lease | None:
    if config.enabled and config.lease_file is not None:
        return FileLease(Path(config.lease_file))
    if config.enabled and config.lease_name is not None:
        return KubeLease(Path(config.service_account_dir), config.lease_name, config.lease_seconds)
    return None


async def _keep(lease: Lease) -> None:
    while True:
        await lease.refresh()
        await asyncio.sleep(lease.look_seconds)


async def _end(watched: _Watched) -> None:
    if watched.task is not None:
        await cancel([watched.task])
    await watched.guard.decisions.finish()
