"""What connections are on. Used by `proxy`."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["IoBackend"]


class IoBackend(StrEnum):
    """How a worker learns what its connections have and takes it in."""

    AUTO = "auto"
    EPOLL = "epoll"
    IO_URING = "io_uring"
