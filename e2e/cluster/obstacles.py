"""Why a level cannot run on this machine: one sentence, or nothing. Called by `open_cluster` and by `make e2e`.

`look` reads the machine, `obstacle` decides; the sentence ends with the levels that are left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.cgroups import current_layout
from cluster.level import Level
from cluster.plan.cgroups import NEEDED, CgroupLayout

__all__ = ["KUBECONFIG", "Machine", "look", "obstacle"]

KUBECONFIG = "HELIOS_KUBECONFIG"
CNI_PLUGINS = Path("/usr/lib/cni")
NODE_TOOLS = (
    *("unshare", "nsenter", "mount", "ip", "hostname", "iptables", "conntrack"),
    *("containerd", "ctr", "runc"),
)
PROBE = "ip link add name probe0 type veth peer name probe1 && iptables -w -t nat -L > /dev/null"
"""What a node does to its network, tried in namespaces that are gone at once."""


@dataclass(frozen=True)
class Machine:
    """What decides about the levels."""

    is_root: bool
    missing: tuple[str, ...]
    """Programs that a node needs and that are not installed."""
    cgroups: CgroupLayout
    file_systems: frozenset[str]
    namespaces: str
    """Why namespaces cannot be made or used as a node uses them; empty when they can."""
    has_kind: bool
    has_docker: bool
    kubeconfig: str | None
    """HELIOS_KUBECONFIG."""


def look() -> Machine:
    """This machine."""
    root = os.geteuid() == 0
    missing = tuple(name for name in NODE_TOOLS if find_tool(name) is None)
    missing += () if (CNI_PLUGINS / "bridge").is_file() else ("CNI plugins",)
    file_systems = frozenset(line.split()[-1] for line in Path("/proc/filesystems").read_text("ascii").splitlines())
    return Machine(
        is_root=root,
        missing=missing,
        cgroups=current_layout(),
        file_systems=file_systems,
        namespaces=try_namespaces() if root and not missing else "",
        has_kind=shutil.which("kind") is not None,
        has_docker=shutil.which("docker") is not None and succeeds("docker", "info"),
        kubeconfig=os.environ.get(KUBECONFIG) or None,
    )


def find_tool(name: str) -> str | None:
    """A program of the machine, also where only root looks."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def try_namespaces() -> str:
    """Make a veth pair and read the nat table in namespaces as a node has them; the reason when that fails."""
    flags = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--mount-proc"]
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    command = ["unshare", *flags, "sh", "-c", PROBE]
    answer = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    lines = answer.stderr.strip().splitlines() or [f"status {answer.returncode}"]
    return "" if answer.returncode == 0 else lines[-1]


def succeeds(*command: str) -> bool:
    """Whether a command ends with status 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def obstacle(level: Level, machine: Machine) -> str | None:
    """Why a level cannot run; None when it can."""
    why = reason(level, machine)
    if why is None:
        return None
    left = [str(each) for each in Level if each is not level and reason(each, machine) is None]
    return f"level {level} cannot run here: {why}; levels that can: {', '.join(left)}"


def reason(level: Level, machine: Machine) -> str | None:
    """The first thing that is in the way of a level."""
    match level:
        case Level.APISERVER:
            return None
        case Level.NODE:
            return reason_against_node(machine)
        case Level.KIND:
            if not machine.has_kind:
                return "the program kind is not installed"
            return None if machine.has_docker else "no Docker engine answers"
        case Level.KUBECONFIG:
            return None if machine.kubeconfig else f"{KUBECONFIG} is not set"


def reason_against_node(machine: Machine) -> str | None:
    """The first thing that is in the way of a kubelet of our own."""
    if not machine.is_root:
        return "namespaces, mounts and cgroups of a node need root"
    if machine.missing:
        return f"not installed: {', '.join(machine.missing)}"
    layout = machine.cgroups
    if layout.version == "none":
        return "no cgroups are mounted"
    if layout.is_v1 and (lacking := NEEDED - layout.controllers):
        return f"cgroup version 1 is mounted without {', '.join(sorted(lacking))}"
    if layout.version == "v2" and not layout.hierarchies:
        return "no cgroup of version 2 above this process hands on cpu, cpuset, memory and pids"
    if "overlay" not in machine.file_systems:
        return "the kernel has no overlay file system"
    return f"namespaces do not work ({machine.namespaces})" if machine.namespaces else None
