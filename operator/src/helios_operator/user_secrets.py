"""Which keys the Secrets of users have; of their content nothing but who signed a certificate, which is no secret.
Called by the reconciler, read by `render`.

A Secret is read by name, for it is neither listed nor watched. That one is missing is believed only for a moment. Of
those that are there it is asked now and then, by `changed`, whether they are still what was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from helios.kube import Client, NotFound
from helios.kube.errors import ApiError
from helios.kube.kinds import SECRET
from helios_crds.v1alpha1.references import CA_KEY
from helios_operator.names import ProxyKey

__all__ = ["UserSecrets"]

AT_ONCE: Final = 16
"""Secrets asked about at once."""
Place = tuple[str, str]
"""(namespace, name)"""


@dataclass(frozen=True, slots=True)
class _Seen:
    read: float
    """When, on the monotonic clock."""
    version: str
    keys: frozenset[str]
    authority: str | None


class UserSecrets:
    """Keys of Secrets by namespace and name."""

    def __init__(self, client: Client, believe: float) -> None:
        """`believe`: seconds until a Secret that is there is read again, whatever `changed` says."""
        self._client = client
        self._believe = believe
        self._known: dict[Place, _Seen] = {}
        self._wanted: dict[ProxyKey, frozenset[str]] = {}

    async def keys_of(self, key: ProxyKey, names: Iterable[str]) -> dict[str, Collection[str]]:
        """Name → keys of those that exist; they are all that this HeliosProxy reads."""
        self._wanted[key] = wanted = frozenset(names)
        found = await asyncio.gather(*(self._look(key.namespace, name) for name in wanted))
        return {name: seen.keys for name, seen in zip(wanted, found, strict=True) if seen is not None}

    async def authority(self, namespace: str, name: str) -> str | None:
        """Base64 of the PEM under `ca.crt`; None where Secret or key are missing."""
        seen = await self._look(namespace, name)
        return None if seen is None else seen.authority

    async def changed(self) -> set[ProxyKey]:
        """Whoever reads a Secret that was written or deleted since it was read; it is read again with the next look.

        One that cannot be asked about counts as it was. Raises ServerUnreachable.
        """
        readers = self._readers()
        self._known = {place: seen for place, seen in self._known.items() if place in readers}
        few = asyncio.Semaphore(AT_ONCE)

        async def has_changed(place: Place, seen: _Seen) -> bool:
            async with few:
                return await self._version(place, seen.version) != seen.version

        known = list(self._known.items())
        turned = await asyncio.gather(*(has_changed(place, seen) for place, seen in known))
        found: set[ProxyKey] = set()
        for (place, seen), is_other in zip(known, turned, strict=True):
            if is_other and self._known.get(place) is seen:
                del self._known[place]
                found |= readers[place]
        return found

    def doubt(self, namespace: str, names: Iterable[str]) -> None:
        """Read these again next time: something about them was not as wanted."""
        for name in names:
            self._known.pop((namespace, name), None)

    def forget(self, key: ProxyKey) -> None:
        """The HeliosProxy is gone."""
        self._wanted.pop(key, None)

    def _readers(self) -> dict[Place, set[ProxyKey]]:
        readers: dict[Place, set[ProxyKey]] = {}
        for key, names in self._wanted.items():
            for name in names:
                readers.setdefault((key.namespace, name), set()).add(key)
        return readers

    async def _version(self, place: Place, otherwise: str) -> str | None:
        """Its resourceVersion; None where it is gone, `otherwise` where nothing is told."""
        try:
            return str((await self._client.metadata(SECRET, *place))["resourceVersion"])
        except NotFound:
            return None
        except ApiError:
            return otherwise  # the next look asks for more, and tells

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
        version = str(secret["metadata"]["resourceVersion"])
        seen = _Seen(time.monotonic(), version, frozenset(data), data.get(CA_KEY))
        self._known[(namespace, name)] = seen
        return seen
