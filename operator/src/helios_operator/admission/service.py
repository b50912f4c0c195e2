"""The listener of the webhooks: HTTPS, one path each. Made by `__main__`, which runs it beside everything else."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from aiohttp import web

from helios.config.base import split_address
from helios.errors import HeliosError
from helios.kube import Client
from helios.telemetry.logs import fields
from helios_operator.admission.injecting import Injector
from helios_operator.admission.keeper import CertificateKeeper
from helios_operator.admission.review import Json, Verdict, answer
from helios_operator.admission.validating import Validator
from helios_operator.conditions import Finding
from helios_operator.settings import OperatorSettings

__all__ = ["Admission"]

_log = logging.getLogger(__name__)
Review = Callable[[Json], Awaitable[Verdict]]
VALIDATE: Final = "/validate"
INJECT: Final = "/inject"
MAX_BODY: Final = 16 << 20
"""Bytes of a question: an object before and after, each at most 1.5 MiB in etcd, with room for JSON."""
STOP_SECONDS: Final = 2.0


class Admission:
    """Listens as soon as there is a certificate."""

    def __init__(self, client: Client, settings: OperatorSettings, turned: Callable[[], None]) -> None:
        """`turned` is called when `finding` is another one than before."""
        self._address = settings.webhook_address
        self._keeper = CertificateKeeper(client, settings, self._show, turned)
        self._reviews: dict[str, Review] = {
            VALIDATE: Validator(client, settings).review,
            INJECT: Injector(client, settings).review,
        }
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes([web.post(path, self._review) for path in self._reviews])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS)
        self._is_listening = False
        self.answered = 0
        """Questions so far."""
        self.refused = 0
        """Those that were answered with a refusal."""

    @property
    def is_ready(self) -> bool:
        """Whether the API server can ask."""
        return self._is_listening

    @property
    def certificate_ends(self) -> datetime | None:
        """When the certificate that is shown expires; None while there is none."""
        return self._keeper.ends

    @property
    def finding(self) -> Finding | None:
        """Why the API server cannot ask, or soon will not; None while all is well."""
        return self._keeper.finding

    async def run(self) -> None:
        """Keep certificate and listener until cancelled."""
        await self._runner.setup()
        try:
            await self._keeper.run()
        finally:
            await self._runner.cleanup()

    async def _show(self, tls: ssl.SSLContext) -> None:
        """There is a certificate; a listener that stands shows another one by itself, since it has the same context."""
        if self._is_listening:
            return
        host, port = split_address(self._address)
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        self._is_listening = True
        _log.info("webhooks are served", extra=fields(port=self._runner.addresses[0][1]))

    async def _review(self, request: web.Request) -> web.Response:
        """200 with the verdict; 400 for what is no AdmissionReview, 503 where it cannot be told just now."""
        try:
            asked: Json = (await request.json())["request"]
            uid = str(asked["uid"])
        except (ValueError, KeyError, TypeError) as error:
            raise web.HTTPBadRequest(reason="the body is no AdmissionReview") from error
        try:
            verdict = await self._reviews[request.path](asked)
        except HeliosError as error:
            place = f"{asked.get('namespace')}/{asked.get('name')}"
            _log.warning("not reviewed", extra=fields(path=request.path, object=place, error=error))
            return web.json_response({"error": str(error)}, status=503)
        self.answered += 1
        self.refused += verdict.refusal is not None
        return web.json_response(answer(uid, verdict))
