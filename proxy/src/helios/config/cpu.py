"""How many CPUs this process may use. Called by `snapshot` for `workers = 0`."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["cpu_limit"]


_QUOTA_AND_PERIOD = re.compile(r"(\d+)\s+([1-9]\d*)\s*")  # "max" or -1 instead of a quota is no limit


def cpu_limit(cgroup_root: Path = Path("/sys/fs/cgroup"), own_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs of the container's quota (rounded up) or of the process's affinity, the smaller; at least 1."""
    limits = [_affinity(), *_quotas(cgroup_root, own_cgroup)]
    return max(1, min(limits))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path, own_cgroup: Path) -> list[int]:
    """Quotas of this process's control group and all above it, in either version; empty where there is none."""
    found = []
    for folder in _folders(root, own_cgroup):
        version_1 = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        for text in (_read(folder / "cpu.max"), version_1):
            match = _QUOTA_AND_PERIOD.fullmatch(text)
            if match:
                found.append(-(-int(match[1]) // int(match[2])))
    return found


def _folders(root: Path, own_cgroup: Path) -> list[Path]:
    folders = []
    for line in _read(own_cgroup).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        relative = Path(path.lstrip("/"))
        if ".." not in relative.parts:
            folders += [mount / relative, *(mount / parent for parent in relative.parents)]
    return folders or [root, root / "cpu"]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
