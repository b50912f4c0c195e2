"""The ways a wire test reaches PostgreSQL: directly, or through Helios in a pool mode behind a chunking relay or not.

Called by `e2e/conftest.py`; hands on `Route`. The same test must pass on all of them, the direct one included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harness.client import DEFAULT_DEADLINE, Client, Target

Script = Callable[[Client], None]
"""What one client does; run on every route and compared."""

Parity = Callable[[Script], None]
"""The `parity` fixture: run a script on the route and demand the messages of the direct run."""

DIRECT = "direct"
SESSION, TRANSACTION, STATEMENT = "session", "transaction", "statement"
CHUNKS = ("none", "1", "7", "random")
CHUNKS_OF_MODE = {SESSION: ("none", "random"), TRANSACTION: CHUNKS, STATEMENT: ("none", "7")}
"""The chunkings a test runs on unless it says otherwise: all of them where the engine's own work is greatest."""


@dataclass(frozen=True)
class RouteKind:
    """Pool mode (or `direct`) and how the relay cuts."""

    mode: str
    chunk: str = "none"

    def __str__(self) -> str:
        return self.mode if self.chunk == "none" else f"{self.mode}-{self.chunk}"


def kinds(modes: tuple[str, ...], chunks: tuple[str, ...] | None = None, direct: bool = True) -> list[RouteKind]:
    """The direct route if wanted, and each pool mode with the given chunkings or those of the mode."""
    pooled = [RouteKind(mode, chunk) for mode in modes for chunk in chunks or CHUNKS_OF_MODE[mode]]
    return [RouteKind(DIRECT), *pooled] if direct else pooled


@dataclass
class Route:
    """One way to PostgreSQL. Clients opened by `connect` are closed when the test ends."""

    kind: RouteKind
    default_target: Target
    _clients: list[Client] = field(default_factory=list)

    @property
    def mode(self) -> str:
        """`direct`, `session`, `transaction` or `statement`."""
        return self.kind.mode

    def target(self, **options: str) -> Target:
        """The login of the ordinary user with further start-up parameters."""
        return self.default_target.with_options(**options)

    def connect(self, deadline: float = DEFAULT_DEADLINE, **options: str) -> Client:
        """A logged-in client of our own."""
        client = Client(self.target(**options), deadline)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close every client still open."""
        for client in self._clients:
            client.terminate()
