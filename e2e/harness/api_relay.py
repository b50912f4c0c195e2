"""A relay before the API server that counts changes and cuts after one of them. Used by e2e/kubernetes.

It speaks plain HTTP to the operator and passes its credentials on. The n-th change reaches the API server and takes
effect; its answer is never delivered, and `cut` is called instead: the test kills the operator there.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import aiohttp
from aiohttp import web
from yarl import URL

__all__ = ["ApiRelay"]

DROPPED = {"host", "content-length", "transfer-encoding", "connection", "content-encoding"}
UPSTREAM = web.AppKey("upstream", aiohttp.ClientSession)


class ApiRelay:
    """A relay in a thread of its own; `url` is what the operator's kubeconfig names."""

    def __init__(self, server: str, cut_after: int, cut: Callable[[], None]) -> None:
        """`cut` is called after `cut_after` changes (0: never), from another thread."""
        self._server = server
        self._cut_after = cut_after
        self._cut = cut
        self.changes: list[str] = []
        """`METHOD path` of every change that took effect; those of Leases do not count."""
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the relay did not start"

    def stop(self) -> None:
        """End it with every connection."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run(ready))
        self._loop.close()

    async def _run(self, ready: threading.Event) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the test's own API server, on loopback
        connector = aiohttp.TCPConnector(ssl=context)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            app = web.Application(client_max_size=16 << 20)
            app[UPSTREAM] = session
            app.router.add_route("*", "/{path:.*}", self._relay)
            runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await self._stopped.wait()
            await runner.cleanup()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        headers["Accept-Encoding"] = "identity"
        body = await request.read() or None
        url = URL(self._server + request.raw_path, encoded=True)
        async with request.app[UPSTREAM].request(request.method, url, headers=headers, data=body) as answer:
            if request.method != "GET" and "/leases" not in request.path and answer.status < 300:
                await self._count(request)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
            response = web.StreamResponse(status=answer.status, headers=kept)
            with suppress(ConnectionError):  # the operator was killed
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response

    async def _count(self, request: web.Request) -> None:
        """One more change took effect; at the wanted one nothing is answered any more."""
        self.changes.append(f"{request.method} {request.path}")
        if self._cut_after and len(self.changes) >= self._cut_after:
            if len(self.changes) == self._cut_after:
                await asyncio.to_thread(self._cut)
            await asyncio.Event().wait()
