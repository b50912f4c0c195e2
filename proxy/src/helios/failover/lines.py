"""Connections to the servers of a cluster for what a failover or switchover says to them. Made by `decisions`.

They are others than the monitor's, which must not wait behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from helios.failover.obstacle import Obstacle
from helios.topology.connection import FAILURES, Connection, cause, connect
from helios.topology.node_poll import NodePoll

__all__ = ["Lines", "StepFailure"]

_NAME = "helios failover"
"""What a server shows of them."""


class StepFailure(Exception):
    """A server did not do what it was told; the message says which and why. Or something else was in the way."""

    def __init__(self, message: str, obstacle: Obstacle = Obstacle.SERVER) -> None:
        super().__init__(message)
        self.obstacle = obstacle


class _Line:
    """The one to a server, used by one at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.connection: Connection | None = None

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
        self.connection = None


class Lines:
    """One a server at most; without `kept` it ends with each use."""

    def __init__(self) -> None:
        self._lines: dict[NodePoll, _Line] = {}
        self._is_kept = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave them open meanwhile: clients wait for each login."""
        self._is_kept = True
        try:
            yield
        finally:
            self._is_kept = False
            for poll, line in tuple(self._lines.items()):
                if not line.turn.locked():
                    line.drop()
                    del self._lines[poll]

    @asynccontextmanager
    async def to(self, poll: NodePoll, timeout_seconds: float) -> AsyncIterator[Connection]:
        """A connection for one step; whatever goes wrong is a `StepFailure` that names the node."""
        node, login = poll.node, poll.settings.login
        line = self._lines.setdefault(poll, _Line())
        try:
            async with asyncio.timeout(timeout_seconds), line.turn:
                is_well = False
                try:
                    if line.connection is None:
                        line.connection = await connect(
                            node.host, node.port, poll.addresses, login, timeout_seconds, application_name=_NAME
                        )
                    yield line.connection
                    is_well = True
                finally:
                    if not (is_well and self._is_kept):
                        line.drop()
        except TimeoutError as error:
            raise StepFailure(f"{node.name} did not answer within {timeout_seconds:g} s") from error
        except FAILURES as error:
            raise StepFailure(f"{node.name}: {cause(error, login)}") from error
