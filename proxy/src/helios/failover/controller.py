"""Failover and switchover of the clusters of one proxy: a task that follows what is decided, and, where this proxy
holds the lease, decides.

Made by `helios.running`; the admin API reads `statuses` and calls `switch_over`. Every step is written down before it
is taken (`lease`), so that whoever holds the lease next goes on where the last one stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from helios.config import FailoverConfig, PromotionPolicy, ProxyConfig
from helios.failover import fence, steps
from helios.failover.candidate import Choice, Former, Refusal, Standby, choose
from helios.failover.judge import PrimaryEvidence, StandbyEvidence, Verdict, judge
from helios.failover.lease import FileLease, LeaseError, Loss, Record
from helios.failover.status import FailoverStatus, SwitchoverFailure
from helios.failover.synchronous import parse
from helios.telemetry.logs import fields
from helios.threads import on_daemon_thread
from helios.topology.cluster import ClusterMonitor
from helios.topology.monitor import TopologyMonitor
from helios.topology.node_poll import NodePoll
from helios.topology.probe import Reading

__all__ = ["FailoverController", "Settle"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
"""Between two looks at what is decided and what the polls say: a failover waits for it twice."""
_RETRY_SECONDS = 1.0
"""Before a promotion that was refused is tried again."""
_DRAIN_LOOK_SECONDS = 0.005
_CATCH_UP_SECONDS = 5.0
"""How long a switchover waits for its standby once nothing is written any more."""

Settle = Callable[[str, int], int | None]
"""`Core.settle`."""


@dataclass
class _Cluster:
    """What the controller knows of one cluster."""

    record: Record = field(default_factory=Record)
    """As this proxy acts by."""
    refused: str | None = None
    """Why nobody was promoted, the last time it was tried."""
    retry_at: float = 0.0
    verdict: str | None = None
    fence: str | None = None
    """Which fence the former primary was given."""
    last_promotion_at: datetime | None = None
    told: set[str] = field(default_factory=set)
    """Former primaries that have been told to accept no writes."""
    is_switching: bool = False
    """A switchover is under way."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever decides has it."""


