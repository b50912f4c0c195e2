"""A Lease: at most one holder at a time, over the API server. The operator leads while it holds one, a proxy promotes.

Times are compared on the local clock only, since the last change that we saw ourselves; another pod's clock is never
trusted. A patch with the resourceVersion that was read is the compare-and-swap.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from helios.kube.client import Client, Json
from helios.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from helios.kube.kinds import LEASE

__all__ = ["Lease", "LeaseTimes"]

_log = logging.getLogger(__name__)
FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class LeaseTimes:
    """How long a lease holds and how often it is renewed, in seconds."""

    duration: float = 15.0
    """A holder that was not heard of for so long has lost it."""

    renew: float = 5.0
    """Between two renewals; a third of `duration`, so that two may fail."""

    retry: float = 1.0
    """Between two looks of somebody who waits."""

    @property
    def margin(self) -> float:
        """The holder gives up so much earlier than others may take over, so that two never write at once."""
        return self.duration / 5


@dataclass
class Lease:
    """One Lease object as `identity` sees it. `client` must not refuse writes while nothing is held."""

    client: Client
    namespace: str
    name: str
    identity: str
    times: LeaseTimes = LeaseTimes()
    _seen: tuple[str, str] | None = field(default=None, init=False)
    _seen_at: float = field(default=0.0, init=False)
    _renewed_at: float | None = field(default=None, init=False)

    @property
    def is_held(self) -> bool:
        """Whether we hold it for certain: renewed so lately that nobody else can have taken it."""
        held_for = self.times.duration - self.times.margin
        return self._renewed_at is not None and time.monotonic() - self._renewed_at < held_for

    @property
    def is_due(self) -> bool:
        """Whether it is time to take or renew it."""
        return not self.is_held or self._renewed_at is None or time.monotonic() - self._renewed_at >= self.times.renew

    async def acquire(self) -> None:
        """Return when it is ours. Errors of the API server are logged and waited out."""
        while True:
            try:
                if await self.attempt():
                    return
            except KubeError as error:
                _log.warning("cannot read or write lease %s/%s: %s", self.namespace, self.name, error)
            await asyncio.sleep(self.times.retry * random.uniform(0.8, 1.2))  # noqa: S311 - spreads requests

    async def keep(self) -> None:
        """Renew until somebody else holds it; returns only then. While the server is away `is_held` turns false."""
        while True:
            await asyncio.sleep(self.times.renew if self.is_held else self.times.retry)
            try:
                if not await self.attempt():
                    return
            except KubeError as error:
                _log.warning("cannot renew lease %s/%s: %s", self.namespace, self.name, error)

    async def release(self) -> None:
        """Let the next one in at once; quietly gives up where the server does not answer."""
        if self._renewed_at is None:
            return
        self._renewed_at = None
        try:
            current = await self.client.get(LEASE, self.namespace, self.name)
            if self.names_us(current):
                await self._change(current, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except KubeError as error:
            _log.warning("lease %s/%s could not be released: %s", self.namespace, self.name, error)

    async def attempt(self) -> bool:
        """Take or renew it once; False while another holds it. Raises KubeError."""
        started = time.monotonic()
        try:
            current = await self.client.get(LEASE, self.namespace, self.name)
        except NotFound:
            return await self._create(started)
        return await self.attempt_on(current, started)

    async def attempt_on(self, current: Json, read_at: float) -> bool:
        """The same with the object that was asked for at `read_at` (monotonic)."""
        if not self._is_takable(current):
            self._renewed_at = None
            return False
        try:
            await self._change(current, self._spec(current))
        except Conflict:
            return False if not self.is_held else await self._still_ours()
        self._renewed_at = read_at
        return True

    async def _create(self, started: float) -> bool:
        metadata = {"name": self.name, "namespace": self.namespace}
        value = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": metadata,
            "spec": self._spec({}),
        }
        try:
            await self.client.create(LEASE, value, self.identity)
        except AlreadyExists:
            return False
        self._renewed_at = started
        return True

    async def _change(self, current: Json, spec: Json) -> None:
        patch = {"metadata": {"resourceVersion": current["metadata"]["resourceVersion"]}, "spec": spec}
        await self.client.merge(LEASE, self.namespace, self.name, patch, self.identity)

    async def _still_ours(self) -> bool:
        """After a lost race: whether it was only our own earlier write that had not been answered."""
        current = await self.client.get(LEASE, self.namespace, self.name)
        return self.names_us(current)

    def names_us(self, current: Json) -> bool:
        """Whether the object says that we hold it."""
        return bool((current.get("spec") or {}).get("holderIdentity") == self.identity)

    def _is_takable(self, current: Json) -> bool:
        spec = current.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        seen = (holder, str(spec.get("renewTime") or ""))
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        if holder in ("", self.identity):
            return True
        duration = float(spec.get("leaseDurationSeconds") or self.times.duration)
        return time.monotonic() - self._seen_at > duration

    def _spec(self, current: Json) -> Json:
        now = datetime.now(UTC).strftime(FORMAT)
        old: dict[str, Any] = current.get("spec") or {}
        ours = old.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.times.duration)),
            "renewTime": now,
            "acquireTime": old.get("acquireTime") if ours else now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours else 1),
        }
