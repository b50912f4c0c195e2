"""A TCP relay that cuts both directions into chunks of 1, 7 or random bytes, each sent by a call of its own.

Run as a process (`python -m harness.relay`), so that it does not fight the tests for the interpreter lock; `ChunkRelay`
starts and ends it. Called by the wire tests: a proxy that assumes one read per message fails behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

READ_SIZE = 1 << 16
LARGEST_RANDOM_CHUNK = 40
FINE_BYTES = 2_000
CHUNKS_PER_TURN = 64


class ChunkRelay:
    """A relay process in front of `port`; `chunk` is "1", "7" or "random". Its own port is `port`."""

    def __init__(self, target_port: int, chunk: str, seed: int = 1) -> None:
        arguments = ["--target-port", str(target_port), "--chunk", chunk, "--seed", str(seed)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.relay", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip().isdigit(), f"relay did not start: {line!r}"
        self.port = int(line)

    def __enter__(self) -> ChunkRelay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stall(self) -> None:
        """Let nothing through, without a word to anybody."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let everything through again, also what came meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait(10)
        if self._process.stdout:
            self._process.stdout.close()


class Chunker:
    """Cuts bytes into chunks of a fixed or a seeded random size.

    Of a large read only the first and last FINE_BYTES are cut fine; the middle goes in one piece, so that megabytes do
    not take minutes. Reads end anywhere, hence large messages are still torn at odd places.
    """

    def __init__(self, chunk: str, seed: int) -> None:
        self._fixed = 0 if chunk == "random" else int(chunk)
        self._random = random.Random(seed)

    def cut(self, data: bytes) -> Iterator[bytes]:
        """The chunks of `data` in order."""
        at = 0
        while at < len(data):
            if at >= FINE_BYTES and len(data) - at > FINE_BYTES:
                yield data[at : len(data) - FINE_BYTES]
                at = len(data) - FINE_BYTES
            size = self._fixed or self._random.randint(1, LARGEST_RANDOM_CHUNK)
            yield data[at : at + size]
            at += size


async def _pump(source: socket.socket, sink: socket.socket, chunker: Chunker) -> None:
    """Copy one direction until it ends.

    A sink that takes no more ends this direction only: what it still has to say must reach the other side.
    """
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(source, READ_SIZE):
            for count, piece in enumerate(chunker.cut(data)):
                await loop.sock_sendall(sink, piece)
                if count % CHUNKS_PER_TURN == CHUNKS_PER_TURN - 1:
                    await asyncio.sleep(0)
    except OSError:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _prepare(end: socket.socket) -> socket.socket:
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


async def _relay(client: socket.socket, arguments: argparse.Namespace, number: int) -> None:
    """One client: connect onwards, copy both ways, close both."""
    loop = asyncio.get_running_loop()
    server = _prepare(socket.socket())
    try:
        await loop.sock_connect(server, ("127.0.0.1", arguments.target_port))
        chunkers = [Chunker(arguments.chunk, arguments.seed + number * 2 + side) for side in (0, 1)]
        await asyncio.gather(_pump(client, server, chunkers[0]), _pump(server, client, chunkers[1]))
    except OSError:
        pass  # nobody listens there any more: the client sees a close, as without the relay
    finally:
        client.close()
        server.close()


async def serve(arguments: argparse.Namespace) -> None:
    """Accept for ever; print the port once listening."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    tasks: set[asyncio.Task[None]] = set()
    for number in range(sys.maxsize):
        client, _ = await asyncio.get_running_loop().sock_accept(listener)
        task = asyncio.create_task(_relay(_prepare(client), arguments, number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main() -> None:
    """Entry point of the relay process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target-port", type=int, required=True)
    parser.add_argument("--chunk", choices=["1", "7", "random"], required=True)
    parser.add_argument("--seed", type=int, required=True)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
