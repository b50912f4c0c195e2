"""Which cgroup hierarchies this process is in, and where a node's own go. Pure: reads the kernel's tables as text.

Called by `obstacles` (can a node run here?), by `node_level` (which folders to make) and by `node_mounts`.
A node is always put below the caller's own cgroups, so that it never leaves the limits it was given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["NEEDED", "CgroupLayout", "Hierarchy", "read_layout"]

NEEDED = frozenset({"cpu", "cpuset", "memory", "pids"})
"""Controllers without which a kubelet does not start."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy and the place of this process in it."""

    controllers: tuple[str, ...]
    """Of version 1; a named hierarchy has its name here as `name=…`. Empty for version 2."""
    mount_point: Path
    own: Path
    """Folder of the cgroup that this process is in."""

    @property
    def folder_name(self) -> str:
        """What the hierarchy is called below /sys/fs/cgroup."""
        return ",".join(self.controllers).removeprefix("name=")

    @property
    def mount_options(self) -> str:
        """What mounts this hierarchy of version 1."""
        named = [name for name in self.controllers if name.startswith("name=")]
        return ",".join(["none", *named] if named else self.controllers)


@dataclass(frozen=True)
class CgroupLayout:
    """All hierarchies that a node would use."""

    version: str
    """`v1`, `hybrid` (the controllers are on version 1, version 2 has none of them) or `v2`; `none` without any."""
    hierarchies: tuple[Hierarchy, ...]

    @property
    def is_v1(self) -> bool:
        """Whether the controllers are on version 1."""
        return self.version in ("v1", "hybrid")

    @property
    def controllers(self) -> frozenset[str]:
        """Controllers of version 1 that are mounted."""
        return frozenset(name for hierarchy in self.hierarchies for name in hierarchy.controllers)

    def folders(self, name: str) -> list[Path]:
        """The cgroups to make for a node of this name. On version 2 beside ours where ours can have no children."""
        return [hierarchy.own / name for hierarchy in self.hierarchies]


def read_layout(own: str, mounts: str) -> CgroupLayout:
    """The layout from the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    memberships = dict(memberships_of(own))
    first = [hierarchy for hierarchy in mounted(mounts, memberships) if hierarchy.controllers]
    second = [hierarchy for hierarchy in mounted(mounts, memberships) if not hierarchy.controllers]
    if any(NEEDED & set(hierarchy.controllers) for hierarchy in first):
        return CgroupLayout("hybrid" if second else "v1", tuple(first))
    if second:
        return CgroupLayout("v2", tuple(second[:1]))
    return CgroupLayout("none", ())


def memberships_of(own: str) -> Iterable[tuple[frozenset[str], str]]:
    """Controllers of a hierarchy → path of this process's cgroup in it. The empty set is version 2."""
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        yield frozenset(filter(None, controllers.split(","))), path


def mounted(mounts: str, memberships: dict[frozenset[str], str]) -> Iterable[Hierarchy]:
    """The hierarchies that are mounted somewhere, each once, with this process's folder."""
    seen: set[frozenset[str]] = set()
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        words = options.split(",")
        for controllers, path in memberships.items():
            if controllers in seen or bool(controllers) != (kind == "cgroup") or not controllers <= set(words):
                continue
            root, mount_point = fields.split(" ")[3:5]
            folder = below(Path(mount_point), root, path)
            if folder is not None:
                seen.add(controllers)
                ordered = tuple(word for word in words if word in controllers)
                yield Hierarchy(ordered, Path(mount_point), folder)


def below(mount_point: Path, root: str, path: str) -> Path | None:
    """The folder of a cgroup under a mount that shows the hierarchy from `root` on; None when it is outside."""
    try:
        return mount_point / PurePosixPath(path).relative_to(root)
    except ValueError:
        return None
