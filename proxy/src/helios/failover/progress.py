"""Which step of a failover or switchover is under way, and how long each took. Made by `decisions`."""

from __future__ import annotations

import asyncio

__all__ = ["Progress"]


class Progress:
    """Of one cluster; on an event loop."""

    def __init__(self) -> None:
        self.step: str | None = None
        """None between two of them."""
        self._since = 0.0
        self._took: dict[str, float] = {}

    def begin(self, step: str) -> None:
        """What was begun before is done."""
        self._close()
        self.step, self._since = step, asyncio.get_running_loop().time()

    def end(self) -> dict[str, int]:
        """Milliseconds of each step since the last end."""
        self._close()
        took, self._took, self.step = self._took, {}, None
        return {f"{step}_ms": round(seconds * 1000) for step, seconds in took.items()}

    def _close(self) -> None:
        if self.step is not None:
            seconds = asyncio.get_running_loop().time() - self._since
            self._took[self.step] = self._took.get(self.step, 0.0) + seconds
