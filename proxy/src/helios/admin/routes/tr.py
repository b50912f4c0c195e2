"""GET /api/tr: transactions that outlived their server, and those that did not."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL
from helios.admin.models import TransactionReplayView, answer

__all__ = ["ROUTES"]


async def transaction_replay(request: web.Request) -> web.Response:
    """Counts of the whole process."""
    control = request.app[CONTROL]
    replays = control.engine_state().replays
    return answer(
        TransactionReplayView(
            enabled=control.config.transaction_replay.enabled,
            active=replays.active,
            completed=replays.completed_total,
            acknowledged=replays.acknowledged_total,
            statements=replays.statements_total,
            sessions=replays.sessions_total,
            diverged={each.reason: each.total for each in replays.failed},
        )
    )


ROUTES = [web.get("/api/tr", transaction_replay)]
