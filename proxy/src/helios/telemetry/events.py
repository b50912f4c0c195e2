"""The engine's events, pulled by a thread of their own: logs go to `logging`, suspicions to whoever watches nodes,
commands to the console.

Started and stopped by `helios.app`. The thread waits inside the engine, where it holds no lock of the interpreter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import assert_never

from pydantic import ValidationError

from helios.core import Command, Core, EngineEvent, LogEvent, NodeSuspect, Withdrawn
from helios.errors import HeliosError
from helios.telemetry.logs import fields

__all__ = ["EventPump"]

_WAIT_MS = 250
"""How long one call waits for an event; bounds how long `stop` takes."""

_log = logging.getLogger(__name__)
_engine_log = logging.getLogger("helios.engine")
_LEVELS = logging.getLevelNamesMapping()


class EventPump:
    """Calls `on_suspect` and `on_command` from its own thread, so that they must hand over to an event loop."""

    def __init__(
        self,
        core: Core,
        on_suspect: Callable[[NodeSuspect], None],
        on_command: Callable[[Command | Withdrawn], None],
    ) -> None:
        self._core = core
        self._on_suspect = on_suspect
        self._on_command = on_command
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine events", daemon=True)

    def start(self) -> None:
        """Begin to pull."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what the engine still has to say is lost."""
        self._stopping.set()
        self._thread.join(timeout=4 * _WAIT_MS / 1000)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                event = self._core.next_event(_WAIT_MS)
            except ValidationError as error:
                _log.error("engine sent an event that is not understood", extra=fields(error=error))
                continue
            except HeliosError as error:
                _log.error("engine events end", extra=fields(error=error))
                return
            if event is not None:
                self._handle(event)

    def _handle(self, event: EngineEvent) -> None:
        match event:
            case LogEvent():
                level = _LEVELS[event.level.upper()]
                _engine_log.log(level, "%s", event.message, extra={"fields": event.fields})
            case NodeSuspect():
                facts = fields(cluster=event.cluster, node=event.node, reason=event.reason)
                _log.info("traffic suspects a node", extra=facts)
                self._on_suspect(event)
            case Command() | Withdrawn():
                self._on_command(event)
            case _:
                assert_never(event)
