"""`[handover]`: another process takes over without a client being refused. Read by `helios serve`."""

from __future__ import annotations

from helios.config.base import HeliosModel, Path, Seconds

__all__ = ["HandoverConfig"]


class HandoverConfig(HeliosModel):
    """An online restart: `helios serve --takeover` gets the listening sockets of the process that runs."""

    socket_file: Path | None = None
    """Unix socket at which the running process gives them away, to processes of its own user and of root. None: it does
    not, for pods are replaced by their Deployment."""

    keep_seconds: Seconds = 300
    """Seconds that the process before goes on with the clients it has; those that are still there are then ended
    between their transactions, as in a drain. Five minutes, in which a pool of an application has often replaced its
    connections; all this time both processes have server connections."""
