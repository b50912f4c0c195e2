"""Base model and unit types of the configuration. Every model in `helios.config` and `helios_crds` builds on these.

Integers are strict: TOML's `true` or `"5"` is never taken for a number. Units are part of the type and of the field's
name, so that no reader has to guess them.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "MAX_PORT",
    "Address",
    "Bytes",
    "Count",
    "FileMode",
    "Flag",
    "Generation",
    "HeliosModel",
    "Host",
    "Milliseconds",
    "Name",
    "NodeHost",
    "Path",
    "Port",
    "PositiveCount",
    "PositiveMilliseconds",
    "PositiveSeconds",
    "Seconds",
    "SqlName",
    "Weight",
    "is_loopback",
    "join_address",
    "split_address",
]

YEAR_SECONDS = 31_536_000
MAX_PORT = 65_535
MAX_CONNECTIONS = 262_143  # PostgreSQL's own upper bound of max_connections


class HeliosModel(BaseModel):
    """Frozen, closed to unknown fields, described by the docstring below each field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
        validate_default=False,
    )


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`. Port 0 means any free port. Raises ValueError with what would be right."""
    host, colon, port_text = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError('an IPv6 address is written in brackets, as in "[::1]:6432"')
    if not colon or not host or not port_text.isascii() or not port_text.isdigit() or int(port_text) > MAX_PORT:
        raise ValueError('must be host:port with a port from 0 to 65535, as in "0.0.0.0:6432"')
    return host, int(port_text)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether a `host:port` can be reached from this machine only. An unknown name counts as reachable from outside."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_address(address: str) -> str:
    split_address(address)
    return address


Seconds = Annotated[int, Field(strict=True, ge=0, le=YEAR_SECONDS)]
"""A time in seconds up to a year; the field says what 0 means."""

PositiveSeconds = Annotated[int, Field(strict=True, ge=1, le=YEAR_SECONDS)]
"""A time in seconds from one second to a year."""

Milliseconds = Annotated[int, Field(strict=True, ge=0, le=86_400_000)]
"""A time in milliseconds up to a day; the field says what 0 means."""

PositiveMilliseconds = Annotated[int, Field(strict=True, ge=1, le=86_400_000)]
"""A time in milliseconds from one to a day."""

Bytes = Annotated[int, Field(strict=True, ge=0, le=1 << 40)]
"""A size in bytes up to 1 TiB."""

Count = Annotated[int, Field(strict=True, ge=0, le=MAX_CONNECTIONS)]
"""A number of connections or other things, 0 allowed."""

PositiveCount = Annotated[int, Field(strict=True, ge=1, le=MAX_CONNECTIONS)]
"""A number of connections or other things, at least one."""

Generation = Annotated[int, Field(strict=True, ge=0, le=(1 << 63) - 1)]
"""A number that only ever grows."""

Port = Annotated[int, Field(strict=True, ge=1, le=MAX_PORT)]
"""A TCP port to connect to."""

Weight = Annotated[int, Field(strict=True, ge=0, le=10_000)]
"""A share relative to the other nodes of the cluster; 0 takes no share."""

Flag = Annotated[bool, Field(strict=True)]
"""True or false; never 1, "yes" or "on"."""

FileMode = Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3}$")]
"""Permissions of a file in octal digits."""

Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:%-]+$")]
"""A DNS name or an IP address, without port and brackets."""

NodeHost = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^([A-Za-z0-9._:%-]+|/[A-Za-z0-9._/%+-]*)$")
]
"""A host, or the folder of a Unix socket, told by the slash that it begins with."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^\S+$")]
"""A name given by the configuration to one of its own things; no white space."""

SqlName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
"""A name that PostgreSQL knows (role, database); longer ones PostgreSQL would cut at 63 bytes."""

Path = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
"""A file; a relative one starts at the folder of the configuration file."""

Address = Annotated[str, StringConstraints(min_length=3, max_length=261), AfterValidator(_check_address)]
"""`host:port` or `[v6]:port`; port 0 means any free port."""