class FailoverController:
    """Lives on one event loop."""

    def __init__(self, topology: TopologyMonitor, settle: Settle) -> None:
        self._topology = topology
        self._settle = settle
        self._config = ProxyConfig()
        self._lease: FileLease | None = None
        self._clusters: dict[str, _Cluster] = {}
        self._task: asyncio.Task[None] | None = None
        self._followers: set[asyncio.Task[None]] = set()

    def configure(self, config: ProxyConfig) -> None:
        """Act by `config` from now on."""
        self._config = config
        self._clusters = {each.name: self._clusters.get(each.name) or _Cluster() for each in config.clusters}

    def start(self) -> None:
        """Join the lease and begin, if the configuration says so. `LeaseError` if its file cannot be used."""
        config = self._config.failover
        if config.enabled and config.lease_file is not None:
            self._lease = FileLease(Path(config.lease_file))
            self._task = asyncio.create_task(self._run(), name="failover")

    async def stop(self) -> None:
        """End, and give the lease back. What servers are being told is told to its end, which takes seconds at most."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._followers, return_exceptions=True)
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def statuses(self) -> tuple[FailoverStatus, ...]:
        """What people are told."""
        return tuple(self._status(name, known) for name, known in self._clusters.items())

    async def switch_over(self, cluster: str, to: str | None) -> str:
        """Make a standby the primary while the primary lives; the name of the new one. `SwitchoverFailure` with the
        reason if not, and then nothing has changed."""
        known = self._clusters.get(cluster)
        if known is None:
            raise SwitchoverFailure(f"there is no cluster {cluster!r}")
        if self._lease is None:
            raise SwitchoverFailure("failover.enabled and failover.lease_file must be set")
        if not self._lease.is_held:
            raise SwitchoverFailure("another proxy holds the lease; ask that one")
        if known.turn.locked():
            raise SwitchoverFailure("a failover or switchover is under way already")
        async with known.turn:
            known.is_switching = True
            try:
                return await self._switch_over(cluster, known, to)
            except (steps.StepFailure, fence.FenceFailure, LeaseError) as error:
                raise SwitchoverFailure(str(error)) from error
            finally:
                known.is_switching = False

    # The task

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except (LeaseError, steps.StepFailure) as error:
                self._refuse_all(str(error))
            except Exception:  # noqa: BLE001 - a fault of ours is seen, and must not end failovers for ever
                _log.exception("failover ended by an unexpected error")
                await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        lease = self._lease
        if lease is None:
            return
        lease.acquire()
        for name, record in lease.read().items():
            known = self._clusters.get(name)
            if known is not None and record.term > known.record.term:
                await self._follow(name, known, record)
        for name, known in self._clusters.items():
            monitor = self._topology.cluster(name)
            if monitor is None or known.turn.locked():
                continue
            async with known.turn:
                self._fence_former(name, known, monitor)
                if lease.is_held:
                    await self._consider(lease, name, known, monitor)

    async def _follow(self, name: str, known: _Cluster, record: Record) -> bool:
        """Act by what is decided, and say so once the engine does. Whether it does."""
        monitor = self._topology.cluster(name)
        if monitor is None:
            return False
        before, known.record = known.record, record
        for node, timeline in record.fenced.items():
            if before.fenced.get(node) != timeline:
                monitor.fence(node, timeline)
        for node in before.fenced.keys() - record.fenced.keys():
            monitor.unfence(node)
        monitor.hold(record.hold)
        limit = self._config.failover.confirm_timeout_ms
        settled = await on_daemon_thread("settle", lambda: self._settle(name, limit))
        if settled is None or self._lease is None:
            _log.error("workers do not follow", extra=fields(cluster=name, term=record.term))
            return False
        self._lease.follow(name, record.term)
        return True

    async def _decide(self, lease: FileLease, name: str, known: _Cluster, record: Record) -> None:
        """Write down and have every proxy act by it. `steps.StepFailure` if one does not."""
        record = record.model_copy(update={"term": known.record.term + 1})
        lease.write(name, record)
        followed = await self._follow(name, known, record)
        until = asyncio.get_running_loop().time() + self._config.failover.confirm_timeout_ms / 1000
        while stragglers := lease.stragglers(name, record.term):
            if not followed or asyncio.get_running_loop().time() > until:
                who = ", ".join(stragglers)
                raise steps.StepFailure(f"these proxies did not confirm that they stopped using the old primary: {who}")
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)

    # Failover

    async def _consider(self, lease: FileLease, name: str, known: _Cluster, monitor: ClusterMonitor) -> None:
        """Promote if the primary is gone."""
        loop = asyncio.get_running_loop()
        if known.record.promoting is not None:
            await self._resume(lease, name, known, monitor)
            return
        verdict = self._judge(monitor)
        known.verdict = verdict.reason if verdict is not None else None
        if verdict is None or not verdict.is_gone:
            if verdict is None:
                known.refused = None
            if known.record.hold is not None:
                await self._give_up(lease, name, known, monitor)
            await self._find_losses(lease, name, known, monitor)
            return
        if loop.time() < known.retry_at:
            return
        primary = monitor.primary
        assert primary is not None, "a verdict is about a primary"
        try:
            await self._fail_over(lease, name, known, monitor, primary, verdict)
        except (steps.StepFailure, fence.FenceFailure, LeaseError) as error:
            self._refuse(name, known, str(error))
            known.retry_at = loop.time() + _RETRY_SECONDS

    def _judge(self, monitor: ClusterMonitor) -> Verdict | None:
        """None while the primary answers, or where there has been none."""
        primary = monitor.primary
        if primary is None or primary.reading is None or primary.failing_since is None:
            return None
        now, failing_since = asyncio.get_running_loop().time(), primary.failing_since
        standbys = [
            StandbyEvidence(
                poll.node.name,
                poll.reading.streaming,
                None if poll.reading.heard_ms is None else poll.reading.heard_ms / 1000,
                poll.reading.wal_receiver_timeout_ms / 2000 or None,
            )
            for poll in monitor.polls
            if poll is not primary
            and poll.fresh
            and poll.reading is not None
            and poll.in_recovery
            and poll.asked_at >= failing_since
        ]
        evidence = PrimaryEvidence(
            primary.node.name,
            primary.silence,
            now - failing_since,
        )
        return judge(evidence, standbys, self._config.failover.silence_after_seconds)

    async def _fail_over(
        self, lease: FileLease, name: str, known: _Cluster, monitor: ClusterMonitor, primary: NodePoll, why: Verdict
    ) -> None:
        former = _former(monitor, primary)
        _log.warning("primary is gone", extra=fields(cluster=name, node=former.name, reason=why.reason))
        held = f"{why.reason}; a standby is being promoted"
        fenced = {**known.record.fenced, former.name: former.timeline or 0}
        await self._decide(lease, name, known, known.record.model_copy(update={"hold": held, "fenced": fenced}))
        if self._config.failover.fence_command:
            await fence.by_command(primary.node, self._config.failover)
            known.fence = f"{former.name}: fence_command"
        heard = await self._ask_all(monitor, primary)
        await self._promote(
            lease, name, known, monitor, former, choose(former, heard, self._config.failover.policy), heard
        )

    async def _promote(
        self,
        lease: FileLease,
        name: str,
        known: _Cluster,
        monitor: ClusterMonitor,
        former: Former,
        choice: Choice | Refusal,
        heard: Sequence[Standby],
    ) -> str:
        """From the choice to the open gate. `steps.StepFailure`."""
        if isinstance(choice, Refusal):
            raise steps.StepFailure(choice.reason)
        chosen = _poll_of(monitor, choice.standby.name)
        await self._decide(lease, name, known, known.record.model_copy(update={"promoting": choice.standby.name}))
        live = [standby.application_name for standby in heard]
        synchronous = former.synchronous.after(choice.standby.application_name, live)
        if former.synchronous.names:
            await steps.configure(chosen, synchronous)
            if not synchronous.names:
                _log.warning("commits are not synchronous any more", extra=fields(cluster=name, node=chosen.node.name))
        if not lease.is_held:
            raise steps.StepFailure("the lease was lost")
        promoted = await steps.promote(chosen, self._config.failover.promote_timeout_seconds)
        losses = () if known.is_switching else (_loss(former, promoted.forked_at),)
        record = _ended(known.record, chosen.node.name, promoted.xid_bound).model_copy(
            update={
                "forks": {**known.record.forks, former.name: promoted.forked_at},
                "losses": (*known.record.losses, *losses),
            }
        )
        for standby in heard:
            if standby.name != choice.standby.name:
                self._in_background(self._repoint(name, _poll_of(monitor, standby.name), chosen))
        await chosen.poll_now()
        await self._decide(lease, name, known, record)
        known.refused, known.last_promotion_at = None, datetime.now(UTC)
        facts = fields(cluster=name, node=chosen.node.name, before=former.name, xid_bound=promoted.xid_bound)
        _log.warning("standby promoted", extra=facts)
        for loss in losses:
            _tell_loss(name, loss)
        return chosen.node.name

    async def _resume(self, lease: FileLease, name: str, known: _Cluster, monitor: ClusterMonitor) -> None:
        """Somebody was about to promote this node when the lease came to us: see whether it is done, or do it."""
        promoting = known.record.promoting
        chosen = next((poll for poll in monitor.polls if poll.node.name == promoting), None)
        if chosen is None or not chosen.fresh:
            self._refuse(name, known, f"{promoting} may have been promoted and cannot be asked")
            return
        try:
            promoted = await steps.promote(chosen, self._config.failover.promote_timeout_seconds)
            for poll in monitor.polls:
                if poll is not chosen and poll.fresh and poll.in_recovery:
                    self._in_background(self._repoint(name, poll, chosen))
            await chosen.poll_now()
            await self._decide(lease, name, known, _ended(known.record, chosen.node.name, promoted.xid_bound))
            _log.warning("promotion of another proxy completed", extra=fields(cluster=name, node=chosen.node.name))
        except (steps.StepFailure, LeaseError) as error:
            self._refuse(name, known, str(error))

    async def _give_up(self, lease: FileLease, name: str, known: _Cluster, monitor: ClusterMonitor) -> None:
        """The primary is there after all, and nobody was told to take its place."""
        primary = monitor.primary
        fenced = dict(known.record.fenced)
        if primary is not None:
            fenced.pop(primary.node.name, None)
        try:
            await self._decide(lease, name, known, known.record.model_copy(update={"hold": None, "fenced": fenced}))
        except steps.StepFailure as error:
            self._refuse(name, known, str(error))

    async def _ask_all(self, monitor: ClusterMonitor, primary: NodePoll) -> list[Standby]:
        """Every standby that can be asked, at the same time."""
        polls = [poll for poll in monitor.polls if poll is not primary and poll.reading is not None]
        asked = await asyncio.gather(*(steps.ask(poll) for poll in polls), return_exceptions=True)
        for answer in asked:
            if isinstance(answer, BaseException) and not isinstance(answer, steps.StepFailure):
                raise answer
        return [answer for answer in asked if isinstance(answer, Standby)]

    async def _repoint(self, cluster: str, standby: NodePoll, primary: NodePoll) -> None:
        try:
            await steps.follow(standby, primary)
        except steps.StepFailure as error:
            facts = fields(cluster=cluster, node=standby.node.name, primary=primary.node.name, error=error)
            _log.error("standby does not follow the new primary", extra=facts)

    # Fences

    def _fence_former(self, name: str, known: _Cluster, monitor: ClusterMonitor) -> None:
        """A former primary that answers again as one is told by SQL to accept no writes, each time it comes back."""
        for poll in monitor.polls:
            node = poll.node.name
            is_back = poll.fresh and not poll.in_recovery and monitor.is_fenced(node)
            if not is_back or known.record.hold is not None:
                known.told.discard(node)
            elif node not in known.told:
                known.told.add(node)
                self._in_background(self._tell(name, known, poll))

    async def _tell(self, name: str, known: _Cluster, poll: NodePoll) -> None:
        node = poll.node
        facts = fields(cluster=name, node=node.name)
        try:
            await fence.by_sql(node, poll.addresses, poll.settings.login)
        except fence.FenceFailure as error:
            known.fence = f"{node.name}: none, {error}"
            _log.error("former primary cannot be fenced", extra=fields(cluster=name, node=node.name, error=error))
        else:
            known.fence = f"{node.name}: read-only by SQL"
            _log.warning("former primary is back: told to accept no writes", extra=facts)

    async def _find_losses(self, lease: FileLease, name: str, known: _Cluster, monitor: ClusterMonitor) -> None:
        """A former primary that is back shows how far it had come. What it writes after that is no loss, so that the
        first look counts."""
        for poll in monitor.polls:
            node, reading, record = poll.node.name, poll.reading, known.record
            forked_at = record.forks.get(node)
            if (
                forked_at is None
                or reading is None
                or not poll.fresh
                or poll.in_recovery
                or not monitor.is_fenced(node)
            ):
                continue
            forks = {other: at for other, at in record.forks.items() if other != node}
            losses = tuple(_seen_again(loss, node, reading, forked_at) for loss in record.losses)
            await self._decide(lease, name, known, record.model_copy(update={"forks": forks, "losses": losses}))
            for loss in set(losses) - set(record.losses):
                _tell_loss(name, loss)

    # Switchover

    async def _switch_over(self, name: str, known: _Cluster, to: str | None) -> str:
        lease, monitor = self._lease, self._topology.cluster(name)
        primary = monitor.primary if monitor is not None else None
        if lease is None or monitor is None or primary is None or not primary.fresh:
            raise SwitchoverFailure("there is no primary that answers: nothing to switch over from")
        if to is not None and to == primary.node.name:
            raise SwitchoverFailure(f"{to} is the primary already")
        if to is not None and all(poll.node.name != to for poll in monitor.polls):
            raise SwitchoverFailure(f"there is no enabled node {to!r} in cluster {name!r}")
        policy = self._config.failover.policy
        if policy is PromotionPolicy.NEVER:
            policy = PromotionPolicy.PREFER_SYNC
        # What is refused now is refused before anybody has waited; who has received how much will be seen to.
        heard = [replace(standby, received=0) for standby in await self._ask_all(monitor, primary)]
        early = choose(_former(monitor, primary), heard, policy, to)
        if isinstance(early, Refusal):
            raise SwitchoverFailure(early.reason)
        await steps.checkpoint(primary)
        held = f"{primary.node.name} is being replaced (switchover)"
        before = known.record
        try:
            await self._decide(lease, name, known, before.model_copy(update={"hold": held}))
            await self._drain(name)
            end = await steps.end_of_wal(primary)
            target = early.standby.name
            await steps.await_position(_poll_of(monitor, target), end, _CATCH_UP_SECONDS)
            fenced = {**known.record.fenced, primary.node.name: _former(monitor, primary).timeline or 0}
            await self._decide(lease, name, known, known.record.model_copy(update={"fenced": fenced}))
            if self._config.failover.fence_command:
                await fence.by_command(primary.node, self._config.failover)
                known.fence = f"{primary.node.name}: fence_command"
            else:
                await fence.by_sql(primary.node, primary.addresses, primary.settings.login)
                known.fence = f"{primary.node.name}: read-only by SQL"
                # What others wrote between the last look and the fence must come along too.
                end = await steps.end_of_wal(primary)
                await steps.await_position(_poll_of(monitor, target), end, _CATCH_UP_SECONDS)
            asked = await self._ask_all(monitor, primary)
            heard = [replace(standby, received=min(standby.received, end)) for standby in asked]
            former = replace(_former(monitor, primary), written=end)
            choice = choose(former, heard, policy, target)
            return await self._promote(lease, name, known, monitor, former, choice, heard)
        except BaseException:
            if known.record.promoting is None:
                await self._undo(lease, name, known, monitor, primary, before)
            raise

    async def _undo(
        self,
        lease: FileLease,
        name: str,
        known: _Cluster,
        monitor: ClusterMonitor,
        primary: NodePoll,
        before: Record,
    ) -> None:
        """Everything as it was, before anybody was told to become primary."""
        was_fenced = primary.node.name in known.record.fenced
        if was_fenced and not self._config.failover.fence_command:
            await fence.lift(primary.node, primary.addresses, primary.settings.login)
        await self._decide(lease, name, known, before)
        await primary.poll_now()

    async def _drain(self, name: str) -> None:
        """Wait until no transaction is open. `steps.StepFailure` after `drain_after_seconds`."""
        limit = self._config.failover.drain_after_seconds
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        while True:
            open_now = await on_daemon_thread("settle", lambda: self._settle(name, 1000))
            if open_now == 0:
                return
            if loop.time() > until:
                raise steps.StepFailure(f"{open_now} transactions were still open after {limit} s; nothing has changed")
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)

    # Telling

    def _refuse(self, name: str, known: _Cluster, reason: str) -> None:
        if known.refused != reason:
            _log.error("nobody is promoted", extra=fields(cluster=name, reason=reason))
        known.refused = reason

    def _refuse_all(self, reason: str) -> None:
        for name, known in self._clusters.items():
            self._refuse(name, known, reason)

    def _status(self, name: str, known: _Cluster) -> FailoverStatus:
        return FailoverStatus(
            cluster=name,
            enabled=self._config.failover.enabled,
            policy=self._config.failover.policy.value,
            holds_lease=self._lease is not None and self._lease.is_held,
            hold=known.record.hold,
            verdict=known.verdict,
            refused=known.refused or self._missing(),
            promoting=known.record.promoting,
            promotions=known.record.promotions,
            last_promotion_at=known.last_promotion_at,
            fence=known.fence,
            fenced=tuple(sorted(known.record.fenced)),
            xid_bound=known.record.xid_bound,
            losses=known.record.losses,
        )

    def _missing(self) -> str | None:
        config: FailoverConfig = self._config.failover
        return "failover.lease_file is not set" if config.enabled and config.lease_file is None else None

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)


def _former(monitor: ClusterMonitor, primary: NodePoll) -> Former:
    reading = primary.reading
    assert reading is not None, "a primary has said that it is one"
    return Former(
        name=primary.node.name,
        system_identifier=reading.system_identifier,
        timeline=reading.timeline,
        written=reading.written,
        synchronous=parse(reading.synchronous_standby_names),
        standbys=tuple(poll.node.name for poll in monitor.polls if poll is not primary),
    )


def _poll_of(monitor: ClusterMonitor, node: str) -> NodePoll:
    found = next((poll for poll in monitor.polls if poll.node.name == node), None)
    if found is None:
        raise steps.StepFailure(f"{node} was taken out of the configuration")
    return found


def _ended(record: Record, promoted: str, xid_bound: int) -> Record:
    """What holds once a node is primary."""
    return record.model_copy(
        update={
            "promoting": None,
            "hold": None,
            "promotions": record.promotions + 1,
            "xid_bound": xid_bound,
            "fenced": {node: timeline for node, timeline in record.fenced.items() if node != promoted},
        }
    )


def _loss(former: Former, forked_at: int) -> Loss:
    """What a former primary has written beyond where its successor's history begins, as far as it was seen."""
    end = max(former.written, forked_at)
    return Loss(
        node=former.name,
        timeline=former.timeline,
        from_lsn=_as_lsn(forked_at),
        to_lsn=_as_lsn(end),
        bytes=end - forked_at,
        was_synchronous=former.is_synchronous,
    )


def _seen_again(loss: Loss, node: str, reading: Reading, forked_at: int) -> Loss:
    """The loss, if it is that of this node, as far as it now shows."""
    if (loss.node, loss.timeline) != (node, reading.timeline) or reading.written <= forked_at + loss.bytes:
        return loss
    return loss.model_copy(update={"to_lsn": _as_lsn(reading.written), "bytes": reading.written - forked_at})


def _tell_loss(cluster: str, loss: Loss) -> None:
    level = logging.INFO if loss.was_synchronous and not loss.bytes else logging.ERROR
    facts = fields(cluster=cluster, **loss.model_dump())
    _log.log(level, "what the former primary wrote from here on is lost, seen up to to_lsn", extra=facts)


def _as_lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
