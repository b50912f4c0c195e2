"""Create, read, change, delete and wait for one object: what both providers do at the API server.

A create refuses an object that exists; a change is a server-side apply that carries the uid, without force, so that
what somebody else owns is not overwritten unasked; a delete carries the uid. Errors are `IacError`s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from helios.kube import AlreadyExists, Client, Conflict, Kind, NotFound, ServerUnreachable
from helios.kube.kinds import SECRET
from helios.kube.ownership import as_applied, owners, taken
from helios_crds import API_VERSION, GROUP, KINDS, VERSION
from helios_iac import advice, users
from helios_iac.conditions import Verdict, progress, verdict
from helios_iac.connection import Connection
from helios_iac.fields import ResourceType
from helios_iac.values import Unknown

__all__ = ["KINDS_OF", "Operations", "Outcome", "Target"]

Json = dict[str, Any]
Path = tuple[str | int, ...]
Progress = Callable[[str], None]

FIRST_PAUSE: Final = 0.2
LAST_PAUSE: Final = 2.0
"""Seconds between two looks of a wait: a PoolProfile is accepted within one, pods take some dozen."""
RETRY_SECONDS: Final = 15.0
"""How long a write is tried again while nobody answers: an API server that restarts is back within seconds."""


KINDS_OF: Final = {kind: Kind(API_VERSION, model.names.plural, kind) for kind, model in KINDS.items()}
"""`PoolProfile` → its paths."""


def _silent(_line: str) -> None:
    """Nobody listens to the progress."""


@dataclass(frozen=True)
class Target:
    """One object that is, or is to be, ours."""

    resource: ResourceType
    namespace: str
    name: str
    uid: str | None = None
    """Of the object that we made or imported; None: not known."""

    @property
    def kind(self) -> Kind:
        """Its place in the API."""
        return KINDS_OF[self.resource.kind]

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """The end of a wait."""

    live: Json
    """The object as it was seen last."""
    ready: bool
    why: str = ""
    """Why it is not ready: the condition's words, or that the wait was interrupted or timed out."""


