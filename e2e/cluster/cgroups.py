"""Make and remove the cgroups of a node. Called by `node_level` and `state`; `plan.cgroups` says which."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cluster.control import await_condition
from cluster.errors import ClusterError
from cluster.plan.cgroups import NEEDED, CgroupLayout, read_layout

__all__ = ["current_layout", "make_cgroups", "remove_cgroups"]

REMOVE_SECONDS = 15.0
"""How long the last processes of a node may take to be gone from its cgroups."""


def current_layout() -> CgroupLayout:
    """The layout of this machine for this process.

    On version 2 a cgroup with processes in it hands no controllers on (unless it is the root), so a node then goes
    beside ours: below the nearest cgroup above that hands on what is needed.
    """
    own, mounts = (Path(f"/proc/self/{name}").read_text(encoding="utf-8") for name in ("cgroup", "mountinfo"))
    layout = read_layout(own, mounts)
    if layout.version != "v2":
        return layout
    hierarchy = layout.hierarchies[0]
    for folder in (hierarchy.own, *hierarchy.own.parents):
        if not folder.is_relative_to(hierarchy.mount_point):
            break
        if words_of(folder / "cgroup.subtree_control") >= NEEDED:
            return replace(layout, hierarchies=(replace(hierarchy, own=folder),))
    return replace(layout, hierarchies=())


def words_of(file: Path) -> frozenset[str]:
    """Words of a file of the kernel's; none when it does not exist."""
    return frozenset(file.read_text(encoding="ascii").split()) if file.is_file() else frozenset()


def make_cgroups(folders: Iterable[Path]) -> None:
    """Make a node's cgroups. A cpuset of version 1 has no CPU and no memory until it is told some."""
    for folder in folders:
        folder.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (folder / name).is_file() and not (folder / "cgroup.controllers").exists():
                (folder / name).write_text((folder.parent / name).read_text(encoding="ascii"), encoding="ascii")


def remove_cgroups(folders: Iterable[Path]) -> None:
    """Remove cgroups with all below them.

    Raises:
        ClusterError: a process is still in one of them.
    """
    for folder in folders:

        def removed(folder: Path = folder) -> bool:
            return remove_tree(folder)

        try:
            await_condition(removed, f"cgroup {folder} is empty", REMOVE_SECONDS)
        except TimeoutError as error:
            raise ClusterError(str(error)) from error


def remove_tree(folder: Path) -> bool:
    """Remove what can be removed; whether all is gone."""
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            Path(path).rmdir()
        except OSError:
            # Its processes are on their way out; the caller asks again.
            continue
    return not folder.exists()
