"""What a cluster has on this machine: processes, mounts, cgroups, its interface, files; and the machine's own rules.

Called by the tests of teardown, before and after; hands on one line for each thing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cluster.node_level import index_of

__all__ = ["command_line", "interfaces", "leftovers", "machine_state", "processes_of"]


def processes_of(folder: Path) -> set[int]:
    """Processes of a cluster, this one aside: they work in its folder, name it, or are in a node's cgroups."""
    return {pid for pid in pids() if pid != os.getpid() and belongs(pid, folder)}


def belongs(pid: int, folder: Path) -> bool:
    """Whether a process is one of a cluster's."""
    return str(folder) in command_line(pid) + working_folder(pid) or f"/{folder.name}" in text_of(pid, "cgroup")


def pids() -> list[int]:
    """All processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> str:
    """A process's arguments, each with a zero byte after it; empty when it has ended."""
    return text_of(pid, "cmdline")


def text_of(pid: int, name: str) -> str:
    """A file of a process; empty when it is gone."""
    try:
        return Path("/proc", str(pid), name).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def working_folder(pid: int) -> str:
    """Where a process works; empty when it is gone or not ours to ask."""
    try:
        return str(Path("/proc", str(pid), "cwd").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def leftovers(name: str, folder: Path, processes: set[int]) -> list[str]:
    """What is still there of a cluster that was closed; `processes` are those it had."""
    found = [f"process {pid}: {command_line(pid)}" for pid in processes if command_line(pid)]
    found += [f"mount {line}" for line in mounts() if name in line]
    found += [f"cgroup {path}" for path, _, _ in os.walk("/sys/fs/cgroup") if f"/{name}" in path]
    found += [f"folder {folder}"] if folder.exists() else []
    return found


def mounts() -> list[str]:
    """Every mount that this process sees."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()


def interfaces() -> dict[str, int]:
    """Our ends of the cables to nodes: name → the kernel's number, which is never used again. Routes go with them."""
    ours = [entry for entry in Path("/sys/class/net").iterdir() if entry.name.startswith("helios")]
    indexes = {entry.name: index_of(entry) for entry in ours}
    return {name: int(index) for name, index in indexes.items() if index is not None}


def machine_state() -> dict[str, list[str]]:
    """What a kubelet on the machine itself would change: its firewall rules, and folders that it would make."""
    folders = ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/tmp/hostpath_pv")
    state = {"folders": [path for path in folders if Path(path).exists()]}
    if shutil.which("iptables-save"):
        state["rules"] = [line for line in run("iptables-save") if line.startswith(("-A", ":KUBE", ":CNI"))]
    return state


def run(*command: str) -> list[str]:
    """Lines that a command writes."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
