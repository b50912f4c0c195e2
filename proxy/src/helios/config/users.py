"""`auth.users_file`: lines `"user" "secret"` in the quoting of PgBouncer's userlist.txt.

Called by `snapshot` and by the monitor. A quote inside a name or secret is written twice; blank lines and lines that
start with `;` or `#` are passed over. All faulty lines are reported at once, with their numbers, never with a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path as FilePath

from pydantic import SecretStr

from helios.config.auth import AuthMethod
from helios.config.proxy import ProxyConfig
from helios.config.secrets import read_text
from helios.config.tree import Finding, Path
from helios.errors import Problem, SecretError

__all__ = ["SecretKind", "User", "caution_users", "format_users", "parse_users", "read_users", "users_of"]

_FIELD = "auth.users_file"
_LINE = re.compile(r'\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"\s*(?:[;#].*)?')
_MD5 = re.compile(r"md5[0-9a-fA-F]{32}")
_VERIFIER_PREFIX = "SCRAM-SHA-256$"
_VERIFIER = re.compile(r"SCRAM-SHA-256\$([0-9]{1,10}):([^:$]+)\$([^:$]+):([^:$]+)", re.ASCII)
_VERIFIER_SHAPE = "SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>"
_MAX_NAME_BYTES = 63
_MAX_ITERATIONS = 10_000_000  # these two as the engine has them; a test compares
_MAX_SALT_BYTES = 1024
_KEY_BYTES = 32
_NAMES_SHOWN = 3


class SecretKind(Enum):
    """What a secret of the users file is."""

    NONE = "no password"
    PLAIN = "plain text"
    MD5 = "md5"
    SCRAM_VERIFIER = "SCRAM verifier"


@dataclass(frozen=True, slots=True)
class User:
    """One line of the users file."""

    name: str
    secret: SecretStr | None
    """None: the user has no password, written as an empty secret."""

    @property
    def kind(self) -> SecretKind:
        """What the secret is, told by its form as PostgreSQL does."""
        if self.secret is None:
            return SecretKind.NONE
        text = self.secret.get_secret_value()
        if _MD5.fullmatch(text):
            return SecretKind.MD5
        return SecretKind.SCRAM_VERIFIER if text.startswith(_VERIFIER_PREFIX) else SecretKind.PLAIN

    def can_log_in(self, method: AuthMethod) -> bool:
        """Whether Helios can log in to a server with this secret when clients come by `method`.

        A verifier alone cannot answer; it takes what a client proves by SCRAM or sends as its password.
        """
        if self.kind is SecretKind.SCRAM_VERIFIER:
            return method.asks_secret
        return self.kind in (SecretKind.PLAIN, SecretKind.MD5)


def users_of(config: ProxyConfig, base_dir: FilePath | None = None) -> tuple[User, ...]:
    """The users of a configuration; none where it names no file. `SecretError` as `read_users`."""
    if config.auth.users_file is None:
        return ()
    return read_users((base_dir or FilePath()) / config.auth.users_file)


def read_users(path: FilePath | str) -> tuple[User, ...]:
    """The users of a file, in its order. `SecretError` with every faulty line."""
    path = FilePath(path)
    return parse_users(read_text(path, _FIELD), str(path))


def format_users(users: Sequence[User]) -> str:
    """The text of a users file that `parse_users` reads back equal."""
    return "".join(f"{_quoted(user.name)} {_quoted(_text(user.secret))}\n" for user in users)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def caution_users(config: ProxyConfig, users: Sequence[User]) -> list[Finding]:
    """What the users file allows but its author probably did not mean."""
    path: Path = ("auth", "users_file")
    method = config.auth.method
    findings = []
    if method.asks_secret:
        shut_out = [user.name for user in users if user.kind is SecretKind.NONE]
        if method is AuthMethod.SCRAM_SHA_256 and config.auth.hba_file is None:
            shut_out += [user.name for user in users if user.kind is SecretKind.MD5]
        if shut_out:
            message = f"no secret that method {method.value} can check has {_some(shut_out)}: they cannot log in"
            findings.append(Finding(path, message, "give them a password or a SCRAM verifier"))
    mute = [user.name for user in users if not user.can_log_in(method)]
    if mute and any(entry.user is None for entry in config.resolved_databases()):
        message = f"Helios cannot log in to a server that asks for a password as {_some(mute)}"
        hint = "set user and password_file in [[databases]], or give them secrets"
        findings.append(Finding(path, message, hint))
    return findings


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def parse_users(text: str, source: str) -> tuple[User, ...]:
    """The users of `text`; `source` is the file's name in a `SecretError`, which carries every faulty line."""
    users: dict[str, User] = {}
    first_seen: dict[str, int] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith((";", "#")):
            continue
        report = _reporter(problems, source, number)
        user = _parse_line(line.rstrip("\r"), report)
        if user is None:
            continue
        if user.name in users:
            report(f'user "{user.name}" is here for the second time', f"line {first_seen[user.name]} has it too")
            continue
        users[user.name] = user
        first_seen[user.name] = number
    if problems:
        raise SecretError(problems)
    return tuple(users.values())


_Report = Callable[[str, str], None]


def _reporter(problems: list[Problem], source: str, line: int) -> _Report:
    def report(message: str, hint: str) -> None:
        problems.append(Problem(message, _FIELD, hint, source, line))

    return report


def _parse_line(line: str, report: _Report) -> User | None:
    match = _LINE.fullmatch(line)
    if match is None:
        report("is no user and secret", 'write "user" "secret", a quote inside as two quotes')
        return None
    name, text = (part.replace('""', '"') for part in match.groups())
    if not 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        report("the name is empty or longer than 63 bytes", "PostgreSQL knows no such role")
        return None
    if text.startswith(_VERIFIER_PREFIX) and not _is_verifier(text):
        report(f'the SCRAM verifier of "{name}" is damaged', f"copy it from pg_authid.rolpassword: {_VERIFIER_SHAPE}")
        return None
    return User(name, SecretStr(text) if text else None)


def _is_verifier(text: str) -> bool:
    match = _VERIFIER.fullmatch(text)
    if match is None:
        return False
    iterations, *encoded = match.groups()
    salt, *keys = (_decoded(part) for part in encoded)
    return (
        1 <= int(iterations) <= _MAX_ITERATIONS
        and 1 <= len(salt) <= _MAX_SALT_BYTES
        and all(len(key) == _KEY_BYTES for key in keys)
    )


def _decoded(text: str) -> bytes:
    """The bytes of canonical base64; none where it is something else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""
