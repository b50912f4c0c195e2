"""Who may use the admin API. A middleware of `helios.admin.app`, before every route and also for unknown paths.

Probes are open to everybody, for a kubelet has no token. With a token everything else demands it; the metrics are also
served to the token that is made of it for scrapers (`metrics_token`). Without one
everything is open on loopback, and off it only the probes and the metrics are served (the loader warns of that).
"""

from __future__ import annotations

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler

from helios.admin.control import CONTROL
from helios.config.base import is_loopback
from helios.config.secrets import metrics_token

__all__ = ["authorize"]

PROBES = frozenset(
    {"/health", "/healthz", "/health/live", "/livez", "/health/ready", "/readyz", "/health/startup", "/startupz"}
)
METRICS = frozenset({"/metrics", "/metrics/prometheus"})


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the request through or answer 401; 403 for a change that a foreign web page asks for."""
    control = request.app[CONTROL]
    if not _allowed(request, control.config.admin.address, control.admin_tokens):
        raise web.HTTPUnauthorized(
            reason="missing or invalid admin bearer token", headers={"WWW-Authenticate": 'Bearer realm="helios"'}
        )
    if request.method not in ("GET", "HEAD") and _from_foreign_page(request):
        raise web.HTTPForbidden(reason="changes are not accepted from another web site's pages")
    return await handler(request)


def _allowed(request: web.Request, address: str, tokens: tuple[str, ...]) -> bool:
    reading = request.method in ("GET", "HEAD")
    if reading and request.path in PROBES:
        return True
    scraping = reading and request.path in METRICS
    if tokens:
        return _carries(request, tokens) or (scraping and _carries(request, tuple(map(metrics_token, tokens))))
    return is_loopback(address) or scraping


def _carries(request: web.Request, tokens: tuple[str, ...]) -> bool:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    given = text.strip().encode("utf-8", "surrogateescape")
    return scheme.lower() == "bearer" and any(hmac.compare_digest(given, token.encode()) for token in tokens)


def _from_foreign_page(request: web.Request) -> bool:
    """Browsers send `Origin` with every change; other clients do not."""
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host
