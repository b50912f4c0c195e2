"""The Helios engine. Only `helios.core` imports it; documents are described there and in `helios.config.snapshot`."""

from typing import final

__all__ = ["Engine", "EngineError", "ListenError", "SnapshotError", "__version__"]

__version__: str

class EngineError(Exception):
    """The engine refused or failed."""

class SnapshotError(EngineError):
    """The document was refused; the message names the field."""

class ListenError(EngineError):
    """An address could not be bound; the message names it and the cause."""

@final
class Engine:
    """The data plane of one process."""

    def __new__(cls, snapshot: bytes) -> Engine: ...
    def start(self) -> bytes: ...
    def reload(self, snapshot: bytes) -> None: ...
    def set_topology(self, topology: bytes) -> None: ...
    def state(self) -> bytes: ...
    def next_event(self, timeout_ms: int) -> bytes | None: ...
    def drain(self, timeout_ms: int) -> int: ...
    def stop(self) -> None: ...
