"""Requests to the API server: read, create, apply server-side, patch. JSON objects in and out, errors typed.

The operator reconciles with it; the proxy holds its Lease with it. One connection pool; nothing is retried here, for
only the caller knows whether its object is still wanted. A token that was refused is read again once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final

import aiohttp

from helios.kube.access import Access
from helios.kube.errors import ServerUnreachable, Unauthorized, error_of
from helios.kube.kinds import Kind

__all__ = ["Client", "Json"]

Json = dict[str, Any]

PLAIN: Final = "application/json"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
REQUEST_SECONDS: Final = 30.0
SILENT_SECONDS: Final = 120.0
"""A stream that says nothing for so long, not even a bookmark, is dead."""
CONNECTIONS: Final = 64
"""Each kind that is followed takes one."""
PAGE: Final = 100
"""Objects of one answer to a list; a Deployment takes some 20 KiB of memory while it is read."""


class Client:
    """One API server, one identity, a pool of connections. Use as `async with Client(access) as client`."""

    def __init__(self, access: Access, *, before_write: Callable[[], None] | None = None) -> None:
        """`before_write` is called before every change and may raise: a leader that lost its lease stops there."""
        self.access = access
        self._before_write = before_write
        self._session: aiohttp.ClientSession | None = None
        self.writes = 0
        """Changes sent so far."""

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(ssl=self.access.tls(), limit=CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None, "entered"
        await self._session.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """One object; `namespace` is None for kinds without. Raises NotFound."""
        return await self.request("GET", kind.path(namespace, name))

    async def metadata(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """The metadata of one object, without its content, as of a moment ago. Raises NotFound."""
        path = kind.path(namespace, name)
        value = await self.request("GET", path, {"resourceVersion": "0"}, accept=METADATA)
        metadata: Json = value["metadata"]
        return metadata

    async def pages(
        self, kind: Kind, namespace: str | None = None, labels: str | None = None
    ) -> AsyncIterator[tuple[list[Json], str]]:
        """(objects, resourceVersion) page by page, of a namespace or of all (None), that the label selector picks."""
        query = {"limit": str(PAGE), **({"labelSelector": labels} if labels else {})}
        while True:
            page = await self.request("GET", kind.path(namespace), query)
            metadata = page["metadata"]
            yield page.get("items") or [], metadata["resourceVersion"]
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Json]:
        """JSON objects of an answer that goes on, one a line; ends when the server ends it. Errors as `request`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENT_SECONDS)
        headers = self._headers()
        async with self._answer("GET", path, params=query, headers=headers, timeout=timeout) as answer:
            if answer.status >= 400:
                raise error_of(answer.status, await answer.read())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    async def create(self, kind: Kind, value: Mapping[str, Any], manager: str) -> Json:
        """Create `value`, which names its namespace. Raises AlreadyExists where the name is taken."""
        path = kind.path(value["metadata"]["namespace"])
        return await self.request("POST", path, {"fieldManager": manager}, value)

    async def try_create(self, kind: Kind, value: Mapping[str, Any], manager: str) -> Json:
        """What a create would make of `value`. Nothing is written, and a field that does not exist is an error."""
        query = {"fieldManager": manager, "dryRun": "All", "fieldValidation": "Strict"}
        return await self.request("POST", kind.path(value["metadata"]["namespace"]), query, value)

    async def apply(
        self, kind: Kind, value: Mapping[str, Any], manager: str, *, subresource: str | None = None, force: bool = True
    ) -> Json:
        """Server-side apply: `manager` owns the fields of `value`, and those it owned before and left out go.

        With `metadata.uid` in it only that very object is changed; raises Conflict where it is another or none.
        """
        metadata = value["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self.request("PATCH", path, query, value, APPLY)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any], manager: str) -> Json:
        """JSON merge patch: what `patch` says is set, null removes; with `metadata.resourceVersion` in it only if
        nobody changed the object. Raises Conflict."""
        return await self.request("PATCH", kind.path(namespace, name), {"fieldManager": manager}, patch, MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete that very object. Raises NotFound, or Conflict where the name is another one's by now."""
        await self.request("DELETE", kind.path(namespace, name), None, {"preconditions": {"uid": uid}})

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = PLAIN,
        accept: str = PLAIN,
    ) -> Json:
        """Send one request and return the JSON answer. Raises ApiError or ServerUnreachable."""
        if method != "GET" and "dryRun" not in (query or {}):
            if self._before_write is not None:
                self._before_write()
            self.writes += 1
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            return await self._once(method, path, query, data, content_type, accept)
        except Unauthorized:
            if not self.access.can_renew:
                raise
            self.access.forget_token()
            return await self._once(method, path, query, data, content_type, accept)

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
        accept: str,
    ) -> Json:
        headers = self._headers(accept)
        if data is not None:
            headers["Content-Type"] = content_type
        async with self._answer(method, path, params=query, data=data, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise error_of(answer.status, text)
            value: Json = json.loads(text)
            return value

    def _headers(self, accept: str = PLAIN) -> dict[str, str]:
        token = self.access.bearer()
        return {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token is not None else {})

    @asynccontextmanager
    async def _answer(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "used inside `async with`"
        try:
            async with self._session.request(method, self.access.server + path, **options) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise ServerUnreachable(f"{method} {path}: no answer from {self.access.server}: {why}") from error
