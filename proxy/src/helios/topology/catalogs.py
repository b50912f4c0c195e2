"""What plans depend on in each database for which one has asked, kept up to date.

The planner's thread asks (`catalog`), and gets what is known at that moment or nothing; a task for each database reads
on the event loop: when it is asked for, when a function is missing or may have been defined anew, and every interval.
When what is known of a database changes, `outdate` is called, and the engine asks again for plans that depend on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from helios.config import ProxyConfig
from helios.core import NodeView
from helios.planner.catalog import Catalog
from helios.tasks import cancel
from helios.telemetry.logs import fields
from helios.topology.catalog_reader import CatalogFailure, read_catalog
from helios.topology.credentials import Login

__all__ = ["CatalogCounts", "Catalogs"]

_log = logging.getLogger(__name__)

_GAP_SECONDS = 1.0
"""Shortest pause between two readings of a database: a migration must not cause one for each of its statements."""

_RETRY_SECONDS = 2.0
"""Until a reading that failed is tried again: most likely there was no primary, which lasts seconds."""

_ASK_SECONDS = 0.05
"""How often `known` asks."""

_TIMEOUT_SECONDS = 10.0
"""Until a reading has failed. Nothing waits for it."""

_KEPT_INTERVALS = 10
"""A database that is not asked for during so many intervals is forgotten."""

_MAX_DATABASES = 1000
"""Databases that are kept; clients may name any."""

_Key: TypeAlias = tuple[str, str]
"""Cluster and database."""


@dataclass(frozen=True)
class CatalogCounts:
    """What is known, and how it was come by."""

    kept: int = 0
    """Databases whose functions are known."""
    age_seconds: float | None = None
    """Since the oldest of them was last compared with the server; None for none."""
    reads: int = 0
    """Readings that succeeded, those that found no change among them."""
    failures: int = 0


@dataclass(frozen=True)
class _Snapshot:
    """A catalog, and as of when."""

    catalog: Catalog
    defined: int
    """It was read after this was known to be defined."""
    read_at: float
    """Time of the event loop, seconds."""


@dataclass
class _Kept:
    """One database. `snapshot` and `asked_at` are also touched by the planner's thread, each in one step."""

    key: _Key
    defined: int
    asked_at: float
    snapshot: _Snapshot | None = None
    has_failed: bool = False
    """The last reading did, and was complained of."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Catalogs:
    """Lives on one event loop; only `catalog` and `lacks` are called from the planner's thread."""

    def __init__(self, primary: Callable[[str], NodeView | None], outdate: Callable[[str, str], None]) -> None:
        """`primary` tells the primary of a cluster, `outdate` is called with cluster and database."""
        self._primary = primary
        self._outdate = outdate
        self._loop = asyncio.get_running_loop()
        self._logins: Mapping[str, Login] = {}
        self._interval_seconds = 0.0
        self._with_tables = self._with_numbered = False
        self._kept: dict[_Key, _Kept] = {}
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._reads = self._failures = 0
        self._stopped = False

    def configure(self, config: ProxyConfig, logins: Mapping[str, Login]) -> None:
        """Read as `logins`, every so often, from now on."""
        self._logins = logins
        self._interval_seconds = config.planner.catalog_interval_seconds
        self._with_tables = config.routing.schema_aware
        self._with_numbered = config.transaction_replay.enabled
        for kept in self._kept.values():
            kept.wake.set()

    def catalog(self, cluster: str, database: str, defined: int) -> Catalog | None:
        """What is known now, if it was read after `defined`; else None, and it is read."""
        kept = self._kept.get((cluster, database))
        if kept is not None:
            kept.asked_at = self._loop.time()
            snapshot = kept.snapshot
            if snapshot is not None and snapshot.defined >= defined:
                return snapshot.catalog
        self._loop.call_soon_threadsafe(self._want, (cluster, database), defined)
        return None

    async def known(self, cluster: str, database: str, patience_seconds: float) -> Catalog | None:
        """As `catalog`, after it has been read; None if it cannot be in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                # Asking again is what has a reading tried again that failed.
                while self.catalog(cluster, database, 0) is None:  # noqa: ASYNC110
                    await asyncio.sleep(_ASK_SECONDS)
        return self.catalog(cluster, database, 0)

    def lacks(self, cluster: str, database: str) -> None:
        """Look whether there is something new."""
        self._loop.call_soon_threadsafe(self._want, (cluster, database), 0)

    def counts(self) -> CatalogCounts:
        """Of this moment."""
        read_at = [kept.snapshot.read_at for kept in self._kept.values() if kept.snapshot is not None]
        age = self._loop.time() - min(read_at) if read_at else None
        return CatalogCounts(len(read_at), age, self._reads, self._failures)

    async def stop(self) -> None:
        """End all readings."""
        self._stopped = True
        await cancel(self._tasks.values())

    def _want(self, key: _Key, defined: int) -> None:
        kept = self._kept.get(key)
        if kept is not None:
            kept.defined = max(kept.defined, defined)
            kept.wake.set()
        elif not self._stopped and len(self._kept) < _MAX_DATABASES:
            kept = self._kept[key] = _Kept(key, defined, self._loop.time())
            self._tasks[key] = asyncio.create_task(self._keep(kept), name=f"catalog of {'/'.join(key)}")

    async def _keep(self, kept: _Kept) -> None:
        """Read again and again, until nobody asks any more."""
        try:
            while self._loop.time() - kept.asked_at < _KEPT_INTERVALS * self._interval_seconds:
                kept.wake.clear()
                await self._refresh(kept)
                await asyncio.sleep(_GAP_SECONDS)
                pause = self._interval_seconds if kept.snapshot else min(self._interval_seconds, _RETRY_SECONDS)
                # Not wait_for(), which in Python 3.11 loses a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await kept.wake.wait()
        finally:
            del self._kept[kept.key], self._tasks[kept.key]
            self._change(kept, None)

    async def _refresh(self, kept: _Kept) -> None:
        # What is defined while the catalog is being read may or may not be in it.
        defined = kept.defined
        try:
            catalog = await self._read(kept)
        except CatalogFailure as failure:
            self._failures += 1
            self._complain(kept, str(failure))
            self._change(kept, None)
        except Exception:  # noqa: BLE001 - a fault of ours must be seen, and must not freeze what is known
            self._failures += 1
            _log.exception("reading a catalog ended by an unexpected error", extra=_where(kept))
            self._change(kept, None)
        else:
            self._reads += 1
            kept.has_failed = False
            self._change(kept, _Snapshot(catalog, defined, self._loop.time()))

    async def _read(self, kept: _Kept) -> Catalog:
        cluster, database = kept.key
        # A standby may lag behind what statements on the primary find.
        node, login = self._primary(cluster), self._logins.get(cluster)
        if node is None or login is None:
            raise CatalogFailure("there is no primary to read it from")
        known = None if kept.snapshot is None else kept.snapshot.catalog
        login = replace(login, database=database)
        return await read_catalog(
            node.host,
            node.port,
            node.addresses,
            login,
            _TIMEOUT_SECONDS,
            known,
            with_tables=self._with_tables,
            with_numbered=self._with_numbered,
        )

    def _change(self, kept: _Kept, snapshot: _Snapshot | None) -> None:
        """Know this from now on; plans that were made by something else are out of date."""
        before, kept.snapshot = kept.snapshot, snapshot
        if _meaning(before) != _meaning(snapshot):
            self._outdate(*kept.key)

    def _complain(self, kept: _Kept, reason: str) -> None:
        if not kept.has_failed:
            kept.has_failed = True
            _log.warning("functions are not known, calls may do anything", extra=_where(kept, reason=reason))


def _meaning(snapshot: _Snapshot | None) -> tuple[str, int] | None:
    return None if snapshot is None else (snapshot.catalog.version, snapshot.defined)


def _where(kept: _Kept, **more: object) -> dict[str, dict[str, str]]:
    cluster, database = kept.key
    return fields(cluster=cluster, database=database, **more)
