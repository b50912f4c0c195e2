"""What a process and all below it have cost so far, from the kernel's own counters. Called by `figures`.

The total comes from the process's CPU clock (all threads, also ended ones, in nanoseconds), because /proc/PID/stat
counts in ticks of 10 ms; from there comes only how the total splits into user and system time.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helios.play.process import children_of

__all__ = ["Cpu", "busy_of_machine", "cpu_of", "ended_children", "memory_of", "thread_cpu_of"]

_UTIME, _STIME, _CUTIME, _CSTIME = 11, 12, 13, 14  # fields of /proc/PID/stat, counted after the name
_TICK = 1e6 / os.sysconf("SC_CLK_TCK")  # microseconds
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True)
class Cpu:
    """CPU time, in microseconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """User and system time together."""
        return self.user + self.system

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.user - earlier.user, self.system - earlier.system)

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)

    def per(self, count: float) -> Cpu:
        """The share of one of `count`."""
        return Cpu(self.user / count, self.system / count)


def cpu_of(pid: int) -> Cpu:
    """CPU time of a process, its living descendants and the ended ones they have waited for."""
    total = _own_cpu(pid)
    for member in _descendants(pid):
        with suppress(OSError):  # ended since it was listed: from then on it is in its parent's figure
            total += _own_cpu(member)
    return total


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its descendants (shared pages count in each)."""
    total = _status_kib(pid, "VmRSS")
    for member in _descendants(pid):
        with suppress(OSError):  # ended since it was listed
            total += _status_kib(member, "VmRSS")
    return total * 1024


def thread_cpu_of(pid: int) -> dict[str, float]:
    """Microseconds of CPU by thread name, of the process itself; threads of one name are added up."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        nanoseconds = int((task / "schedstat").read_text().split()[0])
        found[name] = found.get(name, 0) + nanoseconds / 1e3
    return found


def ended_children() -> float:
    """Microseconds of CPU of all child processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def busy_of_machine() -> float:
    """Microseconds that all CPUs together were not idle, with what the hypervisor took away."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * _TICK


def _descendants(pid: int) -> Iterator[int]:
    """Children, their children and so on."""
    for child in children_of(pid):
        yield child
        yield from _descendants(child)


def _own_cpu(pid: int) -> Cpu:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, ended_user, ended_system = (
        int(fields[index]) * _TICK for index in (_UTIME, _STIME, _CUTIME, _CSTIME)
    )
    total = time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / 1e3
    share = user / (user + system) if user + system else 0.5
    return Cpu(total * share + ended_user, total * (1 - share) + ended_system)


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
