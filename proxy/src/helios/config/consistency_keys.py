"""`[routing.consistency_keys]`: the Redis that keeps how far the writes of sessions have come that share a key.

Read by the engine through the snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from helios.config.base import HeliosModel, Path, PositiveMilliseconds

__all__ = ["ConsistencyKeysConfig", "RedisPlace", "RedisUrl", "redis_place"]

REDIS_PORT: Final = 6379
MAX_DATABASE: Final = 65_535


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """What a URL says of a Redis."""

    host: str
    port: int
    user: str | None
    database: int
    is_encrypted: bool


def redis_place(url: str) -> RedisPlace:
    """Read `redis[s]://[user@]host[:port][/database]`. Raises ValueError with what would be right."""
    parts = urlsplit(url)
    number = parts.path.removeprefix("/")
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be redis://[user@]host[:port][/database], or rediss:// for encryption")
    if parts.password is not None:
        raise ValueError("holds a password, which belongs into password_file")
    if number and not (number.isascii() and number.isdigit() and int(number) <= MAX_DATABASE):
        raise ValueError(f"its database must be a number up to {MAX_DATABASE}")
    if parts.port == 0:
        raise ValueError("its port must not be 0")
    user = unquote(parts.username) if parts.username else None
    return RedisPlace(parts.hostname, parts.port or REDIS_PORT, user, int(number or 0), parts.scheme == "rediss")


def _check_url(url: str) -> str:
    redis_place(url)
    return url


RedisUrl = Annotated[
    str, StringConstraints(max_length=512, pattern=r"^rediss?://[^\s\x00]+$"), AfterValidator(_check_url)
]
"""Where a Redis is."""


class ConsistencyKeysConfig(HeliosModel):
    """Keeps what a user has written seen wherever the user's next request comes: sessions that say `SET
    helios.consistency_key = …` see at least what was written under the same key, at every proxy with the same Redis."""

    url: RedisUrl | None = None
    """The Redis, `redis://[user@]host[:port][/database]`, or `rediss://` for encryption. One process, with
    `maxmemory-policy noeviction` if it has a limit of memory; no Redis Cluster. None: there are no keys."""

    password: SecretStr | None = None
    """Password of the user, or of Redis' default user. None: no login."""

    password_file: Path | None = None
    """File that holds the password (its first line). Excludes `password`."""

    ca_file: Path | None = None
    """PEM file with the authorities that Redis' certificate may come from; `rediss://` needs it."""

    prefix: Annotated[str, StringConstraints(max_length=128, pattern=r"^[\x21-\x7e]*$")] = "helios:"
    """What the names of all keys begin with in Redis. Proxies share what they keep if they have the same prefix and
    call the cluster by the same name; clusters that are not the same servers must differ in one of the two."""

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] = 60
    """Seconds that a write is remembered; at least twice `routing.max_lag_ms`, after which no standby that lacks it is
    asked. As long all keyed reads go to the primary after Redis was lost to one of the proxies."""

    timeout_ms: PositiveMilliseconds = 250
    """Milliseconds that Redis may take for an answer. Then a read goes to the primary, and a write is acknowledged with
    a warning. A quarter of a second is far more than Redis needs, and not much to wait when it is lost."""
