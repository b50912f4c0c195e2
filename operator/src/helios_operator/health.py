"""Probes and figures of the operator itself, over plain HTTP: /healthz, /readyz, /metrics. Started by `__main__`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from helios.config.base import split_address
from helios.errors import StartError
from helios_operator.names import CERTIFICATE_ENDS

__all__ = ["AdmissionFigures", "Figures", "Health"]

STUCK_SECONDS = 300.0
"""A key that waits so long means that no worker works."""


@dataclass(frozen=True)
class AdmissionFigures:
    """The webhooks at one moment."""

    is_ready: bool
    answered: int
    refused: int
    certificate_ends: datetime | None


@dataclass(frozen=True)
class Figures:
    """The operator at one moment."""

    leading: bool
    queue_length: int
    oldest_seconds: float
    looks_done: int
    looks_failed: int
    writes: int
    proxies: int
    admission: AdmissionFigures | None = None
    """None where no webhooks are served."""


class Health:
    """One listener; `figures` is asked at each request."""

    def __init__(self, address: str, figures: Callable[[], Figures]) -> None:
        self._address = address
        self._figures = figures
        self._started = time.monotonic()
        app = web.Application()
        app.add_routes(
            [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        self.url = ""

    async def start(self) -> None:
        """Listen. Raises StartError where the address cannot be had."""
        host, port = split_address(self._address)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise StartError(f"cannot listen on {self._address}: {(error.strerror or str(error)).lower()}") from error
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the listener."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        stuck = self._figures().oldest_seconds > STUCK_SECONDS
        return web.Response(status=503 if stuck else 200, text="no worker works\n" if stuck else "ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        """One that stands by answers webhooks as well as the leader; without a certificate none can."""
        seen = self._figures()
        if seen.admission is not None and not seen.admission.is_ready:
            return web.Response(status=503, text="no certificate for the webhooks yet\n")
        return web.Response(text="leading\n" if seen.leading else "standing by\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        seen = self._figures()
        values = {
            "helios_operator_leading": ("gauge", "1 while this process leads", int(seen.leading)),
            "helios_operator_queue_length": ("gauge", "Resources that wait or are looked at", seen.queue_length),
            "helios_operator_queue_oldest_seconds": ("gauge", "Longest wait at present", seen.oldest_seconds),
            "helios_operator_proxies": ("gauge", "HeliosProxies in the cluster", seen.proxies),
            "helios_operator_looks_total": ("counter", "Looks that ended well", seen.looks_done),
            "helios_operator_looks_failed_total": ("counter", "Looks that ended with an error", seen.looks_failed),
            "helios_operator_writes_total": ("counter", "Changes sent to the API server", seen.writes),
            **_of_admission(seen.admission),
        }
        lines = [f"# HELP {n} {text}\n# TYPE {n} {kind}\n{n} {value}\n" for n, (kind, text, value) in values.items()]
        return web.Response(text="".join(lines), content_type="text/plain")


def _of_admission(seen: AdmissionFigures | None) -> dict[str, tuple[str, str, float]]:
    if seen is None:
        return {}
    text = "Unix time at which the certificate of the webhooks expires"
    ends = seen.certificate_ends
    expiry = {} if ends is None else {CERTIFICATE_ENDS: ("gauge", text, ends.timestamp())}
    return {
        "helios_operator_webhook_reviews_total": ("counter", "Questions of the API server", seen.answered),
        "helios_operator_webhook_refusals_total": ("counter", "Those answered with a refusal", seen.refused),
        **expiry,
    }
