"""The lease as a Lease of Kubernetes, for pods. Made by `controller`.

The pods may read and patch that one object, so it holds everything: its spec says who holds it, one annotation what is
decided, and one of each process how far that one has followed and, by changing, that it lives. Clocks are compared with
themselves only: what counts is how long ago one has seen a change. A process that cannot renew its annotation knows
that the others will soon count it out, and says so by `lapsed`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from helios.failover.lease import LeaseError
from helios.failover.record import Record
from helios.kube import Client, Conflict, KubeAccessError, KubeError, Lease, LeaseTimes, in_cluster
from helios.kube.kinds import LEASE

__all__ = ["KubeLease"]

Json = dict[str, Any]

_DECIDED: Final = "failover.heliosproxy.dev/decided"
_MEMBER: Final = "member.failover.heliosproxy.dev/"
_BUSY_SECONDS: Final = 0.1
_CALM_SECONDS: Final = 0.5
_ATTEMPTS: Final = 20
_MAX_LOSSES: Final = 100
"""Of the newest of a cluster are kept: an object of Kubernetes has room for 256 KiB of annotations."""


@dataclass
class _Member:
    """Another process, as its annotation shows it."""

    text: str
    seen_at: float
    """When this text was first seen."""
    is_out: bool = False
    """It was waited for as long as it may use anything."""

    @property
    def followed(self) -> Mapping[str, int]:
        try:
            said = json.loads(self.text)["followed"]
        except (ValueError, KeyError, TypeError):
            return {}
        return said if isinstance(said, dict) else {}


@dataclass
class _Own:
    """What this process says of itself."""

    followed: dict[str, int] = field(default_factory=dict)
    count: int = 0
    said_at: float | None = None
    """When the last patch was begun that succeeded."""
    is_told: bool = False
    """`followed` was in it."""


class KubeLease:
    """The Lease `name` in the namespace of the pod whose identity is in `folder`."""

    def __init__(self, folder: Path, name: str, duration_seconds: float) -> None:
        """`LeaseError` outside of a pod."""
        try:
            access = in_cluster(folder)
        except KubeAccessError as error:
            raise LeaseError(f"failover.lease_name: {error}") from error
        self._client = Client(access)
        self._namespace, self._name = access.namespace, name
        self._identity = f"{socket.gethostname()[:63]}-{secrets.token_hex(4)}"
        self._times = LeaseTimes(duration_seconds, duration_seconds / 3, _CALM_SECONDS)
        self._lease = Lease(self._client, self._namespace, name, self._identity, self._times)
        self._own = _Own()
        self._members: dict[str, _Member] = {}
        self._asked_at: dict[str, tuple[int, float]] = {}
        """Cluster → the last term that was waited for, and since when."""
        self._is_open = False
        self.problem: str | None = None
        self.records: Mapping[str, Record] = {}

    @property
    def look_seconds(self) -> float:
        """Short while something is being decided."""
        return _BUSY_SECONDS if any(record.is_open for record in self.records.values()) else _CALM_SECONDS

    @property
    def is_held(self) -> bool:
        """Whether this process may promote."""
        return self.problem is None and self._lease.is_held

    @property
    def lapsed(self) -> str | None:
        """Why others may count this process out."""
        until = self._times.duration - self._times.margin
        if self._own.said_at is not None and time.monotonic() - self._own.said_at < until:
            return None
        return f"this proxy could not renew its part of Lease {self._namespace}/{self._name}"

    async def refresh(self) -> None:
        """Read everything, and renew what is due."""
        try:
            async with self._asking():
                started = time.monotonic()
                current = await self._read()
                if self._lease.is_due:
                    await self._lease.attempt_on(current, started)
                said_at = self._own.said_at
                if said_at is None or started - said_at >= self._times.renew or not self._own.is_told:
                    await self._say()
        except LeaseError as error:
            self.problem = str(error)
        else:
            self.problem = None

    async def write(self, cluster: str, record: Record) -> None:
        """Decide, if nobody else has since."""
        kept = record.model_copy(update={"losses": record.losses[-_MAX_LOSSES:]})
        async with self._asking():
            for _ in range(_ATTEMPTS):
                current = await self._read()
                if not self._lease.is_held or not self._lease.names_us(current):
                    raise LeaseError("the lease is not held")
                if cluster in self.records and self.records[cluster].term >= record.term:
                    raise LeaseError("another proxy has decided since")
                records = {**self.records, cluster: kept}
                text = json.dumps({name: each.model_dump() for name, each in records.items()})
                version = current["metadata"]["resourceVersion"]
                try:
                    await self._patch({_DECIDED: text}, version)
                except Conflict:
                    continue  # somebody has renewed his part
                self.records = records
                return
            raise LeaseError(f"Lease {self._namespace}/{self._name} is being changed all the time")

    async def follow(self, cluster: str, term: int) -> None:
        """Say that this proxy acts by what was decided in `term`."""
        if self._own.followed.get(cluster) == term:
            return
        self._own.followed[cluster] = term
        self._own.is_told = False
        async with self._asking():
            await self._say()

    async def stragglers(self, cluster: str, term: int) -> list[str]:
        """Processes that have neither followed nor been silent for so long that they must have let go."""
        async with self._asking():
            await self._read()
        now, duration = time.monotonic(), self._times.duration
        asked, since = self._asked_at.get(cluster, (-1, now))
        self._asked_at[cluster] = asked, since = (asked, since) if asked == term else (term, now)
        found = []
        for name, member in self._members.items():
            if name == self._identity or member.followed.get(cluster, -1) >= term:
                continue
            member.is_out = member.is_out or (now - member.seen_at > duration and now - since > duration)
            if not member.is_out:
                found.append(name)
        return found

    async def close(self) -> None:
        """Take this process out, and let the next one in at once."""
        if not self._is_open:
            return
        try:
            async with self._asking():
                await self._patch({_MEMBER + self._identity: None})
        except LeaseError:
            self.problem = "closed"  # the others will count this process out
        await self._lease.release()
        await self._client.__aexit__(None, None, None)
        self._is_open = False

    async def _read(self) -> Json:
        current = await self._client.get(LEASE, self._namespace, self._name)
        annotations = current["metadata"].get("annotations") or {}
        try:
            decided = json.loads(annotations.get(_DECIDED, "{}"))
            self.records = {name: Record.model_validate(record) for name, record in decided.items()}
        except (ValueError, ValidationError, AttributeError) as error:
            raise LeaseError(f"annotation {_DECIDED} of Lease {self._name} cannot be read: {error}") from error
        now, before = time.monotonic(), self._members
        self._members = {}
        for key, text in annotations.items():
            if key.startswith(_MEMBER):
                name = key.removeprefix(_MEMBER)
                known = before.get(name)
                self._members[name] = known if known is not None and known.text == text else _Member(text, now)
        return current

    async def _say(self) -> None:
        started, own = time.monotonic(), self._own
        own.count += 1
        said = json.dumps({"followed": own.followed, "count": own.count})
        # Whoever has been silent for long is gone, and says himself again if he is not.
        long_gone = {
            _MEMBER + name: None
            for name, member in self._members.items()
            if member.is_out and started - member.seen_at > 10 * self._times.duration
        }
        await self._patch({**long_gone, _MEMBER + self._identity: said})
        own.said_at, own.is_told = started, True

    async def _patch(self, annotations: Mapping[str, str | None], version: str | None = None) -> None:
        metadata: Json = {"annotations": annotations}
        if version is not None:
            metadata["resourceVersion"] = version
        await self._client.merge(LEASE, self._namespace, self._name, {"metadata": metadata}, self._identity)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Whatever goes wrong with the API server is a `LeaseError`, within a time that leaves some for another try."""
        where = f"Lease {self._namespace}/{self._name}"
        try:
            if not self._is_open:
                await self._client.__aenter__()
                self._is_open = True
            async with asyncio.timeout(self._times.renew):
                yield
        except TimeoutError as error:
            raise LeaseError(f"{where}: the API server does not answer") from error
        except KubeError as error:
            raise LeaseError(f"{where}: {error}") from error
