"""Keeps the webhooks' certificate: in a Secret that all operators read, in both configurations, in our listener.

Whoever finds that a step is due takes it; the resourceVersion that was read lets one of several operators win, and the
others read what it wrote. So a certificate is renewed whoever leads. Where somebody else keeps the Secret, as
cert-manager does, it is only read.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from helios.errors import HeliosError
from helios.kube import AlreadyExists, Client, Conflict, Kind, NotFound
from helios.kube.access import load_pair
from helios.kube.kinds import MUTATING_WEBHOOKS, SECRET, VALIDATING_WEBHOOKS
from helios.telemetry.logs import fields
from helios_operator.admin_secrets import decoded
from helios_operator.admission.certificates import Served, finding_of, next_step
from helios_operator.conditions import Finding
from helios_operator.names import MANAGED_BY, OPERATOR, ROTATED, WEBHOOK_MANAGER
from helios_operator.settings import OperatorSettings

__all__ = ["CertificateKeeper"]

_log = logging.getLogger(__name__)
CONFIGURATIONS: Final = (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS)
FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
Json = dict[str, Any]


@dataclass
class CertificateKeeper:
    """Looks at the Secret now and then."""

    client: Client
    settings: OperatorSettings
    shown: Callable[[ssl.SSLContext], Awaitable[None]]
    """Called with the listener's TLS when it has another certificate than before; always the same object."""
    turned: Callable[[], None]
    """Called when `finding` is another one than before."""

    def __post_init__(self) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._loaded: Served | None = None
        self._held: Served | None = None
        self.finding: Finding | None = None
        """What is wrong with what the Secret holds; None while all is well, and before the first look."""

    @property
    def ends(self) -> datetime | None:
        """When the certificate that is shown expires; None while there is none."""
        return None if self._loaded is None else self._loaded.ends

    async def run(self) -> None:
        """Look for ever; what goes wrong is told and tried again."""
        while True:
            try:
                await self._look()
            except HeliosError as error:
                _log.warning("the webhooks' certificate cannot be kept", extra=fields(error=error))
            except Exception:  # noqa: BLE001 - without it no certificate would ever be renewed
                _log.exception("the webhooks' certificate cannot be kept, by a fault of the operator")
            self._judge()
            await asyncio.sleep(self.settings.webhook_refresh)

    def _judge(self) -> None:
        """Tell what is wrong with what was held at the last look; it may have expired since."""
        before = self.finding
        self.finding = finding_of(self._held, self._place, self.settings.webhook_hosts, datetime.now(UTC))
        if self.finding != before:
            if self.finding is not None:
                _log.warning("webhooks", extra=fields(reason=self.finding.reason, told=self.finding.message))
            self.turned()

    async def _look(self) -> None:
        secret = await self._read()
        held = None if secret is None else Served.of_files(decoded(secret))
        self._held = held
        now = datetime.now(UTC)
        # What nobody takes is replaced before it is published: the API server would refuse it.
        if (step := self._step(held, now, waited=False)) is not None:
            held = await self._write(secret, step, now)
            self._held = held or self._held
        if held is None:
            if not self._is_own:
                _log.warning("no certificate for the webhooks yet", extra=fields(secret=self._place))
            return
        await self._load(held)
        if held.trust:
            for kind in CONFIGURATIONS:
                await self._publish(kind, held.trust)
        # Only what was published is followed by the next step.
        if step is None and self._has_waited(secret, now):
            step = self._step(held, now, waited=True)
            if step is not None:
                await self._write(secret, step, now)

    @property
    def _is_own(self) -> bool:
        return self.settings.webhook_certificate == "own"

    def _step(self, held: Served | None, now: datetime, *, waited: bool) -> Served | None:
        valid = timedelta(seconds=self.settings.webhook_valid)
        return next_step(held, self.settings.webhook_hosts, now, valid, waited) if self._is_own else None

    @property
    def _place(self) -> str:
        return f"{self.settings.namespace}/{self.settings.webhook_name}"

    def _has_waited(self, secret: Json | None, now: datetime) -> bool:
        """Whether the last step was so long ago that every operator and API server knows of it."""
        text = ((secret or {}).get("metadata", {}).get("annotations") or {}).get(ROTATED, "")
        try:
            changed = datetime.strptime(text, FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return True  # somebody else's text; it must not keep an old certificate for ever
        return now - changed >= timedelta(seconds=self.settings.webhook_overlap)

    async def _read(self) -> Json | None:
        try:
            return await self.client.get(SECRET, self.settings.namespace, self.settings.webhook_name)
        except NotFound:
            return None

    async def _write(self, secret: Json | None, new: Served, now: datetime) -> Served | None:
        """Write the step; what the Secret holds then, None where another operator was faster."""
        data = {name: base64.b64encode(text).decode() if text else None for name, text in new.files().items()}
        metadata: Json = {"annotations": {ROTATED: now.strftime(FORMAT)}}
        name, namespace = self.settings.webhook_name, self.settings.namespace
        try:
            if secret is None:
                metadata |= {"name": name, "namespace": namespace, "labels": {MANAGED_BY: OPERATOR}}
                filled = {key: text for key, text in data.items() if text is not None}
                value = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": filled}
                await self.client.create(SECRET, value, WEBHOOK_MANAGER)
            else:
                metadata |= {key: secret["metadata"][key] for key in ("uid", "resourceVersion")}
                patch = {"metadata": metadata, "data": data}
                await self.client.merge(SECRET, namespace, name, patch, WEBHOOK_MANAGER)
        except (AlreadyExists, Conflict, NotFound):
            _log.info("another operator has changed the webhooks' certificate", extra=fields(secret=self._place))
            return None
        _log.info("webhooks' certificate changed", extra=fields(secret=self._place, ends=new.ends))
        return new

    async def _load(self, held: Served) -> None:
        """Show it from the next connection on."""
        if self._loaded is not None and (held.certificate, held.key) == (self._loaded.certificate, self._loaded.key):
            return
        try:
            load_pair(self._tls, held.certificate, held.key)
        except ssl.SSLError as error:
            _log.error("the webhooks' certificate is broken", extra=fields(secret=self._place, error=error))
            return
        await self.shown(self._tls)
        self._loaded = held

    async def _publish(self, kind: Kind, trust: bytes) -> None:
        """Have the API server trust it. All else of the configuration is the installation's."""
        try:
            present = await self.client.get(kind, None, self.settings.webhook_name)
        except NotFound:
            return
        bundle = base64.b64encode(trust).decode()
        hooks = present.get("webhooks") or ()
        if all(hook["clientConfig"].get("caBundle") == bundle for hook in hooks):
            return
        value = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": self.settings.webhook_name, "uid": present["metadata"]["uid"]},
            "webhooks": [{"name": hook["name"], "clientConfig": {"caBundle": bundle}} for hook in hooks],
        }
        await self.client.apply(kind, value, WEBHOOK_MANAGER)
        _log.info("webhooks' certificate published", extra=fields(configuration=kind.name))
