"""`[peers]`: other processes of the same service. Read by the engine, which passes cancel requests on to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from helios.config.base import HeliosModel, Path, split_address

__all__ = ["PeersConfig", "split_peer"]


def split_peer(peer: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:port`, `v6` or `[v6]:port`; None for no port. ValueError says what is right."""
    if peer.count(":") != 1 and not peer.startswith("["):
        return peer, None
    host, port = split_address(peer)
    if not port:
        raise ValueError("a peer's port is not 0; leave it out for that of listen_address")
    return host, port


def _check_peer(peer: str) -> str:
    split_peer(peer)
    return peer


Peer = Annotated[
    str,
    StringConstraints(min_length=1, max_length=261, pattern=r"^[A-Za-z0-9._:%\[\]-]+$"),
    AfterValidator(_check_peer),
]


class PeersConfig(HeliosModel):
    """Processes behind one address for clients, so that a cancel request may come to another one than its session."""

    hosts: tuple[Peer, ...] = ()
    """Names or addresses, with a port where it is not that of `listen_address`. All addresses of a name are peers, as
    of a headless Service; this process may be among them. Empty: cancel requests are for this process."""

    secret_file: Path | None = None
    """File with what all peers share, by which they know each other: at least 16 characters, best random ones. Further
    lines are taken too: while one secret replaces the other the file holds both."""
