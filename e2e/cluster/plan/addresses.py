"""Which addresses and ports a cluster uses. Called by the levels; hands on to certificates, daemons and the network.

Everything a node uses lies in 198.18.0.0/15, which is reserved for tests of devices and never routed on the internet.
A slot is one node's share of it, so that several nodes run beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SLOTS", "ApiAddresses", "NodeAddresses"]

SLOTS = 32
"""How many nodes one machine can have at once."""


@dataclass(frozen=True)
class ApiAddresses:
    """Where etcd and the API server listen, and the Services' network."""

    host: str
    """Address of the API server as clients write it."""
    port: int
    etcd_port: int
    etcd_peer_port: int
    controller_port: int
    """Of the controller manager; on loopback."""
    services: str
    """Network of the Services' addresses, in CIDR form."""
    advertised: str
    """What the API server takes for its own address: it refuses loopback ones."""

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.host}:{self.port}"

    @property
    def kubernetes_service(self) -> str:
        """Address of the Service `kubernetes`, the first one of the Services' network."""
        return self.services.rsplit(".", 1)[0] + ".1"

    @classmethod
    def on_loopback(cls, ports: tuple[int, int, int, int]) -> ApiAddresses:
        """A cluster without nodes: four free ports of loopback."""
        return cls("127.0.0.1", *ports, services="198.19.255.0/24", advertised="198.18.0.1")


@dataclass(frozen=True)
class NodeAddresses:
    """The networks of one node."""

    slot: int
    """0 … SLOTS - 1."""

    @property
    def interface(self) -> str:
        """The machine's end of the cable to the node."""
        return f"helios{self.slot}"

    @property
    def gateway(self) -> str:
        """The machine as the node sees it."""
        return f"198.18.{self.slot}.1"

    @property
    def node(self) -> str:
        """The node's address: its API server, its DNS, its node ports."""
        return f"198.18.{self.slot}.2"

    @property
    def pods(self) -> str:
        """Network of the pods."""
        return f"198.18.{64 + self.slot}.0/24"

    @property
    def services(self) -> str:
        """Network of the Services."""
        return f"198.19.{self.slot}.0/24"

    @property
    def api(self) -> ApiAddresses:
        """The API server on this node; etcd and the controller manager are reached from inside only."""
        return ApiAddresses(self.node, 6443, 2379, 2380, 10257, self.services, self.node)
