"""Where the API server is and as whom we come. Made by `in_cluster` or `helios.kube.kubeconfig`, read by the client."""

from __future__ import annotations

import math
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from helios.kube.errors import KubeAccessError

__all__ = ["SERVICE_ACCOUNT", "Access", "in_cluster", "load_pair"]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS: Final = 60.0
"""How long a token read from a file is used before the file is read again; kubelets renew it long before it ends."""


@dataclass
class Access:
    """One API server and one identity. PEM data are bytes; files are read when they are needed."""

    server: str
    """`https://host:port`."""

    ca: bytes | None = None
    """PEM of the authority that signed the server's certificate; None: those of the system."""

    insecure: bool = False
    """Take any certificate; only for a test cluster that says so in its kubeconfig."""

    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """File with the token, which may change; goes before `token`."""
    fetch_token: Callable[[], tuple[str, float | None]] | None = field(default=None, repr=False)
    """Asks somebody for (a token, seconds that it may be used; None: until it is refused); goes before both."""

    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    namespace: str = "default"
    """Namespace that is meant where none is said."""

    _read: tuple[float, str] | None = field(default=None, repr=False)
    """Until when the token is used, by the monotonic clock, and the token."""

    def bearer(self) -> str | None:
        """The token of this moment; None where a certificate is the identity. Raises KubeAccessError."""
        if not self.can_renew:
            return self.token
        if self._read is None or time.monotonic() > self._read[0]:
            token, seconds = self._renewed()
            self._read = (time.monotonic() + seconds, token)
        return self._read[1]

    @property
    def can_renew(self) -> bool:
        """Whether another token may be had when this one is refused."""
        return self.fetch_token is not None or self.token_file is not None

    def forget_token(self) -> None:
        """Have another token next time: the server did not take this one."""
        self._read = None

    def _renewed(self) -> tuple[str, float]:
        if self.fetch_token is not None:
            token, seconds = self.fetch_token()
            return token, math.inf if seconds is None else seconds
        assert self.token_file is not None, "can_renew"
        return _text(self.token_file).strip(), TOKEN_SECONDS

    def tls(self) -> ssl.SSLContext:
        """TLS towards the server. Raises KubeAccessError for a certificate that cannot be used."""
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca is not None else None)
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.certificate is not None and self.key is not None:
                load_pair(context, self.certificate, self.key)
        except (ssl.SSLError, ValueError) as error:
            raise KubeAccessError(f"a certificate of {self.server} cannot be used: {error}") from error
        return context


def in_cluster(folder: Path = SERVICE_ACCOUNT) -> Access:
    """The identity that a pod was given. Raises KubeAccessError outside of pods."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise KubeAccessError("KUBERNETES_SERVICE_HOST is not set: this is no pod; give a kubeconfig")
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca=_text(folder / "ca.crt").encode(),
        token_file=folder / "token",
        namespace=_text(folder / "namespace").strip(),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise KubeAccessError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python's ssl takes a pair from files only; they exist no longer than the call."""
    with tempfile.NamedTemporaryFile(prefix="helios-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)
