"""Every error of the admin API as `{"error": "one sentence"}`, and the bounds of a request's body.

Two middlewares of `helios.admin.app`: `as_json` is the outermost; `bounded_body` comes after authorization, so that
nobody without a token can make the proxy read megabytes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from helios.errors import HeliosError
from helios.telemetry.logs import fields

__all__ = ["BODY_DEADLINE_SECONDS", "MAX_BODY_BYTES", "as_json", "bounded_body"]

MAX_BODY_BYTES = 8 << 20
BODY_DEADLINE_SECONDS = 15.0

_log = logging.getLogger(__name__)


@web.middleware
async def as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler, turn whatever it raises into JSON."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _refusal(request, error)
    except HeliosError as error:
        return _json({"error": str(error)}, 503)
    except Exception:  # noqa: BLE001 - a fault of ours is logged and answered, the other requests go on
        _log.exception("admin request failed", extra=fields(method=request.method, path=request.path))
        return _json({"error": "internal error; the proxy's log has the details"}, 500)


@web.middleware
async def bounded_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take in the body (aiohttp keeps it): 413 before reading one announced as too large, 408 if late, 400 if bad."""
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length)
    try:
        async with asyncio.timeout(BODY_DEADLINE_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(
            reason=f"the request body was not complete after {BODY_DEADLINE_SECONDS:.0f} s"
        ) from error
    if body and request.content_type == "application/json":
        _check_json(body)
    return await handler(request)


def _check_json(body: bytes) -> None:
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(reason=f"the request body is not JSON: {error}".replace("\n", " ")) from error


def _refusal(request: web.Request, error: web.HTTPException) -> web.Response:
    kept = {name: error.headers[name] for name in ("Allow", "WWW-Authenticate") if name in error.headers}
    match error:
        case web.HTTPMethodNotAllowed():
            sentence = f"{request.method} is not possible on {request.path}; possible: {kept.get('Allow', 'nothing')}"
        case web.HTTPRequestEntityTooLarge():
            sentence = f"the request body is larger than {MAX_BODY_BYTES} bytes"
        case web.HTTPNotFound() if error.reason == "Not Found":
            sentence = f"there is nothing at {request.path}"
        case _:
            sentence = error.reason
    return _json({"error": sentence}, error.status, kept)


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)
