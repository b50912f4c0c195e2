"""Commits wait for more standbys again when those come back that were missing at a promotion. Called by `guard`."""

from __future__ import annotations

import asyncio
import logging

from helios.failover import steps
from helios.failover.decisions import Decisions
from helios.failover.promotion import ask_all
from helios.failover.synchronous import parse
from helios.telemetry.logs import fields
from helios.topology.node_poll import NodePoll

__all__ = ["Widening"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Between two looks at who has come back; each asks every server."""
_MOST_DOUBTS = 5


class Widening:
    """`synchronous_standby_names` of the primary of one cluster."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._look_at = 0.0
        self._doubts = 0

    async def look(self) -> None:
        """Let commits wait for who is missing no more. `StepFailure`, `LeaseError`."""
        narrowed, primary = self._decisions.record.narrowed, self._decisions.monitor.primary
        now = asyncio.get_running_loop().time()
        if narrowed is None or primary is None or not primary.fresh or primary.reading is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        present = parse(primary.reading.synchronous_standby_names)
        if present != parse(narrowed.given):
            # Somebody has said something else since, and knows better; or the server is only about to read it.
            self._doubts += 1
            if self._doubts > _MOST_DOUBTS:
                await self._decisions.decide(narrowed=None)
            return
        self._doubts = 0
        wanted = parse(narrowed.wanted)
        wider = present.widened(wanted, await self._back(primary))
        if wider == present:
            return
        await steps.configure(self._decisions.lines, primary, wider)
        left = narrowed.model_copy(update={"given": str(wider)}) if wider.is_narrower(wanted) else None
        await self._decisions.decide(narrowed=left)
        facts = fields(cluster=self._decisions.name, node=primary.node.name, names=wider, before=present)
        _log.warning("commits wait for standbys that are back", extra=facts)

    async def _back(self, primary: NodePoll) -> list[str]:
        """Standbys that stream, and that commits waited for before or that were primary then."""
        narrowed = self._decisions.record.narrowed
        assert narrowed is not None, "nothing is missing"
        wanted, streaming = parse(narrowed.wanted), await steps.streaming(self._decisions.lines, primary)
        asked = await ask_all(self._decisions, primary)
        return [
            each.application_name
            for each in asked
            if each.application_name in streaming
            and (wanted.holds(each.application_name) or each.name in narrowed.formers)
        ]
