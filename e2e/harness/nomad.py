"""A client that never stays: for tests that what it has follows it from server to server."""

from __future__ import annotations

from harness.client import Client, Target

__all__ = ["Nomad"]


class Nomad(Client):
    """A client whose every transaction runs on the other one of the pool's two servers."""

    def __init__(self, target: Target) -> None:
        self.holders = [Client(target), Client(target)]
        self.holders[0].query("begin")
        super().__init__(target)

    def send(self, *messages: bytes) -> None:
        """Send, after the free server has changed if no transaction is open."""
        if self.transcript and self.transcript[-1].text == "ReadyForQuery I":
            self.holders.reverse()
            self.holders[0].query("begin")
            self.holders[1].query("commit")
        super().send(*messages)
