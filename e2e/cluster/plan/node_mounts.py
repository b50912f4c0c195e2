"""What a node's own view of the file system looks like: commands that its first process runs, in this order.

Called by `node_level`. The node's folder and programs get fixed paths below /run before anything is covered, so they
may lie anywhere on the machine. No mount point is ever made on the machine's own file systems.
"""

from __future__ import annotations

from pathlib import Path

from cluster.plan.cgroups import CgroupLayout

__all__ = ["HOST_PATHS", "KUBELET_FOLDER", "NODE_FOLDER", "NODE_PROGRAMS", "SYSCTLS", "mount_commands"]

NODE_FOLDER = Path("/run/helios/node")
"""The cluster's folder as the node sees it."""
NODE_PROGRAMS = Path("/run/helios/programs")
KUBELET_FOLDER = "/var/lib/kubelet"
HOST_PATHS = "/tmp/hostpath_pv"  # fixed in the host path provisioner of the controller manager

COVERED = ("/var/lib", "/var/log", "/tmp")  # replaced by empty file systems of the node's own
BOUND = {"kubelet": KUBELET_FOLDER, "pods": "/var/log/pods", "hostpath": HOST_PATHS}
"""Folder of the cluster → where the node has it."""

SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""Values of the whole machine that the kubelet insists on: it is shown files that say so, the machine's stay."""

Command = list[str]


def mount_commands(folder: Path, programs: Path, layout: CgroupLayout) -> list[Command]:
    """Everything from the machine's view to the node's."""
    return [
        ["mount", "--make-rprivate", "/"],
        *own_run(folder, programs),
        ["mount", "-t", "sysfs", "sysfs", "/sys"],
        *cgroup_commands(layout),
        *(tmpfs(path) for path in COVERED),
        *(command for name, path in BOUND.items() for command in bind(NODE_FOLDER / name, path)),
        *(["mount", "--bind", str(NODE_FOLDER / "sysctl" / name), f"/proc/sys/{name}"] for name in SYSCTLS),
        ["mount", "--make-rshared", "/"],
        ["hostname", "node1"],
        ["ip", "link", "set", "lo", "up"],
    ]


def own_run(folder: Path, programs: Path) -> list[Command]:
    """An empty /run with the two folders in it. They are bound aside first, since they may lie below /run."""
    aside = "/sys"
    return [
        ["mount", "-t", "tmpfs", "tmpfs", aside],
        ["mkdir", f"{aside}/node", f"{aside}/programs"],
        ["mount", "--bind", str(folder), f"{aside}/node"],
        ["mount", "--bind", str(programs), f"{aside}/programs"],
        tmpfs("/run"),
        ["mkdir", "-p", str(NODE_FOLDER), str(NODE_PROGRAMS)],
        ["mount", "--move", f"{aside}/node", str(NODE_FOLDER)],
        ["mount", "--move", f"{aside}/programs", str(NODE_PROGRAMS)],
        ["umount", aside],
    ]


def cgroup_commands(layout: CgroupLayout) -> list[Command]:
    """The node's own cgroups, and no others, below /sys/fs/cgroup."""
    top = "/sys/fs/cgroup"
    if not layout.is_v1:
        return [["mount", "-t", "cgroup2", "cgroup2", top]]
    commands = [tmpfs(top)]
    for hierarchy in layout.hierarchies:
        path = f"{top}/{hierarchy.folder_name}"
        options = hierarchy.mount_options
        commands += [["mkdir", path], ["mount", "-t", "cgroup", "-o", options, "cgroup", path]]
        # Programs look for `cpu` where the machine has `cpu,cpuacct`.
        for name in hierarchy.controllers if len(hierarchy.controllers) > 1 else ():
            commands.append(["ln", "-s", hierarchy.folder_name, f"{top}/{name}"])
    return commands


def tmpfs(path: str) -> Command:
    """An empty file system."""
    return ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path]


def bind(source: Path, path: str) -> list[Command]:
    """A folder at another path, on a file system of the node's own."""
    return [["mkdir", "-p", path], ["mount", "--bind", str(source), path]]