class Operations:
    """What can be done, by one client and in the way of one provider's configuration."""

    def __init__(self, client: Client, connection: Connection, stopped: asyncio.Event) -> None:
        self._client = client
        self._connection = connection
        self._stopped = stopped

    async def read(self, target: Target) -> Json | None:
        """The object; None where there is none, or another one took its place. Raises IacError."""
        with advice.about(target, "read"):
            live = await self._find(target.kind, target)
            if live is None:
                await self._require_kind(target)
                return None
            return live if target.uid in (None, live["metadata"]["uid"]) else None

    async def create(self, target: Target, document: Json) -> Json:
        """Make the object. Raises IacError, also where the name is taken and `take_ownership` is not said."""
        with advice.about(target, "create"):
            try:
                return await self._create(target, document)
            except AlreadyExists as error:
                live = await self._find(target.kind, target)
                if live is None:
                    raise Conflict(409, "Conflict", f"{target} is being deleted by somebody else") from error
                if not self._connection.take_ownership:
                    raise advice.exists(target) from error
                return await self._apply(target, document, live, force=True)
            except NotFound:
                await self._require_kind(target)
                raise

    async def update(self, target: Target, document: Json, wanted: Json) -> Json:
        """Change the object to `document`; `wanted` is its spec with every default. Raises IacError."""
        with advice.about(target, "change"):
            live = await self._retried(lambda: self._client.get(target.kind, target.namespace, target.name))
            if target.uid not in (None, live["metadata"]["uid"]):
                raise advice.replaced(target)
            force = self._connection.force_conflicts
            if not force:
                self._refuse_foreign(target, wanted, live)
            return await self._apply(target, document, live, force=force)

    async def delete(self, target: Target) -> None:
        """Delete this very object and return when it is gone. Raises IacError."""
        with advice.about(target, "delete"):
            body: Json = {"propagationPolicy": "Background"}
            if target.uid is not None:
                body["preconditions"] = {"uid": target.uid}
            path = target.kind.path(target.namespace, target.name)
            try:
                await self._retried(lambda: self._client.request("DELETE", path, None, body))
            except NotFound:
                return
            except Conflict:
                live = await self._find(target.kind, target)
                if live is not None and live["metadata"]["uid"] == target.uid:
                    raise
                return

    async def gone(self, target: Target, seconds: float) -> bool:
        """Whether the object went within some seconds; finalizers of others may hold it."""
        async for live in self._looks(target, seconds):
            if live is None or live["metadata"]["uid"] != target.uid:
                return True
        return False

    async def write_users(
        self,
        target: Target,
        live: Mapping[str, Any],
        passwords: Mapping[str, str | None],
        versions: Mapping[str, Any],
        before: Mapping[str, Any],
    ) -> None:
        """Write the users file of a HeliosProxy into its Secret; see `users.users_text`. Raises IacError."""
        secret = replace(target, name=users.secret_name(target.name), uid=None)
        with advice.about(target, "write the users of"):
            present = await self._find(SECRET, secret)
            if present is not None and not _belongs_to(present, live) and not self._connection.take_ownership:
                raise advice.foreign_secret(target, secret.name)
            text = users.users_text(passwords, versions, before, users.text_of(present))
            document = users.secret_document(target.name, target.namespace, text, live)
            manager = self._connection.manager
            if present is None:
                await self._client.create(SECRET, document, manager)
            else:
                await self._retried(lambda: self._client.apply(SECRET, document, manager, force=True))

    async def await_ready(self, target: Target, seconds: float, tell: Progress = _silent) -> Outcome:
        """Wait until the condition is true, it is refused, the time is up or the user interrupts; never raises late.

        Raises IacError when the object is gone.
        """
        started = time.monotonic()
        found = Verdict(done=False)
        last, live = "", None
        with advice.about(target, "read"):
            async for seen in self._looks(target, seconds):
                if seen is None:
                    raise advice.vanished(target)
                live = seen
                found = verdict(target.resource, seen)
                line = progress(seen)
                if line != last:
                    tell(f"{target}: {line}")
                    last = line
                if found.done or found.refused:
                    return Outcome(seen, found.done, found.why)
        if live is None:
            live = await self._client.get(target.kind, target.namespace, target.name)
        if self._stopped.is_set():
            return Outcome(live, ready=False, why=f"the wait was interrupted; so far {found.why}")
        waited = time.monotonic() - started
        return Outcome(live, ready=False, why=f"not {target.resource.ready} after {waited:.0f} s: {found.why}")

    async def _looks(self, target: Target, seconds: float) -> AsyncIterator[Json | None]:
        """The object again and again until the time is up or we are stopped; None when it is gone."""
        deadline = time.monotonic() + seconds
        pause = FIRST_PAUSE
        while True:
            try:
                yield await self._find(target.kind, target)
            except ServerUnreachable:
                if time.monotonic() + pause >= deadline:
                    raise
            left = deadline - time.monotonic()
            if left <= 0 or await self._is_stopped(min(pause, left)):
                return
            pause = min(pause * 1.5, LAST_PAUSE)

    async def _is_stopped(self, seconds: float) -> bool:
        """Sleep; True at once when the user interrupts."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _create(self, target: Target, document: Json) -> Json:
        """POST; where nobody answered it is not known whether the object was made, so it is looked for."""
        unanswered = False
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return await self._client.create(target.kind, document, self._connection.manager)
            except ServerUnreachable:
                unanswered = True
                if time.monotonic() >= deadline or await self._is_stopped(FIRST_PAUSE):
                    raise
            except AlreadyExists:
                live = await self._find(target.kind, target) if unanswered else None
                if live is not None and self._is_made_by_us(live):
                    return live
                raise

    def _is_made_by_us(self, live: Json) -> bool:
        """Whether nobody but this manager has ever written the object's spec."""
        entries = [each for each in live["metadata"].get("managedFields") or () if not each.get("subresource")]
        return all(each.get("manager") == self._connection.manager for each in entries)

    async def _apply(self, target: Target, document: Json, live: Json, *, force: bool) -> Json:
        """Server-side apply to the object that `live` is; with force all of the spec becomes ours first."""
        metadata = live["metadata"]
        entries = metadata.get("managedFields") or []
        manager = self._connection.manager
        turned = taken(entries, manager) if force else as_applied(entries, manager)
        if turned != entries:
            patch = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "managedFields": turned}
            await self._client.merge(target.kind, target.namespace, target.name, {"metadata": patch}, manager)
        of_that = {**document, "metadata": {**document["metadata"], "uid": metadata["uid"]}}
        return await self._retried(lambda: self._client.apply(target.kind, of_that, manager, force=force))

    def _refuse_foreign(self, target: Target, wanted: Json, live: Json) -> None:
        """Raise IacError where the change would have to overwrite what somebody else set."""
        entries = [each for each in live["metadata"].get("managedFields") or () if not each.get("subresource")]
        manager = self._connection.manager
        foreign: dict[Path, list[str]] = {}
        for path in _differing(wanted, live.get("spec") or {}, ("spec",)):
            holders = owners(entries, live, path)
            if holders and manager not in holders:
                foreign[path] = holders
        if foreign:
            raise advice.owned_by_others(target, foreign)

    async def _find(self, kind: Kind, target: Target) -> Json | None:
        try:
            return await self._client.get(kind, target.namespace, target.name)
        except NotFound:
            return None

    async def _require_kind(self, target: Target) -> None:
        """Raise IacError unless the API server serves the kind: a missing object and a missing kind are both 404."""
        try:
            group = await self._client.request("GET", f"/apis/{GROUP}")
        except NotFound:
            raise advice.no_definitions(target) from None
        versions = [str(each.get("version")) for each in group.get("versions") or ()]
        serving = [version for version in versions if await self._serves(version, target.kind.plural)]
        if not serving:
            raise advice.no_definitions(target)
        if VERSION not in serving:
            raise advice.no_version(target, serving)

    async def _serves(self, version: str, plural: str) -> bool:
        kinds = await self._client.request("GET", f"/apis/{GROUP}/{version}")
        return plural in {each.get("name") for each in kinds.get("resources") or ()}

    async def _retried(self, call: Callable[[], Awaitable[Json]]) -> Json:
        """A call that may be sent twice, sent again while nobody answers."""
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return await call()
            except ServerUnreachable:
                if time.monotonic() >= deadline or await self._is_stopped(FIRST_PAUSE):
                    raise


def _belongs_to(secret: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    references = secret["metadata"].get("ownerReferences") or ()
    return any(each.get("uid") == owner["metadata"]["uid"] for each in references)


def _differing(wanted: Any, present: Any, path: Path) -> Iterator[Path]:
    """Paths of what the object has and `wanted` says otherwise or not at all; values are compared by place."""
    if isinstance(wanted, Unknown) or wanted == present:
        return
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        for key, item in present.items():
            yield from _differing(wanted.get(key), item, (*path, key))
        return
    if isinstance(wanted, list) and isinstance(present, list):
        kept = [item for item in wanted if item not in present]
        for index, item in enumerate(present):
            if item not in wanted and not any(_alike(item, other) for other in kept):
                yield (*path, index)
            elif item not in wanted:
                yield from _differing(next(each for each in kept if _alike(item, each)), item, (*path, index))
        return
    yield path


def _alike(one: Any, other: Any) -> bool:
    """Whether two items of a list are the same item with other settings: told by what our lists are keyed by."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return False
    keys = [key for key in ("host", "name") if key in one and key in other]
    return bool(keys) and all(one[key] == other[key] for key in keys) and one.get("port") == other.get("port")
