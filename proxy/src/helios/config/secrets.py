"""Secrets that the configuration names by file. Read when a snapshot is made, so that a reload picks up a new one.

Called by `snapshot`, the admin API (token) and the monitor (password). Every value travels as `SecretStr`, whose text
and repr are stars.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from pathlib import Path

from pydantic import BaseModel, SecretStr

from helios.config.proxy import ProxyConfig
from helios.errors import Problem, SecretError

__all__ = [
    "MAX_SECRET_FILE_BYTES",
    "admin_tokens",
    "metrics_token",
    "monitor_password",
    "named_files",
    "peer_secrets",
    "read_text",
    "secret",
]

MAX_SECRET_FILE_BYTES = 16 << 20
"""Largest file read for a secret; a users file of 100 000 SCRAM verifiers stays below it."""

MIN_PEER_SECRET = 16
"""Characters of a peers' secret at least; whoever can pose as a peer may try to guess it."""
MAX_PEER_SECRETS = 4
"""Lines that are read of the peers' file."""


def admin_tokens(config: ProxyConfig, base_dir: Path | None = None) -> tuple[SecretStr, ...]:
    """The bearer tokens of the admin API: the inline one, or each line of the file; none where none is configured.

    A file with two lines accepts the new and the old one while they are exchanged. `SecretError`.
    """
    admin = config.admin
    if admin.token is not None or admin.token_file is None:
        return () if admin.token is None else (admin.token,)
    return tuple(
        SecretStr(line) for line in _lines((base_dir or Path()) / admin.token_file, "admin.token_file") if line
    )


def metrics_token(token: str) -> str:
    """The token that lets a scraper read the metrics and nothing else, made of an admin token.

    An interface: whoever hands it to a Prometheus makes it in the same way.
    """
    return hmac.new(token.encode(), b"helios metrics", hashlib.sha256).hexdigest()


def monitor_password(config: ProxyConfig, base_dir: Path | None = None) -> SecretStr | None:
    """The password of the monitor's role, inline or from its file; None where none is configured. `SecretError`."""
    return secret(config.monitor.password, config.monitor.password_file, "monitor.password_file", base_dir)


def peer_secrets(config: ProxyConfig, base_dir: Path | None = None) -> tuple[str, ...]:
    """What the peers share, the present secret first; none where no file is named. `SecretError`."""
    file = config.peers.secret_file
    if file is None:
        return ()
    path = (base_dir or Path()) / file
    secrets = tuple(line for line in _lines(path, "peers.secret_file") if line)[:MAX_PEER_SECRETS]
    if any(len(line) < MIN_PEER_SECRET for line in secrets):
        message = f"a line of {path} is shorter than {MIN_PEER_SECRET} characters"
        raise SecretError([Problem(message, "peers.secret_file", "write 32 random characters")])
    return secrets


def named_files(config: ProxyConfig) -> tuple[str, ...]:
    """Every file that the configuration names: secrets, users, certificate and key."""
    upstream = (cluster.tls for cluster in config.clusters)
    keys = config.routing.consistency_keys
    models = (config.admin, config.auth, config.monitor, config.peers, keys, config.tls, *upstream, *config.databases)
    names = (getattr(model, name) for model in models for name in _file_fields(type(model)))
    return tuple(name for name in dict.fromkeys(names) if name is not None)


@cache
def _file_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name in model.model_fields if name.endswith("_file"))


def secret(inline: SecretStr | None, file: str | None, field: str, base_dir: Path | None = None) -> SecretStr | None:
    """`inline`, else the first line of `file`, else None. `field` names the file's setting in a `SecretError`."""
    if inline is not None or file is None:
        return inline
    return SecretStr(_lines((base_dir or Path()) / file, field)[0])


def _lines(path: Path, field: str) -> list[str]:
    """The lines of a file whose first one must hold a secret."""
    lines = read_text(path, field).splitlines()
    if not lines or not lines[0]:
        raise SecretError([Problem(f"the first line of {path} is empty", field, "write the secret on the first line")])
    return lines


def read_text(path: Path, field: str) -> str:
    """The UTF-8 text of a file with secrets. `SecretError` names `field`, the path and what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "create it, readable for the user Helios runs as; a relative path starts at the configuration's folder"
        raise SecretError([Problem(f"cannot read {path}: {reason}", field, hint)]) from error
    if len(data) > MAX_SECRET_FILE_BYTES:
        raise SecretError([Problem(f"{path} is larger than {MAX_SECRET_FILE_BYTES} bytes", field)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SecretError([Problem("is not UTF-8 text", field, source=str(path), line=line)]) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise SecretError([Problem("holds a zero byte", field, source=str(path), line=line)])
    return text
