"""A standby becomes the primary while the primary lives. Called by `controller`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from helios.config import PromotionPolicy
from helios.failover import fence, steps
from helios.failover.candidate import Refusal, Standby, choose
from helios.failover.decisions import Decisions
from helios.failover.promotion import ask_all, former_of, promote
from helios.failover.record import Record
from helios.failover.status import SwitchoverFailure
from helios.topology.node_poll import NodePoll

__all__ = ["switch_over"]

_DRAIN_LOOK_SECONDS = 0.005
_SETTLE_MS = 1_000
_CATCH_UP_SECONDS = 5.0
"""How long a switchover waits for its standby once nothing is written any more."""


async def switch_over(decisions: Decisions, to: str | None) -> str:
    """The name of the new primary. `SwitchoverFailure`, `StepFailure`, `FenceFailure` or `LeaseError` with the reason
    if nothing has changed."""
    primary = decisions.monitor.primary
    if primary is None or not primary.fresh:
        raise SwitchoverFailure("there is no primary that answers: nothing to switch over from")
    target = await _target(decisions, primary, to)
    decisions.progress.begin("checkpoint")
    await steps.checkpoint(decisions.lines, primary)
    before = decisions.record
    try:
        decisions.progress.begin("pause")
        await decisions.decide(hold=f"{primary.node.name} is being replaced (switchover)")
        decisions.progress.begin("drain")
        await _drain(decisions)
        decisions.progress.begin("catch_up")
        end = await _caught_up(decisions, primary, target)
        former = former_of(decisions, primary)
        decisions.progress.begin("confirm")
        await decisions.decide(fenced={**decisions.record.fenced, former.name: former.timeline or 0})
        decisions.progress.begin("fence")
        end = await _fence(decisions, primary, target, end)
        decisions.progress.begin("ask")
        asked = await ask_all(decisions, primary)
        heard = [replace(standby, received=min(standby.received, end)) for standby in asked]
        former = replace(former_of(decisions, primary), written=end)
        choice = choose(former, heard, _policy(decisions), target)
        return await promote(decisions, former, choice, heard, is_planned=True)
    except BaseException:
        if decisions.record.promoting is None:
            await _undo(decisions, primary, before)
        raise


async def _target(decisions: Decisions, primary: NodePoll, to: str | None) -> str:
    """Who takes over. What is refused now is refused before anybody has waited; who has received how much will be seen
    to."""
    monitor = decisions.monitor
    if to is not None and to == primary.node.name:
        raise SwitchoverFailure(f"{to} is the primary already")
    if to is not None and all(poll.node.name != to for poll in monitor.polls):
        raise SwitchoverFailure(f"there is no enabled node {to!r} in cluster {decisions.name!r}")
    former = former_of(decisions, primary)
    heard: list[Standby] = [replace(each, received=former.written) for each in await ask_all(decisions, primary)]
    choice = choose(former, heard, _policy(decisions), to)
    if isinstance(choice, Refusal):
        raise SwitchoverFailure(choice.reason)
    return choice.standby.name


def _policy(decisions: Decisions) -> PromotionPolicy:
    """Where nobody is promoted by itself, somebody may still be on demand."""
    policy = decisions.config.policy
    return PromotionPolicy.PREFER_SYNC if policy is PromotionPolicy.NEVER else policy


async def _fence(decisions: Decisions, primary: NodePoll, target: str, end: int) -> int:
    """Have the primary write no more; where its WAL ends, which `target` has. `FenceFailure`."""
    if decisions.config.fence_command:
        await fence.by_command(primary.node, decisions.config)
        decisions.fence = f"{primary.node.name}: fence_command"
        return end
    await fence.by_sql(decisions.lines, primary)
    decisions.fence = f"{primary.node.name}: read-only by SQL"
    # What others wrote between the last look and the fence must come along too.
    return await _caught_up(decisions, primary, target)


async def _caught_up(decisions: Decisions, primary: NodePoll, target: str) -> int:
    """Where the WAL of the primary ends, once the standby has all of that. `StepFailure`."""
    end = await steps.end_of_wal(decisions.lines, primary)
    await steps.await_position(decisions.lines, decisions.poll_of(target), end, _CATCH_UP_SECONDS)
    return end


async def _undo(decisions: Decisions, primary: NodePoll, before: Record) -> None:
    """Everything as it was, before anybody was told to become primary."""
    was_fenced = primary.node.name in decisions.record.fenced
    if was_fenced and not decisions.config.fence_command:
        await fence.lift(decisions.lines, primary)
    await decisions.decide(hold=before.hold, fenced=before.fenced)
    await primary.poll_now()


async def _drain(decisions: Decisions) -> None:
    """Wait until no transaction is open. `StepFailure` after `drain_after_seconds`."""
    limit = decisions.config.drain_after_seconds
    loop = asyncio.get_running_loop()
    until = loop.time() + limit
    while (open_now := await decisions.open_transactions(_SETTLE_MS)) != 0:
        if loop.time() > until:
            raise steps.StepFailure(f"{open_now} transactions were still open after {limit} s; nothing has changed")
        await asyncio.sleep(_DRAIN_LOOK_SECONDS)
