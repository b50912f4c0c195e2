"""Count what a proxy runs in user space, with valgrind: instructions, and allocations. Called by
`figures.user_instructions`.

The count does not depend on what else the machine does, so it is the figure to optimise by on a busy one.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helios.play.process import Spawn, run
from rig import BenchError, MissingTool, Proxy

__all__ = ["Counts", "counted", "counting", "wrapper"]

_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)
_NAMES = re.compile(r"^c?fn=\((\d+)\) (.+)$", re.MULTILINE)
_CALLS = re.compile(r"^cfn=\((\d+)\).*\ncalls=(\d+) ", re.MULTILINE)
_ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}


@dataclass(frozen=True)
class Counts:
    """What all threads ran, and how often the busiest of them asked for memory: with one worker, that worker."""

    instructions: int
    allocations: int


def wrapper(out: Path) -> list[str]:
    """The command that runs a program so that `counting` works; its counts go to `out` when it ends."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise MissingTool("valgrind is not installed: apt-get install valgrind")
    return [
        valgrind,
        "--quiet",
        "--tool=callgrind",
        "--instr-atstart=no",
        "--separate-threads=yes",
        f"--callgrind-out-file={out}",
    ]


@contextlib.contextmanager
def counting(proxy: Proxy) -> Iterator[None]:
    """Count during the block. Raises BenchError."""
    _control(proxy, "on")
    yield
    _control(proxy, "off")


def counted(out: Path) -> Counts:
    """What was counted, once the program has ended. Raises BenchError."""
    threads = [file.read_text(errors="replace") for file in out.parent.glob(f"{out.name}-*")]
    totals = {int(found[1]): thread for thread in threads if (found := _TOTALS.search(thread))}
    if not any(totals):
        raise BenchError("valgrind wrote no counts")
    return Counts(sum(totals), _allocations(totals[max(totals)]))


def _allocations(thread: str) -> int:
    """Calls of the allocator in one thread's counts, in which a function is named once and then goes by its number."""
    ours = {number for number, name in _NAMES.findall(thread) if name in _ALLOCATORS}
    return sum(int(calls) for number, calls in _CALLS.findall(thread) if number in ours)


def _control(proxy: Proxy, state: str) -> None:
    """Only the user who runs a program under valgrind may talk to it."""
    answer = run(["callgrind_control", "-i", state, str(proxy.pid)], Spawn(proxy.identity, cwd=proxy.log.parent))
    if answer.returncode != 0:
        raise BenchError(f"callgrind_control -i {state} failed for {proxy.name}: {answer.stdout.strip()[-300:]}")
