"""What is lost by a promotion: WAL that a former primary wrote and its successor does not have. Pure but for the log.

Called by `promotion`, which knows where the histories part, and by `returned`, which sees how far the former came.
"""

from __future__ import annotations

import logging

from helios.failover.record import Loss, Succession
from helios.telemetry.logs import fields
from helios.topology.probe import Reading

__all__ = ["loss_of", "seen_again", "tell"]

_log = logging.getLogger(__name__)


def loss_of(succession: Succession, forked_at: int) -> Loss:
    """What a former primary has written beyond where its successor's history begins, as far as it was seen."""
    end = max(succession.written, forked_at)
    return Loss(
        node=succession.former,
        timeline=succession.timeline,
        from_lsn=_as_lsn(forked_at),
        to_lsn=_as_lsn(end),
        bytes=end - forked_at,
        was_synchronous=succession.was_synchronous,
    )


def seen_again(loss: Loss, node: str, reading: Reading, forked_at: int) -> Loss:
    """The loss, if it is that of this node, as far as it now shows."""
    if (loss.node, loss.timeline) != (node, reading.timeline) or reading.written <= forked_at + loss.bytes:
        return loss
    return loss.model_copy(update={"to_lsn": _as_lsn(reading.written), "bytes": reading.written - forked_at})


def tell(cluster: str, loss: Loss) -> None:
    """Into the log, loudly where acknowledged commits may be among it."""
    level = logging.INFO if loss.was_synchronous and not loss.bytes else logging.ERROR
    facts = fields(cluster=cluster, **loss.model_dump())
    _log.log(level, "what the former primary wrote from here on is lost, seen up to to_lsn", extra=facts)


def _as_lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
