"""From the choice of a standby to the open gate, and the same begun by another proxy.

Called by `guard` and `switchover`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from helios.failover import loss, steps
from helios.failover.candidate import Choice, Former, Refusal, Standby
from helios.failover.decisions import Decisions
from helios.failover.lease import LeaseError
from helios.failover.record import Narrowed, Record
from helios.failover.synchronous import Synchronous, parse
from helios.telemetry.logs import fields
from helios.topology.cluster import ClusterMonitor
from helios.topology.node_poll import NodePoll

__all__ = ["ask_all", "former_of", "promote", "resume"]

_log = logging.getLogger(__name__)


def former_of(monitor: ClusterMonitor, primary: NodePoll) -> Former:
    """What is known of the primary that is to be replaced."""
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


async def ask_all(monitor: ClusterMonitor, primary: NodePoll) -> list[Standby]:
    """Every standby that can be asked, at the same time."""
    polls = [poll for poll in monitor.polls if poll is not primary and poll.reading is not None]
    asked = await asyncio.gather(*(steps.ask(poll) for poll in polls), return_exceptions=True)
    for answer in asked:
        if isinstance(answer, BaseException) and not isinstance(answer, steps.StepFailure):
            raise answer
    return [answer for answer in asked if isinstance(answer, Standby)]


async def promote(
    decisions: Decisions, former: Former, choice: Choice | Refusal, heard: Sequence[Standby], *, is_planned: bool
) -> str:
    """Make the chosen one the primary; its name. `is_planned`: the former had nothing more to write. `StepFailure`."""
    if isinstance(choice, Refusal):
        raise steps.StepFailure(choice.reason)
    chosen = decisions.poll_of(choice.standby.name)
    await decisions.decide(promoting=choice.standby.name)
    narrowed = await _configure(decisions, chosen, former, choice.standby, heard)
    promoted = await _promoted(decisions, chosen)
    losses = () if is_planned else (loss.loss_of(former, promoted.forked_at),)
    for standby in heard:
        if standby.name != choice.standby.name:
            decisions.in_background(_repoint(decisions.name, decisions.poll_of(standby.name), chosen))
    await chosen.poll_now()
    record = decisions.record
    await decisions.decide(
        **_ended(record, chosen.node.name, promoted.xid_bound),
        forks={**record.forks, former.name: promoted.forked_at},
        losses=(*record.losses, *losses),
        narrowed=narrowed,
    )
    decisions.refused, decisions.last_promotion_at = None, datetime.now(UTC)
    facts = fields(cluster=decisions.name, node=chosen.node.name, before=former.name, xid_bound=promoted.xid_bound)
    _log.warning("standby promoted", extra=facts)
    for each in losses:
        loss.tell(decisions.name, each)
    return chosen.node.name


async def resume(decisions: Decisions) -> None:
    """Somebody was about to promote this node when the lease came to us: see whether it is done, or do it."""
    promoting = decisions.record.promoting
    chosen = next((poll for poll in decisions.monitor.polls if poll.node.name == promoting), None)
    if chosen is None or not chosen.fresh:
        decisions.refuse(f"{promoting} may have been promoted and cannot be asked")
        return
    try:
        promoted = await _promoted(decisions, chosen)
        for poll in decisions.monitor.polls:
            if poll is not chosen and poll.fresh and poll.in_recovery:
                decisions.in_background(_repoint(decisions.name, poll, chosen))
        await chosen.poll_now()
        await decisions.decide(**_ended(decisions.record, chosen.node.name, promoted.xid_bound))
        facts = fields(cluster=decisions.name, node=chosen.node.name)
        _log.warning("promotion of another proxy completed", extra=facts)
    except (steps.StepFailure, LeaseError) as error:
        decisions.refuse(str(error))


async def _promoted(decisions: Decisions, chosen: NodePoll) -> steps.Promoted:
    return await steps.promote(chosen, decisions.config.promote_timeout_seconds, lambda: decisions.may_decide)


async def _configure(
    decisions: Decisions, chosen: NodePoll, former: Former, standby: Standby, heard: Sequence[Standby]
) -> Narrowed | None:
    """Say for whom commits shall wait from the first one on; what there was before, if that are fewer."""
    if not former.synchronous.names:
        return None
    live = [each.application_name for each in heard]
    synchronous = former.synchronous.after(standby.application_name, live)
    await steps.configure(chosen, synchronous)
    if not synchronous.names:
        _log.warning(
            "commits are not synchronous any more", extra=fields(cluster=decisions.name, node=chosen.node.name)
        )
    return _narrowed(decisions.record.narrowed, former, synchronous)


def _narrowed(before: Narrowed | None, former: Former, now: Synchronous) -> Narrowed | None:
    """What is missing from now on, and what was missing already."""
    was_narrowed = before is not None and parse(before.given) == former.synchronous
    wanted = parse(before.wanted) if before is not None and was_narrowed else former.synchronous
    formers = (*before.formers, former.name) if before is not None and was_narrowed else (former.name,)
    if not now.is_narrower(wanted):
        return None
    return Narrowed(wanted=str(wanted), given=str(now), formers=formers)


async def _repoint(cluster: str, standby: NodePoll, primary: NodePoll) -> None:
    try:
        await steps.follow(standby, primary)
    except steps.StepFailure as error:
        facts = fields(cluster=cluster, node=standby.node.name, primary=primary.node.name, error=error)
        _log.error("standby does not follow the new primary", extra=facts)


def _ended(record: Record, promoted: str, xid_bound: int) -> dict[str, Any]:
    """What changes once a node is primary."""
    return {
        "promoting": None,
        "hold": None,
        "promotions": record.promotions + 1,
        "xid_bound": xid_bound,
        "fenced": {node: timeline for node, timeline in record.fenced.items() if node != promoted},
    }
