"""Notice that the configuration file or a secret beside it changed. Run by `helios.app`; hands a change to the proxy.

By looking, not by inotify: a ConfigMap or Secret is mounted as a link that is swapped, possibly on a file system that
reports nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from helios.config import ProxyConfig

__all__ = ["Watched", "watch"]

OFF_SECONDS = 1.0
"""Between two looks at whether watching was switched on."""


class _Mark(NamedTuple):
    """What differs when a file was written or the link to it was swapped."""

    device: int
    inode: int
    size: int
    written_ns: int


class Watched(Protocol):
    """What is watched."""

    @property
    def config(self) -> ProxyConfig:
        """The configuration in force; says how often to look."""

    def files(self) -> tuple[Path, ...]:
        """The configuration file and every file it names."""

    def refresh(self) -> None:
        """Take over what changed."""


async def watch(proxy: Watched, since_ns: int) -> None:
    """Look until cancelled. `[watch]` may change meanwhile; what changed while it was off counts when it is on.

    `since_ns` (of the epoch) is when the files were not read yet: what was written later counts as changed.
    """
    now = _marks(proxy.files())
    seen: Mapping[Path, _Mark | None] = {
        file: mark for file, mark in now.items() if mark is None or mark.written_ns < since_ns
    }
    while True:
        await asyncio.sleep(proxy.config.watch.interval_ms / 1000 or OFF_SECONDS)
        if not proxy.config.watch.interval_ms:
            continue
        found = _marks(proxy.files())
        if found != seen:
            seen = found
            proxy.refresh()


def _marks(files: Iterable[Path]) -> Mapping[Path, _Mark | None]:
    return {file: _mark(file) for file in files}


def _mark(file: Path) -> _Mark | None:
    """None when there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return _Mark(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
