"""Wait for a blocking call on a thread of its own that the end of the process does not wait for.

Used for calls that may hang for long: a drain (`helios.app`) and name resolution (`helios.topology.addresses`).
asyncio's own executor has few threads, shared by all, and both the event loop and the interpreter wait for them when
they end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["on_daemon_thread"]

T = TypeVar("T")


async def on_daemon_thread(name: str, call: Callable[[], T]) -> T:
    """The result of `call()`, or what it raises. Cancelling leaves the call running and forgets its result."""
    outcome: Future[T] = Future()

    def run() -> None:
        outcome.set_running_or_notify_cancel()
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(outcome)
