"""The work queue: which keys are to be looked at, each by one worker at a time. Filled by the watcher and by workers.

A key that is added while it waits is there once; added while it is worked on, it comes again afterwards, unless what
it was added for turns out to be the work's own doing. A failure brings it back later and later. Knows nothing of what
the work is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from helios.errors import HeliosError
from helios.telemetry.logs import fields

__all__ = ["WorkQueue"]

_log = logging.getLogger(__name__)
K = TypeVar("K")

FIRST_BACKOFF: Final = 0.2
LAST_BACKOFF: Final = 30.0


class WorkQueue(Generic[K]):
    """Keys to work on."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: dict[K, float] = {}
        self._active: set[K] = set()
        self._again: dict[K, set[int | None]] = {}
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self.done = 0
        """Looks that ended well so far."""
        self.failed = 0
        """Looks that ended with an error so far."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._active)

    @property
    def oldest_seconds(self) -> float:
        """How long the key that waits longest has waited."""
        return time.monotonic() - min(self._waiting.values()) if self._waiting else 0.0

    def add(self, key: K, cause: int | None = None) -> None:
        """Look at `key` as soon as there is a worker. `cause` is the resourceVersion that tells of the change."""
        self._cancel_timer(key)
        if key in self._active:
            self._again.setdefault(key, set()).add(cause)
        elif key not in self._waiting:
            self._waiting[key] = time.monotonic()
            self._ready.put_nowait(key)

    def own(self, cause: int) -> None:
        """A look itself wrote `cause`; that a stream told of it before the answer came is no reason to come again."""
        for key in [key for key, causes in self._again.items() if cause in causes]:
            self._again[key].discard(cause)
            if not self._again[key]:
                del self._again[key]

    def add_after(self, key: K, seconds: float) -> None:
        """Look at `key` after a while, unless something brings it up earlier; the earlier of two times counts."""
        loop = asyncio.get_running_loop()
        present = self._timers.get(key)
        if key in self._waiting or (present is not None and present.when() <= loop.time() + seconds):
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def forget(self, key: K) -> None:
        """The object is gone: no timer brings it back."""
        self._cancel_timer(key)
        self._failures.pop(key, None)

    async def work(self, look: Callable[[K], Awaitable[None]]) -> None:
        """Call `look` for one key after the other, for ever. What fails is logged and tried again later."""
        while True:
            key = await self._ready.get()
            self._waiting.pop(key, None)
            self._active.add(key)
            try:
                await look(key)
            except HeliosError as error:
                self._failed(key, error)
            except Exception as error:  # noqa: BLE001 - a fault of ours over one object must not stop the others
                _log.exception("look failed by a fault of the operator", extra=fields(object=key))
                self._failed(key, error)
            else:
                self.done += 1
                self._failures.pop(key, None)
            finally:
                self._active.discard(key)
                if self._again.pop(key, None):
                    self.add(key)

    def _failed(self, key: K, error: Exception) -> None:
        self.failed += 1
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(FIRST_BACKOFF * 2**count, LAST_BACKOFF)
        _log.warning("look failed", extra=fields(object=key, error=error, retry_seconds=delay))
        self.add_after(key, delay)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
