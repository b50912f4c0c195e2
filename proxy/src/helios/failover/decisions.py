"""What is decided about one cluster, how every proxy comes to act by it, and what people are told of it.

Made by `controller`, one a cluster; `guard`, `promotion`, `switchover`, `returned` and `widening` decide through it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from helios.config import FailoverConfig
from helios.failover.lease import Lease
from helios.failover.lines import Lines, StepFailure
from helios.failover.obstacle import Obstacle
from helios.failover.progress import Progress
from helios.failover.record import Record
from helios.telemetry.logs import fields
from helios.threads import on_daemon_thread
from helios.topology.cluster import ClusterMonitor
from helios.topology.node_poll import NodePoll

__all__ = ["Decisions", "Settle"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.005
_HOLDER = "failover"

Settle = Callable[[str, int], int | None]
"""`Core.settle`."""


class Decisions:
    """One cluster. Whoever decides has `turn`."""

    def __init__(
        self, name: str, monitor: ClusterMonitor, config: FailoverConfig, lease: Lease | None, settle: Settle
    ) -> None:
        self.name = name
        self.monitor = monitor
        self.config = config
        self.lease = lease
        self.record = Record()
        """As this proxy acts by."""
        self.turn = asyncio.Lock()
        self.lines = Lines()
        self.progress = Progress()
        self.refused: str | None = None
        self.obstacle: Obstacle | None = None
        """What `refused` is about; only meant while that is set."""
        """Why nobody was promoted, the last time it was tried."""
        self.verdict: str | None = None
        self.fence: str | None = None
        """Which fence the former primary was given."""
        self.last_promotion_at: datetime | None = None
        self._settle = settle
        self._background: set[asyncio.Task[None]] = set()

    @property
    def may_decide(self) -> bool:
        """Whether this proxy has the lease."""
        return self.lease is not None and self.lease.is_held

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While somebody is replaced."""
        with self.lines.kept():
            try:
                yield
            finally:
                self.progress.end()

    async def catch_up(self) -> None:
        """Act by what another proxy has decided since."""
        record = self.lease.records.get(self.name) if self.lease is not None else None
        if record is not None and record.term > self.record.term:
            await self._follow(record)

    async def decide(self, **changes: Any) -> None:
        """Write down and have every proxy act by it. `StepFailure` if one does not, `LeaseError`."""
        if self.lease is None:
            raise StepFailure("there is no lease", Obstacle.LEASE)
        record = self.record.model_copy(update=changes)
        # What is decided already is only waited for again: some lease counts from when it was.
        if record != self.record or not record.term:
            record = record.model_copy(update={"term": self.record.term + 1})
            await self.lease.write(self.name, record)
        is_followed = await self._follow(record)
        loop = asyncio.get_running_loop()
        until = loop.time() + self.config.confirm_timeout_ms / 1000
        while stragglers := await self.lease.stragglers(self.name, record.term):
            if not is_followed or loop.time() > until:
                who = ", ".join(stragglers)
                reason = f"these proxies did not confirm that they stopped using the old primary: {who}"
                raise StepFailure(reason, Obstacle.CONFIRM)
            await asyncio.sleep(_LOOK_SECONDS)

    async def open_transactions(self, timeout_ms: int) -> int | None:
        """How many there are, once the engine acts by what it was told; None if it did not in time."""
        return await on_daemon_thread("settle", lambda: self._settle(self.name, timeout_ms))

    def poll_of(self, node: str) -> NodePoll:
        """What is known of a node. `StepFailure` if it is not configured any more."""
        found = next((poll for poll in self.monitor.polls if poll.node.name == node), None)
        if found is None:
            raise StepFailure(f"{node} was taken out of the configuration")
        return found

    def refuse(self, reason: str, obstacle: Obstacle) -> None:
        """Say why nobody is promoted, once."""
        if self.refused != reason:
            _log.error("nobody is promoted", extra=fields(cluster=self.name, obstacle=obstacle, reason=reason))
        self.refused, self.obstacle = reason, obstacle

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what nothing waits for but the end of the process."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def finish(self) -> None:
        """Wait for what goes on in the background, which takes seconds at most."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _follow(self, record: Record) -> bool:
        """Act by it, and say so once the engine does. Whether it does."""
        before, self.record = self.record, record
        for node, timeline in record.fenced.items():
            if before.fenced.get(node) != timeline:
                self.monitor.fence(node, timeline)
        for node in before.fenced.keys() - record.fenced.keys():
            self.monitor.unfence(node)
        # Whoever waited for the primary must know this when it may begin.
        self.monitor.promotions = record.history
        self.monitor.hold(_HOLDER, record.hold)
        if await self.open_transactions(self.config.confirm_timeout_ms) is None or self.lease is None:
            _log.error("workers do not follow", extra=fields(cluster=self.name, term=record.term))
            return False
        await self.lease.follow(self.name, record.term)
        return True
