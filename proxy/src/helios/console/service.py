"""Takes the console's commands from the engine and answers them, one task each. Made by `helios.running`.

`take` is called from the thread that pulls the engine's events; everything else runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from helios.console.answer import ConsoleError
from helios.console.averages import PERIOD_SECONDS, Averages
from helios.console.command import parse
from helios.console.control import Control
from helios.console.table import Caller, describe, run
from helios.core import Command, Withdrawn
from helios.errors import HeliosError
from helios.telemetry.logs import fields

__all__ = ["ConsoleService"]

_log = logging.getLogger(__name__)

_LOOKS = ("show", "select", "set")
"""Commands that are not worth a line in the log."""


class ConsoleService:
    """Lives on one event loop."""

    def __init__(self, control: Control, answer: Callable[[int, Mapping[str, Any]], None]) -> None:
        self._control = control
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._averages = Averages()
        self._under_way: dict[int, tuple[asyncio.Task[None], Caller]] = {}
        self._sampler: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sample for the averages; commands are taken from the first moment."""
        self._sampler = asyncio.create_task(self._sample())

    def stop(self) -> None:
        """End what is under way; the engine ends its clients."""
        for task, _ in self._under_way.values():
            task.cancel()
        if self._sampler is not None:
            self._sampler.cancel()

    def take(self, event: Command | Withdrawn) -> None:
        """An event of the engine; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: Command | Withdrawn) -> None:
        if isinstance(event, Withdrawn):
            task, caller = self._under_way.get(event.id, (None, None))
            if task is not None and caller is not None:
                caller.was_cancelled = event.cancelled
                task.cancel()
            return
        caller = Caller(event.user, self._control, self._averages)
        task = asyncio.create_task(self._serve(event, caller))
        self._under_way[event.id] = task, caller
        task.add_done_callback(lambda _: self._under_way.pop(event.id, None))

    async def _serve(self, event: Command, caller: Caller) -> None:
        try:
            self._answer(event.id, await self._outcome(event, caller))
        except HeliosError as error:
            _log.error("the engine refused an answer of the console", extra=fields(error=error))

    async def _outcome(self, event: Command, caller: Caller) -> Mapping[str, Any]:
        """The answer to a command, whatever becomes of it."""
        try:
            command = parse(event.text)
            if event.describe:
                return describe(command).document()
            if command.verb not in _LOOKS:
                _log.info("console command", extra=fields(user=event.user, client=event.client, command=event.text))
            return (await run(caller, command)).document()
        except ConsoleError as error:
            return error.document()
        except HeliosError as error:
            return ConsoleError("XX000", str(error)).document()
        except Exception:  # noqa: BLE001 - a fault of ours is logged and answered, the other commands go on
            _log.exception("a console command failed", extra=fields(command=event.text))
            return ConsoleError("XX000", "internal error; the proxy's log has the details").document()

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            self._averages.note(self._control.engine_state().traffic)
