"""Count the instructions that a proxy runs in user space, with valgrind. Called by `figures.user_instructions`.

The count does not depend on what else the machine does, so it is the figure to optimise by on a busy one.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from helios.play.process import Spawn, run
from rig import BenchError, MissingTool, Proxy

__all__ = ["counted", "counting", "wrapper"]

_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def wrapper(out: Path) -> list[str]:
    """The command that runs a program so that `counting` works; its counts go to `out` when it ends."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise MissingTool("valgrind is not installed: apt-get install valgrind")
    return [valgrind, "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]


@contextlib.contextmanager
def counting(proxy: Proxy) -> Iterator[None]:
    """Count during the block. Raises BenchError."""
    _control(proxy, "on")
    yield
    _control(proxy, "off")


def counted(out: Path) -> int:
    """Instructions of all threads, once the program has ended. Raises BenchError."""
    found = _TOTALS.search(out.read_text(errors="replace")) if out.exists() else None
    if found is None:
        raise BenchError("valgrind wrote no counts")
    return int(found[1])


def _control(proxy: Proxy, state: str) -> None:
    """Only the user who runs a program under valgrind may talk to it."""
    answer = run(["callgrind_control", "-i", state, str(proxy.pid)], Spawn(proxy.identity, cwd=proxy.log.parent))
    if answer.returncode != 0:
        raise BenchError(f"callgrind_control -i {state} failed for {proxy.name}: {answer.stdout.strip()[-300:]}")
