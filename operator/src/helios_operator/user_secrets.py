"""Which keys the Secrets of users have; of their content nothing but who signed a certificate, which is no secret.
Called by the reconciler, read by `render`.

A Secret is read by name. That one exists is believed for some minutes, that one is missing only for a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from helios.kube import Client, NotFound
from helios.kube.kinds import SECRET
from helios_crds.v1alpha1.references import CA_KEY

__all__ = ["UserSecrets"]


@dataclass(frozen=True, slots=True)
class _Seen:
    read: float
    """When, on the monotonic clock."""
    keys: frozenset[str]
    authority: str | None


class UserSecrets:
    """Keys of Secrets by namespace and name."""

    def __init__(self, client: Client, believe: float) -> None:
        """`believe`: seconds until a Secret that is there is read again."""
        self._client = client
        self._believe = believe
        self._known: dict[tuple[str, str], _Seen] = {}

    async def keys_of(self, namespace: str, names: Iterable[str]) -> dict[str, Collection[str]]:
        """Name → keys of those that exist."""
        wanted = sorted(set(names))
        found = await asyncio.gather(*(self._look(namespace, name) for name in wanted))
        return {name: seen.keys for name, seen in zip(wanted, found, strict=True) if seen is not None}

    async def authority(self, namespace: str, name: str) -> str | None:
        """Base64 of the PEM under `ca.crt`; None where Secret or key are missing."""
        seen = await self._look(namespace, name)
        return None if seen is None else seen.authority

    def doubt(self, namespace: str, names: Iterable[str]) -> None:
        """Read these again next time: something about them was not as wanted."""
        for name in names:
            self._known.pop((namespace, name), None)

    async def _look(self, namespace: str, name: str) -> _Seen | None:
        known = self._known.get((namespace, name))
        if known is not None and time.monotonic() - known.read < self._believe:
            return known
        self._known.pop((namespace, name), None)
        try:
            secret = await self._client.get(SECRET, namespace, name)
        except NotFound:
            return None
        data = secret.get("data") or {}
        seen = _Seen(time.monotonic(), frozenset(data), data.get(CA_KEY))
        self._known[(namespace, name)] = seen
        return seen
