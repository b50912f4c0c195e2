"""One cluster as the monitor sees it: its polls, who was elected, how far the standbys are.

Made by `monitor`. After each poll it elects, measures lag, logs what changed, and calls back if the engine has to know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from helios.config import NodeConfig
from helios.config.base import join_address
from helios.core import ClusterView, NodePosition, NodeView, Promotion
from helios.telemetry.logs import fields
from helios.topology.elect import Election, elect
from helios.topology.lag import Lag, WalHistory
from helios.topology.node_poll import NodePoll, PollSettings
from helios.topology.status import ClusterStatus, NodeStatus, Role

__all__ = ["ClusterMonitor"]

_log = logging.getLogger(__name__)

_NO_LAG = Lag(bytes=0, milliseconds=0.0)
_UNKNOWN_LAG = Lag(bytes=None, milliseconds=None)


class ClusterMonitor:
    """A primary and its standbys. `changed` is called when `view()` differs from before, `moved` with each position,
    `polled` with the node's name and what was wrong, if anything was, after each poll."""

    def __init__(
        self,
        name: str,
        changed: Callable[[], None],
        moved: Callable[[NodePosition], None],
        polled: Callable[[str, str | None], None],
    ) -> None:
        self.name = name
        self.polls: tuple[NodePoll, ...] = ()
        """Of the enabled nodes."""
        self._changed = changed
        self._moved = moved
        self._polled = polled
        self.promotions: tuple[Promotion, ...] = ()
        """Of late, as far as they were ours; told with the next `hold`."""
        self._nodes: tuple[NodeConfig, ...] = ()
        self._lags: dict[NodePoll, Lag] = {}
        self._history = WalHistory()
        self._election = Election(primary=None, reason="no node has been asked yet")
        self._view: ClusterView | None = None
        self._known_primary: NodePoll | None = None
        self._last_failover_at: datetime | None = None
        self._failovers = 0
        self._fenced: dict[str, int] = {}
        """Node → the timeline that it must have left behind to be believed again, unless it becomes a standby."""
        self._holds: dict[str, str] = {}
        """Who lets no transaction begin → why."""
        self._cuts: set[str] = set()
        """Who of them ends what is under way on the primary."""
        self._leavers: dict[str, str] = {}
        """Who of them waits for another primary than this node."""

    def configure(self, nodes: Sequence[NodeConfig], settings: PollSettings) -> None:
        """Watch these nodes; polls of the same name, host and port go on."""
        present = {_identity(poll.node): poll for poll in self.polls}
        polls = []
        for node in nodes:
            if not node.enabled:
                continue
            poll = present.get(_identity(node))
            if poll is None:
                poll = NodePoll(self.name, node, settings, self._after_poll)
            else:
                poll.configure(node, settings)
            polls.append(poll)
        self._nodes, self.polls = tuple(nodes), tuple(polls)
        kept = {poll.node.name for poll in polls if _identity(poll.node) in present}
        self._fenced = {name: timeline for name, timeline in self._fenced.items() if name in kept}
        self._lags = {poll: lag for poll, lag in self._lags.items() if poll in self.polls}
        self._decide()
        self._view = self._make_view()

    def view(self) -> ClusterView:
        """What the engine is told."""
        return self._make_view() if self._view is None else self._view

    def status(self) -> ClusterStatus:
        """What people are told."""
        polls = {_identity(poll.node): poll for poll in self.polls}
        primary = self._elected()
        return ClusterStatus(
            name=self.name,
            primary=None if primary is None else primary.address,
            reason=self._hold or self._election.reason,
            last_failover_at=self._last_failover_at,
            failovers=self._failovers,
            nodes=tuple(self._node_status(node, polls.get(_identity(node))) for node in self._nodes),
        )

    @property
    def primary(self) -> NodePoll | None:
        """The node that is primary, or was until it failed; None before the first."""
        return self._known_primary if self._known_primary in self.polls else None

    def hold(self, holder: str, reason: str | None, *, cut: bool = False, leaver: str | None = None) -> None:
        """Let no transaction begin, for this reason, until the same holder gives None, or until another node than
        `leaver` is primary; `cut` ends those under way."""
        self._release(holder)
        if reason is not None:
            self._holds[holder] = reason
            if cut:
                self._cuts.add(holder)
            if leaver is not None:
                self._leavers[holder] = leaver
                self._release_followed()
        self._publish()

    def _release(self, holder: str) -> None:
        self._holds.pop(holder, None)
        self._cuts.discard(holder)
        self._leavers.pop(holder, None)

    def _release_followed(self) -> None:
        """Whoever waits for another primary has one."""
        primary = self._election.primary
        for holder in [holder for holder, leaver in self._leavers.items() if primary not in (None, leaver)]:
            self._release(holder)

    @property
    def _hold(self) -> str | None:
        return next(iter(self._holds.values()), None)

    def fence(self, node: str, timeline: int) -> None:
        """End whatever is under way on this node, and believe no claim of it to be primary until it is a standby, or on
        a later timeline than this."""
        self._fenced[node] = timeline
        self._decide()
        self._publish()

    def is_fenced(self, node: str) -> bool:
        """Whether another node has taken its place."""
        return node in self._fenced

    def unfence(self, node: str) -> None:
        """Nobody has taken its place after all."""
        self._fenced.pop(node, None)
        self._decide()
        self._publish()

    def _timeline(self, poll: NodePoll | None) -> int:
        return (poll.reading.timeline if poll is not None and poll.reading is not None else None) or 0

    def _after_poll(self, poll: NodePoll) -> None:
        if poll not in self.polls:
            return  # taken out by a reload while it was being polled
        fenced_at = self._fenced.get(poll.node.name)
        if fenced_at is not None and poll.fresh and (poll.in_recovery or self._timeline(poll) > fenced_at):
            del self._fenced[poll.node.name]
        self._polled(poll.node.name, poll.error)
        self._decide()
        self._measure(poll)
        self._publish()

    def _publish(self) -> None:
        view = self._make_view()
        if view != self._view:
            self._view = view
            self._changed()

    def _decide(self) -> None:
        before, self._election = (
            self._election,
            elect([poll.observation(poll.node.name in self._fenced) for poll in self.polls]),
        )
        primary = self._elected()
        if primary is None:
            all_asked = all(poll.last_check is not None for poll in self.polls)
            if all_asked and self._election.reason != before.reason:
                level = logging.ERROR if self._election.rivals else logging.WARNING
                facts = fields(cluster=self.name, reason=self._election.reason)
                _log.log(level, "no primary: clients wait", extra=facts)
            return
        self._release_followed()
        if primary is not self._known_primary:
            self._new_primary(primary)
        elif before.primary is None:
            _log.info("primary is back", extra=fields(cluster=self.name, node=primary.node.name))

    def _new_primary(self, primary: NodePoll) -> None:
        self._history.clear()
        self._lags.clear()
        before, self._known_primary = self._known_primary, primary
        if before is None:
            facts = fields(cluster=self.name, node=primary.node.name, labelled=primary.node.role.value)
            _log.info("primary found", extra=facts)
            return
        # What it still acknowledges, the new primary does not have.
        self._fenced[before.node.name] = self._timeline(primary)
        self._fenced.pop(primary.node.name, None)
        self._failovers += 1
        self._last_failover_at = datetime.now(UTC)
        facts = fields(cluster=self.name, node=primary.node.name, before=before.node.name)
        _log.warning("another node is primary", extra=facts)

    def _measure(self, poll: NodePoll) -> None:
        """Note the lag of a standby, or the position of the primary, from the reading just made."""
        reading = poll.reading
        if not poll.fresh or reading is None:
            return
        now = asyncio.get_running_loop().time()
        if poll is self._elected():
            self._history.add(now, reading.replayed)
            self._lags[poll] = _NO_LAG
        elif reading.in_recovery:
            self._lags[poll] = self._history.lag(now, reading.replayed, reading.replay_age_ms)
        else:
            self._lags.pop(poll, None)
            return
        lag = self._lags[poll]
        position = NodePosition(
            cluster=self.name,
            name=poll.node.name,
            position=reading.replayed,
            lag_ms=lag.milliseconds,
            lag_bytes=lag.bytes,
        )
        self._moved(position)

    def _elected(self) -> NodePoll | None:
        return next((poll for poll in self.polls if poll.node.name == self._election.primary), None)

    def _healthy(self, poll: NodePoll) -> bool:
        name = poll.node.name
        return poll.reachable and name not in self._election.strangers and name not in self._fenced

    def _may_read(self, poll: NodePoll) -> bool:
        return poll.in_recovery and self._why_no_reads(poll) is None

    def _why_no_reads(self, poll: NodePoll) -> str | None:
        """What would make an answer of this node look other than one of the primary, or of the last one there was."""
        primary = self._elected()
        last = primary or self.primary
        if last is None or last is poll or last.reading is None or poll.reading is None:
            return None
        before, now = last.reading, poll.reading
        if primary is None and _differ(now.system_identifier, before.system_identifier):
            return "gets no reads: it belongs to another database system than the last primary"
        if primary is None and _differ(now.timeline, before.timeline):
            return f"gets no reads: it is on timeline {now.timeline}, the last primary was on {before.timeline}"
        pairs = zip(now.forms, before.forms, strict=True)
        found = ((name, here, there) for (name, here), (_, there) in pairs if here != there)
        first = next(found, None)
        return None if first is None else "gets no reads: its {} is {!r}, the primary's is {!r}".format(*first)

    def _make_view(self) -> ClusterView:
        """Disabled nodes are in it, as unhealthy ones: the engine knows them from the snapshot."""
        cut = {self._election.primary} if self._cuts else set()
        fenced = self._fenced.keys() | self._election.rivals | cut
        healthy = {poll.node.name for poll in self.polls if self._healthy(poll)}
        standbys = {poll.node.name for poll in self.polls if self._healthy(poll) and self._may_read(poll)}
        addresses = {poll.node.name: poll.addresses for poll in self.polls}
        nodes = tuple(
            NodeView(
                name=node.name,
                host=node.host,
                port=node.port,
                addresses=addresses.get(node.name, ()),
                healthy=node.name in healthy,
                standby=node.name in standbys,
                fenced=node.name in fenced,
                weight=node.weight,
                zone=node.zone,
            )
            for node in self._nodes
        )
        primary = self._election.primary if self._hold is None else None
        reason = self._hold or self._election.reason
        elected = self._elected()
        synchronous = elected is not None and elected.reading is not None and elected.reading.is_synchronous
        return ClusterView(
            name=self.name,
            primary=primary,
            reason=reason,
            nodes=nodes,
            synchronous=synchronous,
            promotions=self.promotions,
        )

    def _node_status(self, node: NodeConfig, poll: NodePoll | None) -> NodeStatus:
        reading = poll.reading if poll is not None and poll.reachable else None
        lag = self._lags.get(poll, _UNKNOWN_LAG) if poll is not None and reading is not None else _UNKNOWN_LAG
        return NodeStatus(
            cluster=self.name,
            name=node.name,
            address=join_address(node.host, node.port),
            configured_role=node.role.value,
            role=self._role(node, poll),
            weight=node.weight,
            zone=node.zone,
            enabled=node.enabled,
            healthy=poll is not None and self._healthy(poll),
            last_check=poll.last_check if poll else None,
            failure_count=poll.failure_count if poll else 0,
            last_error=self._error(poll),
            latency_ms=reading.latency_ms if reading else None,
            replication_lag_bytes=lag.bytes,
            replication_lag_ms=lag.milliseconds,
            replayed_lsn=_as_lsn(reading.replayed) if reading else None,
            timeline=reading.timeline if reading else None,
            system_identifier=reading.system_identifier if reading else None,
        )

    def _role(self, node: NodeConfig, poll: NodePoll | None) -> Role:
        if poll is None or poll.reading is None or not poll.reachable:
            return "unknown"
        if node.name == self._election.primary:
            return "primary"
        return "standby" if poll.reading.in_recovery else "unknown"

    def _error(self, poll: NodePoll | None) -> str | None:
        if poll is None or poll.error is not None:
            return poll.error if poll else None
        if poll.node.name in self._election.strangers:
            return "belongs to another database system than the primary (its system identifier differs)"
        if poll.node.name in self._fenced:
            return "fenced: another node became primary in its place; make it a standby of that one (helios rejoin)"
        return self._why_no_reads(poll)


def _identity(node: NodeConfig) -> tuple[str, str, int]:
    return node.name, node.host, node.port


def _differ(one: str | int | None, other: str | int | None) -> bool:
    """Whether both are known, and not the same."""
    return None not in (one, other) and one != other


def _as_lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
