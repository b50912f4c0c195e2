"""Changes of files that fall between the first reading of them and the first look at them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from helios.config import ProxyConfig
from helios.watching import watch

SINCE_NS = 1_700_000_000 * 10**9


class Proxy:
    """Counts how often it was looked at, and told of a change."""

    def __init__(self, file: Path) -> None:
        self.config = ProxyConfig.model_validate({"watch": {"interval_ms": 50}})
        self.looks: asyncio.Queue[int] = asyncio.Queue()
        self._refreshed = 0
        self._file = file

    def files(self) -> tuple[Path, ...]:
        self.looks.put_nowait(self._refreshed)
        return (self._file,)

    def refresh(self) -> None:
        self._refreshed += 1

    async def told(self) -> int:
        """How often it was told of a change before the third look from now."""
        while not self.looks.empty():
            self.looks.get_nowait()
        return [await asyncio.wait_for(self.looks.get(), 10) for _ in range(3)][-1]


@pytest.mark.parametrize(("written_ns", "changes"), [(SINCE_NS - 1, 0), (SINCE_NS, 1), (SINCE_NS + 10**9, 1)])
async def test_what_was_written_after_it_was_read_and_before_the_first_look_counts(
    tmp_path: Path, written_ns: int, changes: int
) -> None:
    file = tmp_path / "pg_hba.conf"
    file.write_text("read")
    os.utime(file, ns=(written_ns, written_ns))
    proxy = Proxy(file)
    watcher = asyncio.create_task(watch(proxy, SINCE_NS))
    try:
        assert await proxy.told() == changes

        file.write_text("changed later")
        assert await proxy.told() == changes + 1
        assert await proxy.told() == changes + 1
    finally:
        watcher.cancel()
