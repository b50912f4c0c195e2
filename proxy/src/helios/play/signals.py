"""SIGINT, SIGTERM and SIGHUP as an exception in the main thread. Called by helios.play.session and its command."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

from helios.play.process import children_of

__all__ = ["Signals", "Stopped"]

HANDLED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Someone asked play to end. No error: it passes every `except Exception`, like KeyboardInterrupt."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Signals:
    """Within the `with` block the first signal raises Stopped; later ones kill our children, so that ending ends."""

    def __init__(self) -> None:
        self._stopped = False
        self._interrupt_is_ours = True

    def __enter__(self) -> Signals:
        for number in HANDLED:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)

    @contextlib.contextmanager
    def left_to_command(self) -> Iterator[None]:
        """While a command has the terminal, Ctrl-C is its own affair: it has got the signal too."""
        self._interrupt_is_ours = False
        try:
            yield
        finally:
            self._interrupt_is_ours = True

    def ending(self) -> None:
        """From now on a signal only hastens the end."""
        self._stopped = True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and not self._interrupt_is_ours:
            return
        if not self._stopped:
            self._stopped = True
            raise Stopped(signal.Signals(number))
        for pid in children_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
