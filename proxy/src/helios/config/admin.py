"""`[admin]`: where the admin API listens and who may use it. Read by `helios.admin`."""

from __future__ import annotations

from pydantic import SecretStr

from helios.config.base import Address, HeliosModel, Path

__all__ = ["AdminConfig"]


class AdminConfig(HeliosModel):
    """The HTTP admin API: probes, metrics, nodes, pools, reload."""

    address: Address = "127.0.0.1:9090"
    """Address of the admin API. Loopback, because it shows and changes the proxy; port 0 takes any free port."""

    token: SecretStr | None = None
    """Bearer token demanded on everything but the probes. None: on loopback everything is open, elsewhere only probes
    and /metrics are served."""

    token_file: Path | None = None
    """File that holds the token, so that the configuration can be published. Each line is a token that is accepted:
    while one replaces the other the file holds both. Excludes `token`."""

    tls_cert_file: Path | None = None
    """PEM certificate chain; with `tls_key_file` the admin API speaks HTTPS. None: plain HTTP, right for loopback."""

    tls_key_file: Path | None = None
    """PEM private key of `tls_cert_file`."""
