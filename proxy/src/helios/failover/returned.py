"""Former primaries that come back: told to accept no writes, and looked at for what they had written.

Called by `guard`.
"""

from __future__ import annotations

import logging

from helios.failover import fence, loss
from helios.failover.decisions import Decisions
from helios.telemetry.logs import fields
from helios.topology.node_poll import NodePoll

__all__ = ["Returned"]

_log = logging.getLogger(__name__)


class Returned:
    """The former primaries of one cluster."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._told: set[str] = set()
        """Those that have been told to accept no writes."""

    def fence(self) -> None:
        """Tell one by SQL that answers again as a primary, each time it comes back."""
        monitor, record = self._decisions.monitor, self._decisions.record
        for poll in monitor.polls:
            node = poll.node.name
            is_back = poll.fresh and not poll.in_recovery and monitor.is_fenced(node)
            if not is_back or record.hold is not None:
                self._told.discard(node)
            elif node not in self._told:
                self._told.add(node)
                self._decisions.in_background(self._tell(poll))

    async def find_losses(self) -> None:
        """One that is back shows how far it had come. What it writes after that is no loss, so that the first look
        counts. `StepFailure`, `LeaseError`."""
        decisions = self._decisions
        for poll in decisions.monitor.polls:
            node, reading, record = poll.node.name, poll.reading, decisions.record
            forked_at = record.forks.get(node)
            is_back = poll.fresh and not poll.in_recovery and decisions.monitor.is_fenced(node)
            if forked_at is None or reading is None or not is_back:
                continue
            forks = {other: at for other, at in record.forks.items() if other != node}
            losses = tuple(loss.seen_again(each, node, reading, forked_at) for each in record.losses)
            await decisions.decide(forks=forks, losses=losses)
            for each in set(losses) - set(record.losses):
                loss.tell(decisions.name, each)

    async def _tell(self, poll: NodePoll) -> None:
        node, decisions = poll.node, self._decisions
        facts = fields(cluster=decisions.name, node=node.name)
        try:
            await fence.by_sql(decisions.lines, poll)
        except fence.FenceFailure as error:
            decisions.fence = f"{node.name}: none, {error}"
            facts = fields(cluster=decisions.name, node=node.name, error=error)
            _log.error("former primary cannot be fenced", extra=facts)
        else:
            decisions.fence = f"{node.name}: read-only by SQL"
            _log.warning("former primary is back: told to accept no writes", extra=facts)
