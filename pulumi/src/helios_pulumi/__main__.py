"""`pulumi-resource-heliosproxy [ENGINE]`: serve Pulumi until it ends us. Prints the port it listens on."""

from __future__ import annotations

import signal
import sys
from concurrent import futures
from typing import Final

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from helios_pulumi.servicer import Servicer

__all__ = ["main"]

THREADS: Final = 64
"""Calls at one time: resources wait while Pulumi must still be able to cancel."""


def main() -> int:
    """Serve; the exit status."""
    # Pulumi cancels over the protocol; the terminal's Ctrl-C is not ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine = next((each for each in sys.argv[1:] if not each.startswith("-")), None)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=THREADS),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(engine), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main())
