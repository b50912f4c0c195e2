"""Certificates for tests, made by the openssl program: an authority and what it signs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Authority", "Certificate"]

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Certificate:
    """Two PEM files."""

    cert: Path
    key: Path


class Authority:
    """A self-signed authority in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
        _openssl(self._own, f"/CN={name}")

    @property
    def cert(self) -> Path:
        """What those who trust it are given."""
        return self._own.cert

    def sign(self, name: str, host: str = "IP:127.0.0.1", subject: str = "") -> Certificate:
        """A certificate for `host` (`IP:…` or `DNS:…`) in files called `name`; `subject` like `/O=Example/CN=alice`."""
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        signed = ("-CA", self._own.cert, "-CAkey", self._own.key, "-addext", "basicConstraints=CA:FALSE")
        _openssl(made, subject or f"/CN={name}", *signed, "-addext", f"subjectAltName={host}")
        return made

    def revoke(self, file: Path, *revoked: Certificate, days: int = 2) -> Path:
        """Write the revocation list with these certificates to `file`; a negative `days` makes one of the past."""
        database = self._folder / "revoked.txt"
        database.write_text("")
        config = self._folder / "revoke.cnf"
        number = self._folder / "crlnumber"
        number.write_text("01\n")
        config.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={database}\ncrlnumber={number}\ndefault_md=sha256\n"
            "crl_extensions=more\n[more]\nauthorityKeyIdentifier=keyid\n"
        )
        ca: list[str | Path] = ["openssl", "ca", "-config", config, "-cert", self._own.cert, "-keyfile", self._own.key]
        for certificate in revoked:
            subprocess.run([*ca, "-revoke", certificate.cert], check=True, capture_output=True)
        dates = ["-crldays", str(days)]
        if days < 0:
            dates = ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z"]
        subprocess.run([*ca, "-gencrl", *dates, "-out", file], check=True, capture_output=True)
        return file


def _openssl(made: Certificate, subject: str, *more: str | Path) -> None:
    command = ["openssl", "req", "-x509", *NEW_KEY, "-subj", subject, *more, "-keyout", made.key, "-out", made.cert]
    subprocess.run(command, check=True, capture_output=True)
