"""Connection strings as libpq takes them, which standbys keep in `primary_conninfo`.

Pure; called by `steps` and `rejoin`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

__all__ = ["parse", "write"]

_PAIR: Final = re.compile(
    r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*|))(?=\s|$)", re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PLAIN: Final = re.compile(r"[^\s'\\]+")
_SCHEMES: Final = ("postgresql", "postgres")


def parse(conninfo: str) -> dict[str, str]:
    """What a connection string says, by keyword; of several with one name the last one. A URI counts as what it means.

    Raises ValueError with the place that cannot be read, without its password.
    """
    uri = urlsplit(conninfo.strip())
    if uri.scheme in _SCHEMES:
        return _of_uri(uri)
    found: dict[str, str] = {}
    at = 0
    while conninfo[at:].strip():
        pair = _PAIR.match(conninfo, at)
        if pair is None:
            raise ValueError(f"character {at + 1} is not where a keyword = value begins")
        name, quoted, plain = pair.groups()
        found[name] = _ESCAPED.sub(r"\1", plain if quoted is None else quoted)
        at = pair.end()
    return found


def _of_uri(uri: SplitResult) -> dict[str, str]:
    login, _, places = uri.netloc.rpartition("@")
    user, _, password = login.partition(":")
    named = {"user": user, "password": password, "dbname": uri.path.removeprefix("/")}
    hosts, ports = zip(*(_place(place) for place in places.split(",")), strict=True)
    named |= {"host": ",".join(hosts), "port": ",".join(ports) if any(ports) else ""}
    said = {name: unquote(value) for name, value in named.items() if value.strip(",")}
    return said | dict(parse_qsl(uri.query, keep_blank_values=True))


def _place(text: str) -> tuple[str, str]:
    """A host, which may be an IPv6 address in brackets, and its port."""
    found = re.fullmatch(r"(?:\[(.*)\]|([^:]*))(?::(\d*))?", text)
    if found is None:
        raise ValueError(f"{text!r} is not a host and a port")
    return found[1] or found[2] or "", found[3] or ""


def write(named: Mapping[str, str]) -> str:
    """A connection string that says this."""
    return " ".join(f"{name}={_written(value)}" for name, value in named.items())


def _written(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
