"""End tasks of the event loop. Called by what keeps some: `helios.topology`, `helios.failover`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["cancel"]


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel every task, then wait until all of them have ended; what they raise is forgotten."""
    cancelled = tuple(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
