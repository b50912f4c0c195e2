"""The admin API of one pod: which document is in force, a new one, who is primary. Called by the poller.

TLS with the proxy's own certificate and no other; the token as bearer. During a rotation a pod may still know only
the old token, so a refused token is followed by the next one.
"""

from __future__ import annotations

import json
import math
import ssl
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import aiohttp

from helios.config.base import join_address
from helios_operator.credentials import Credentials
from helios_operator.errors import PodError, PodRefused
from helios_operator.shares import PodShare
from helios_operator.switchovers import HoldOrder

__all__ = ["PodApi", "PodConfig", "PodTopology", "trust"]

MAX_ANSWER: Final = 4 << 20
"""Bytes read of an answer; a configuration of ten thousand databases fits."""
UNAUTHORIZED: Final = 401
JSON: Final = "application/json"
TOML: Final = "application/toml"
MAX_REASON: Final = 200
"""Characters that a pod takes."""
REFUSED: Final = (409, 422)
ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class PodConfig:
    """The document in force in one pod."""

    generation: int
    hash: str
    restart_needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodTopology:
    """What one pod thinks of the nodes."""

    primary: str | None
    healthy: int
    unhealthy: int
    last_failover: datetime | None
    primaries: tuple[tuple[str, str | None], ...] = field(default=())
    """(cluster, primary)"""


def trust(credentials: Credentials) -> ssl.SSLContext:
    """TLS that takes the proxy's own certificates and nothing else. Raises PodError where they are broken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=credentials.trust.decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise PodError(f"the admin Secret holds no usable certificate: {error}") from error
    return context


@dataclass
class PodApi:
    """One pod. `host` is the name in its certificate; `address` where it is reached."""

    session: aiohttp.ClientSession
    address: str
    port: int
    host: str
    tokens: tuple[str, ...] = field(repr=False)
    tls: ssl.SSLContext
    timeout: float

    async def config(self) -> PodConfig:
        """The document in force. Raises PodError."""
        answer = await self._send("GET", "/config")
        return _config(answer)

    async def post_config(self, text: str) -> PodConfig:
        """Bring a document into force; also right where it is already. Raises PodRefused or PodError."""
        return _config(await self._send("POST", "/config", text.encode()))

    async def share(self) -> PodShare:
        """How many server connections it may have, and has. Raises PodError."""
        return _share(await self._send("GET", "/share"))

    async def put_share(self, limit: int) -> PodShare:
        """Grant it so many server connections. Raises PodRefused or PodError."""
        return _share(await self._send("PUT", "/share", json.dumps({"limit": limit}).encode(), JSON))

    async def hold(self, cluster: str, order: HoldOrder | None) -> None:
        """Let no transaction begin in a cluster; None: let them begin. Raises PodError."""
        asked: dict[str, Any] = {"cluster": cluster}
        if order is not None:
            left = max(1, math.ceil(order.ends - time.monotonic()))
            asked |= {"reason": order.reason[:MAX_REASON], "seconds": left}
            asked |= {"primary": order.primary} if order.primary is not None else {}
        await self._send("POST", "/api/hold", json.dumps(asked).encode(), JSON)

    async def topology(self) -> PodTopology:
        """Primary and nodes. Raises PodError."""
        answer = await self._send("GET", "/topology")
        try:
            clusters = tuple((str(one["name"]), one.get("primary")) for one in answer.get("clusters") or ())
            last = answer.get("lastFailoverAt")
            return PodTopology(
                primary=answer["currentPrimary"],
                healthy=int(answer["healthyNodes"]),
                unhealthy=int(answer["unhealthyNodes"]),
                last_failover=datetime.fromisoformat(last) if last else None,
                primaries=clusters,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PodError(f"/topology answered something unknown: {error!r}") from error

    async def _send(self, method: str, path: str, body: bytes | None = None, form: str = TOML) -> dict[str, Any]:
        status = 0
        answer: dict[str, Any] = {}
        for token in self.tokens:
            status, answer = await self._once(method, path, token, body, form)
            if status != UNAUTHORIZED:
                break
        message = "; ".join([str(answer.get("error") or f"status {status}"), *map(str, answer.get("problems") or ())])
        if status in REFUSED and method != "GET":
            raise PodRefused(message, status, answer.get("generation"))
        if status >= ERROR:
            raise PodError(f"{path} answered {status}: {message}")
        return answer

    async def _once(
        self, method: str, path: str, token: str, body: bytes | None, form: str
    ) -> tuple[int, dict[str, Any]]:
        url = f"https://{join_address(self.address, self.port)}{path}"
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = form
        limit = aiohttp.ClientTimeout(total=self.timeout)
        try:
            async with self.session.request(
                method, url, data=body, headers=headers, ssl=self.tls, server_hostname=self.host, timeout=limit
            ) as answer:
                text = await answer.content.read(MAX_ANSWER)
                value = json.loads(text)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise PodError(f"{path} of {self.address}: {str(error) or type(error).__name__}") from error
        return answer.status, value if isinstance(value, dict) else {}


def _share(answer: dict[str, Any]) -> PodShare:
    try:
        limit, present, is_granted = int(answer["limit"]), int(answer["open"]), bool(answer["granted"])
    except (KeyError, TypeError, ValueError) as error:
        raise PodError(f"/share answered something unknown: {error!r}") from error
    return PodShare(limit, max(0, present - limit), is_granted)


def _config(answer: dict[str, Any]) -> PodConfig:
    try:
        restart = answer.get("restartNeeded") or ()
        return PodConfig(int(answer["generation"]), str(answer["hash"]), tuple(map(str, restart)))
    except (KeyError, TypeError, ValueError) as error:
        raise PodError(f"/config answered something unknown: {error!r}") from error
