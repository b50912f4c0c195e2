"""The watch over one cluster: a task that follows what is decided and, where this proxy holds the lease, decides.

Made by `controller`, one a cluster, so that what one waits for delays no other.
"""

from __future__ import annotations

import asyncio
import logging

from helios.failover import fence, steps
from helios.failover.candidate import choose
from helios.failover.decisions import Decisions
from helios.failover.following import Following
from helios.failover.judge import PrimaryEvidence, StandbyEvidence, Verdict, is_led, judge
from helios.failover.lease import LeaseError
from helios.failover.obstacle import Obstacle
from helios.failover.promotion import ask_all, former_of, promote, resume
from helios.failover.returned import Returned
from helios.failover.widening import Widening
from helios.telemetry.logs import fields
from helios.topology.node_poll import NodePoll
from helios.topology.probe import Silence

__all__ = ["Guard"]

_log = logging.getLogger(__name__)

_CALM_SECONDS = 0.05
"""Between two looks at what is decided and what the polls say: a failover waits for it."""
_BUSY_SECONDS = 0.01
"""The same while something is being decided: clients wait until every proxy has followed."""
_LAPSE = "lease"
_RETRY_SECONDS = 1.0
"""Before a promotion that was refused is tried again."""


class Guard:
    """One cluster."""

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self._returned = Returned(decisions)
        self._widening = Widening(decisions)
        self._following = Following(decisions)
        self._retry_at = 0.0
        self.lapsed: str | None = None
        """Why this proxy has let go of the primary."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._look()
            except (LeaseError, steps.StepFailure) as error:
                self.decisions.refuse(str(error), error.obstacle)
            except Exception:  # noqa: BLE001 - a fault of ours is seen, and must not end failovers for ever
                _log.exception("failover ended by an unexpected error", extra=fields(cluster=self.decisions.name))
                await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(_BUSY_SECONDS if self.decisions.record.is_open else _CALM_SECONDS)

    async def _look(self) -> None:
        decisions = self.decisions
        await decisions.catch_up()
        self._mind_lapse()
        if decisions.turn.locked():
            return
        async with decisions.turn:
            self._returned.fence()
            if decisions.lease is not None and decisions.lease.problem is not None:
                decisions.refuse(decisions.lease.problem, Obstacle.LEASE)
            elif decisions.may_decide:
                await self._consider()
            else:
                decisions.refused = decisions.verdict = None

    async def _consider(self) -> None:
        """Promote if the primary is gone; else see to what is left of the last time."""
        decisions = self.decisions
        if decisions.record.promoting is not None:
            with decisions.at_work():
                await resume(decisions)
            return
        verdict = self._judge()
        decisions.verdict = verdict.reason if verdict is not None else None
        if verdict is not None and verdict.is_gone:
            await self._replace(verdict)
            return
        if decisions.record.hold is not None:
            await self._give_up()
        await self._returned.find_losses()
        if verdict is None:
            decisions.refused = None
            self._following.look()
            await self._widening.look()

    async def _replace(self, verdict: Verdict) -> None:
        """Fail over, unless that was refused a moment ago."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            return
        primary = self.decisions.monitor.primary
        assert primary is not None, "a verdict is about a primary"
        try:
            with self.decisions.at_work():
                await self._fail_over(primary, verdict)
        except (steps.StepFailure, fence.FenceFailure, LeaseError) as error:
            self.decisions.refuse(str(error), error.obstacle)
            self._retry_at = loop.time() + _RETRY_SECONDS

    def _judge(self) -> Verdict | None:
        """None while the primary answers, or where there has been none."""
        primary = self.decisions.monitor.primary
        if primary is None or primary.reading is None or primary.failing_since is None:
            return None
        now, failing_since = asyncio.get_running_loop().time(), primary.failing_since
        evidence = PrimaryEvidence(primary.node.name, primary.silence, now - failing_since, primary.failure_count)
        return judge(evidence, self._standbys(failing_since), self.decisions.config.silence_after_seconds)

    def _standbys(self, since: float) -> list[StandbyEvidence]:
        """What those say that have been asked after `since` and answered.

        One of another database system streams from somebody else. It does not prove that a silent primary is gone; of
        one that refuses connections it lets us come to say that it cannot take its place.
        """
        primary = self.decisions.monitor.primary
        refuses = primary is not None and primary.silence in (Silence.REFUSED, Silence.RESET)
        return [
            StandbyEvidence(
                poll.node.name,
                poll.reading.streaming and not _are_strangers(poll, primary),
                None if poll.reading.heard_ms is None else poll.reading.heard_ms / 1000,
                poll.reading.wal_receiver_timeout_ms / 2000 or None,
            )
            for poll in self.decisions.monitor.polls
            if poll.fresh and poll.reading is not None and poll.in_recovery and poll.asked_at >= since
            if refuses or not _are_strangers(poll, primary)
        ]

    def _mind_lapse(self) -> None:
        """Let go of the primary while others need not wait for this process, unless the standbys tell that nobody can
        have been promoted."""
        decisions = self.decisions
        lapsed, primary = decisions.lease.lapsed if decisions.lease is not None else None, decisions.monitor.primary
        if lapsed is not None and primary is not None and primary.fresh:
            silence_after = decisions.config.silence_after_seconds
            if is_led(self._standbys(0.0), len(decisions.monitor.polls) - 1, silence_after):
                lapsed = None
        if lapsed != self.lapsed:
            self.lapsed = lapsed
            decisions.monitor.hold(_LAPSE, lapsed, cut=True)
            facts = fields(cluster=decisions.name, reason=lapsed or "it is renewed")
            _log.error("no right to use the primary" if lapsed else "right to use the primary is back", extra=facts)

    async def _fail_over(self, primary: NodePoll, why: Verdict) -> None:
        decisions = self.decisions
        former = former_of(decisions, primary)
        decisions.progress.begin("confirm")
        held = f"{why.reason}; a standby is being promoted"
        if decisions.record.hold != held:
            facts = fields(cluster=decisions.name, node=former.name, reason=why.reason)
            _log.warning("primary is gone", extra=facts)
        await decisions.decide(hold=held, fenced={**decisions.record.fenced, former.name: former.timeline or 0})
        if decisions.config.fence_command:
            decisions.progress.begin("fence")
            await fence.by_command(primary.node, decisions.config)
            decisions.fence = f"{former.name}: fence_command"
        decisions.progress.begin("ask")
        heard = await ask_all(decisions, primary)
        choice = choose(former, heard, decisions.config.policy)
        await promote(decisions, former, choice, heard, is_planned=False)

    async def _give_up(self) -> None:
        """The primary is there after all, and nobody was told to take its place."""
        primary = self.decisions.monitor.primary
        gone = primary.node.name if primary is not None else None
        fenced = {node: timeline for node, timeline in self.decisions.record.fenced.items() if node != gone}
        await self.decisions.decide(hold=None, fenced=fenced)


def _are_strangers(one: NodePoll, other: NodePoll | None) -> bool:
    """Whether they are known to belong to different database systems."""
    readings = (one.reading, other.reading if other is not None else None)
    known = {reading.system_identifier for reading in readings if reading is not None} - {None}
    return len(known) > 1
