"""Run the user's command beside the started cluster, with where everything is in its environment.

Called by helios.play.session. On a terminal the command shares our process group, so that Ctrl-C and Ctrl-Z reach it as
in any shell; otherwise it gets a group of its own, which is ended as a whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from helios.play.errors import PlayError
from helios.play.process import Spawn, spawn
from helios.play.signals import Signals, Stopped

__all__ = ["check_command", "run_command", "shell_status"]

GRACE_SECONDS: Final = 10
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127


def check_command(argv: Sequence[str], path: str) -> None:
    """Raise PlayError when no such program is in `path` (as PATH is written), before anything is started for it."""
    if argv and shutil.which(argv[0], path=path) is None:
        raise PlayError(f"cannot run {argv[0]!r}: no such program in PATH", status=NOT_FOUND)


def run_command(argv: Sequence[str], env: Mapping[str, str], signals: Signals) -> int:
    """Run `argv` with `env` on top of ours, standard streams passed through; its status as a shell gives it.

    A signal to us is passed on; 10 s later the command is killed. Raises PlayError when it cannot be started.
    """
    on_terminal = sys.stdin is not None and sys.stdin.isatty()
    options = Spawn(env={**os.environ, **env}, stdin=None, own_session=not on_terminal)
    with signals.left_to_command() if on_terminal else contextlib.nullcontext():
        try:
            child = spawn(argv, options)
        except OSError as error:
            raise PlayError(f"cannot run {argv[0]!r}: {error.strerror}", status=NOT_EXECUTABLE) from error
        return _wait(child, own_group=not on_terminal)


def shell_status(returncode: int) -> int:
    """128 + n for a process that signal n ended."""
    return 128 - returncode if returncode < 0 else returncode


def _wait(child: subprocess.Popen[bytes], *, own_group: bool) -> int:
    try:
        status = child.wait()
    except Stopped as stopped:
        status = _pass_on(child, stopped.number, own_group=own_group)
    if own_group:
        _signal(child, signal.SIGTERM, own_group=True)  # what it left running in the background
    return shell_status(status)


def _pass_on(child: subprocess.Popen[bytes], number: signal.Signals, *, own_group: bool) -> int:
    _signal(child, number, own_group=own_group)
    try:
        return child.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, Stopped):
        _signal(child, signal.SIGKILL, own_group=own_group)
        return child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals, *, own_group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if own_group:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
