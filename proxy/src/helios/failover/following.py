"""Standbys that do not follow the primary that was promoted are pointed to it. Called by `guard`.

A promotion does that by itself; this is for one whose proxy ended before it had, and for standbys that were away.
"""

from __future__ import annotations

import asyncio

from helios.failover.decisions import Decisions
from helios.failover.promotion import point
from helios.topology.node_poll import NodePoll

__all__ = ["Following"]

_LOOK_SECONDS = 1.0
"""Between two looks; one that does not stream in two of them in a row is not only about to connect."""


class Following:
    """The standbys of one cluster."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._look_at = 0.0
        self._astray: set[NodePoll] = set()

    def look(self) -> None:
        """Point those that were astray the last time as well."""
        decisions, now = self._decisions, asyncio.get_running_loop().time()
        primary = decisions.monitor.primary
        if not decisions.record.promotions or primary is None or not primary.fresh or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        astray = {poll for poll in decisions.monitor.polls if _is_astray(poll)}
        point(decisions, astray & self._astray, primary)
        self._astray = astray - self._astray


def _is_astray(poll: NodePoll) -> bool:
    return poll.fresh and poll.in_recovery and poll.reading is not None and not poll.reading.streaming
