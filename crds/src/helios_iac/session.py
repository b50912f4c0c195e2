"""One event loop in a thread of its own, one client: what threads of a gRPC server call the asynchronous client by.

Operations of all resources share the client. `stop` is the user's Ctrl-C: waits end at once, writes are finished.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from helios.kube import Client
from helios_iac.connection import Connection
from helios_iac.operations import Operations

__all__ = ["Session"]

R = TypeVar("R")


class Session:
    """A provider's connection, from its configuration to the end of the process."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._client: Client | None = None
        threading.Thread(target=self._loop.run_forever, name="kubernetes", daemon=True).start()

    def run(self, work: Callable[[Operations], Coroutine[Any, Any, R]]) -> R:
        """Do `work` with the operations and wait for its result; raises what it raises."""
        return asyncio.run_coroutine_threadsafe(self._with_client(work), self._loop).result()

    async def _with_client(self, work: Callable[[Operations], Coroutine[Any, Any, R]]) -> R:
        if self._client is None:
            self._client = await Client(self.connection.access).__aenter__()
        return await work(Operations(self._client, self.connection, self._stopped))

    def stop(self) -> None:
        """End all waits."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    def close(self) -> None:
        """Give the connections back."""

        async def leave() -> None:
            if self._client is not None:
                await self._client.__aexit__(None, None, None)
                self._client = None

        asyncio.run_coroutine_threadsafe(leave(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
