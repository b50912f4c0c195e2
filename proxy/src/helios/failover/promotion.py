"""From the choice of a standby to the open gate, and the same begun by another proxy.

Called by `guard` and `switchover`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from helios.core import Promotion
from helios.failover import loss, steps
from helios.failover.candidate import Choice, Former, Refusal, Standby
from helios.failover.decisions import Decisions
from helios.failover.lease import LeaseError
from helios.failover.obstacle import Obstacle
from helios.failover.record import Beginning, Narrowed, Record, Succession
from helios.failover.synchronous import Synchronous, parse
from helios.telemetry.logs import fields
from helios.topology.node_poll import NodePoll

__all__ = ["ask_all", "former_of", "point", "promote", "resume"]

_log = logging.getLogger(__name__)

_KEPT = 8
"""Promotions that are remembered: more than happen while one commit is looked for."""


def former_of(decisions: Decisions, primary: NodePoll) -> Former:
    """What is known of the primary that is to be replaced."""
    reading, beginning = primary.reading, decisions.record.beginning
    assert reading is not None, "a primary has said that it is one"
    return Former(
        name=primary.node.name,
        system_identifier=reading.system_identifier,
        timeline=reading.timeline,
        began_at=beginning.at if beginning is not None and beginning.timeline == reading.timeline else None,
        written=reading.written,
        synchronous=parse(reading.synchronous_standby_names),
        standbys=tuple(poll.node.name for poll in decisions.monitor.polls if poll is not primary),
    )


async def ask_all(decisions: Decisions, primary: NodePoll) -> list[Standby]:
    """Every standby that can be asked, at the same time."""
    polls = [poll for poll in decisions.monitor.polls if poll is not primary and poll.reading is not None]
    asked = await asyncio.gather(*(steps.ask(decisions.lines, poll) for poll in polls), return_exceptions=True)
    for answer in asked:
        if isinstance(answer, BaseException) and not isinstance(answer, steps.StepFailure):
            raise answer
    return [answer for answer in asked if isinstance(answer, Standby)]


async def promote(
    decisions: Decisions, former: Former, choice: Choice | Refusal, heard: Sequence[Standby], *, is_planned: bool
) -> str:
    """Make the chosen one the primary; its name. `is_planned`: the former had nothing more to write. `StepFailure`."""
    if isinstance(choice, Refusal):
        raise steps.StepFailure(choice.reason, choice.obstacle)
    names = _names(former, choice.standby, heard)
    succession = Succession(
        former=former.name,
        timeline=former.timeline,
        written=former.written,
        was_synchronous=former.is_synchronous,
        is_planned=is_planned,
        names=None if names is None else str(names),
    )
    narrowed = None if names is None else _narrowed(decisions.record.narrowed, former, names)
    decisions.progress.begin("record")
    await decisions.decide(promoting=choice.standby.name, succession=succession, narrowed=narrowed)
    return await _complete(decisions, decisions.poll_of(choice.standby.name), succession)


async def resume(decisions: Decisions) -> None:
    """Somebody was about to promote this node when the lease came to us, or we when something failed: see to it."""
    record = decisions.record
    chosen = next((poll for poll in decisions.monitor.polls if poll.node.name == record.promoting), None)
    if chosen is None or not chosen.fresh or record.succession is None:
        decisions.refuse(f"{record.promoting} may have been promoted and cannot be asked", Obstacle.SERVER)
        return
    try:
        await _complete(decisions, chosen, record.succession)
    except (steps.StepFailure, LeaseError) as error:
        decisions.refuse(str(error), error.obstacle)


async def _complete(decisions: Decisions, chosen: NodePoll, succession: Succession) -> str:
    """From what is written down to the open gate, however much of it has been done before."""
    decisions.progress.begin("configure")
    if succession.names is not None:
        await steps.configure(decisions.lines, chosen, parse(succession.names))
        if not succession.names:
            facts = fields(cluster=decisions.name, node=chosen.node.name)
            _log.warning("commits are not synchronous any more", extra=facts)
    promoted = await _promoted(decisions, chosen)
    point(decisions, [poll for poll in decisions.monitor.polls if poll.in_recovery], chosen)
    decisions.progress.begin("look")
    await chosen.poll_now()
    decisions.progress.begin("open")
    record = decisions.record
    losses = () if succession.is_planned else (loss.loss_of(succession, promoted.forked_at),)
    await decisions.decide(
        **_ended(record, chosen, promoted),
        forks={**record.forks, succession.former: promoted.forked_at},
        losses=(*record.losses, *losses),
    )
    decisions.refused, decisions.last_promotion_at = None, datetime.now(UTC)
    facts = fields(
        cluster=decisions.name,
        node=chosen.node.name,
        before=succession.former,
        xid_bound=promoted.xid_bound,
        **decisions.progress.end(),
    )
    _log.warning("standby promoted", extra=facts)
    for each in losses:
        loss.tell(decisions.name, each)
    return chosen.node.name


async def _promoted(decisions: Decisions, chosen: NodePoll) -> steps.Promoted:
    decisions.progress.begin("promote")
    return await steps.promote(
        decisions.lines, chosen, decisions.config.promote_timeout_seconds, lambda: decisions.may_decide
    )


def _names(former: Former, standby: Standby, heard: Sequence[Standby]) -> Synchronous | None:
    """For whom commits wait from the first one on; None if they never did."""
    if not former.synchronous.names:
        return None
    return former.synchronous.after(standby.application_name, [each.application_name for each in heard])


def _narrowed(before: Narrowed | None, former: Former, now: Synchronous) -> Narrowed | None:
    """What is missing from now on, and what was missing already."""
    was_narrowed = before is not None and parse(before.given) == former.synchronous
    wanted = parse(before.wanted) if before is not None and was_narrowed else former.synchronous
    formers = (*before.formers, former.name) if before is not None and was_narrowed else (former.name,)
    if not now.is_narrower(wanted):
        return None
    return Narrowed(wanted=str(wanted), given=str(now), formers=formers)


def point(decisions: Decisions, standbys: Iterable[NodePoll], primary: NodePoll) -> None:
    """Have standbys of its system stream from a new primary."""
    for poll in standbys:
        if poll is not primary and _is_of_one_system(poll, primary):
            decisions.in_background(_point(decisions, poll, primary))


def _is_of_one_system(poll: NodePoll, primary: NodePoll) -> bool:
    readings = (poll.reading, primary.reading)
    return len({reading.system_identifier for reading in readings if reading is not None}) == 1


async def _point(decisions: Decisions, standby: NodePoll, primary: NodePoll) -> None:
    try:
        await steps.follow(decisions.lines, standby, primary)
    except steps.StepFailure as error:
        facts = fields(cluster=decisions.name, node=standby.node.name, primary=primary.node.name, error=error)
        _log.error("standby does not follow the new primary", extra=facts)


def _ended(record: Record, primary: NodePoll, promoted: steps.Promoted) -> dict[str, Any]:
    """What changes once a node is primary."""
    timeline = primary.reading.timeline if primary.reading is not None else None
    last = Promotion(timeline=promoted.timeline, forked_at=promoted.forked_at, xid_bound=promoted.xid_bound)
    return {
        "promoting": None,
        "hold": None,
        "promotions": record.promotions + 1,
        "beginning": None if timeline is None else Beginning(timeline=timeline, at=promoted.forked_at),
        "xid_bound": promoted.xid_bound,
        "history": (*record.history, last)[-_KEPT:] if promoted.is_ours else record.history,
        "fenced": {node: before for node, before in record.fenced.items() if node != primary.node.name},
    }
