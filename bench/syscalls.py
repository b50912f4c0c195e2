"""Count the system calls of a running process with strace. Called by `figures.system_calls`."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from helios.play.process import Spawn, spawn
from rig import BenchError, MissingTool

__all__ = ["counting"]

ATTACH_SECONDS = 10
_LINE = re.compile(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)")


@contextlib.contextmanager
def counting(pid: int, summary: Path) -> Iterator[dict[str, int]]:
    """Calls by name of all threads of `pid` during the block; filled when the block ends. Raises BenchError."""
    strace = shutil.which("strace")
    if strace is None:
        raise MissingTool("strace is not installed: apt-get install strace")
    counts: dict[str, int] = {}
    summary.unlink(missing_ok=True)
    tracer = spawn([strace, "-c", "-f", "-q", "-o", summary, "-p", str(pid)], Spawn(death_signal=signal.SIGTERM))
    try:
        _await_attached(tracer, pid)
        yield counts
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(ATTACH_SECONDS)
    counts |= {match[2]: int(match[1]) for line in summary.read_text().splitlines() if (match := _LINE.match(line))}
    counts.pop("total", None)


def _await_attached(tracer: subprocess.Popen[bytes], pid: int) -> None:
    """Wait until every thread is traced."""
    deadline = time.monotonic() + ATTACH_SECONDS
    while True:
        if tracer.poll() is not None:
            raise BenchError("strace cannot trace the proxy (it needs root, or kernel.yama.ptrace_scope = 0)")
        tasks = Path(f"/proc/{pid}/task").iterdir()
        if all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks):
            return
        if time.monotonic() > deadline:
            raise BenchError(f"strace has not attached after {ATTACH_SECONDS} s")
        time.sleep(0.05)
