"""The poll of one node: its loop, its pace, and what it knows after each answer or failure.

Made and run by `monitor`, which gets a call after each poll. Pace: `monitor.interval_ms`, slower once the node counts
as unhealthy, at once when woken because traffic saw something suspicious.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from helios.config import NodeConfig
from helios.config.base import join_address
from helios.telemetry.logs import fields
from helios.topology.credentials import Login
from helios.topology.elect import Observation
from helios.topology.probe import Probe, ProbeFailure, Reading, Silence

__all__ = ["NodePoll", "PollSettings"]

_MAX_BACKOFF_SECONDS = 2.0
"""Longest pause between polls of a node that fails: clients may be waiting for it to come back."""

_MIN_GAP_SECONDS = 0.05
"""Shortest pause between two polls: each failing query may wake the poll, and must not become load on a sick node."""

_LOOK_SECONDS = 0.005

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PollSettings:
    """How to poll; from `[monitor]`."""

    login: Login
    interval_seconds: float
    timeout_seconds: float
    resolve_seconds: float
    failure_threshold: int


class NodePoll:
    """Asks one node again and again. Attributes are read by `monitor`; `node` and `settings` change by `configure`."""

    def __init__(
        self, cluster: str, node: NodeConfig, settings: PollSettings, after: Callable[[NodePoll], None]
    ) -> None:
        self.cluster = cluster
        self.node = node
        self.settings = settings
        self.reading: Reading | None = None
        """The last answer; kept while the node fails."""
        self.failure_count = 0
        self.last_check: datetime | None = None
        self.error: str | None = None
        self.silence: Silence | None = None
        """How the last poll failed; None if it did not."""
        self.asked_at = 0.0
        """When the last finished poll was begun (monotonic): what it says is not older."""
        self.failing_since: float | None = None
        """When the first of the polls was begun that have failed in a row."""
        self._after = after
        self._probe = Probe(node.host, node.port)
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def address(self) -> str:
        """`host:port`."""
        return join_address(self.node.host, self.node.port)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the node's name stands for."""
        return self._probe.addresses.known

    @property
    def reachable(self) -> bool:
        """Whether it has answered and not failed too often since."""
        return self.reading is not None and self.failure_count < self.settings.failure_threshold

    @property
    def in_recovery(self) -> bool:
        """Whether it last said that it is a standby."""
        return self.reading is not None and self.reading.in_recovery

    @property
    def fresh(self) -> bool:
        """Whether the last poll succeeded."""
        return self.reading is not None and self.failure_count == 0

    def configure(self, node: NodeConfig, settings: PollSettings) -> None:
        """Go on under other settings; the same host and port. Another login takes effect with the next poll."""
        self.node, self.settings = node, settings
        self.wake()

    def wake(self) -> None:
        """Poll now rather than when the pause is over."""
        self._wake.set()

    async def poll_now(self) -> None:
        """Return once a poll is over that was begun after this was called."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while self.asked_at < asked_at:
            self.wake()
            self._hurry.set()
            await asyncio.sleep(_LOOK_SECONDS)

    def observation(self, fenced: bool) -> Observation:
        """What the election needs to know."""
        return Observation(
            name=self.node.name,
            reachable=self.reachable,
            fresh=self.fresh,
            in_recovery=self.reading.in_recovery if self.reading else None,
            timeline=self.reading.timeline if self.reading else None,
            system_identifier=self.reading.system_identifier if self.reading else None,
            error=self.error,
            fenced=fenced,
        )

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._hurry.clear()
                await self._poll()
                self._after(self)
                await self._pause()
        finally:
            self._probe.stop()

    async def _poll(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            settings = self.settings
            reading = await self._probe.read(settings.login, settings.timeout_seconds, settings.resolve_seconds)
        except ProbeFailure as failure:
            self._failed(str(failure), failure.silence, began)
        except Exception as error:  # noqa: BLE001 - see below
            # A fault of ours must not freeze the node's last state for ever: it counts as a failed poll and is seen.
            _log.exception("poll ended by an unexpected error", extra=fields(cluster=self.cluster, node=self.node.name))
            self._probe.drop()
            self._failed(f"internal error: {error!r}", Silence.ALIVE, began)
        else:
            self._succeeded(reading)
        self.asked_at, self.last_check = began, datetime.now(UTC)

    def _failed(self, error: str, silence: Silence, began: float) -> None:
        self.failure_count += 1
        self.silence = silence
        if self.failing_since is None:
            self.failing_since = began
        if error != self.error:
            _log.warning("poll failed", extra=fields(cluster=self.cluster, node=self.node.name, error=error))
        self.error = error

    def _succeeded(self, reading: Reading) -> None:
        if self.error is not None:
            _log.info("node answers again", extra=fields(cluster=self.cluster, node=self.node.name))
        if reading.in_recovery and reading.timeline is None and self.in_recovery and self.reading is not None:
            # Without a walreceiver a standby does not say; it is where it last was.
            reading = replace(reading, timeline=self.reading.timeline)
        self.reading, self.failure_count, self.error = reading, 0, None
        self.silence = self.failing_since = None

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MIN_GAP_SECONDS):
                await self._hurry.wait()
        excess = self.failure_count - self.settings.failure_threshold
        interval = self.settings.interval_seconds
        if excess > 0:
            interval = max(interval, min(_MAX_BACKOFF_SECONDS, interval * 2.0 ** min(excess, 16)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, interval - _MIN_GAP_SECONDS)):
                await self._wake.wait()
