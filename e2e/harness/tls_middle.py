"""Somebody between two ends of a TLS connection: ends the one, begins another, and passes on what both say.

Called by the tests of channel binding, which is there to find it out.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from types import TracebackType

from harness.certificates import Certificate
from harness.frontend import ssl_request

READ_SIZE = 1 << 16


class TlsMiddle:
    """Listens on a free loopback `port` before `target_port` and shows a certificate of its own; a context manager."""

    def __init__(self, target_port: int, certificate: Certificate) -> None:
        self.port = 0
        self._target_port = target_port
        self._near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._near.load_cert_chain(certificate.cert, certificate.key)
        self._far = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._far.check_hostname, self._far.verify_mode = False, ssl.CERT_NONE
        self._sockets: list[asyncio.WriteTransport] = []
        self._stopped = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> TlsMiddle:
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stopped.wait()
        server.close()
        for transport in self._sockets:
            transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._sockets.append(to_client.transport)
        with suppress(OSError, asyncio.IncompleteReadError):
            await client.readexactly(len(ssl_request()))
            to_client.write(b"S")
            await to_client.start_tls(self._near)
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._sockets.append(to_server.transport)
            to_server.write(ssl_request())
            assert await server.readexactly(1) == b"S"
            await to_server.start_tls(self._far, server_hostname="127.0.0.1")
            await asyncio.gather(_copy(client, to_server), _copy(server, to_client))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(READ_SIZE):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()
