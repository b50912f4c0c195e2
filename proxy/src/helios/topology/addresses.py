"""What the name of a node stands for, looked up again and again. Kept by `probe`; `cluster` hands it to the engine."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

from helios.telemetry.logs import fields
from helios.threads import on_daemon_thread

__all__ = ["Addresses", "is_address"]

_log = logging.getLogger(__name__)


class Addresses:
    """Addresses of one host, in the order to try them: IPv6 first, then in theirs, so that equal sets are equal.

    A look-up that fails or hangs changes nothing: an address that worked is better than none.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.known: tuple[str, ...] = ()
        """Empty for the folder of a Unix socket, and where only the system knows what to make of the name."""
        self._is_name = not host.startswith("/")
        self._task: asyncio.Task[None] | None = None
        self._looked_up_at: float | None = None
        if self._is_name and is_address(host):
            self._is_name = False
            self.known = _ordered([host])

    async def refresh(self, max_age_seconds: float) -> None:
        """Begin to look the name up unless that was done lately. Waits only while nothing is known; `OSError` if that
        stays so."""
        if not self._is_name:
            return
        now = asyncio.get_running_loop().time()
        is_due = self._looked_up_at is None or now - self._looked_up_at >= max_age_seconds
        if is_due and (self._task is None or self._task.done()):
            self._looked_up_at = now
            self._task = asyncio.create_task(self._look_up())
        if not self.known and self._task is not None:
            # A poll that gives up must not take the look-up along: the next one waits for the same.
            await asyncio.shield(self._task)

    def doubt(self) -> None:
        """The node did not answer: look the name up at the next occasion."""
        self._looked_up_at = None

    def stop(self) -> None:
        """Forget a look-up under way."""
        if self._task is not None:
            self._task.cancel()

    async def _look_up(self) -> None:
        try:
            found = await on_daemon_thread(
                f"resolve {self.host}", lambda: socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
            )
        except OSError:
            if self.known:
                return
            raise
        known = _ordered([str(address[0]) for *_, address in found])
        if self.known and known != self.known:
            facts = fields(host=self.host, before=",".join(self.known), now=",".join(known))
            _log.info("host name leads elsewhere", extra=facts)
        self.known = known


def is_address(host: str) -> bool:
    """Whether a host is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ordered(found: list[str]) -> tuple[str, ...]:
    """Without those of one link only, which are no addresses but for the system."""
    addresses = {ipaddress.ip_address(each) for each in found if "%" not in each}
    return tuple(str(each) for each in sorted(addresses, key=lambda each: (each.version == 4, each.packed)))
