"""DNS as a source of membership: each address of a name is a server. Made by `watch`."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from helios.config.base import join_address, split_address
from helios.threads import on_daemon_thread
from helios.topology.membership.provider import Hint, Member, ProviderFailure

__all__ = ["DnsProvider"]


class DnsProvider:
    """One cluster; `names` are `host:port`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._places = [split_address(name) for name in names]

    async def look(self) -> Hint:
        """Look every name up. One that cannot be makes the answer worthless, as members would seem to be gone."""
        found: dict[tuple[str, int], None] = {}
        for host, port in self._places:
            try:
                answers = await on_daemon_thread(f"resolve {host}", lambda: _addresses(host))  # noqa: B023 - awaited
            except OSError as error:
                raise ProviderFailure(f"{host}: {error.strerror or error}") from error
            found |= {(address, port): None for address in answers}
        return Hint(tuple(Member(join_address(*place), *place) for place in found))


def _addresses(host: str) -> list[str]:
    return sorted({str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
