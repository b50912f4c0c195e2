"""A network namespace with a link of its own to each of several places on this machine, any of which can be cut.

Called by the test of a partition; needs root and `ip`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType

__all__ = ["Namespace"]

NETWORK = "198.18.71"
"""Of the block for tests of network devices. A link takes four of its addresses."""


class Namespace:
    """A context manager. `inside` and `outside` are the addresses of the two ends of each link."""

    def __init__(self, links: Sequence[str]) -> None:
        self.name = f"helios-{os.getpid()}"
        self.inside = {link: f"{NETWORK}.{4 * place + 2}" for place, link in enumerate(links)}
        self.outside = {link: f"{NETWORK}.{4 * place + 1}" for place, link in enumerate(links)}
        self._devices = {link: f"h{os.getpid()}-{place}" for place, link in enumerate(links)}

    @staticmethod
    def can_be() -> bool:
        """Whether this machine lets us make one."""
        return os.geteuid() == 0 and shutil.which("ip") is not None

    def __enter__(self) -> Namespace:
        _ip("netns", "add", self.name)
        within = ("-n", self.name)
        _ip(*within, "link", "set", "lo", "up")
        for link, device in self._devices.items():
            peer = device.replace("h", "n", 1)
            _ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", self.name)
            _ip("address", "add", f"{self.outside[link]}/30", "dev", device)
            _ip("link", "set", device, "up")
            _ip(*within, "address", "add", f"{self.inside[link]}/30", "dev", peer)
            _ip(*within, "link", "set", peer, "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # The links go with it.
        _ip("netns", "delete", self.name)

    def command(self, *program: str) -> tuple[str, ...]:
        """Run a program inside."""
        return ("ip", "netns", "exec", self.name, *program)

    def cut(self, link: str) -> None:
        """Let nothing through, without a word to anybody."""
        _ip("link", "set", self._devices[link], "down")

    def join(self, link: str) -> None:
        """Let everything through again."""
        _ip("link", "set", self._devices[link], "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
