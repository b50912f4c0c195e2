"""Which keys the Secrets of users have; never their content. Called by the reconciler, read by `render`.

A Secret is read by name. That one exists is believed for some minutes, that one is missing only for a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable

from helios.kube import Client, NotFound
from helios.kube.kinds import SECRET

__all__ = ["UserSecrets"]


class UserSecrets:
    """Keys of Secrets by namespace and name."""

    def __init__(self, client: Client, believe: float) -> None:
        """`believe`: seconds until a Secret that is there is read again."""
        self._client = client
        self._believe = believe
        self._known: dict[tuple[str, str], tuple[float, frozenset[str]]] = {}

    async def keys_of(self, namespace: str, names: Iterable[str]) -> dict[str, Collection[str]]:
        """Name → keys of those that exist."""
        wanted = sorted(set(names))
        found = await asyncio.gather(*(self._keys(namespace, name) for name in wanted))
        return {name: keys for name, keys in zip(wanted, found, strict=True) if keys is not None}

    def doubt(self, namespace: str, names: Iterable[str]) -> None:
        """Read these again next time: something about them was not as wanted."""
        for name in names:
            self._known.pop((namespace, name), None)

    async def _keys(self, namespace: str, name: str) -> frozenset[str] | None:
        known = self._known.get((namespace, name))
        if known is not None and time.monotonic() - known[0] < self._believe:
            return known[1]
        self._known.pop((namespace, name), None)
        try:
            secret = await self._client.get(SECRET, namespace, name)
        except NotFound:
            return None
        keys = frozenset(secret.get("data") or ())
        self._known[(namespace, name)] = (time.monotonic(), keys)
        return keys
